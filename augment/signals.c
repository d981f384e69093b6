#include "augment/signals.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/sandbox.h"

static struct im_stats *told;

/* Codes above 0 are the kernel's: this process did it. The others were sent, by abort() from within. The action
 * is the default again by now: what was sent is sent once more, what the kernel found it finds once more. */
static void on_fatal(int signo, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code > 0)
        return;
    if (info->si_pid != getpid())
        atomic_store_explicit(&told->sent_signal, (uint32_t)signo, memory_order_relaxed);
    raise(signo);
}

void au_note_sent_signals(struct im_stats *stats)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS, SIGTRAP};
    struct sigaction action = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | (int)SA_RESETHAND};

    if (IM_SANITIZED) /* they are the sanitizer's */
        return;
    told = stats;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < IM_COUNT(fatal); i++)
        sigaction(fatal[i], &action, NULL);
}
