/* Threads with all signals blocked: those belong to the program's main thread. */
#ifndef IPC_BASE_THREAD_H
#define IPC_BASE_THREAD_H

#include <pthread.h>

/* Begins run(context). ret: to be joined; NULL: nobody joins it (detached). 0 or a negative errno. */
int im_thread_begin(void *(*run)(void *context), void *context, pthread_t *ret);

/* The calling thread, and those that it makes, no longer interrupt who computes when they wake up: they wait until a
 * processor is free or its turn is over (SCHED_BATCH), and get as much of it as before. For who watches or writes beside a
 * training whose threads wait for each other: one that is interrupted holds up all. */
void im_thread_interrupt_nobody(void);

#endif
