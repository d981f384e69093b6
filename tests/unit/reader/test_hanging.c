/* Files whose opening hangs: the engines read the others meanwhile, and a probe lets nobody wait. openat() of
 * this program stands before the C library's: a path with "hang" in it waits for the gate. io_uring opens
 * files itself; there the empty file hangs, which a thread reads again. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "reader/io.h"
#include "reader/probe.h"
#include "tests/unit/reader/tree.h"

#define DEPTH 8
#define CAPACITY 4096
#define WAIT_NS (20 * IM_SECOND) /* long: it only ends a test that hangs */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed;
    int waiting;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int openat(int folder, const char *path, int flags, ...)
{
    va_list rest;
    mode_t mode;

    va_start(rest, flags);
    mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    pthread_mutex_lock(&gate.lock);
    gate.waiting++;
    pthread_cond_broadcast(&gate.changed);
    while (gate.closed && strstr(path, "hang"))
        pthread_cond_wait(&gate.changed, &gate.lock);
    gate.waiting--;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

static void set_gate(bool closed)
{
    pthread_mutex_lock(&gate.lock);
    gate.closed = closed;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static void others_are_read(struct tree *tree, enum rd_io_kind kind)
{
    static char buffers[DEPTH][CAPACITY];
    const struct rd_io_options options = {
        .kind = kind, .depth = DEPTH, .root_fd = open(tree->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    struct im_text note, text;
    struct rd_io_result result;
    struct rd_io *io = NULL;

    tree_file(tree, "hang.jpg", "");
    tree_file(tree, "good.jpg", "bytes");
    tree_file(tree, "empty.jpg", "");
    if (rd_io_open(&options, &io, &note, &text) < 0) {
        print_message("# skipped: %s\n", text.s);
        close(options.root_fd);
        skip();
    }
    set_gate(true);
    assert_int_equal(rd_io_submit(io, &(struct rd_io_request){.path = "hang.jpg",
                                                              .buffer = buffers[0],
                                                              .capacity = CAPACITY,
                                                              .tag = 99}),
                     0);
    for (uint64_t i = 0; i < 100; i++) {
        const char *path = i % 2 ? "good.jpg" : "empty.jpg";

        assert_int_equal(
            rd_io_submit(
                io,
                &(struct rd_io_request){.path = path, .buffer = buffers[1], .capacity = CAPACITY, .tag = i}),
            0);
        assert_int_equal(rd_io_reap(io, &result, 1, WAIT_NS), 1);
        assert_int_equal(result.tag, i);
        assert_int_equal(result.bytes, i % 2 ? 5 : 0);
    }
    assert_int_equal(rd_io_in_flight(io), 1);
    assert_int_equal(rd_io_reap(io, &result, 1, 5 * IM_MS), 0);
    set_gate(false);
    assert_int_equal(rd_io_reap(io, &result, 1, WAIT_NS), 1);
    assert_int_equal(result.tag, 99);
    assert_int_equal(rd_io_close(&io, WAIT_NS), 0);
    close(options.root_fd);
}

static void threads_read_the_others(void **state)
{
    others_are_read(*state, RD_IO_PREAD);
}

static void uring_reads_the_others(void **state)
{
    others_are_read(*state, RD_IO_URING);
}

static bool take_within(struct rd_probe *p, struct rd_probe_result *ret, im_ns time)
{
    im_ns until = im_now() + time;

    while (!rd_probe_take(p, ret)) {
        if (im_now() > until)
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

static void a_probe_says_how_it_went(void **state)
{
    static const struct {
        const char *root, *path;
        int err;
        bool has_root;
    } cases[] = {
        {"", "good.jpg", 0, true},           {"", "", 0, true},
        {"", "none.jpg", -ENOENT, true},     {"/none", "good.jpg", -ENOENT, false},
        {"/good.jpg", "x", -ENOTDIR, false},
    };
    struct tree *tree = *state;

    tree_file(tree, "good.jpg", "bytes");
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct rd_probe probe = {0};
        struct rd_probe_result result;
        char root[PATH_MAX + 16];
        im_ns before = im_now();

        snprintf(root, sizeof root, "%s%s", tree->root, cases[i].root);
        assert_int_equal(rd_probe_start(&probe, root, cases[i].path), 0);
        assert_int_equal(rd_probe_start(&probe, root, cases[i].path), -EBUSY);
        assert_true(take_within(&probe, &result, WAIT_NS));
        assert_int_equal(result.err, cases[i].err);
        assert_int_equal(result.root_fd >= 0, cases[i].has_root);
        assert_true(result.began >= before && result.began <= im_now());
        if (result.root_fd >= 0)
            close(result.root_fd);
        assert_false(rd_probe_take(&probe, &result));
    }
}

static void wait_for_hanging(int count)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.waiting != count)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

static void a_probe_that_hangs_is_let_be(void **state)
{
    struct rd_probe probe = {0};
    struct rd_probe_result result;
    struct tree *tree = *state;

    tree_file(tree, "hang.jpg", "bytes");
    tree_file(tree, "good.jpg", "bytes");
    rd_probe_abandon(&probe);
    set_gate(true);
    assert_int_equal(rd_probe_start(&probe, tree->root, "hang.jpg"), 0);
    wait_for_hanging(1);
    assert_false(rd_probe_take(&probe, &result));
    rd_probe_abandon(&probe);
    assert_int_equal(rd_probe_start(&probe, tree->root, "good.jpg"), 0);
    assert_true(take_within(&probe, &result, WAIT_NS));
    assert_int_equal(result.err, 0);
    close(result.root_fd);
    set_gate(false);
    wait_for_hanging(0); /* it ends, and frees what it held */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(threads_read_the_others, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(uring_reads_the_others, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(a_probe_says_how_it_went, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(a_probe_that_hangs_is_let_be, tree_setup, tree_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
