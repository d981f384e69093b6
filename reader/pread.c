/* The engine without io_uring: a pool of threads that each read one file at a time, for systems whose kernel
 * or container offers none. On warm files it is as fast as io_uring, at more CPU time; see reader/io.h for
 * what both promise.
 *
 * Requests go round in an array of `depth` places: free -> waiting -> running -> done -> free, as lists under
 * one mutex. The lock is private to the process and taken three times a file, which is a thousandth of
 * reading it. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "reader/io_engine.h"

#define THREADS_DEFAULT 8
#define THREADS_MAX 256

struct place {
    struct place *next; /* in one of the lists */
    void *buffer;
    uint32_t capacity;
    struct rd_io_result result;
    uint32_t container; /* 0: the whole file */
    struct rd_io_part part;
    struct rd_io_two two; /* parts of it; to == 0: all */
    char path[PATH_MAX];
};

struct list {
    struct place *first, **end;
};

struct pool {
    int root_fd, closing;
    pthread_mutex_t lock; /* guards all below but path and buffer of a running place */
    pthread_cond_t work, done, ended;
    struct list free, waiting, finished;
    unsigned running; /* threads that have not ended */
    struct place *places;
    unsigned thread_count;
    pthread_t threads[THREADS_MAX];
};

static void list_init(struct list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void list_add(struct list *list, struct place *place)
{
    place->next = NULL;
    *list->end = place;
    list->end = &place->next;
}

static struct place *list_take(struct list *list)
{
    struct place *place = list->first;

    if (place) {
        list->first = place->next;
        if (!list->first)
            list->end = &list->first;
    }
    return place;
}

static void *pread_thread(void *arg)
{
    struct pool *pool = arg;
    struct place *place;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!(place = list_take(&pool->waiting)) && !pool->closing)
            pthread_cond_wait(&pool->work, &pool->lock);
        if (!place)
            break;
        pthread_mutex_unlock(&pool->lock);
        if (place->container)
            rd_io_read_part(pool->root_fd, place->path, &place->part, &place->two, place->buffer,
                            place->capacity, &place->result);
        else if (place->two.to > 0)
            rd_io_read_two(pool->root_fd, place->path, &place->two, place->buffer, &place->result);
        else
            rd_io_read_file(pool->root_fd, place->path, place->buffer, place->capacity, &place->result);
        pthread_mutex_lock(&pool->lock);
        list_add(&pool->finished, place);
        pthread_cond_signal(&pool->done);
    }
    pool->running--;
    pthread_cond_signal(&pool->ended);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static struct timespec after(im_ns timeout_ns)
{
    im_ns until = im_now() + timeout_ns;

    return (struct timespec){.tv_sec = (time_t)(until / IM_SECOND), .tv_nsec = (long)(until % IM_SECOND)};
}

static void pool_free(struct pool *pool)
{
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->ended);
    pthread_mutex_destroy(&pool->lock);
    free(pool->places);
    free(pool);
}

static int pool_close(void *state, im_ns timeout_ns)
{
    struct pool *pool = state;
    struct timespec until = after(timeout_ns);
    int err = 0;

    pthread_mutex_lock(&pool->lock);
    pool->closing = 1;
    pthread_cond_broadcast(&pool->work);
    while (pool->running > 0 && err == 0)
        err = pthread_cond_timedwait(&pool->ended, &pool->lock, &until);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->thread_count; i++) {
        if (err == 0)
            pthread_join(pool->threads[i], NULL);
        else
            pthread_detach(pool->threads[i]);
    }
    if (err != 0)
        return -ETIMEDOUT; /* a thread hangs in the file system and still uses the pool */
    pool_free(pool);
    return 0;
}

/* With all signals blocked: they belong to the program's main thread. */
static int start_threads(struct pool *pool, unsigned count)
{
    sigset_t all, before;
    int err = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pthread_mutex_lock(&pool->lock);
    while (pool->thread_count < count && err == 0) {
        err = pthread_create(&pool->threads[pool->thread_count], NULL, pread_thread, pool);
        if (err == 0)
            pool->thread_count++;
    }
    pool->running = pool->thread_count;
    pthread_mutex_unlock(&pool->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pool->thread_count > 0 ? 0 : -err;
}

static void init_waiting(struct pool *pool)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work, &attributes);
    pthread_cond_init(&pool->done, &attributes);
    pthread_cond_init(&pool->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    list_init(&pool->free);
    list_init(&pool->waiting);
    list_init(&pool->finished);
}

static int pool_open(const struct rd_io_options *options, void **ret_state, struct im_text *text)
{
    unsigned threads = options->threads ? options->threads : THREADS_DEFAULT;
    struct pool *pool = calloc(1, sizeof *pool);
    int err;

    if (!pool)
        return -ENOMEM;
    if (threads > options->depth)
        threads = options->depth;
    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    pool->root_fd = options->root_fd;
    init_waiting(pool);
    pool->places = calloc(options->depth, sizeof *pool->places);
    for (unsigned i = 0; pool->places && i < options->depth; i++)
        list_add(&pool->free, &pool->places[i]);
    err = pool->places ? start_threads(pool, threads) : -ENOMEM;
    if (err < 0) {
        pool_free(pool);
        return im_fail(text, err, "cannot start a thread to read files: %s", strerror(-err));
    }
    *ret_state = pool;
    return 0;
}

static int pool_submit(void *state, const struct rd_io_request *request)
{
    struct pool *pool = state;
    struct place *place;

    pthread_mutex_lock(&pool->lock);
    place = list_take(&pool->free);
    if (place) {
        place->buffer = request->buffer;
        place->capacity = request->capacity;
        place->container = request->container;
        place->part =
            (struct rd_io_part){request->offset, request->bytes, request->mark, request->has_header};
        place->result = (struct rd_io_result){.tag = request->tag};
        place->two = request->two;
        memcpy(place->path, request->path, strlen(request->path) + 1);
        list_add(&pool->waiting, place);
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->lock);
    return place ? 0 : -EBUSY;
}

static int pool_reap(void *state, struct rd_io_result *results, unsigned max, im_ns timeout_ns)
{
    struct pool *pool = state;
    struct timespec until = after(timeout_ns);
    struct place *place;
    unsigned count = 0;
    int err = 0;

    pthread_mutex_lock(&pool->lock);
    while (!pool->finished.first && timeout_ns > 0 && err == 0)
        err = pthread_cond_timedwait(&pool->done, &pool->lock, &until);
    while (count < max && (place = list_take(&pool->finished))) {
        results[count++] = place->result;
        list_add(&pool->free, place);
    }
    pthread_mutex_unlock(&pool->lock);
    return (int)count;
}

const struct rd_io_engine rd_io_pread = {pool_open, pool_submit, pool_reap, pool_close, NULL, NULL};
