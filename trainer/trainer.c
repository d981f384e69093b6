/* The trainer's loop. Batches come in the order of the plan; at each one's end the position moves on by one,
 * so that a checkpoint taken there continues with exactly the next batch.
 *
 * Order at an epoch's end: metrics lines, then the checkpoint. A crash between them leaves lines that the
 * resumed run removes and writes again (metrics.h). */
#include "trainer/trainer.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/fault.h"
#include "ipc/base/log.h"
#include "ipc/batch.h"
#include "ipc/ledger.h"
#include "ipc/sweep.h"
#include "ipc/wait.h"
#include "trainer/cuda_device.h"
#include "trainer/cuda_module.h"
#include "trainer/cuda_plans.h"
#include "trainer/flops.h"
#include "trainer/import.h"
#include "trainer/recipe.h"
#include "trainer/report.h"
#include "trainer/resume.h"
#include "trainer/schedule.h"
#include "trainer/setup.h"
#include "trainer/snapshot.h"
#include "trainer/state.h"
#include "trainer/team.h"
#include "trainer/telemetry.h"

/* One batch of this rank. */
struct step {
    uint64_t g;
    uint32_t count, valid, usable; /* samples; of them those that could be read, and that count in the loss */
    const struct im_phase *phase;
    struct im_batch_view view;
    struct im_batch batch;
};

struct trainer {
    struct im_child *child;
    struct tr_team team;
    struct im_network *net;
    struct tr_state state;
    struct tr_checkpoint_store store;
    struct tr_snapshot snapshot;
    struct tr_report report;
    const struct tr_cuda_table *cuda; /* NULL: trains on the CPU */
    struct tr_telemetry *telemetry;   /* of this rank's GPU; NULL: there is none */
    double peak;                      /* FLOP/s that it can do; 0: not known */
    char plans[PATH_MAX];             /* file of what is known of the GPU's kernels */
    void *locked;                     /* the batch ring, page-locked for the device; NULL: it is not */
    struct tr_schedule schedule;
    struct tr_recipe recipe;
    struct tr_position at;
    unsigned char *valid;          /* [batch_size_max] */
    uint64_t pass_from;            /* sample number that the current pass was entered at */
    im_ns epoch_mark;              /* for the clocks of the position */
    double lr;                     /* of the last step */
    uint32_t saves_seen;           /* requests for a checkpoint that were met */
    struct im_sweep_smooth smooth; /* of a learning-rate range test */
    bool swept;                    /* which is over */
};

static bool leads(const struct trainer *t)
{
    return t->child->index == 0;
}

/* Names what the trainer does for profilers of the GPU. */
static void begin_stage(const struct trainer *t, const char *stage)
{
    if (t->cuda)
        t->cuda->range_push(stage);
}

static void end_stage(const struct trainer *t)
{
    if (t->cuda)
        t->cuda->range_pop();
}

static int open_network(struct trainer *t, struct im_text *text)
{
    struct im_network_config config;
    int err = tr_network_config(t->child->conf, (int)t->child->run->geometry.classes, &config, text);

    if (err < 0)
        return err;
    if (t->child->conf->sync_bn && t->child->conf->ranks > 1)
        config.bn_sync = &t->team.bn_sync;
    if (im_conf_gpu(t->child->conf, t->child->index) >= 0)
        config.device.index = im_conf_gpu(t->child->conf, t->child->index);
    if (tr_plans_path(t->plans, sizeof t->plans) == 0)
        config.device.cache = t->plans;
    config.rank_sum = tr_team_rank_sum(&t->team);
    tr_recipe_network(t->child->conf, &config);
    return im_network_new(&config, &t->net, text);
}

/* The optimiser's steps of every epoch, for all ranks alike. */
static int open_schedule(struct trainer *t, struct im_text *text)
{
    const struct im_plan *plan = t->child->plan;
    struct tr_schedule_epoch *epochs = calloc(plan->phases, sizeof *epochs);
    const uint32_t window = (uint32_t)t->child->conf->accumulate;
    uint32_t count = 0;
    int err;

    if (!epochs)
        return -ENOMEM;
    for (uint32_t i = 0; i < plan->phases; i++)
        if (plan->phase[i].split == IM_TRAIN)
            epochs[count++] =
                (struct tr_schedule_epoch){.steps = (plan->phase[i].steps + window - 1) / window,
                                           .images = plan->phase[i].batch_size * plan->ranks * window};
    err = tr_schedule_init(&t->schedule, t->child->conf, epochs, count, text);
    free(epochs);
    return err;
}

