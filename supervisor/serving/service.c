#include "supervisor/serving/service.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/printable.h"
#include "ipc/base/thread.h"
#include "ipc/base/verdict.h"
#include "supervisor/pace.h"
#include "supervisor/serving/servant.h"

#define START_NS (60 * IM_SECOND)
#define START_TRAINER_NS (1800 * IM_SECOND) /* plans for a GPU that was never used take minutes */
#define FIRST_BATCH_NS (300 * IM_SECOND)    /* the others: as the steps of a run (pace.h) */
#define STILL 6    /* an augmenter may stand still this many times the processor time of one image */
#define DEATHS 2   /* of augmenters, until an image is taken for what killed them */
#define ATTEMPTS 4 /* those included that were dead before they had the image */

struct request {
    struct request *next;
    void *bytes;
    size_t n;
    bool done, abandoned;
    struct sv_service_answer answer;
};

struct sv_service {
    struct sv_servant augmenter, trainer;
    im_ns deadline; /* processor time of one image */
    double trainer_deadline;
    struct sv_pace pace; /* its steps: batches */
    uint32_t classes, tops, size, batch;
    unsigned char *pixels;     /* of a batch */
    struct im_outcome *record; /* one */
    pthread_t thread;
    bool has_thread;
    _Atomic bool stops; /* waits for the processes are given up */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t arrived, answered;
    struct request *first, **last;
    struct sv_service_state state;
    bool closed; /* no new places */
    struct im_text why;
};

/* ---- the two processes ---- */

static bool is_stopping(void *context)
{
    return atomic_load_explicit(&((struct sv_service *)context)->stops, memory_order_acquire);
}

/* 0; an exit status of its own, having said why; or a negative errno with a sentence. */
static int start_servant(struct sv_servant *servant, const struct sv_patience *p,
                         struct im_serving_ready *ret, struct im_text *text)
{
    int status, err = sv_servant_start(servant, text);

    if (err < 0)
        return err;
    err = sv_servant_read(servant, ret, sizeof *ret, p);
    if (err == 0)
        return 0;
    status = sv_servant_end(servant);
    if (err == -EINTR || err == -ETIMEDOUT)
        return im_fail(text, err, err == -EINTR ? "stopped" : "%s does not begin to work", servant->program);
    if (status > 0)
        return status;
    return im_fail(text, -EIO, "%s has ended before it was ready", servant->program);
}

static int start_augmenter(struct sv_service *s, bool (*gives_up)(void *), void *context,
                           struct im_text *text)
{
    const struct sv_patience p = {.until = im_now() + START_NS, .gives_up = gives_up, .context = context};
    struct im_serving_ready ready;
    int err = start_servant(&s->augmenter, &p, &ready, text);

    if (err == 0 && ready.size != s->size)
        err = im_fail(text, -EBADMSG, "%s is of another version", s->augmenter.program);
    return err;
}

static int exchange_image(struct sv_service *s, const struct request *r, unsigned char *to, bool *ret_began,
                          unsigned *ret_verdict)
{
    const struct sv_patience p = {
        .cpu = s->deadline, .until = im_now() + STILL * s->deadline, .gives_up = is_stopping, .context = s};
    const struct im_serving_image head = {.bytes = r->n};
    struct im_serving_sample sample;
    int err;

    sv_servant_mark(&s->augmenter);
    err = sv_servant_write(&s->augmenter, &head, sizeof head, &p);
    *ret_began = err == 0;
    if (err == 0)
        err = sv_servant_write(&s->augmenter, r->bytes, r->n, &p);
    if (err == 0)
        err = sv_servant_read(&s->augmenter, &sample, sizeof sample, &p);
    if (err == 0 && (sample.size != s->size || sample.verdict >= IM_VERDICT_COUNT))
        err = -EBADMSG;
    if (err == 0 && sample.verdict == 0)
        err = sv_servant_read(&s->augmenter, to, (size_t)3 * s->size * s->size, &p);
    if (err == 0)
        *ret_verdict = sample.verdict;
    return err;
}

/* 0: the sample is at `to`, or *ret_verdict says why not; negative errno with a sentence: nothing can be decoded. */
static int decode(struct sv_service *s, const struct request *r, unsigned char *to, unsigned *ret_verdict,
                  struct im_text *text)
{
    bool late = false;

