/* What tests of sandboxes share: each case runs in a child of its own, for there is no way out of a sandbox.
 *
 *     pid_t pid = begin_case();
 *     if (pid == 0) {
 *         must_be_in_sandbox(im_sandbox_enter(..., &sandbox, &text), &sandbox, &text);
 *         _exit(what());
 *     }
 *     status = status_of_case(pid);
 */
#ifndef TESTS_UNIT_IPC_SANDBOXED_H
#define TESTS_UNIT_IPC_SANDBOXED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/sandbox.h"

/* Exit statuses of a case. */
enum { GOOD = 0, BAD = 1, NO_SANDBOX = 77 };

/* As fork(); who is ended by the sandbox leaves no core. */
static inline pid_t begin_case(void)
{
    const struct rlimit no_core = {0, 0};
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        setrlimit(RLIMIT_CORE, &no_core);
    return pid;
}

/* In the child, with what entering the sandbox returned. Comes back only in the sandbox. */
static inline void must_be_in_sandbox(int entered, const struct im_sandbox_state *sandbox,
                                      const struct im_text *text)
{
    if (entered < 0) {
        fprintf(stderr, "%s\n", text->s);
        _exit(BAD);
    }
    if (!sandbox->filters_calls)
        _exit(NO_SANDBOX);
}

/* The wait status; skips the test where the kernel filters no calls. */
static inline int status_of_case(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SANDBOX)
        skip();
    return status;
}

#endif
