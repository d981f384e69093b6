/* Threads take the next item from a shared counter until none is left; the caller sleeps, and wakes now and
 * then to report. Signals are blocked in the threads: they belong to the program's main thread. Nothing here
 * is for the steady state, where work is shared between processes by the rings. */
#include "reader/dataset/parallel.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/clock.h"

#define THREADS_MAX 64
#define TICK_NS (100 * IM_MS)

struct loop {
    const struct rd_parallel *parallel;
    _Atomic uint64_t next; /* W workers: the next item to take */
    _Atomic uint64_t done; /* W workers; R the caller, to report */
    pthread_mutex_t lock;  /* guards running */
    pthread_cond_t ended;
    unsigned running;
};

static void *parallel_thread(void *arg)
{
    struct loop *loop = arg;
    const struct rd_parallel *parallel = loop->parallel;
    uint64_t i;

    while ((i = atomic_fetch_add_explicit(&loop->next, 1, memory_order_relaxed)) < parallel->count) {
        parallel->item(parallel->context, i);
        atomic_fetch_add_explicit(&loop->done, 1, memory_order_relaxed);
    }
    pthread_mutex_lock(&loop->lock);
    loop->running--;
    pthread_cond_signal(&loop->ended);
    pthread_mutex_unlock(&loop->lock);
    return NULL;
}

static unsigned choose_threads(const struct rd_parallel *parallel)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = parallel->threads;

    if (threads == 0)
        threads = cores < 1 ? 2 : cores > THREADS_MAX / 2 ? THREADS_MAX : 2 * (unsigned)cores;
    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    return threads < parallel->count ? threads : (unsigned)parallel->count;
}

static unsigned start_threads(struct loop *loop, pthread_t *threads, unsigned wanted)
{
    sigset_t all, before;
    unsigned started = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pthread_mutex_lock(&loop->lock);
    while (started < wanted && pthread_create(&threads[started], NULL, parallel_thread, loop) == 0)
        started++;
    loop->running = started;
    pthread_mutex_unlock(&loop->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static void tick(struct loop *loop)
{
    if (loop->parallel->tick)
        loop->parallel->tick(loop->parallel->context,
                             atomic_load_explicit(&loop->done, memory_order_relaxed));
}

static void wait_for_workers(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    while (loop->running > 0) {
        im_ns until_ns = im_now() + TICK_NS;
        struct timespec until = {.tv_sec = (time_t)(until_ns / IM_SECOND),
                                 .tv_nsec = (long)(until_ns % IM_SECOND)};

        if (pthread_cond_timedwait(&loop->ended, &loop->lock, &until) == ETIMEDOUT) {
            pthread_mutex_unlock(&loop->lock);
            tick(loop);
            pthread_mutex_lock(&loop->lock);
        }
    }
    pthread_mutex_unlock(&loop->lock);
}

void rd_parallel(const struct rd_parallel *parallel)
{
    struct loop loop = {.parallel = parallel};
    pthread_t threads[THREADS_MAX];
    pthread_condattr_t attributes;
    unsigned started;

    pthread_mutex_init(&loop.lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&loop.ended, &attributes);
    pthread_condattr_destroy(&attributes);

    started = start_threads(&loop, threads, choose_threads(parallel));
    if (started == 0) {
        loop.running = 1;
        parallel_thread(&loop);
    }
    wait_for_workers(&loop);
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    tick(&loop);
    pthread_cond_destroy(&loop.ended);
    pthread_mutex_destroy(&loop.lock);
}