    for (int attempt = 0, deaths = 0; attempt < ATTEMPTS && deaths < DEATHS; attempt++) {
        bool began = false;
        int err = s->augmenter.pid ? 0 : start_augmenter(s, is_stopping, s, text);

        if (err != 0)
            return err > 0 ? im_fail(text, -EIO, "%s cannot be started again", s->augmenter.program) : err;
        err = exchange_image(s, r, to, &began, ret_verdict);
        if (err == 0)
            return 0;
        sv_servant_end(&s->augmenter);
        if (err == -EINTR)
            return im_fail(text, err, "stopped");
        pthread_mutex_lock(&s->lock);
        s->state.deaths++;
        pthread_mutex_unlock(&s->lock);
        deaths += began;
        late = s->augmenter.late;
        if (s->augmenter.worked) /* one that stood still may have been stopped by somebody */
            break;
    }
    *ret_verdict = late ? IM_VERDICT_DEADLINE : IM_VERDICT_KILLED;
    return 0;
}

/* Reads one record; NULL: no memory, or it is none. */
static struct im_outcome *read_record(struct sv_service *s, const struct sv_patience *p, int *err)
{
    struct im_outcome *copy;

    *err = sv_servant_read(&s->trainer, s->record, im_outcome_bytes(s->tops), p);
    for (uint32_t i = 0; i < s->tops && *err == 0; i++)
        if (s->record->top[i].class >= s->classes)
            *err = -EBADMSG;
    copy = *err == 0 ? malloc(im_outcome_bytes(s->tops)) : NULL;
    if (copy)
        memcpy(copy, s->record, im_outcome_bytes(s->tops));
    return copy;
}

static int start_trainer(struct sv_service *s, bool (*gives_up)(void *), void *context, struct im_text *text)
{
    const struct sv_patience p = {
        .until = im_now() + START_TRAINER_NS, .gives_up = gives_up, .context = context};
    struct im_serving_ready ready;
    int err = start_servant(&s->trainer, &p, &ready, text);

    if (err != 0)
        return err;
    if (ready.size != s->size || (s->classes != 0 && (ready.classes != s->classes || ready.tops != s->tops)))
        return im_fail(text, -EBADMSG, "%s is of another version", s->trainer.program);
    s->classes = ready.classes;
    s->tops = ready.tops;
    return 0;
}

/* How long a batch may take. */
static im_ns batch_bound(const struct sv_service *s)
{
    if (s->pace.steps == 0 && s->trainer_deadline < 0)
        return FIRST_BATCH_NS;
    return sv_pace_bound(&s->pace, s->trainer_deadline, false);
}

/* Answers of a part of the batch go with the process that began them. */
static int exchange_batch(struct sv_service *s, struct request *const *batch, uint32_t images)
{
    const im_ns began = im_now(), bound = batch_bound(s);
    const struct sv_patience p = {
        .until = bound == UINT64_MAX ? bound : began + bound, .gives_up = is_stopping, .context = s};
    const struct im_serving_batch head = {.images = images, .size = s->size};
    int err;

    sv_servant_mark(&s->trainer);
    err = sv_servant_write(&s->trainer, &head, sizeof head, &p);
    if (err == 0)
        err = sv_servant_write(&s->trainer, s->pixels, (size_t)3 * s->size * s->size * images, &p);
    for (uint32_t i = 0; i < images && err == 0; i++)
        batch[i]->answer.outcome = read_record(s, &p, &err);
    for (uint32_t i = 0; i < images && err != 0; i++) {
        free(batch[i]->answer.outcome);
        batch[i]->answer.outcome = NULL;
    }
    if (err == 0)
        sv_pace_add(&s->pace, im_now() - began);
    return err;
}

/* The pixels are here: another process computes what one that died did not. */
static int judge(struct sv_service *s, struct request *const *batch, uint32_t images, struct im_text *text)
{
    int err = 0;

    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        err = s->trainer.pid ? 0 : start_trainer(s, is_stopping, s, text);
        if (err != 0)
            return err > 0 ? im_fail(text, -EIO, "%s cannot be started again", s->trainer.program) : err;
        err = exchange_batch(s, batch, images);
        if (err == 0)
            return 0;
        sv_servant_end(&s->trainer);
        if (err == -EINTR)
            return im_fail(text, err, "stopped");
        if (attempt + 1 < ATTEMPTS)
            im_say(stderr, "imsuper: %s, which computes, %s; starting another, no request is lost",
                   s->trainer.program, err == -ETIMEDOUT ? "does not answer" : "has ended");
    }
    return im_fail(text, err, "%s, which computes, %s %d times in a row", s->trainer.program,
                   err == -ETIMEDOUT ? "does not answer" : "has ended", ATTEMPTS);
}

