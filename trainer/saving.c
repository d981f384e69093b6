#include "trainer/saving.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ipc/base/thread.h"
#include "trainer/checkpoint/times.h"

struct tr_saving_job {
    _Atomic int has_ended; /* W thread, after all else */
    pthread_mutex_t mutex; /* of the condition alone */
    pthread_cond_t ended;
    struct tr_state state; /* borrowed until it is set apart */
    struct tr_saving_result result;
};

static void write_files(struct tr_saving_job *job)
{
    struct tr_saving_result *r = &job->result;
    struct im_text text = {""};

    r->err =
        tr_state_save(&job->state, &r->store, &r->order.position, r->order.epoch, r->order.best, &r->why);
    if (r->err == 0 && r->order.epoch < 0) /* without them the epoch's images per second are unknown */
        tr_times_write(&r->store, &r->order.at, &text);
}

static void *work(void *arg)
{
    struct tr_saving_job *job = arg;

    write_files(job);
    pthread_mutex_lock(&job->mutex);
    atomic_store_explicit(&job->has_ended, 1, memory_order_release);
    pthread_cond_signal(&job->ended);
    pthread_mutex_unlock(&job->mutex);
    return NULL;
}

static struct tr_saving_job *job_new(void)
{
    struct tr_saving_job *job = calloc(1, sizeof *job);
    pthread_condattr_t attributes;

    if (!job)
        return NULL;
    pthread_mutex_init(&job->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&job->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    return job;
}

/* Once the thread has let go of the mutex. */
static void job_free(struct tr_saving_job *job)
{
    pthread_mutex_lock(&job->mutex);
    pthread_mutex_unlock(&job->mutex);
    pthread_cond_destroy(&job->ended);
    pthread_mutex_destroy(&job->mutex);
    free(job);
}

int tr_saving_begin(struct tr_saving *s, const struct tr_state *state,
                    const struct tr_checkpoint_store *store, const struct tr_saving_order *order)
{
    struct tr_saving_job *job = s->job ? NULL : job_new();

    if (!job)
        return s->job ? -EBUSY : -ENOMEM;
    job->state = *state;
    job->result.store = *store;
    job->result.order = *order;
    *s = (struct tr_saving){.job = job, .began = im_now()};
    if (im_thread_begin(work, job, NULL) < 0)
        work(job);
    return 0;
}

bool tr_saving_wait(struct tr_saving *s, im_ns time, struct tr_saving_result *ret)
{
    struct tr_saving_job *job = s->job;
    im_ns until = im_now() + time;
    const struct timespec t = {.tv_sec = (time_t)(until / IM_SECOND), .tv_nsec = (long)(until % IM_SECOND)};
    int err = 0;

    if (!job)
        return false;
    if (time > 0) {
        pthread_mutex_lock(&job->mutex);
        while (!atomic_load_explicit(&job->has_ended, memory_order_relaxed) && err == 0)
            err = pthread_cond_timedwait(&job->ended, &job->mutex, &t);
        pthread_mutex_unlock(&job->mutex);
    }
    /* Acquire: the result is complete. */
    if (!atomic_load_explicit(&job->has_ended, memory_order_acquire))
        return false;
    *ret = job->result;
    if (s->is_apart)
        tr_state_fini(&job->state);
    job_free(job);
    *s = (struct tr_saving){0};
    return true;
}

int tr_saving_set_apart(struct tr_saving *s, struct tr_state *state)
{
    char *classes = state->classes ? strdup(state->classes) : NULL;
    struct tr_state other;
    int err = state->classes && !classes ? -ENOMEM : tr_state_init(&other, state->net);

    if (err < 0) {
        free(classes);
        return err;
    }
    tr_state_name_classes(&other, classes);
    *state = other; /* the job has the same pointers */
    s->is_apart = true;
    return 0;
}

void tr_saving_close(struct tr_saving *s, struct tr_state *state)
{
    struct tr_saving_result result;

    if (!s->job || tr_saving_wait(s, 0, &result))
        return;
    if (!s->is_apart)
        *state = (struct tr_state){0};
    *s = (struct tr_saving){0};
}
