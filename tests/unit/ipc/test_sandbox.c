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

#include "tests/unit/ipc/sandboxed.h"

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

static int status_of(int (*what)(void))
{
    pid_t pid = begin_case();

    if (pid == 0) {
        const struct im_sandbox wanted = {0};
        struct im_sandbox_state sandbox;
        struct im_text text;

        must_be_in_sandbox(im_sandbox_enter(&wanted, &sandbox, &text), &sandbox, &text);
        _exit(what());
    }
    return status_of_case(pid);
}

static void reading_is_refused(void **state)
{
    int status = status_of(opens_to_read);

    (void)state;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), GOOD);
}

static void writing_ends_the_process(void **state)
{
    int status = status_of(opens_to_write);

    (void)state;
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
