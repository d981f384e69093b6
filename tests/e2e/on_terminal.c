/* on_terminal PROGRAM ARGUMENT...: runs a program on a terminal of its own (standard error; its controlling
 * terminal) and copies what it shows to standard output. SIGUSR1: types Ctrl-S and reads no more. SIGUSR2: types
 * Ctrl-Q and reads again. SIGTERM: types Ctrl-C. SIGHUP: closes the terminal. Ends as the program does. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/count.h"

static int fail(const char *what)
{
    fprintf(stderr, "on_terminal: %s: %s\n", what, strerror(errno));
    return 77;
}

static void become(char **argv, const char *name)
{
    int tty;
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    tty = open(name, O_RDWR);
    if (tty < 0 || ioctl(tty, TIOCSCTTY, 0) < 0 || dup2(tty, STDERR_FILENO) < 0)
        _exit(fail(name));
    if (tty != STDERR_FILENO)
        close(tty);
    execvp(argv[0], argv);
    _exit(fail(argv[0]));
}

/* One character typed; false: it cannot be. */
static void type(int master, char c)
{
    if (write(master, &c, 1) != 1)
        fail("typing");
}

int main(int argc, char **argv)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), signals, reads = 1, status = 0;
    const int wanted[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGHUP, SIGCHLD};
    sigset_t set;
    pid_t pid;

    if (argc < 2 || master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        return fail("no terminal");
    sigemptyset(&set);
    for (size_t i = 0; i < IM_COUNT(wanted); i++)
        sigaddset(&set, wanted[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signals = signalfd(-1, &set, SFD_CLOEXEC);
    pid = fork();
    if (pid == 0)
        become(argv + 1, ptsname(master));
    if (pid < 0 || signals < 0)
        return fail("no process");
    for (;;) {
        struct pollfd p[2] = {{.fd = signals, .events = POLLIN},
                              {.fd = master >= 0 && reads ? master : -1, .events = POLLIN}};
        struct signalfd_siginfo info;
        char bytes[4096];
        ssize_t n = 0;

        poll(p, 2, -1);
        if (p[1].revents) {
            n = read(master, bytes, sizeof bytes);
            if (n > 0 && write(STDOUT_FILENO, bytes, (size_t)n) != n)
                return fail("writing");
            if (n <= 0)
                reads = 0; /* the last process on it has left */
        }
        if (!p[0].revents || read(signals, &info, sizeof info) != (ssize_t)sizeof info)
            continue;
        if (info.ssi_signo == SIGUSR1 || info.ssi_signo == SIGUSR2) {
            reads = info.ssi_signo == SIGUSR2;
            type(master, reads ? '\x11' : '\x13');
        } else if (info.ssi_signo == SIGTERM) {
            type(master, '\x03');
        } else if (info.ssi_signo == SIGHUP) {
            close(master);
            master = -1;
        } else if (waitpid(pid, &status, WNOHANG) == pid) {
            break;
        }
    }
    /* What is left in the terminal, where it is read. */
    for (char bytes[4096]; reads && master >= 0;) {
        struct pollfd p = {.fd = master, .events = POLLIN};
        ssize_t n = poll(&p, 1, 0) == 1 ? read(master, bytes, sizeof bytes) : 0;

        if (n <= 0 || write(STDOUT_FILENO, bytes, (size_t)n) != n)
            break;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
