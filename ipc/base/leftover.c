#include "ipc/base/leftover.h"

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"

#define PLACES 8 /* files that one process writes at a time */

enum { FREE, TAKEN, LISTED };

static struct {
    _Atomic int state; /* FREE -> TAKEN -> LISTED -> FREE by who adds and drops; R signal handler */
    pid_t pid;         /* of who writes it, whose children have the list too */
    char path[PATH_MAX];
} files[PLACES];

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

static void on_signal(int signo)
{
    for (size_t i = 0; i < PLACES; i++)
        if (atomic_load_explicit(&files[i].state, memory_order_acquire) == LISTED && files[i].pid == getpid())
            unlink(files[i].path);
    signal(signo, SIG_DFL);
    raise(signo); /* when this returns */
}

void im_leftover_watch(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < IM_COUNT(signals); i++)
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            sigaction(signals[i], &action, NULL);
}

int im_leftover_add(const char *path)
{
    const size_t n = strlen(path) + 1;

    for (int i = 0; i < PLACES && n <= sizeof files[i].path; i++) {
        int was = FREE;

        if (!atomic_compare_exchange_strong_explicit(&files[i].state, &was, TAKEN, memory_order_acquire,
                                                     memory_order_relaxed))
            continue;
        files[i].pid = getpid();
        memcpy(files[i].path, path, n);
        /* Release: the handler sees the path. */
        atomic_store_explicit(&files[i].state, LISTED, memory_order_release);
        return i;
    }
    return -1;
}

void im_leftover_drop(int place)
{
    if (place >= 0)
        atomic_store_explicit(&files[place].state, FREE, memory_order_release);
}
