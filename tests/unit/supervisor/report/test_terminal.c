/* A terminal that takes nothing: nobody waits for it, and it gets what matters when it is back. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/report/terminal.h"
#include "tests/unit/ipc/base/unit.h"

struct line {
    int ends[2]; /* a pipe, full */
    size_t filled;
    struct sv_terminal *t;
};

static void put(struct sv_terminal *t, enum sv_text_kind kind, const char *s)
{
    sv_terminal_put(t, kind, s, strlen(s));
}

static void open_full(struct line *l)
{
    *l = (struct line){0};
    assert_int_equal(pipe(l->ends), 0);
    fcntl(l->ends[1], F_SETFL, O_NONBLOCK);
    while (write(l->ends[1], "#", 1) == 1)
        l->filled++;
    fcntl(l->ends[1], F_SETFL, 0); /* it blocks, as a terminal does */
    l->t = sv_terminal_open(l->ends[1]);
    assert_non_null(l->t);
}

/* Reads all that arrives until the terminal is closed, without the filling. */
static char *read_rest(struct line *l)
{
    static char text[2 * 65536 + 4096];
    size_t n = 0;
    ssize_t got;

    for (char c; l->filled > 0 && read(l->ends[0], &c, 1) == 1; l->filled--)
        assert_int_equal(c, '#');
    assert_true(sv_terminal_close(&l->t, 20 * IM_SECOND));
    close(l->ends[1]);
    while ((got = read(l->ends[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(l->ends[0]);
    return text;
}

static void texts_arrive_in_order(void **state)
{
    struct line l = {0};

    (void)state;
    assert_int_equal(pipe(l.ends), 0);
    l.t = sv_terminal_open(l.ends[1]);
    put(l.t, SV_TEXT_LINE, "1\n");
    put(l.t, SV_TEXT_PROGRESS, "2\n");
    put(l.t, SV_TEXT_LINE, "3\n");
    assert_string_equal(read_rest(&l), "1\n2\n3\n");
}

static void a_full_pipe_holds_nobody_and_progress_goes_first(void **state)
{
    struct line l;
    im_ns began, silence = 0;
    uint64_t dropped = 0;
    char big[4096];

    (void)state;
    open_full(&l);
    memset(big, 'p', sizeof big - 1);
    big[sizeof big - 2] = '\n';
    big[sizeof big - 1] = '\0';
    began = im_now();
    put(l.t, SV_TEXT_LINE, "first\n");
    for (int i = 0; i < 50; i++)
        put(l.t, SV_TEXT_PROGRESS, big);
    put(l.t, SV_TEXT_LINE, "last\n");
    assert_true(im_now() - began < IM_SECOND);
    assert_false(sv_terminal_news(l.t, &dropped, &silence));
    assert_true(fcntl(l.ends[1], F_SETPIPE_SZ, 1 << 18) >= 1 << 18); /* for all of the queue */
    for (char c; l.filled > 0 && read(l.ends[0], &c, 1) == 1;)
        l.filled--;
    began = im_now();
    while (!sv_terminal_news(l.t, &dropped, &silence) && im_now() - began < 20 * IM_SECOND)
        poll(NULL, 0, 1);
    assert_int_equal(dropped, 50 - 65536 / 4095 + (65536 % 4095 < 11)); /* what the queue holds is kept */
    assert_true(silence > 0);
    assert_false(sv_terminal_news(l.t, &dropped, &silence)); /* told once */
    char *text = read_rest(&l);
    assert_int_equal(strncmp(text, "first\np", 7), 0);
    assert_string_equal(text + strlen(text) - 6, "\nlast\n");
}

static void only_the_last_drawn_line_waits(void **state)
{
    struct line l;
    uint64_t dropped;
    im_ns silence;

    (void)state;
    open_full(&l);
    put(l.t, SV_TEXT_LINE, "head\n");
    for (int i = 0; i < 10000; i++)
        put(l.t, SV_TEXT_REDRAW, "\rold");
    put(l.t, SV_TEXT_REDRAW, "\rnew");
    put(l.t, SV_TEXT_LINE, "tail\n");
    assert_false(sv_terminal_news(l.t, &dropped, &silence));
    assert_string_equal(read_rest(&l), "head\n\rnewtail\n");
}

static void closing_a_stuck_terminal_is_bounded(void **state)
{
    struct line l;
    im_ns began = im_now();

    (void)state;
    open_full(&l);
    put(l.t, SV_TEXT_LINE, "never\n");
    assert_false(sv_terminal_close(&l.t, 100 * IM_MS));
    assert_true(im_now() - began < 2 * IM_SECOND);
    close(
        l.ends
            [0]); /* the thread ends at an unknown time, and frees what it has, so its descriptor stays open */
    poll(NULL, 0, 100);
}

static void what_nobody_will_read_is_thrown_away(void **state)
{
    struct line l = {0};
    char big[4096];

    (void)state;
    assert_int_equal(pipe(l.ends), 0);
    close(l.ends[0]);
    l.t = sv_terminal_open(l.ends[1]);
    memset(big, 'x', sizeof big);
    for (int i = 0; i < 1000; i++)
        sv_terminal_put(l.t, SV_TEXT_LINE, big, sizeof big);
    assert_true(sv_terminal_close(&l.t, 20 * IM_SECOND));
    close(l.ends[1]);
    l.t = sv_terminal_open(-1); /* stderr closed */
    put(l.t, SV_TEXT_LINE, "x\n");
    assert_true(sv_terminal_close(&l.t, 20 * IM_SECOND));
}

static void a_full_disk_is_tried_again(void **state)
{
    int full = open("/dev/full", O_WRONLY);
    struct sv_terminal *t = sv_terminal_open(full);

    (void)state;
    put(t, SV_TEXT_LINE, "x\n");
    poll(NULL, 0, 50);
    dup2(STDOUT_FILENO, full); /* there is room now */
    assert_true(sv_terminal_close(&t, 20 * IM_SECOND));
    close(full);
}

/* As under a small `ulimit -u`. */
static void what_is_said_without_a_thread_is_written_at_the_end(void **state)
{
    const struct rlimit none = {1, 1};
    char text[256] = "";
    int ends[2], status;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        struct sv_terminal *t;

        /* the limit does not bind root */
        if ((geteuid() == 0 && setresuid(65534, 65534, 65534) < 0) || setrlimit(RLIMIT_NPROC, &none) < 0)
            _exit(77);
        t = sv_terminal_open(ends[1]);
        put(t, SV_TEXT_LINE, "one\n");
        put(t, SV_TEXT_LINE, "two\n");
        _exit(sv_terminal_close(&t, IM_SECOND) ? 0 : 1);
    }
    close(ends[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    assert_string_equal(text, "one\ntwo\n");
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_arrive_in_order),
        cmocka_unit_test(a_full_pipe_holds_nobody_and_progress_goes_first),
        cmocka_unit_test(only_the_last_drawn_line_waits),
        cmocka_unit_test(closing_a_stuck_terminal_is_bounded),
        cmocka_unit_test(what_nobody_will_read_is_thrown_away),
        cmocka_unit_test(a_full_disk_is_tried_again),
        cmocka_unit_test(what_is_said_without_a_thread_is_written_at_the_end),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("terminal", tests, NULL, NULL);
}