/* Finds where the run stands, and says so at once: the data plane can start on it while the network is being
 * built. */
static int find_position(struct trainer *t, struct tr_resume *ret_from, struct im_text *text)
{
    const struct im_conf *conf = t->child->conf;
    char directory[PATH_MAX];
    int err, n = snprintf(directory, sizeof directory, "%s/checkpoints", conf->run_dir);

    if (n < 0 || (size_t)n >= sizeof directory)
        return -ENAMETOOLONG;
    err = tr_team_await_leader(t->child);
    if (err)
        return err;
    err = leads(t) ? tr_checkpoint_store_open(&t->store, directory, (int)conf->checkpoint_keep, text)
                   : tr_checkpoint_store_view(&t->store, directory, text);
    if (err == 0)
        err = tr_resume_find(t->child, &t->store, ret_from, text);
    if (err < 0)
        return err;
    t->at = ret_from->state ? ret_from->at : tr_position_start(conf);
    atomic_store_explicit(&t->child->entry->position, t->at.next_batch + 1, memory_order_release);
    return 0;
}

static void write_position(const struct trainer *t, struct tr_position_text *ret)
{
    tr_position_write(&t->at, t->child->conf, t->child->plan, t->child->run->geometry.samples, ret);
}

static int open_snapshot(struct trainer *t, struct im_text *text)
{
    struct tr_position_text position;

    write_position(t, &position);
    return tr_snapshot_open(&t->snapshot, t->child, &t->state, &position, t->at.next_batch, text);
}

/* The pass of `split` from the position on that takes most memory; NULL: there is none. */
static const struct im_phase *largest_pass(const struct trainer *t, uint32_t split)
{
    const struct im_plan *plan = t->child->plan;
    const struct im_phase *found = NULL, *now = im_plan_phase_of_batch(plan, t->at.next_batch);
    uint64_t most = 0;

    for (const struct im_phase *p = now; p && p < plan->phase + plan->phases; p++) {
        uint64_t pixels = (uint64_t)p->batch_size * p->image_size * p->image_size;

        if (p->split == split && pixels > most) {
            most = pixels;
            found = p;
        }
    }
    return found;
}

static int prepare_pass(struct trainer *t, const struct im_phase *p, struct im_text *text)
{
    int n = p ? (int)im_plan_batch_count(t->child->plan, p->first_batch, t->child->index) : 0;

    return n > 0 ? im_network_prepare(t->net, n, (int)p->image_size, p->split == IM_TRAIN, text) : 0;
}

/* The graphs of full batches: the largest first, so that a run that lacks the memory for its last epochs says
 * so now, then those that come first. Other sizes and short batches get theirs when they come. */
static int prepare(struct trainer *t, struct im_text *text)
{
    const struct im_plan *plan = t->child->plan;
    const struct im_phase *now = im_plan_phase_of_batch(plan, t->at.next_batch);
    int err = prepare_pass(t, largest_pass(t, IM_TRAIN), text);

    if (err == 0)
        err = prepare_pass(t, largest_pass(t, IM_VAL), text);
    for (const struct im_phase *p = now; p && p < now + 2 && p < plan->phase + plan->phases && err == 0; p++)
        err = prepare_pass(t, p, text);
    return err;
}

/* A new run's weights, where they are not the drawn ones. */
static int import(struct trainer *t, struct im_text *text)
{
    const struct im_conf *conf = t->child->conf;
    size_t loaded = 0;
    int err;

    if (!conf->init_from[0])
        return 0;
    err = tr_import(conf->init_from, t->net, conf->init_skip_head, &loaded, text);
    if (err == 0 && conf->ema > 0 && im_network_average(t->net, 0) < 0)
        err = im_fail(text, -EIO, "the averaged weights could not be set");
    if (err == 0)
        im_log(IM_LOG_INFO, "weights loaded", "from=%s tensors=%zu",
               im_log_quote(&(struct im_quoted){0}, conf->init_from), loaded);
    return err;
}

