/* What a reader may do in its sandbox, through both engines, and what it is ended for. Each case runs in a child
 * of its own, for there is no way out of a sandbox. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "reader/io.h"
#include "reader/sandbox.h"
#include "tests/unit/ipc/sandboxed.h"
#include "tests/unit/reader/tree.h"

enum { CAPACITY = 4096 };

static struct im_sandbox_state sandbox;

/* Reads one path; bytes, or negative errno. */
static int64_t read_with(enum rd_io_kind kind, int root_fd, const char *path)
{
    const struct rd_io_options options = {.kind = kind, .depth = 4, .root_fd = root_fd};
    static char buffer[CAPACITY];
    struct rd_io_result result = {0};
    struct im_text text = {""}, note = {""};
    struct rd_io *io = NULL;
    int n = 0;

    if (rd_io_open(&options, &io, &note, &text) < 0)
        return -ENODEV;
    rd_io_submit(io, &(struct rd_io_request){.path = path, .buffer = buffer, .capacity = CAPACITY});
    while (n == 0)
        n = rd_io_reap(io, &result, 1, IM_SECOND);
    rd_io_close(&io, IM_SECOND);
    return n < 0 ? n : result.bytes;
}

static int reads_as_it_should(const struct tree *tree)
{
    static const enum rd_io_kind kinds[] = {RD_IO_URING, RD_IO_PREAD};
    int root_fd = open(tree->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (root_fd < 0)
        return BAD;
    for (size_t i = 0; i < IM_COUNT(kinds); i++) {
        int64_t inside = read_with(kinds[i], root_fd, "c0/a.jpg");

        if (inside == -ENODEV && kinds[i] == RD_IO_URING)
            continue; /* there is none here */
        if (inside != 5 || read_with(kinds[i], root_fd, "c0/inside.jpg") != 5)
            return BAD;
        if (sandbox.landlock > 0 && (read_with(kinds[i], root_fd, "c0/outside.jpg") != -EACCES ||
                                     read_with(kinds[i], root_fd, "/etc/passwd") != -EACCES))
            return BAD;
    }
    return GOOD;
}

/* liburing tries to raise the limit, which is none of the engine's business: it says what is missing. */
static int has_few_descriptors(const struct tree *tree)
{
    const struct rd_io_options options = {
        .kind = RD_IO_URING, .depth = 64, .root_fd = open(tree->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    struct im_text text = {""}, note = {""};
    struct rd_io *io = NULL;

    return rd_io_open(&options, &io, &note, &text) < 0 && text.s[0] ? GOOD : BAD;
}

static int opens_for_writing(const struct tree *tree)
{
    return open(tree_path(tree, "c0/a.jpg"), O_WRONLY | O_CLOEXEC) >= 0 ? GOOD : BAD;
}

static int makes_a_socket(const struct tree *tree)
{
    (void)tree;
    return socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? GOOD : BAD;
}

static int forks(const struct tree *tree)
{
    (void)tree;
    return fork() >= 0 ? GOOD : BAD;
}

static int starts_a_program(const struct tree *tree)
{
    char name[] = "/bin/true", *argv[] = {name, NULL}, *environment[] = {NULL};

    (void)tree;
    execve(name, argv, environment);
    return GOOD;
}

/* The wait status of a child that does it in the sandbox. */
static int status_of(const struct tree *tree, int (*what)(const struct tree *tree))
{
    struct im_text text = {""};
    pid_t pid = begin_case();

    if (pid == 0) {
        const struct rlimit few = {12, 12};

        if (what == has_few_descriptors)
            setrlimit(RLIMIT_NOFILE, &few);
        must_be_in_sandbox(
            rd_sandbox_enter(tree->root, tree_path(tree, "index"), NULL, false, &sandbox, &text), &sandbox,
            &text);
        _exit(what(tree));
    }
    return status_of_case(pid);
}

static void files_below_the_root_are_read_and_no_others(void **state)
{
    const struct tree *tree = *state;

    tree_file(tree, "c0/a.jpg", "bytes");
    assert_int_equal(symlink("a.jpg", tree_path(tree, "c0/inside.jpg")), 0);
    assert_int_equal(symlink("/etc/passwd", tree_path(tree, "c0/outside.jpg")), 0);
    assert_int_equal(status_of(tree, reads_as_it_should), GOOD);
}

static void too_few_descriptors_are_an_error_and_no_death(void **state)
{
    assert_int_equal(status_of(*state, has_few_descriptors), GOOD);
}

static void anything_else_kills(void **state)
{
    static int (*const cases[])(const struct tree *) = {opens_for_writing, makes_a_socket, forks,
                                                        starts_a_program};
    const struct tree *tree = *state;

    tree_file(tree, "c0/a.jpg", "bytes");
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        int status = status_of(tree, cases[i]);

        if (IM_SANITIZED && cases[i] == forks) /* its run time may */
            continue;
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("case %zu: wait status %d", i, status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_below_the_root_are_read_and_no_others, tree_setup,
                                        tree_teardown),
        cmocka_unit_test_setup_teardown(too_few_descriptors_are_an_error_and_no_death, tree_setup,
                                        tree_teardown),
        cmocka_unit_test_setup_teardown(anything_else_kills, tree_setup, tree_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
