/* Threads with all signals blocked: those belong to the program's main thread. */
#ifndef IPC_BASE_THREAD_H
#define IPC_BASE_THREAD_H

#include <pthread.h>

/* Begins run(context). ret: to be joined; NULL: nobody joins it (detached). 0 or a negative errno. */
int im_thread_begin(void *(*run)(void *context), void *context, pthread_t *ret);

#endif
