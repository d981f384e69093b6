/* --on-event: every event reaches its command in order, and nothing that a command does holds anybody up. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <time.h>

#include "ipc/base/file.h"
#include "supervisor/report/hook.h"
#include "tests/unit/ipc/base/unit.h"

static const char *in(const char *folder, const char *name)
{
    static char path[2][PATH_MAX];
    static int next;

    next = !next;
    snprintf(path[next], PATH_MAX, "%s/%s", folder, name);
    return path[next];
}

static struct sv_hook *open_hook(const char *folder, const char *command, im_ns limit)
{
    const struct sv_hook_limits limits = {.command = limit};
    struct sv_hook *h = NULL;
    char whole[PATH_MAX];

    snprintf(whole, sizeof whole, "cd %s; %s", folder, command);
    assert_int_equal(sv_hook_open(&h, whole, in(folder, "log"), &limits), 0);
    return h;
}

/* The file's content; "" when there is none. */
static const char *content(const char *folder, const char *name)
{
    static char bytes[65536];
    int fd = open(in(folder, name), O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, bytes, sizeof bytes - 1);

    bytes[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
    return bytes;
}

static void events_arrive_in_their_order(void **state)
{
    struct sv_hook *h = open_hook(*state, "cat >>out; echo said; ls /proc/self/fd >fds", 20 * IM_SECOND);
    struct im_text text;
    int held = open("/dev/null", O_RDONLY); /* would be passed on */

    assert_true(held >= 3);
    sv_hook_event(h, "{\"n\":1}");
    sv_hook_event(h, "{\"n\":2}");
    sv_hook_event(h, "{\"n\":3}");
    assert_int_equal(sv_hook_close(&h, 20 * IM_SECOND), 0);
    assert_null(h);
    assert_string_equal(content(*state, "out"), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    assert_string_equal(content(*state, "log"), "said\nsaid\nsaid\n");
    assert_string_equal(content(*state, "fds"), "0\n1\n2\n3\n"); /* the last is that of ls */
    close(held);
    h = open_hook(*state, "exit 0", IM_SECOND);
    assert_false(sv_hook_news(h, &text));
    assert_int_equal(sv_hook_close(&h, 20 * IM_SECOND), 0);
}

static bool until_news(struct sv_hook *h, struct im_text *text)
{
    for (int i = 0; i < 2000; i++) {
        if (sv_hook_news(h, text))
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    return false;
}

static void a_command_that_fails_is_told_once(void **state)
{
    struct sv_hook *h = open_hook(*state, "exit 3", 20 * IM_SECOND);
    struct im_text text = {""};

    sv_hook_event(h, "{}");
    assert_true(until_news(h, &text));
    assert_non_null(strstr(text.s, "exit status 3"));
    sv_hook_event(h, "{}");
    assert_int_equal(sv_hook_close(&h, 20 * IM_SECOND), 0);
}

/* What it started is killed, too, and the next event gets its turn. */
static void a_command_that_hangs_is_killed(void **state)
{
    struct sv_hook *h =
        open_hook(*state, "read e; if [ $e = 1 ]; then sleep 1000 & echo $! >pid; wait; fi; echo $e >>out",
                  300 * IM_MS);
    struct im_text text = {""};
    const im_ns began = im_now();
    int pid;

    sv_hook_event(h, "1");
    sv_hook_event(h, "2");
    assert_true(im_now() - began < IM_SECOND);
    assert_true(until_news(h, &text));
    assert_non_null(strstr(text.s, "longer than"));
    assert_int_equal(sv_hook_close(&h, 20 * IM_SECOND), 0);
    assert_string_equal(content(*state, "out"), "2\n");
    pid = (int)strtol(content(*state, "pid"), NULL, 10);
    assert_true(pid > 0);
    for (int i = 0; i < 500 && kill(pid, 0) == 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    assert_int_equal(kill(pid, 0), -1);
}

/* The queue is bounded, its newest events stay, and who closes does not wait for ever. */
/* `yes` would fill the disk in the minute that it has. */
static void a_command_that_prints_for_ever_is_killed(void **state)
{
    struct sv_hook *h = open_hook(*state, "yes", 20 * IM_SECOND);
    struct im_text text = {""};
    struct stat st;

    sv_hook_event(h, "{}");
    assert_true(until_news(h, &text));
    assert_non_null(strstr(text.s, "it printed more than 1 MiB and was killed"));
    assert_int_equal(stat(in(*state, "log"), &st), 0);
    assert_int_equal(st.st_size, 1 << 20);
    assert_int_equal(sv_hook_close(&h, 20 * IM_SECOND), 0);
}

static void a_slow_command_holds_nobody_up(void **state)
{
    struct sv_hook *h =
        open_hook(*state, "cat >>out; while [ ! -e go ]; do sleep 0.05; done", 60 * IM_SECOND);
    struct im_text text = {""};
    char line[32];
    im_ns began;
    uint64_t lost;
    FILE *f;

    sv_hook_event(h, "first");
    while (!*content(*state, "out"))
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    began = im_now();
    for (int i = 0; i < SV_HOOK_EVENTS + 10; i++) {
        snprintf(line, sizeof line, "%d", i);
        sv_hook_event(h, line);
    }
    assert_true(im_now() - began < 5 * IM_SECOND);
    assert_true(sv_hook_news(h, &text));
    assert_non_null(strstr(text.s, "dropped"));
    assert_false(sv_hook_news(h, &text));
    began = im_now();
    lost = sv_hook_close(&h, 200 * IM_MS);
    assert_true(im_now() - began < 10 * IM_SECOND);
    assert_int_equal(lost, SV_HOOK_EVENTS + 10);
    f = fopen(in(*state, "go"), "we"); /* lets the one that runs go */
    assert_non_null(f);
    fclose(f);
    nanosleep(&(struct timespec){.tv_nsec = 300 * 1000 * 1000},
              NULL); /* and the thread, which frees what is left */
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(events_arrive_in_their_order),   IN_FOLDER(a_command_that_fails_is_told_once),
        IN_FOLDER(a_command_that_hangs_is_killed), IN_FOLDER(a_command_that_prints_for_ever_is_killed),
        IN_FOLDER(a_slow_command_holds_nobody_up),
    };

    return cmocka_run_group_tests_name("hook", tests, NULL, NULL);
}
