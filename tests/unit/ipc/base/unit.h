/* What the unit tests of ipc/base share: cmocka in its required order, a directory of their own, children
 * that die. */
#ifndef TESTS_UNIT_IPC_BASE_UNIT_H
#define TESTS_UNIT_IPC_BASE_UNIT_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/count.h"

/* Of a sentence only the beginning: the key or the flag that it names. One test a module asserts whole sentences. */
#define assert_begins(sentence, beginning)                                                                   \
    do {                                                                                                     \
        if (strncmp(sentence, beginning, strlen(beginning)) != 0)                                            \
            fail_msg("\"%s\" does not begin with \"%s\"", sentence, beginning);                              \
    } while (0)

/* cmocka setup and teardown: *state is a fresh directory's path, removed with all in it. */
static inline int make_directory(void **state)
{
    char *path = strdup("/tmp/imsuper-unit-XXXXXX");

    *state = path;
    return path && mkdtemp(path) ? 0 : -1;
}

static inline int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline int remove_directory(void **state)
{
    int err = nftw(*state, remove_entry, 8, FTW_DEPTH | FTW_PHYS);

    free(*state);
    return err;
}

/* Runs f(arg) in a child and returns its wait status. The child leaves with what f returns. */
static inline int in_child(int (*f)(void *arg), void *arg)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(f(arg));
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

#endif
