/* Two triggers, either may be off: seconds since the last snapshot, and batches since it (an exact bound on
 * the work lost by a crash, whatever a step takes).
 *
 * The trainer's own thread takes the snapshot: the copy must be consistent between two steps, and on a CPU a
 * second thread would slow down the step anyway. Of a device with a shadow it takes a copy within the device; when
 * that has reached the host, a thread puts it into shared memory. Its share of the time is bounded: after a snapshot that took
 * s seconds, the next one by time comes no sooner than TR_SNAPSHOT_SHARE * s later. */
#include "trainer/checkpoint/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/log.h"
#include "ipc/base/thread.h"

/* One that is made beside the steps. */
struct tr_snapshot_job {
    bool is_writing; /* the thread has been started; before: the device copies */
    pthread_t thread;
    _Atomic int has_ended; /* W thread, after all else */
    const struct tr_state *state;
    struct im_snapshot *memory;
    struct tr_position_text position;
    im_ns began, ended, spent; /* spent: by who trains */
    int err;
    struct im_text why;
};

static im_ns larger(im_ns a, im_ns b)
{
    return a > b ? a : b;
}

/* When the next one is due by time, after one that took `cost`. */
static im_ns later(struct tr_snapshot *s, im_ns cost)
{
    im_ns usual = larger(s->interval_ns, TR_SNAPSHOT_SHARE * cost);
    im_ns early = larger(s->early_ns, TR_SNAPSHOT_EARLY_SHARE * cost);

    if (s->early_ns && early < (s->interval_ns ? usual : TR_SNAPSHOT_EARLY_MAX_NS)) {
        s->early_ns *= 2;
        return im_now() + early;
    }
    s->early_ns = 0;
    return im_now() + usual;
}

/* Where there is none, or no memory for it, each snapshot waits for its copy. */
static void open_shadow(struct tr_snapshot *s, const struct tr_state *state)
{
    char *classes = state->classes ? strdup(state->classes) : NULL;
    struct im_text why = {""};
    int err = state->classes && !classes ? im_fail(&why, -ENOMEM, "no memory for a snapshot")
                                         : tr_state_init_shadow(&s->shadow, state->net, &why);

    if (err == 0) {
        tr_state_name_classes(&s->shadow, classes);
        return;
    }
    free(classes);
    s->shadow = (struct tr_state){0};
    if (err != -ENOTSUP)
        im_log(IM_LOG_INFO, "steps wait for snapshots, since there is no memory for a copy beside them",
               "why=%s", im_log_quote(&(struct im_quoted){0}, why.s));
}

int tr_snapshot_open(struct tr_snapshot *s, struct im_child *child, struct tr_state *state,
                     const struct tr_position_text *position, uint64_t next_batch, bool after_death,
                     struct im_text *text)
{
    const struct im_conf *conf = child->conf;
    struct tr_snapshot opened = {.child = child,
                                 .interval_ns = (im_ns)(conf->snapshot_interval * 1e9),
                                 .batches = (uint64_t)conf->snapshot_steps,
                                 .last_batch = next_batch};
    struct im_text why = {""};
    uint64_t bytes = 0;
    int err;

    *s = (struct tr_snapshot){0};
    if (child->index != 0 || (opened.interval_ns == 0 && opened.batches == 0))
        return 0;
    err = tr_state_bytes_max(state, position, &bytes, text);
    if (err < 0)
        return err;
    /* Trainers accumulate when those of a machine are gone. A predecessor has thought of that. */
    if (conf->node_count > 1 && !im_segment_is_fixed(child->snapshot_fd))
        bytes += tr_state_bytes_of_window(state);
    err = im_snapshot_open(child->snapshot_fd, bytes, &opened.memory, &why);
    if (err == -EFBIG) /* more than this machine, or a limit of it, lets one have */
        err = -ENODEV;
    if (err < 0)
        return im_fail(text, err, "%s; --snapshot-interval 0 --snapshot-steps 0 disables snapshots", why.s);
    im_stats_gauge(child->stats, IM_G_SNAPSHOT_BYTES, (double)opened.memory.segment.bytes);
    opened.due_at = after_death ? im_now() : later(&opened, 0);
    opened.early_ns = after_death ? TR_SNAPSHOT_EARLY_NS : 0;
    *s = opened;
    open_shadow(s, state);
    return 0;
}

/* Drops one that is being made. The thread ends by itself: it only copies. */
static void drop(struct tr_snapshot *s)
{
    if (s->job && s->job->is_writing)
        pthread_join(s->job->thread, NULL);
    free(s->job);
    s->job = NULL;
}

void tr_snapshot_close(struct tr_snapshot *s)
{
    drop(s);
    tr_state_fini(&s->shadow);
    im_snapshot_close(&s->memory);
    *s = (struct tr_snapshot){0};
}

bool tr_snapshot_is_behind(const struct tr_snapshot *s, uint64_t next_batch)
{
    return s->child && next_batch != s->last_batch;
}

