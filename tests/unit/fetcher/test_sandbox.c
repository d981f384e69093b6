/* What a fetcher may do in its sandbox, and what it is refused or ended for. Each case runs in a child of its own, for there
 * is no way out of a sandbox. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
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

#include "fetcher/cache.h"
#include "fetcher/client.h"
#include "fetcher/sandbox.h"
#include "ipc/base/count.h"
#include "tests/unit/ipc/sandboxed.h"
#include "tests/unit/reader/tree.h"

static struct im_sandbox_state sandbox;

/* All that a cache does with its files. */
static int uses_the_cache(const struct tree *tree)
{
    struct im_text text = {""};
    struct fe_claim claim;
    struct fe_cache c;
    int root_fd;

    if (fe_cache_open(tree_path(tree, "objects"), 0, &c, &text) < 0)
        return BAD;
    root_fd = open(tree_path(tree, "objects/x/data"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0 || fe_cache_claim(&c, 1, &claim) < 0 || fe_cache_promise(&c, &claim, 5) < 0 ||
        pwrite(claim.fd, "bytes", 5, 0) != 5 || fe_cache_put(&c, &claim, 5, root_fd, "new/1.jpg") < 0 ||
        !fe_cache_look(&c, root_fd, "new/1.jpg") || fe_cache_forget(&c, root_fd, "new/1.jpg") < 0 ||
        fe_cache_mark(&c, root_fd, "new/2.jpg") < 0)
        return BAD;
    fe_cache_forget_folder(&c, root_fd, "new");
    if (faccessat(root_fd, "new", F_OK, 0) == 0)
        return BAD;
    fe_cache_close(&c);
    return GOOD;
}

/* A name that does not exist, and a port at which nobody is: errors, after all that the resolver does. */
static int asks_a_server(const struct tree *tree)
{
    static const char *const urls[] = {"http://imsuper.invalid/x", "http://localhost:1/x",
                                       "https://127.0.0.1:1/x"};
    struct fe_address address = {.base = "http://localhost/"};
    struct im_text text = {""};
    struct fe_client *client;
    struct fe_result result;

    (void)tree;
    if (fe_client_open(&address, 1, 2000, &client, &text) < 0)
        return BAD;
    for (size_t i = 0; i < IM_COUNT(urls); i++) {
        if (fe_client_start(client, &(struct fe_request){.url = urls[i]}) < 0)
            return BAD;
        while (fe_client_go_on(client, &result, 1, 1000) == 0)
            ;
        if (result.err == 0)
            return BAD;
    }
    fe_client_close(&client);
    return GOOD;
}

static int reads_and_writes_elsewhere(const struct tree *tree)
{
    if (sandbox.landlock == 0)
        return GOOD;
    if (open(tree_path(tree, "secret"), O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
        return BAD;
    if (open(tree_path(tree, "made"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0 || errno != EACCES)
        return BAD;
    return unlink(tree_path(tree, "secret")) == 0 || open("/etc/hosts", O_RDONLY | O_CLOEXEC) < 0 ? BAD
                                                                                                  : GOOD;
}

static int starts_a_program(const struct tree *tree)
{
    char name[] = "/bin/true", *argv[] = {name, NULL}, *environment[] = {NULL};

    (void)tree;
    execve(name, argv, environment);
    return GOOD;
}

static int forks(const struct tree *tree)
{
    (void)tree;
    return fork() >= 0 ? GOOD : BAD;
}

static int listens(const struct tree *tree)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)tree;
    return fd >= 0 && listen(fd, 1) == 0 ? GOOD : BAD;
}

/* The wait status of a child that does it in the sandbox. */
static int status_of(const struct tree *tree, int (*what)(const struct tree *tree))
{
    struct im_text text = {""};
    pid_t pid = begin_case();

    if (pid == 0) {
        must_be_in_sandbox(fe_sandbox_enter(tree_path(tree, "objects"), false, &sandbox, &text), &sandbox,
                           &text);
        _exit(what(tree));
    }
    return status_of_case(pid);
}

static void make_files(const struct tree *tree)
{
    tree_file(tree, "objects/x/data/a.jpg", "");
    tree_file(tree, "secret", "bytes");
}

static void the_cache_and_the_network_are_used(void **state)
{
    make_files(*state);
    assert_int_equal(status_of(*state, uses_the_cache), GOOD);
    assert_int_equal(status_of(*state, asks_a_server), GOOD);
}

static void other_files_are_refused(void **state)
{
    make_files(*state);
    assert_int_equal(status_of(*state, reads_and_writes_elsewhere), GOOD);
}

static void anything_else_kills(void **state)
{
    static int (*const cases[])(const struct tree *) = {starts_a_program, forks, listens};

    make_files(*state);
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        int status = status_of(*state, cases[i]);

        if (IM_SANITIZED && cases[i] == forks) /* its run time may */
            continue;
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("case %zu: wait status %d", i, status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_cache_and_the_network_are_used, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(other_files_are_refused, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(anything_else_kills, tree_setup, tree_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