/* ---- the thread ---- */

static void discard(struct request *r)
{
    free(r->answer.outcome);
    free(r->bytes);
    free(r);
}

static void finish(struct sv_service *s, struct request *r)
{
    bool abandoned;

    pthread_mutex_lock(&s->lock);
    free(r->bytes);
    r->bytes = NULL;
    s->state.answered += r->answer.kind == SV_ANSWERED;
    s->state.bad += r->answer.kind == SV_BAD_IMAGE;
    r->done = true;
    abandoned = r->abandoned;
    if (!abandoned)
        pthread_cond_broadcast(&s->answered);
    pthread_mutex_unlock(&s->lock);
    if (abandoned)
        discard(r);
}

/* Those that wait, a batch at most; 0: the service ends. */
static uint32_t service_take(struct sv_service *s, struct request **batch)
{
    uint32_t n = 0;

    pthread_mutex_lock(&s->lock);
    while (n == 0 && (s->first || !is_stopping(s))) {
        struct request *r = s->first;

        if (!r)
            pthread_cond_wait(&s->arrived, &s->lock);
        for (; r && n < s->batch; r = s->first) {
            s->first = r->next;
            if (!s->first)
                s->last = &s->first;
            if (r->abandoned)
                discard(r);
            else
                batch[n++] = r;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}

static void service_failed(struct sv_service *s, const struct im_text *why)
{
    pthread_mutex_lock(&s->lock);
    if (!s->state.failed)
        s->why = *why;
    s->state.failed = true;
    pthread_mutex_unlock(&s->lock);
}

static void answer_batch(struct sv_service *s, struct request **batch, uint32_t n)
{
    const size_t bytes = (size_t)3 * s->size * s->size;
    struct im_text text = {""};
    uint32_t usable = 0;
    int err = s->state.failed ? -EIO : 0; /* this thread alone writes it */

    for (uint32_t i = 0; i < n; i++) {
        struct request *r = batch[i];

        r->answer.kind = SV_BROKEN;
        if (err == 0 && !is_stopping(s))
            err = decode(s, r, s->pixels + usable * bytes, &r->answer.verdict, &text);
        if (err == 0 && !is_stopping(s) && r->answer.verdict == 0) {
            batch[usable++] = r;
            continue;
        }
        if (err == 0 && !is_stopping(s))
            r->answer.kind = SV_BAD_IMAGE;
        finish(s, r);
    }
    if (err == 0 && usable > 0 && !is_stopping(s))
        err = judge(s, batch, usable, &text);
    if (err < 0 && err != -EINTR)
        service_failed(s, &text);
    for (uint32_t i = 0; i < usable; i++) {
        if (batch[i]->answer.outcome)
            batch[i]->answer.kind = SV_ANSWERED;
        finish(s, batch[i]);
    }
}

static void *service_thread(void *context)
{
    struct sv_service *s = context;
    struct request *batch[IM_SERVING_BATCH_MAX];
    uint32_t n;

    while ((n = service_take(s, batch)) > 0)
        answer_batch(s, batch, n);
    return NULL;
}

/* ---- requests ---- */

bool sv_service_enter(struct sv_service *s)
{
    bool free_place;

    pthread_mutex_lock(&s->lock);
    free_place = !s->closed && s->state.places < SV_SERVICE_PLACES;
    s->state.places += free_place;
    pthread_mutex_unlock(&s->lock);
    return free_place;
}

void sv_service_leave(struct sv_service *s)
{
    pthread_mutex_lock(&s->lock);
    s->state.places--;
    pthread_cond_broadcast(&s->answered);
    pthread_mutex_unlock(&s->lock);
}

static struct timespec timespec_of(im_ns at)
{
    return (struct timespec){.tv_sec = (time_t)(at / IM_SECOND), .tv_nsec = (long)(at % IM_SECOND)};
}

struct sv_service_answer sv_service_ask(struct sv_service *s, void *bytes, size_t n, im_ns until)
{
    const struct timespec end = timespec_of(until);
    struct sv_service_answer answer = {.kind = SV_BROKEN};
    struct request *r = calloc(1, sizeof *r);
    bool done;

    if (!r) {
        free(bytes);
        return answer;
    }
    r->bytes = bytes;
    r->n = n;
    pthread_mutex_lock(&s->lock);
    *s->last = r;
    s->last = &r->next;
    pthread_cond_signal(&s->arrived);
    while (!r->done && !is_stopping(s) && pthread_cond_timedwait(&s->answered, &s->lock, &end) != ETIMEDOUT)
        ;
    done = r->done;
    r->abandoned = !done; /* the thread frees it */
    if (done)
        answer = r->answer;
    pthread_mutex_unlock(&s->lock);
    if (!done)
        return (struct sv_service_answer){.kind = SV_TOO_LATE};
    free(r);
    return answer;
}

struct sv_service_state sv_service_state(struct sv_service *s)
{
    struct sv_service_state state;

    pthread_mutex_lock(&s->lock);
    state = s->state;
    pthread_mutex_unlock(&s->lock);
    return state;
}

bool sv_service_failed(struct sv_service *s, struct im_text *text)
{
    bool failed;

    pthread_mutex_lock(&s->lock);
    failed = s->state.failed;
    if (failed)
        *text = s->why;
    pthread_mutex_unlock(&s->lock);
    return failed;
}

void sv_service_drain(struct sv_service *s, im_ns until)
{
    const struct timespec end = timespec_of(until);

    pthread_mutex_lock(&s->lock);
    s->closed = true;
    while (s->state.places > 0 && pthread_cond_timedwait(&s->answered, &s->lock, &end) != ETIMEDOUT)
        ;
    atomic_store_explicit(&s->stops, true, memory_order_release);
    pthread_cond_broadcast(&s->arrived);
    pthread_cond_broadcast(&s->answered);
    pthread_mutex_unlock(&s->lock);
}

/* ---- opening ---- */

int64_t sv_service_batch(const struct im_conf *conf)
{
    int64_t most = IM_SERVING_BATCH_MAX;

    while (conf->origin[IM_KEY_batch_size].source != IM_CONF_DEFAULT && most > 1 && most > conf->batch_size)
        most /= 2;
    return most;
}

static void init_locks(struct sv_service *s)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->arrived, &attributes);
    pthread_cond_init(&s->answered, &attributes);
    pthread_condattr_destroy(&attributes);
}