/* What the driver says about this rank's GPU, for people: no run ends because it says nothing. */
static int watch_gpu(struct trainer *t, struct im_text *text)
{
    const struct im_conf *conf = t->child->conf;
    const int device = im_conf_gpu(conf, t->child->index);
    struct tr_gpu_facts facts = {0};
    int err;

    if (device < 0)
        return 0;
    err = tr_cuda_load(&t->cuda, text);
    if (err == 0)
        err = t->cuda->gpu_look(device, &facts, text);
    if (err < 0)
        return err;
    t->peak = tr_peak_flops(facts.name, (enum im_precision)conf->amp, conf->tf32);
    return tr_telemetry_open(t->child->stats, facts.uuid, TR_TELEMETRY_INTERVAL_NS, &t->telemetry);
}

/* A device fetches batches from the ring by itself. Where the kernel or the driver refuses, they are copied
 * first. */
static void lock_ring(struct trainer *t)
{
    const struct im_segment *ring = &t->child->run->batch_segment[t->child->index];
    struct im_text text = {0};

    if (im_network_lock_host(t->net, ring->map, ring->bytes, &text) == 0)
        t->locked = ring->map;
    else
        im_log(IM_LOG_WARN, "the batch ring is not page-locked: each batch is copied once more", "why=%s",
               im_log_quote(&(struct im_quoted){0}, text.s));
}

static int open_all(struct trainer *t, struct im_text *text)
{
    struct tr_resume from = {0};
    int err = find_position(t, &from, text);

    if (err == 0)
        err = tr_team_open(&t->team, t->child, text);
    if (err == 0)
        err = open_network(t, text);
    if (err == 0)
        err = open_schedule(t, text);
    if (err == 0)
        tr_recipe_init(&t->recipe, t->child->conf, t->net, &t->schedule, t->child->index);
    if (err == 0)
        err = tr_state_init(&t->state, t->net);
    if (err == 0 && from.state)
        err = tr_state_restore(&t->state, from.state, text);
    if (err == 0 && !from.state)
        err = import(t, text);
    if (err == 0 && from.file && leads(t))
        err = tr_checkpoint_mend(&t->store, from.file, text) < 0 ? -EIO : 0;
    tr_resume_close(&from);
    if (err == 0 && t->at.steps > 0)
        t->lr = tr_schedule_lr(&t->schedule, t->at.steps - 1);
    if (err == 0)
        err = prepare(t, text);
    if (err == 0)
        err = open_snapshot(t, text);
    if (err == 0 && leads(t))
        err = tr_report_open(&t->report, t->child, &t->at, text);
    if (err == 0)
        lock_ring(t);
    if (err == 0)
        err = watch_gpu(t, text);
    t->valid = calloc(t->child->run->geometry.batch_size_max, 1);
    return err == 0 && !t->valid ? -ENOMEM : err;
}

/* Moves the wall time since the last call into the position. */
static void count_time(struct trainer *t, bool training)
{
    im_ns now = im_now();
    double seconds = (double)(now - t->epoch_mark) / 1e9;

    t->epoch_mark = now;
    t->at.epoch_seconds += seconds;
    if (training)
        t->at.train_seconds += seconds;
}

/* Rank 0 saves for all, when all hold the same. 0; > 0: leave with that status, nothing was saved: somebody
 * else may own the run directory by now. */
static int save(struct trainer *t, int epoch, bool best, struct im_text *text)
{
    struct tr_position_text position;
    int err;

    if (t->child->conf->sweep) /* a test that dies begins anew */
        return 0;
    err = tr_team_compare(&t->team, &t->state, t->at.steps, text);
    if (err || !leads(t))
        return err;
    IM_FAULT("trainer.save.before");
    err = im_child_should_leave(t->child);
    if (err)
        return err == IM_EXIT_RESUMABLE ? IM_EXIT_FORCED : err;
    write_position(t, &position);
    begin_stage(t, "save");
    err = tr_state_save(&t->state, &t->store, &position, epoch, best, text);
    end_stage(t);
    if (err == 0)
        tr_snapshot_saved(&t->snapshot, t->at.next_batch);
    return err;
}

