/* The strictest sandbox: each case in a child of its own, for there is no way out. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/sandbox.h"

enum { GOOD = 0, BAD = 1, NO_SANDBOX = 77 };

/* What glibc's free() does in a thread: being refused is no reason to die. */
static int opens_to_read(void)
{
    return open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC) == -1 && errno == EACCES ? GOOD : BAD;
}

static int opens_to_write(void)
{
    open("/dev/null", O_WRONLY | O_CLOEXEC);
    return GOOD;
}

/* Its wait status, or -1 where the kernel filters no calls. */
static int ends(int (*what)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        const struct im_sandbox wanted = {0};
        struct im_sandbox_state state;
        struct im_text text;

        if (im_sandbox_enter(&wanted, &state, &text) < 0)
            _exit(BAD);
        _exit(state.filters_calls ? what() : NO_SANDBOX);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == NO_SANDBOX ? -1 : status;
}

static void reading_is_refused(void **state)
{
    int status = ends(opens_to_read);

    (void)state;
    if (status < 0)
        skip();
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), GOOD);
}

static void writing_ends_the_process(void **state)
{
    int status = ends(opens_to_write);

    (void)state;
    if (status < 0)
        skip();
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_is_refused),
        cmocka_unit_test(writing_ends_the_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
