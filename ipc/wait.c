/* The one place with a full fence. The handshake (Dekker's): the waker writes the sequence, then reads the
 * waiters; the waiter writes the waiters, then reads the sequence (in the kernel, under FUTEX_WAIT's own
 * check). With a seq_cst fence between the two on both sides at least one of them sees the other. */
#include "ipc/wait.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

uint32_t im_event_look(struct im_event *e)
{
    /* W2: what a waker made visible before its signal is seen after this; pairs with W1. */
    return atomic_load_explicit(&e->sequence, memory_order_acquire);
}

bool im_event_wait(struct im_event *e, uint32_t seen, im_ns timeout)
{
    im_ns bound = timeout < IM_WAIT_MAX_NS ? timeout : IM_WAIT_MAX_NS;
    struct timespec relative = {.tv_sec = (time_t)(bound / IM_SECOND), .tv_nsec = (long)(bound % IM_SECOND)};
    bool ran_out = false;

    atomic_fetch_add_explicit(&e->waiters, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&e->sequence, memory_order_relaxed) == seen)
        ran_out =
            syscall(SYS_futex, &e->sequence, FUTEX_WAIT, seen, &relative, NULL, 0) < 0 && errno == ETIMEDOUT;
    atomic_fetch_sub_explicit(&e->waiters, 1, memory_order_relaxed);
    return ran_out;
}

void im_event_signal(struct im_event *e, int wake)
{
    /* W1: pairs with W2. */
    atomic_fetch_add_explicit(&e->sequence, 1, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&e->waiters, memory_order_relaxed) != 0)
        syscall(SYS_futex, &e->sequence, FUTEX_WAKE, wake, NULL, NULL, 0);
}

void im_event_broadcast(struct im_event *e)
{
    im_event_signal(e, INT_MAX);
}