/* Only between steps, and after an epoch's end only once its checkpoint is saved: whoever goes on from a
 * snapshot does the epoch's end again. */
static int take_snapshot(struct trainer *t, bool training, struct im_text *text)
{
    struct tr_position_text position;
    int err;

    if (!tr_snapshot_is_due(&t->snapshot, t->at.next_batch))
        return 0;
    count_time(t, training);
    write_position(t, &position);
    begin_stage(t, "snapshot");
    err = tr_snapshot_take(&t->snapshot, &t->state, &position, t->at.next_batch, text);
    end_stage(t);
    return err;
}

/* Waits until the batch is complete. 0: it is; > 0: leave with that status; IM_EXIT_RESUMABLE when asked to
 * stop. */
static int wait_batch(struct trainer *t, uint64_t batch, uint32_t count)
{
    struct im_child *child = t->child;
    struct im_event *done = &child->run->control->event_done[child->index];
    uint32_t have = 0;

    for (;;) {
        uint32_t seen = im_event_look(done);
        int leave = im_child_should_leave(child);

        if (leave)
            return leave == IM_EXIT_RESUMABLE ? IM_EXIT_FORCED : leave;
        if (im_run_state(child->run) == IM_RUN_STOPPING)
            return IM_EXIT_RESUMABLE;
        have += im_batch_done(child->run, child->index, batch, have, count);
        if (have == count)
            return 0;
        im_stats_enter(child->stats, IM_WAIT_INPUT);
        im_event_wait(done, seen, IM_WAIT_MAX_NS);
    }
}

static void begin_sums(struct trainer *t, const struct im_phase *phase)
{
    t->at.sums[phase->split] = (struct tr_sums){0};
    if (phase->split == IM_TRAIN) {
        t->at.train_seconds = t->at.epoch_seconds = 0;
        t->at.train_samples = 0;
        t->at.sums[IM_VAL] = t->at.ema = (struct tr_sums){0};
    }
}

static int begin_pass(struct trainer *t, const struct im_phase *phase, uint64_t batch, struct im_text *text)
{
    t->pass_from = (batch - phase->first_batch) * phase->batch_size * t->child->plan->ranks;
    /* The others enter samples after the first agreement, which rank 0 comes to after this. */
    if (leads(t) && phase->split == IM_TRAIN && t->peak > 0)
        im_stats_gauge(t->child->stats, IM_G_GPU_IDEAL,
                       tr_training_flop(im_network_model(t->net), (int)phase->image_size) / t->peak);
    if (leads(t))
        im_ledger_begin(t->child->run, (enum im_split)phase->split);
    if (batch == phase->first_batch)
        begin_sums(t, phase);
    return phase->split == IM_VAL ? tr_team_share_statistics(&t->team, t->net, text) : 0;
}

/* Images of a full step of the optimiser. */
static uint64_t full_step(const struct trainer *t, const struct im_phase *phase)
{
    return (uint64_t)phase->batch_size * t->child->plan->ranks * (uint64_t)t->child->conf->accumulate;
}

/* While the device is busy: the next batch of the pass begins to go there, if it is complete. */
static int prefetch(struct trainer *t, const struct step *s, struct im_text *text)
{
    const struct im_child *child = t->child;
    const uint64_t g = s->g + 1;
    const uint32_t count =
        g < s->phase->first_batch + s->phase->steps ? im_plan_batch_count(child->plan, g, child->index) : 0;
    struct im_batch_view view;

    if (count == 0 || im_batch_done(child->run, child->index, g, 0, count) < count)
        return 0;
    im_run_batch_view(child->run, child->index, g, &view);
    return im_network_prefetch(
        t->net, &(struct im_batch){.pixels = view.pixels, .n = (int)count, .size = (int)s->phase->image_size},
        text);
}

/* On a device that takes steps by itself, the sums over the ranks among them. */
static int train_on_device(struct trainer *t, const struct step *s, uint64_t usable, bool last,
                           struct tr_step *ret_step, struct im_text *text)
{
    int err = tr_recipe_begin(&t->recipe, &t->at, &s->batch, usable, full_step(t, s->phase), last, text);

    if (err == 0)
        err = prefetch(t, s, text);
    if (err == 0)
        err = tr_recipe_end(&t->recipe, &t->at, last, ret_step, text);
    return tr_team_judge(&t->team, err, text);
}

