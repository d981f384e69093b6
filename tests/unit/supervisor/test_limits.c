/* Limits of the process: those that may be raised are, others are named with value, need and command. Each case in a
 * child, for a limit cannot be raised again. */
#include "supervisor/limits.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "ipc/base/err.h"
#include "tests/unit/ipc/base/unit.h"

#define MIB ((uint64_t)1 << 20)

struct limit {
    int resource;
    rlim_t soft, hard;
    const char *says; /* NULL: it passes */
};

struct check {
    const struct limit *limit;
    bool first; /* before anything is known of the run */
};

static const struct sv_limits_need need = {.files = 50,
                                           .files_wanted = 200,
                                           .data = 128 * MIB,
                                           .address_space = 512 * MIB,
                                           .stack = MIB,
                                           .file_size = 16 * MIB};

static int checks(void *arg)
{
    const struct check *check = arg;
    const struct limit *l = check->limit;
    const struct rlimit r = {l->soft, l->hard};
    struct im_text text = {""};
    int err;

    if (setrlimit((__rlimit_resource_t)l->resource, &r) < 0)
        return 2;
    err = check->first ? sv_limits_first(&text) : sv_limits_check(&need, &text);
    if (l->says ? err < 0 && strncmp(text.s, l->says, strlen(l->says)) == 0 : err == 0)
        return check->first && err != 0 && err != -EAGAIN;
    fprintf(stderr, "%d: %s\n", err, text.s);
    return 1;
}

static void check_rows(const struct limit *rows, size_t count, bool first)
{
    for (size_t i = 0; i < count; i++)
        if (in_child(checks, &(struct check){&rows[i], first}) != 0)
            fail_msg("row %zu", i);
}

static void a_limit_is_raised_or_named(void **state)
{
    static const struct limit rows[] = {
        {RLIMIT_NOFILE, 20, 60, NULL},
        {RLIMIT_NOFILE, 20, 40,
         "the limit of files that a process may have open is 40, and at least 50 are needed: `ulimit -n 50`"},
        {RLIMIT_DATA, 64 * MIB, 64 * MIB,
         "the limit of memory of a process (data segment) is 65536 KiB, and at least 131072 KiB are needed "
         "(more for "
         "larger networks and batches): `ulimit -d 131072`"},
        {RLIMIT_DATA, 64 * MIB, RLIM_INFINITY,
         "the limit of memory"}, /* it is not raised: somebody has set it */
        {RLIMIT_STACK, 256 * 1024, 16 * MIB, NULL},
        {RLIMIT_FSIZE, MIB, RLIM_INFINITY, NULL},
        {RLIMIT_FSIZE, MIB, 2 * MIB,
         "the limit of size of a file, of shared memory too is 2048 KiB, and at least 16384 KiB are needed "
         "(more "
         "for larger networks): `ulimit -f unlimited`"},
        {RLIMIT_CPU, 3, 3, NULL}, /* named when a process comes to it */
        {RLIMIT_STACK, 512 * 1024, 512 * 1024,
         "the limit of stack of a process is 512 KiB, and at least 1024 KiB are needed: `ulimit -s 1024`"},
    };

    (void)state;
    check_rows(rows, IM_COUNT(rows), false);
}

static void what_the_first_files_take_is_asked_for_first(void **state)
{
    static const struct limit rows[] = {
        {RLIMIT_NOFILE, 12, 40, NULL},
        {RLIMIT_NOFILE, 12, 12, "the limit of files that a process may have open is 12, and at least 64"},
        {RLIMIT_FSIZE, 0, 0, "the limit of size of a file"},
    };

    (void)state;
    check_rows(rows, IM_COUNT(rows), true);
}

static int raises_files(void *arg)
{
    const struct rlimit r = {20, 1000};
    struct im_text text = {""};
    struct rlimit now;

    (void)arg;
    return setrlimit(RLIMIT_NOFILE, &r) < 0 || sv_limits_check(&need, &text) < 0 ||
           getrlimit(RLIMIT_NOFILE, &now) < 0 || now.rlim_cur != 200 || now.rlim_max != 1000;
}

static void what_is_wanted_is_raised_no_further(void **state)
{
    (void)state;
    assert_int_equal(in_child(raises_files, NULL), 0);
}

static int suspects(void *arg)
{
    const struct rlimit *r = arg;
    char s[400];

    if (setrlimit(RLIMIT_DATA, r) < 0)
        return 2;
    sv_limits_suspects(s, sizeof s);
    return r->rlim_cur == RLIM_INFINITY ? strstr(s, "ulimit -d") != NULL
                                        : strstr(s, "(ulimit -d 400000)") == NULL;
}

static void small_limits_are_suspects_of_a_death(void **state)
{
    struct rlimit small = {400000 * 1024, 400000 * 1024}, none = {RLIM_INFINITY, RLIM_INFINITY};

    (void)state;
    assert_int_equal(in_child(suspects, &small), 0);
    if (in_child(suspects, &none) == 1)
        fail_msg("no limit is a suspect");
}

/* Root's processes are not counted: the whole machine's would be those of another user here. */
static int counts_processes(void *arg)
{
    const struct rlimit r = {5, 5};
    struct sv_limits_need many = need;
    struct im_text text = {""};

    (void)arg;
    many.processes = 40;
    if (setgid(65534) < 0 || setuid(65534) < 0 || setrlimit(RLIMIT_NPROC, &r) < 0)
        return 2;
    return sv_limits_check(&many, &text) == 0 ||
           strncmp(text.s, "the limit of processes and threads of this user is 5, and at least ", 66) != 0 ||
           strstr(text.s, "(40 for this run, and ") == NULL;
}

static void processes_of_other_users_than_root_are_counted(void **state)
{
    (void)state;
    if (getuid() != 0)
        skip();
    assert_int_equal(in_child(counts_processes, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_is_raised_or_named),
        cmocka_unit_test(what_the_first_files_take_is_asked_for_first),
        cmocka_unit_test(what_is_wanted_is_raised_no_further),
        cmocka_unit_test(small_limits_are_suspects_of_a_death),
        cmocka_unit_test(processes_of_other_users_than_root_are_counted),
    };

    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
