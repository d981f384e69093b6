#include "ipc/sent_signals.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/sandbox.h"

static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS, SIGTRAP};
static void (*teller)(int signo);

static void change_mask(int how)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < IM_COUNT(fatal); i++)
        sigaddset(&set, fatal[i]);
    sigprocmask(how, &set, NULL);
}

void im_sent_signals_hold(void)
{
    change_mask(SIG_SETMASK);
}

/* Codes above 0 are the kernel's: this process did it. The others were sent, by abort() from within. The action
 * is the default again by now: what was sent is sent once more, what the kernel found it finds once more. */
static void on_fatal(int signo, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code > 0)
        return;
    if (info->si_pid != getpid())
        teller(signo);
    raise(signo);
}

void im_sent_signals_note(void (*tell)(int signo))
{
    struct sigaction action = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | (int)SA_RESETHAND};

    teller = tell;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; !IM_SANITIZED && i < IM_COUNT(fatal); i++) /* there they are the sanitizer's */
        sigaction(fatal[i], &action, NULL);
    change_mask(SIG_UNBLOCK);
}