/* The gradients of all ranks' samples, of which `usable` take part, and the same update everywhere. */
static int train_batch(struct trainer *t, const struct step *s, uint64_t usable, struct tr_step *ret_step,
                       struct im_text *text)
{
    const bool last = s->g + 1 == s->phase->first_batch + s->phase->steps;
    const uint64_t full = full_step(t, s->phase);
    struct im_tally tally;
    int err;

    if (im_network_takes_steps(t->net))
        return train_on_device(t, s, usable, last, ret_step, text);
    err = tr_recipe_gradients(&t->recipe, &t->at, &s->batch, usable, full, &tally, text);
    err = tr_team_judge(&t->team, err, text);
    if (err == 0)
        err = tr_team_sum_gradients(&t->team, t->net, text);
    if (err == 0)
        err = tr_team_sum_tally(&t->team, &tally);
    return err ? err : tr_recipe_step(&t->recipe, &t->at, &tally, full, last, ret_step, text);
}

/* Into the sums: with the weights as they are, or with their averages. */
static int evaluate_with(struct trainer *t, const struct step *s, bool averaged, struct tr_sums *sums,
                         struct im_text *text)
{
    struct im_tally tally = {0};
    int err = 0;

    if (s->count > 0)
        err = averaged ? im_network_eval_average(t->net, &s->batch, NULL, &tally, text)
                       : im_network_eval_step(t->net, &s->batch, NULL, &tally, text);
    if (err == 0)
        err = tr_team_sum_tally(&t->team, &tally);
    if (err == 0)
        tr_sums_add(sums, &tally);
    return err;
}

static int evaluate_batch(struct trainer *t, const struct step *s, struct im_text *text)
{
    int err = evaluate_with(t, s, false, &t->at.sums[IM_VAL], text);

    return err || !(t->child->conf->ema > 0) ? err : evaluate_with(t, s, true, &t->at.ema, text);
}

/* The complete batch g of this rank. Its samples enter the ledger when all ranks have agreed on the step. */
static void view_batch(struct trainer *t, const struct im_phase *phase, uint64_t g, uint32_t count,
                       struct step *ret)
{
    *ret = (struct step){.g = g, .count = count, .phase = phase};
    im_run_batch_view(t->child->run, t->child->index, g, &ret->view);
    for (uint32_t i = 0; i < count; i++) {
        t->valid[i] = ret->view.verdicts[i] == 0;
        ret->valid += t->valid[i];
    }
    ret->batch = (struct im_batch){.pixels = ret->view.pixels,
                                   .labels = ret->view.labels,
                                   .valid = t->valid,
                                   .n = (int)count,
                                   .size = (int)phase->image_size,
                                   .step = t->at.steps,
                                   .first = t->at.window_batches * phase->batch_size * t->child->plan->ranks +
                                            t->child->index,
                                   .apart = t->child->plan->ranks};
    ret->usable = ret->valid;
    if (phase->split == IM_TRAIN)
        ret->usable =
            tr_recipe_mix(&t->recipe, &ret->batch, phase->epoch, (uint32_t)(g - phase->first_batch));
}

/* What follows from a finished step: the batch goes back, the position moves on. */
static void finish_batch(struct trainer *t, const struct step *s, im_ns began)
{
    struct im_child *child = t->child;

    t->at.next_batch = s->g + 1;
    if (s->phase->split == IM_TRAIN)
        t->at.train_samples += im_plan_step_count(child->plan, s->g);
    IM_FAULT("trainer.step.done");
    im_batch_free(child->run, child->index, s->g);
    atomic_store_explicit(&child->entry->position, s->g + 2, memory_order_release);
    atomic_fetch_add_explicit(&child->entry->progress, 1, memory_order_relaxed);
    im_stats_add(child->stats, IM_C_SAMPLES, s->count);
    im_stats_add(child->stats, IM_C_BATCHES, 1);
    im_stats_add(child->stats, IM_C_BAD, s->count - s->valid);
    im_stats_time(child->stats, IM_H_ITEM, im_now() - began);
}