static int start_all(struct sv_service *s, const struct sv_service_config *config, struct im_text *text)
{
    int err = start_augmenter(s, config->is_stopped, NULL, text);

    if (err == 0)
        err = start_trainer(s, config->is_stopped, NULL, text);
    if (err != 0)
        return err;
    s->pixels = malloc((size_t)IM_SERVING_BATCH_MAX * 3 * s->size * s->size);
    s->record = malloc(im_outcome_bytes(s->tops));
    if (!s->pixels || !s->record)
        return im_fail(text, -ENOMEM, "no memory for a batch of images");
    return 0;
}

int sv_service_open(const struct sv_service_config *config, struct sv_service **ret, struct im_text *text)
{
    struct sv_service *s = calloc(1, sizeof *s);
    int options = sv_servant_options(config->conf, text), err = options < 0 ? options : s ? 0 : -ENOMEM;

    if (err < 0) {
        free(s);
        return err;
    }
    init_locks(s);
    s->last = &s->first;
    s->size = (uint32_t)im_conf_eval_image_size(config->conf);
    s->batch = (uint32_t)config->conf->batch_size;
    s->deadline = (im_ns)config->conf->sample_deadline_ms * IM_MS;
    s->trainer_deadline = config->conf->trainer_deadline;
    s->augmenter = (struct sv_servant){.verb = "images", .options = options};
    s->trainer = (struct sv_servant){.verb = "answers", .options = options};
    snprintf(s->augmenter.program, sizeof s->augmenter.program, "%s", config->augmenter);
    snprintf(s->trainer.program, sizeof s->trainer.program, "%s", config->trainer);
    err = start_all(s, config, text);
    if (err == 0) {
        err = im_thread_begin(service_thread, s, &s->thread);
        s->has_thread = err == 0;
        if (err < 0)
            im_fail(text, err, "cannot start a thread: %s", strerror(-err));
    }
    if (err != 0)
        sv_service_close(&s);
    *ret = s;
    return err;
}

void sv_service_close(struct sv_service **service)
{
    struct sv_service *s = *service;

    *service = NULL;
    if (!s)
        return;
    if (s->has_thread) {
        sv_service_drain(s, 0);
        pthread_join(s->thread, NULL);
    }
    sv_servant_end(&s->augmenter);
    sv_servant_end(&s->trainer);
    close(s->trainer.options);
    pthread_cond_destroy(&s->arrived);
    pthread_cond_destroy(&s->answered);
    pthread_mutex_destroy(&s->lock);
    free(s->pixels);
    free(s->record);
    free(s);
}
