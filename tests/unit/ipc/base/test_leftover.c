/* A command that a signal ends leaves no temporary file behind. */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/file.h"
#include "ipc/base/leftover.h"

static int entries(const char *folder)
{
    DIR *d = opendir(folder);
    int n = -2; /* . and .. */

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Begins a file and gets the signal, in a child; `by`: who gets it, the writer or a child of its own. */
static int die_while_writing(const char *folder, int signo, bool by_child)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        struct im_file_writer w;
        char path[256];

        snprintf(path, sizeof path, "%s/out", folder);
        im_leftover_watch();
        if (im_file_begin(&w, path, NULL) < 0 || entries(folder) != 1)
            _exit(3);
        if (by_child) {
            pid = fork();
            if (pid == 0)
                raise(signo);
            waitpid(pid, &status, 0);
            _exit(entries(folder) == 1 ? 0 : 4);
        }
        raise(signo);
        _exit(5);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void the_file_goes_and_the_signal_ends_it(void **state)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    char folder[] = "/tmp/leftover-XXXXXX";

    (void)state;
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < 3; i++) {
        int status = die_while_writing(folder, signals[i], false);

        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), signals[i]);
        assert_int_equal(entries(folder), 0);
    }
    assert_int_equal(die_while_writing(folder, SIGTERM, true), 0); /* not its parent's */
    assert_int_equal(im_file_sweep(folder), 1);
    rmdir(folder);
}

/* As under nohup. */
static void ignored_signals_stay_so(void **state)
{
    (void)state;
    signal(SIGHUP, SIG_IGN);
    im_leftover_watch();
    assert_ptr_equal(signal(SIGHUP, SIG_DFL), SIG_IGN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_goes_and_the_signal_ends_it),
        cmocka_unit_test(ignored_signals_stay_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