/* Runs one complete batch and gives it back. usable: of all ranks' batches together. */
static int run_batch(struct trainer *t, const struct step *s, uint64_t usable, struct im_text *text)
{
    struct im_child *child = t->child;
    struct tr_step step = {0};
    im_ns began = im_now();
    int err =
        im_ledger_enter(child->run, (enum im_split)s->phase->split, (uint32_t)(s->phase - child->plan->phase),
                        s->view.samples, s->view.verdicts, s->count);

    if (err < 0)
        return im_fail(text, err, "batch %" PRIu64 " holds a sample that does not exist", s->g);
    err = s->phase->split == IM_TRAIN ? train_batch(t, s, usable, &step, text) : evaluate_batch(t, s, text);
    if (err)
        return err;
    finish_batch(t, s, began);
    if (!step.ended)
        return 0;
    t->lr = step.lr;
    if (child->conf->sweep)
        t->swept = im_sweep_add(&t->smooth, step.loss) || t->at.steps >= (uint64_t)child->conf->num_iter;
    return leads(t) ? tr_report_step(&t->report, &t->at, &step, text) : 0;
}

static int end_epoch(struct trainer *t, bool validated, struct im_text *text)
{
    double top1 = tr_top1(t->child->conf->ema > 0 ? &t->at.ema : &t->at.sums[IM_VAL]);
    bool best = validated && top1 > t->at.best_top1;
    int err;

    t->at.epochs++;
    if (best)
        t->at.best_top1 = top1;
    err = leads(t) ? tr_report_epoch(&t->report, &t->at, t->lr, validated, text) : 0;
    return err < 0 ? err : save(t, (int)t->at.epochs, best, text);
}

static int end_pass(struct trainer *t, const struct im_phase *phase, struct im_text *text)
{
    const struct im_plan *plan = t->child->plan;
    const struct im_phase *next = im_plan_phase_of_batch(plan, phase->first_batch + phase->steps);
    bool epoch_goes_on = next && next->epoch == phase->epoch;

    count_time(t, phase->split == IM_TRAIN);
    if (leads(t) && !im_ledger_end(t->child->run, (enum im_split)phase->split, t->pass_from, phase->samples))
        im_log(IM_LOG_ERROR, "the ledger does not balance: a sample was lost or came twice",
               "epoch=%u split=%u", phase->epoch, phase->split);
    if (phase->split == IM_TRAIN && t->at.sums[IM_TRAIN].valid == 0 && t->at.bad_steps == 0)
        return im_fail(text, -EBADMSG,
                       "none of the %" PRIu64 " training images could be used; events.jsonl says why",
                       phase->samples);
    return epoch_goes_on ? 0 : end_epoch(t, phase->split == IM_VAL, text);
}

/* Stopped by request: everything up to here is saved. Nobody leaves before that: whoever sees one of us gone
 * may take the run for saved. */
static int stop(struct trainer *t, const struct im_phase *phase, struct im_text *text)
{
    int err;

    count_time(t, phase->split == IM_TRAIN);
    err = save(t, -1, false, text);
    if (err == 0)
        err = tr_team_meet(&t->team);
    return err ? err : IM_EXIT_RESUMABLE;
}

/* SIGUSR2: a checkpoint now, and on. */
static int save_on_request(struct trainer *t, uint32_t requests, bool training, struct im_text *text)
{
    if (requests == t->saves_seen)
        return 0;
    t->saves_seen = requests;
    count_time(t, training);
    return save(t, -1, false, text);
}

static uint32_t save_requests(const struct trainer *t)
{
    return atomic_load_explicit(&t->child->run->control->save_requests, memory_order_acquire);
}

