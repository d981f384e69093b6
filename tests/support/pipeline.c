/* See pipeline.h. What the supervisor does with processes is done with threads: announce, start, notice that
 * one has left, mark dead, reclaim, clear; in that order, with the same functions. A thread's cells are
 * returned only after it was joined: pthread_join() is to a thread what the pidfd is to a process. */
#include "tests/support/pipeline.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "augment/augment.h"
#include "ipc/base/sysinfo.h"
#include "ipc/pixel_cells.h"
#include "ipc/process.h"
#include "ipc/wait.h"
#include "reader/dataset/index.h"
#include "reader/reader.h"
#include "supervisor/cli/sizes.h"
#include "trainer/trainer.h"

#define PATIENCE_NS (120 * IM_SECOND) /* sanitizers are slow, and so are shared machines */

struct member {
    struct im_child child;
    pipeline_main *main;
    pthread_t thread;
    struct im_text text;
    int result;
    _Atomic int left; /* W member: 1 when `result` and `text` are final, release */
    bool started;
};

struct pipeline {
    struct im_conf conf;
    struct im_run run;
    struct im_plan plan;
    struct member *members; /* [slots] */
    int snapshot_fd, pixels_fd;
};

static int read_sizes(const char *index_file, uint64_t samples[IM_SPLITS], uint32_t *ret_classes,
                      struct im_text *text)
{
    struct rd_index index;
    int err = rd_index_open(index_file, &index, text);

    if (err < 0)
        return err;
    samples[IM_TRAIN] = rd_index_count(&index, IM_TRAIN);
    samples[IM_VAL] = rd_index_count(&index, IM_VAL);
    *ret_classes = rd_index_class_count(&index);
    rd_index_close(&index);
    return 0;
}

static int create_run(struct pipeline *p, struct im_text *text)
{
    const struct sv_machine machine = {.cpus = (uint32_t)im_cpu_count(),
                                       .memory_bytes = im_memory_available()};
    struct im_geometry geometry;
    uint64_t samples[IM_SPLITS];
    uint32_t classes;
    char *frozen = malloc(IM_CONF_FROZEN_BYTES);
    int err = frozen ? read_sizes(p->conf.index_file, samples, &classes, text) : -ENOMEM;

    if (err == 0)
        err = sv_sizes_choose(&p->conf, &machine, samples, classes, &geometry, text);
    if (err == 0)
        err = im_plan_from_conf(&p->conf, samples, &p->plan, text);
    if (err == 0)
        err = im_conf_freeze(&p->conf, frozen, IM_CONF_FROZEN_BYTES);
    if (err == 0)
        err = im_run_create(&geometry, frozen, (uint32_t)strlen(frozen) + 1, &p->run, text);
    free(frozen);
    return err;
}

/* Memory for --pixel-cache, as much as there is. */
static int open_pixels(struct pipeline *p, struct im_text *text)
{
    struct im_pixel_shape shape;

    if (!im_conf_has_pixel_cache(&p->conf))
        return 0;
    shape = im_pixel_shape_of(&p->conf, p->run.geometry.samples);
    p->conf.pixel_cache_limit = INT64_MAX;
    p->pixels_fd = im_pixel_cells_memory(&shape, text);
    return p->pixels_fd < 0 ? p->pixels_fd : 0;
}

int pipeline_open(struct pipeline **ret, const struct im_conf *conf, struct im_text *text)
{
    struct pipeline *p = calloc(1, sizeof *p);
    int err;

    *ret = NULL;
    if (!p)
        return -ENOMEM;
    p->conf = *conf;
    p->pixels_fd = -1;
    p->snapshot_fd = im_segment_create_empty("the snapshot", text);
    err = p->snapshot_fd < 0 ? p->snapshot_fd : create_run(p, text);
    if (err == 0)
        err = open_pixels(p, text);
    if (err == 0) {
        p->members = calloc(p->run.geometry.slots, sizeof *p->members);
        err = p->members ? 0 : -ENOMEM;
    }
    if (err < 0)
        pipeline_close(&p);
    *ret = p;
    return err;
}

static struct member *member_at(struct pipeline *p, enum im_role role, uint32_t index)
{
    return &p->members[im_run_slot(&p->run, role, index)];
}

/* Waits for the thread, then buries the member. */
static int bury(struct pipeline *p, struct member *m, struct im_reclaimed *ret_returned)
{
    struct im_reclaimed returned;

    pthread_join(m->thread, NULL);
    m->started = false;
    im_process_mark_dead(&p->run, m->child.slot, m->child.incarnation);
    im_reclaim(&p->run, &p->plan, m->child.incarnation, ret_returned ? ret_returned : &returned);
    im_process_clear(&p->run, m->child.slot);
    return m->result;
}

