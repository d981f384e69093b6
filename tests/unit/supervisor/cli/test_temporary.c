/* Folders of runs that leave nothing behind: each is its process's until that has read the results, and goes when it was killed. */
#include "tests/unit/ipc/base/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/cli/temporary.h"

static char root[200];

static int make_root(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(root, sizeof root, "%.150s/imsuper-unit-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(root) && setenv("TMPDIR", root, 1) == 0 ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    sv_temporary_remove(root);
    return 0;
}

static void make_temporary(struct sv_temporary *t)
{
    struct im_text text = {""};

    if (sv_temporary_make("bench-data", t, &text) < 0)
        fail_msg("%s", text.s);
}

static bool is_there(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

/* As if it had been made an hour ago. */
static void make_old(const char *path)
{
    const struct timespec times[2] = {{.tv_sec = time(NULL) - 3600}, {.tv_sec = time(NULL) - 3600}};

    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* `imsuper bench data` reads what its run wrote after the run has ended, and nobody holds the run any more. */
static void the_folder_of_a_run_that_has_ended_stays_until_it_is_dropped(void **state)
{
    struct sv_temporary first, second;
    char path[sizeof first.path];

    (void)state;
    make_temporary(&first);
    make_old(first.path);
    make_temporary(&second);
    assert_true(is_there(first.path));
    assert_true(is_there(second.path));
    assert_string_not_equal(first.path, second.path);
    snprintf(path, sizeof path, "%s", first.path);
    sv_temporary_drop(&first);
    assert_false(is_there(path));
    assert_string_equal(first.path, "");
    sv_temporary_drop(&first); /* one that is gone */
    assert_true(is_there(second.path));
    sv_temporary_drop(&second);
}

static void what_a_killed_process_left_is_removed(void **state)
{
    struct sv_temporary next;
    char path[sizeof next.path], file[sizeof next.path + 8];
    int status, pipes[2];
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sv_temporary t;
        struct im_text text = {""};

        if (sv_temporary_make("bench-data", &t, &text) < 0 ||
            write(pipes[1], t.path, sizeof t.path) != (ssize_t)sizeof t.path)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(read(pipes[0], path, sizeof path), (ssize_t)sizeof path);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(pipes[0]);
    close(pipes[1]);
    snprintf(file, sizeof file, "%s/file", path);
    assert_int_equal(mkdir(file, 0700), 0);
    make_old(path);
    make_temporary(&next);
    assert_false(is_there(path));
    sv_temporary_drop(&next);
}

static void folders_of_other_names_are_left_alone(void **state)
{
    struct sv_temporary t;
    char other[300];

    (void)state;
    snprintf(other, sizeof other, "%s/imsuper-evaluation-abcdef", root);
    assert_int_equal(mkdir(other, 0700), 0);
    make_old(other);
    make_temporary(&t);
    assert_true(is_there(other));
    sv_temporary_drop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_folder_of_a_run_that_has_ended_stays_until_it_is_dropped),
        cmocka_unit_test(what_a_killed_process_left_is_removed),
        cmocka_unit_test(folders_of_other_names_are_left_alone),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
