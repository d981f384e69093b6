#include "ipc/base/thread.h"

#include <sched.h>
#include <signal.h>
#include <stddef.h>

int im_thread_begin(void *(*run)(void *context), void *context, pthread_t *ret)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    if (!ret)
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    err = pthread_create(ret ? ret : &thread, &attributes, run, context);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

void im_thread_interrupt_nobody(void)
{
    const struct sched_param none = {.sched_priority = 0};

    if (sched_getscheduler(0) == SCHED_OTHER) /* and not what a user chose, such as chrt -i */
        sched_setscheduler(0, SCHED_BATCH, &none);
}