/* The next step of all ranks. IM_EXIT_RESUMABLE: stopped and saved. */
static int one_step(struct trainer *t, const struct im_phase *phase, struct im_text *text)
{
    uint64_t g = t->at.next_batch;
    uint32_t count = im_plan_batch_count(t->child->plan, g, t->child->index);
    struct tr_agreement agreed = {.saves = save_requests(t)};
    struct step step;
    int err;

    begin_stage(t, "wait for batch");
    err = wait_batch(t, g, count);
    end_stage(t);
    if (err && err != IM_EXIT_RESUMABLE)
        return err;
    agreed.stop = err == IM_EXIT_RESUMABLE;
    if (!agreed.stop) {
        view_batch(t, phase, g, count, &step);
        agreed.usable = step.usable;
    }
    err = tr_team_agree(&t->team, &agreed);
    if (err)
        return err;
    if (agreed.stop)
        return stop(t, phase, text);
    im_stats_enter(t->child->stats, IM_WORK);
    begin_stage(t, phase->split == IM_TRAIN ? "train" : "validate");
    err = run_batch(t, &step, agreed.usable, text);
    end_stage(t);
    if (err == 0 && g + 1 == phase->first_batch + phase->steps)
        err = end_pass(t, phase, text);
    if (err == 0)
        err = save_on_request(t, agreed.saves, phase->split == IM_TRAIN, text);
    return err ? err : take_snapshot(t, phase->split == IM_TRAIN, text);
}

static int train(struct trainer *t, struct im_text *text)
{
    const struct im_plan *plan = t->child->plan;
    const struct im_phase *phase = NULL;
    int err = 0;

    t->epoch_mark = im_now();
    t->saves_seen = save_requests(t);
    while (t->at.next_batch < plan->batches && err == 0 && !t->swept) {
        const struct im_phase *now = im_plan_phase_of_batch(plan, t->at.next_batch);

        if (now != phase)
            err = begin_pass(t, now, t->at.next_batch, text);
        phase = now;
        if (err == 0)
            err = one_step(t, phase, text);
    }
    if (err == 0 && leads(t))
        err = tr_report_done(&t->report, &t->at, text);
    return err ? err : tr_team_meet(&t->team);
}

/* The rings are set once every trainer has told its position. */
static int wait_for_start(struct im_child *child)
{
    struct im_event *run = &child->run->control->event_run;

    im_stats_enter(child->stats, IM_IDLE);
    for (;;) {
        uint32_t seen = im_event_look(run);
        int leave = im_child_should_leave(child);

        if (leave)
            return leave;
        if (im_run_state(child->run) != IM_RUN_STARTING)
            return 0;
        im_event_wait(run, seen, IM_WAIT_MAX_NS);
    }
}

static int tell_ready(struct trainer *t, struct im_text *text)
{
    const struct im_network_bytes b = im_network_bytes(t->net);
    const char *caution = im_network_caution(t->net);
    const uint64_t snapshots = t->snapshot.memory.segment.bytes;

    if (caution)
        im_log(IM_LOG_WARN, "precision", "note=%s", im_log_quote(&(struct im_quoted){0}, caution));
    im_log(IM_LOG_INFO, "network ready",
           "parameters_bytes=%zu gradients_bytes=%zu optimizer_bytes=%zu statistics_bytes=%zu "
           "averages_bytes=%zu activations_bytes=%zu activations_apart_bytes=%zu backend_bytes=%zu "
           "snapshots_bytes=%" PRIu64 " next_batch=%" PRIu64,
           b.parameters, b.gradients, b.optimizer, b.statistics, b.averages, b.activations, b.apart,
           b.backend, snapshots, t->at.next_batch);
    return leads(t) ? tr_report_ready(&t->report, &t->at, &b, snapshots, text) : 0;
}

int tr_run(struct im_child *child, struct im_text *text)
{
    struct trainer t = {.child = child, .report = {.metrics = {.lines_fd = -1, .summary_fd = -1}}};
    int err = open_all(&t, text);

    if (err == 0)
        err = tell_ready(&t, text);
    if (err == 0) {
        im_child_ready(child);
        err = wait_for_start(child);
    }
    if (err == 0)
        err = train(&t, text);
    im_stats_enter(child->stats, IM_IDLE);
    tr_telemetry_close(t.telemetry);
    tr_report_close(&t.report);
    if (err != 0 && err != IM_EXIT_RESUMABLE) /* the others may be gone, and the device wait for them */
        tr_team_abort(&t.team);
    tr_snapshot_close(&t.snapshot);
    tr_schedule_fini(&t.schedule);
    tr_state_fini(&t.state);
    if (t.locked)
        im_network_unlock_host(t.net, t.locked);
    im_network_free(t.net);
    tr_team_close(&t.team);
    free(t.valid);
    if (err < 0 && !text->s[0])
        return im_fail(text, err, "%s", strerror(-err));
    return err;
}