void pipeline_close(struct pipeline **pp)
{
    struct pipeline *p = *pp;

    *pp = NULL;
    if (!p)
        return;
    if (p->members) {
        pipeline_set_state(p, IM_RUN_ENDED);
        for (uint32_t i = 0; i < p->run.geometry.slots; i++)
            if (p->members[i].started)
                bury(p, &p->members[i], NULL);
    }
    free(p->members);
    im_plan_fini(&p->plan);
    im_run_close(&p->run);
    if (p->snapshot_fd >= 0)
        close(p->snapshot_fd);
    if (p->pixels_fd >= 0)
        close(p->pixels_fd);
    free(p);
}

void pipeline_begin(struct pipeline *p, uint64_t batch)
{
    im_run_reset(&p->run, &p->plan, batch);
    pipeline_set_state(p, IM_RUN_RUNNING);
}

static void wake_everyone(struct pipeline *p)
{
    im_event_broadcast(&p->run.control->event_run);
    im_event_broadcast(&p->run.control->event_free);
    im_event_broadcast(&p->run.control->event_ready);
    for (uint32_t r = 0; r < p->run.geometry.ranks; r++)
        im_event_broadcast(&p->run.control->event_done[r]);
}

void pipeline_set_state(struct pipeline *p, enum im_run_state state)
{
    atomic_store_explicit(&p->run.control->run_state, state, memory_order_release);
    wake_everyone(p);
}

static void *thread_main(void *context)
{
    struct member *m = context;
    int err = im_process_enter(m->child.run, m->child.slot, m->child.incarnation);

    m->result = err < 0 ? err : m->main(&m->child, &m->text);
    atomic_store_explicit(&m->left, 1, memory_order_release);
    return NULL;
}

int pipeline_start(struct pipeline *p, enum im_role role, uint32_t index, pipeline_main *main)
{
    static pipeline_main *const own[IM_ROLES] = {
        [IM_ROLE_READER] = rd_run, [IM_ROLE_AUGMENTER] = au_run, [IM_ROLE_TRAINER] = tr_run};
    struct member *m = member_at(p, role, index);
    uint32_t slot = im_run_slot(&p->run, role, index);

    if (m->started)
        return -EBUSY;
    *m = (struct member){
        .main = main ? main : own[role],
        .child = {.run = &p->run,
                  .plan = &p->plan,
                  .conf = &p->conf,
                  .entry = &p->run.process[slot],
                  .stats = &p->run.stats[slot],
                  .role = role,
                  .index = index,
                  .slot = slot,
                  .lease_fd = -1,
                  .pixels_fd = p->pixels_fd,
                  .snapshot_fd = role == IM_ROLE_TRAINER ? p->snapshot_fd : -1,
                  .incarnation = im_process_announce(&p->run, role, index)},
    };
    if (m->child.incarnation == 0)
        return -EOVERFLOW;
    m->started = pthread_create(&m->thread, NULL, thread_main, m) == 0;
    return m->started ? 0 : -EAGAIN;
}

int pipeline_start_workers(struct pipeline *p)
{
    int err = 0;

    for (uint32_t i = 0; i < p->conf.readers && err == 0; i++)
        err = pipeline_start(p, IM_ROLE_READER, i, NULL);
    for (uint32_t i = 0; i < p->conf.augmenters && err == 0; i++)
        err = pipeline_start(p, IM_ROLE_AUGMENTER, i, NULL);
    return err;
}

int pipeline_stop(struct pipeline *p, enum im_role role, uint32_t index, struct im_reclaimed *ret_returned)
{
    struct member *m = member_at(p, role, index);

    if (!m->started)
        return -ESRCH;
    im_process_mark_dead(&p->run, m->child.slot, m->child.incarnation);
    wake_everyone(p);
    return bury(p, m, ret_returned);
}

int pipeline_wait(struct pipeline *p, enum im_role role, uint32_t index, struct im_text *text)
{
    struct member *m = member_at(p, role, index);

    if (!m->started)
        return -ESRCH;
    bury(p, m, NULL);
    *text = m->text;
    return m->result;
}

/* A reader or augmenter that left while nobody asked it to. */
static int somebody_left(struct pipeline *p, struct im_text *text)
{
    uint32_t first_trainer = im_run_slot(&p->run, IM_ROLE_TRAINER, 0);

    for (uint32_t i = 0; i < first_trainer; i++) {
        const struct member *m = &p->members[i];

        if (m->started && atomic_load_explicit(&m->left, memory_order_acquire))
            return im_fail(text, -EPIPE, "%s %u left with %d: %.500s", im_role_name(m->child.role),
                           m->child.index, m->result, m->text.s);
    }
    return 0;
}