bool tr_snapshot_is_due(const struct tr_snapshot *s, uint64_t next_batch)
{
    if (!tr_snapshot_is_behind(s, next_batch))
        return false;
    return tr_snapshot_is_bound(s, next_batch) ||
           (!s->job && (s->interval_ns || s->early_ns) && im_now() >= s->due_at);
}

bool tr_snapshot_is_bound(const struct tr_snapshot *s, uint64_t next_batch)
{
    return tr_snapshot_is_behind(s, next_batch) && s->batches && next_batch - s->last_batch >= s->batches;
}

static int append_bytes(void *context, const void *bytes, size_t n, struct im_text *text)
{
    return im_snapshot_append(context, bytes, n, text);
}

static void count_one(struct tr_snapshot *s, im_ns time)
{
    im_stats_add(s->child->stats, IM_C_SNAPSHOTS, 1);
    im_stats_gauge(s->child->stats, IM_G_SNAPSHOT_SECONDS, (double)time / 1e9);
}

int tr_snapshot_take(struct tr_snapshot *s, struct tr_state *state, const struct tr_position_text *position,
                     uint64_t next_batch, struct im_text *text)
{
    const struct tr_sink sink = {.context = &s->memory, .write = append_bytes};
    im_ns began = im_now(), cost;
    int err = tr_snapshot_advance(s, true, text);

    if (err < 0)
        return err;
    im_snapshot_begin(&s->memory);
    err = tr_state_put(state, "the snapshot", &sink, position, text);
    if (err < 0)
        return err;
    im_snapshot_commit(&s->memory);
    cost = im_now() - began;
    s->last_batch = next_batch;
    s->due_at = later(s, cost);
    count_one(s, cost);
    return 0;
}

/* ---- beside the steps ---- */

static void *write_job(void *arg)
{
    struct tr_snapshot_job *job = arg;
    const struct tr_sink sink = {.context = job->memory, .write = append_bytes};

    im_snapshot_begin(job->memory);
    job->err = tr_state_put_collected(job->state, "the snapshot", &sink, &job->position, &job->why);
    if (job->err == 0)
        im_snapshot_commit(job->memory);
    job->ended = im_now();
    atomic_store_explicit(&job->has_ended, 1, memory_order_release);
    return NULL;
}

/* Without a thread it is done here. */
static void start_writing(struct tr_snapshot_job *job)
{
    job->is_writing = im_thread_begin(write_job, job, &job->thread) == 0;
    if (!job->is_writing)
        write_job(job);
}

int tr_snapshot_begin(struct tr_snapshot *s, struct tr_state *state, const struct tr_position_text *position,
                      uint64_t next_batch, struct im_text *text)
{
    im_ns began = im_now();
    struct tr_snapshot_job *job = s->shadow.net ? calloc(1, sizeof *job) : NULL;
    int err;

    im_assert(!s->job);
    if (!job)
        return tr_snapshot_take(s, state, position, next_batch, text);
    err = tr_state_take(&s->shadow, text);
    if (err < 0) {
        free(job);
        return err;
    }
    job->state = &s->shadow;
    job->memory = &s->memory;
    job->position = *position;
    job->began = began;
    job->spent = im_now() - began;
    s->job = job;
    s->last_batch = next_batch;
    s->due_at = UINT64_MAX; /* until its cost is known, or another is due meanwhile (its checkpoint failed) */
    return 0;
}

/* The thread has ended, or there was none. */
static int end_job(struct tr_snapshot *s, struct im_text *text)
{
    struct tr_snapshot_job *job = s->job;
    int err;

    if (job->is_writing)
        pthread_join(job->thread, NULL);
    err = job->err;
    if (err < 0)
        *text = job->why;
    else
        count_one(s, job->ended - job->began);
    if (s->due_at == UINT64_MAX)
        s->due_at = later(s, job->spent);
    free(job);
    s->job = NULL;
    return err;
}

int tr_snapshot_advance(struct tr_snapshot *s, bool wait, struct im_text *text)
{
    struct tr_snapshot_job *job = s->job;
    im_ns began = im_now();
    int arrived = 1;

    if (!job)
        return 0;
    if (!job->is_writing) {
        arrived = tr_network_shadow_arrived(s->shadow.net, wait, text);
        if (arrived < 0)
            return arrived;
        if (arrived)
            start_writing(job);
    }
    job->spent += im_now() - began;
    if (wait || atomic_load_explicit(&job->has_ended, memory_order_acquire))
        return end_job(s, text);
    return 0;
}

void tr_snapshot_forget(struct tr_snapshot *s)
{
    if (!s->child)
        return;
    drop(s);
    im_snapshot_forget(&s->memory);
}

void tr_snapshot_saved(struct tr_snapshot *s, uint64_t next_batch)
{
    if (!s->child)
        return;
    s->last_batch = next_batch;
    s->due_at = later(s, 0);
}