static int wait_batch(struct pipeline *p, uint32_t rank, uint64_t batch, uint32_t count, struct im_text *text)
{
    struct im_event *done = &p->run.control->event_done[rank];
    im_ns deadline = im_now() + PATIENCE_NS;
    uint32_t have = 0;

    for (;;) {
        uint32_t seen = im_event_look(done);
        int err = somebody_left(p, text);

        if (err < 0)
            return err;
        have += im_batch_done(&p->run, rank, batch, have, count);
        if (have == count)
            return 0;
        if (im_now() > deadline)
            return im_fail(text, -ETIMEDOUT, "batch %" PRIu64 " is still at %u of %u samples", batch, have,
                           count);
        im_event_wait(done, seen, IM_WAIT_MAX_NS);
    }
}

int pipeline_consume(struct pipeline *p, uint32_t rank, uint64_t first, uint64_t end, pipeline_take *take,
                     void *context, struct im_text *text)
{
    for (uint64_t g = first; g < end; g++) {
        uint32_t count = im_plan_batch_count(&p->plan, g, rank);
        struct im_batch_view view;
        int err = wait_batch(p, rank, g, count, text);

        if (err == 0 && take) {
            im_run_batch_view(&p->run, rank, g, &view);
            err = take(context, g, im_plan_phase_of_batch(&p->plan, g), &view, count);
        }
        if (err)
            return err;
        im_batch_free(&p->run, rank, g);
    }
    return 0;
}

/* The batch that rank 0 says is next; 0 = it has said nothing yet, else batch + 1. */
static uint64_t position_of(struct pipeline *p, uint32_t rank)
{
    return atomic_load_explicit(&member_at(p, IM_ROLE_TRAINER, rank)->child.entry->position,
                                memory_order_acquire);
}

static bool has_left(struct pipeline *p, uint32_t rank)
{
    return atomic_load_explicit(&member_at(p, IM_ROLE_TRAINER, rank)->left, memory_order_acquire);
}

/* Until the trainer has said where it stands. 0, or 1 when it left instead. */
static int wait_position(struct pipeline *p, uint32_t rank)
{
    struct im_event *run = &p->run.control->event_run;

    while (position_of(p, rank) == 0) {
        if (has_left(p, rank))
            return 1;
        im_event_wait(run, im_event_look(run), IM_MS);
    }
    return 0;
}

static int watch(struct pipeline *p, uint64_t stop_at, pipeline_disturb *disturb, void *context,
                 struct im_text *text)
{
    struct im_event *run = &p->run.control->event_run;
    int err = 0;

    while (!has_left(p, 0) && err == 0) {
        uint64_t next = position_of(p, 0) - 1;

        if (next >= stop_at && im_run_state(&p->run) == IM_RUN_RUNNING)
            pipeline_set_state(p, IM_RUN_STOPPING);
        if (disturb)
            disturb(context, p, next);
        err = somebody_left(p, text);
        im_event_wait(run, im_event_look(run), IM_MS);
    }
    return err;
}

int pipeline_train(struct pipeline *p, uint64_t stop_at, pipeline_disturb *disturb, void *context,
                   struct im_text *text)
{
    struct im_text last = {""};
    int err = 0, result = 0;

    pipeline_set_state(p, IM_RUN_STARTING);
    for (uint32_t r = 0; r < p->run.geometry.ranks && err == 0; r++)
        err = pipeline_start(p, IM_ROLE_TRAINER, r, NULL);
    for (uint32_t r = 0; r < p->run.geometry.ranks && err == 0; r++)
        err = wait_position(p, r);
    if (err == 0) {
        pipeline_begin(p, position_of(p, 0) - 1);
        err = pipeline_start_workers(p);
    }
    if (err == 0)
        err = watch(p, stop_at, disturb, context, text);
    if (err)
        pipeline_set_state(p, IM_RUN_ENDED);
    for (uint32_t r = p->run.geometry.ranks; r-- > 0;)
        result = pipeline_wait(p, IM_ROLE_TRAINER, r, &last);
    pipeline_set_state(p, IM_RUN_ENDED);
    for (uint32_t i = 0; i < im_run_slot(&p->run, IM_ROLE_TRAINER, 0); i++)
        if (p->members[i].started)
            bury(p, &p->members[i], NULL);
    if (err < 0)
        return err;
    *text = last;
    return result;
}

struct im_run *pipeline_run(struct pipeline *p)
{
    return &p->run;
}

const struct im_plan *pipeline_plan(const struct pipeline *p)
{
    return &p->plan;
}

const struct im_conf *pipeline_conf(const struct pipeline *p)
{
    return &p->conf;
}
