/* The trainer's loop: passes over the data, and in each the steps that all ranks agree on. Batches come in
 * the order of the plan; after each one the position advances by one, so that a checkpoint taken there
 * continues with exactly the next batch.
 *
 * On a GPU the step before may be in flight while a batch is waited for and agreed on (batch.c), so that the device has
 * the next step when it ends that one. It lands before anything that reads what was trained or says what is done: the
 * last step of a pass, a snapshot, a checkpoint, a pause, a stop; and where the next batch is not there yet.
 *
 * Order at an epoch's end: metrics lines, then the checkpoint. A crash between them leaves lines that the
 * resumed run removes and rewrites (metrics.h). */
#include "trainer/trainer.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ipc/base/fault.h"
#include "ipc/base/log.h"
#include "ipc/ledger.h"
#include "ipc/wait.h"
#include "trainer/consume.h"
#include "trainer/early_stop.h"
#include "trainer/finetune.h"
#include "trainer/impl.h"
#include "trainer/model/flops.h"

static void begin_sums(struct tr_trainer *t, const struct im_phase *phase)
{
    t->at.sums[phase->split] = (struct tr_sums){0};
    if (phase->split == IM_TRAIN) {
        t->at.train_seconds = t->at.epoch_seconds = 0;
        t->at.train_samples = 0;
        t->at.sums[IM_VAL] = t->at.ema = (struct tr_sums){0};
    }
}

/* Parts of the network may begin to be trained. */
static int begin_training(struct tr_trainer *t, const struct im_phase *phase, struct im_text *text)
{
    bool changed = false;
    int err = tr_finetune_epoch(t->net, &t->at, t->child->conf, phase->epoch, &changed, text);

    if (err == 0 && changed && tr_trainer_leads(t))
        im_log(IM_LOG_INFO, "more of the network is trained", "epoch=%u frozen_stages=%#x", phase->epoch + 1,
               t->at.groups.frozen & ~TR_FROZEN_NORMS);
    if (err == 0 && tr_trainer_leads(t) && t->peak > 0)
        im_stats_gauge(
            t->child->stats, IM_G_GPU_IDEAL,
            tr_training_flop(tr_network_model(t->net), tr_network_groups(t->net), (int)phase->image_size) /
                t->peak);
    return err;
}

/* Samples of this node in `batch` and after it, of the first `order` batches of the pass in its order. */
static uint64_t samples_done(const struct tr_trainer *t, const struct im_phase *phase, uint64_t batch,
                             uint64_t order)
{
    const struct im_plan *plan = t->child->plan;

    if (phase->split != IM_TRAIN || order == 0)
        return 0;
    return im_plan_order_samples(plan, phase, im_plan_order_at(plan, phase, batch), order, false);
}

static int begin_pass(struct tr_trainer *t, const struct im_phase *phase, uint64_t batch,
                      struct im_text *text)
{
    int err = phase->split == IM_TRAIN ? begin_training(t, phase, text) : 0;

    if (err < 0)
        return err;
    t->pass_from = im_plan_first_ticket(t->child->plan, batch) - phase->first_ticket +
                   samples_done(t, phase, batch, t->at.order);
    /* Other ranks of the node enter samples after the first agreement, which this one reaches after this. */
    if (tr_trainer_leads_node(t))
        im_ledger_begin(t->child->run, (enum im_split)phase->split);
    if (batch == phase->first_batch)
        begin_sums(t, phase);
    return phase->split == IM_VAL ? tr_ranks_share_statistics(&t->ranks, t->net, text) : 0;
}

/* Takes an accuracy that is the best so far; none where there is no loss. */
static bool is_best(const struct tr_sums *sums, double *best)
{
    const bool better = tr_validation_has_loss(sums) && tr_accuracy(sums) > *best;

    if (better)
        *best = tr_accuracy(sums);
    return better;
}

/* Of several machines: each then has the records of all. */
static int gather_validated(struct tr_trainer *t, uint32_t pass, bool averages, struct im_text *text)
{
    const bool multi = tr_is_multi_label(&t->multi);
    const struct tr_gathering g = multi ? tr_multi_label_records(&t->multi, pass, averages)
                                        : tr_per_class_records(&t->per_class, pass, averages);
    int err = tr_gather_records(&t->ranks, &g, text);

    return err == 0 && tr_ranks_are_remote(t->child) ? tr_ranks_meet(&t->ranks) : err;
}

/* mAP and F1, and the tables of each class, once all trainers have written what became of their images. */
static int judge_labels(struct tr_trainer *t, struct im_text *text)
{
    const bool leads = tr_trainer_leads(t), averages = t->child->conf->ema > 0;
    const uint32_t pass = t->at.epochs;
    int err;

    if (!tr_is_multi_label(&t->multi) && !t->per_class.is_on)
        return 0;
    err = tr_ranks_meet(&t->ranks);
    if (err == 0)
        err = gather_validated(t, pass, averages, text);
    if (err == 0 && t->per_class.is_on && leads)
        tr_per_class_tables(&t->per_class, TR_PLAIN, pass, t->at.sums[IM_VAL].valid);
    if (err == 0 && t->per_class.is_on && leads && averages)
        tr_per_class_tables(&t->per_class, TR_AVERAGED, pass, t->at.ema.valid);
    t->per_class.failed = false; /* the next pass may be written */
    if (!tr_is_multi_label(&t->multi))
        return err;
    if (err == 0)
        err = tr_multi_label_judge(&t->multi, TR_PLAIN, pass, leads, &t->at.sums[IM_VAL], text);
    if (err == 0 && averages)
        err = tr_multi_label_judge(&t->multi, TR_AVERAGED, pass, leads, &t->at.ema, text);
    return err;
}

static int end_epoch(struct tr_trainer *t, bool validated, struct im_text *text)
{
    double *tops = t->at.best_top1;
    unsigned best = 0;
    int err = validated ? tr_trainer_check_validation(t, text) : 0;

    if (err == 0 && validated)
        err = judge_labels(t, text);
    if (err)
        return err;
    t->at.epochs++;
    memcpy(t->save.before, tops, sizeof t->save.before);
    if (validated && is_best(&t->at.sums[IM_VAL], &tops[TR_PLAIN]))
        best |= TR_BEST_PLAIN;
    if (validated && t->child->conf->ema > 0 && is_best(&t->at.ema, &tops[TR_AVERAGED]))
        best |= TR_BEST_AVERAGE;
    if (validated)
        tr_early_stop_epoch(t->child->conf, &t->at);
    err = tr_trainer_leads(t) ? tr_report_epoch(&t->report, &t->at, t->lr, validated, best, text) : 0;
    return err < 0 ? err : tr_trainer_save(t, (int)t->at.epochs, best, text);
}

/* Where in a pass this start of the run began to deliver. */
static uint64_t start_in_pass(const struct tr_trainer *t, const struct im_phase *phase)
{
    const struct im_plan *plan = t->child->plan;
    const struct im_control *c = t->child->run->control;
    uint64_t position = atomic_load_explicit(&c->first_position, memory_order_relaxed);
    uint64_t order = atomic_load_explicit(&c->first_order, memory_order_relaxed);

    if (t->leader.first_position) {
        position = t->leader.first_position;
        order = t->leader.first_order;
    }

    if (position == 0) /* there is no supervisor that wrote it */
        return t->pass_from;
    if (position - 1 < phase->first_batch || (position - 1 == phase->first_batch && order == 0))
        return 0;
    if (position - 1 >= phase->first_batch + phase->steps)
        return phase->tickets;
    return im_plan_first_ticket(plan, position - 1) - phase->first_ticket +
           samples_done(t, phase, position - 1, order);
}

/* False: a sample was lost or came twice. */
static bool end_ledger(struct tr_trainer *t, const struct im_phase *phase)
{
    const struct im_ledger_pass pass = {.phase = (uint32_t)(phase - t->child->plan->phase),
                                        .start = start_in_pass(t, phase),
                                        .from = t->pass_from,
                                        .total = phase->tickets,
                                        .has_ended = t->leader.ended[phase->split] >
                                                     (uint64_t)(phase - t->child->plan->phase)};

    return im_ledger_end(t->child->run, (enum im_split)phase->split, &pass);
}

static int end_pass(struct tr_trainer *t, const struct im_phase *phase, struct im_text *text)
{
    const struct im_plan *plan = t->child->plan;
    const struct im_phase *next = im_plan_phase_of_batch(plan, phase->first_batch + phase->steps);
    bool epoch_goes_on = next && next->epoch == phase->epoch;

    tr_trainer_count_time(t, phase->split == IM_TRAIN);
    if (tr_trainer_leads_node(t) && !end_ledger(t, phase))
        im_log(IM_LOG_ERROR, "the ledger does not balance: a sample was lost or delivered twice",
               "epoch=%u split=%u", phase->epoch, phase->split);
    if (phase->split == IM_TRAIN && t->at.sums[IM_TRAIN].valid == 0 && t->at.bad_steps == 0)
        return im_fail(text, -EBADMSG,
                       "none of the %" PRIu64 " training images could be used; events.jsonl says why",
                       phase->samples);
    return epoch_goes_on ? 0 : end_epoch(t, phase->split == IM_VAL, text);
}

/* Nobody leaves before rank 0 has saved. IM_EXIT_RESUMABLE: it has, as far as it may. */
static int save_last_together(struct tr_trainer *t, bool at_the_end, struct im_text *text)
{
    const int err = tr_trainer_save_last(t, at_the_end, text);
    const int met = err == 0 || err == IM_EXIT_RESUMABLE ? tr_ranks_meet(&t->ranks) : 0;

    return met ? met : err;
}

/* Stops on request: saves, then waits for all ranks. No rank exits before the save: an exited trainer is
 * taken as a sign that the run is saved. */
static int save_and_stop(struct tr_trainer *t, const struct im_phase *phase, struct im_text *text)
{
    int err;

    tr_trainer_count_time(t, phase->split == IM_TRAIN);
    err = tr_trainer_save(t, -1, 0, text);
    if (err == 0)
        err = save_last_together(t, false, text);
    return err ? err : IM_EXIT_RESUMABLE;
}

/* Whether nothing is to be waited for before the next step. */
static bool is_fed(const struct tr_trainer *t, uint64_t g, uint32_t count)
{
    const struct im_run *run = t->child->run;

    return im_run_state(run) != IM_RUN_STOPPING && im_batch_done(run, t->child->index, g, 0, count) == count;
}

/* What a machine has of a validation pass is lost with it: then the pass is done again, from its beginning. */
static bool keeps_records(const struct tr_trainer *t, const struct im_phase *phase)
{
    return phase->split == IM_VAL && (tr_is_multi_label(&t->multi) || t->per_class.is_on);
}

/* Waits for the batch before a step, and lets all ranks agree on what follows. */
static int prepare_step(struct tr_trainer *t, const struct im_phase *phase, struct tr_ring_batch *ret_batch,
                        struct tr_agreement *ret, struct im_text *text)
{
    uint64_t g = tr_trainer_next_batch(t);
    uint32_t count = im_plan_batch_count(t->child->plan, g, t->child->index);
    int err = t->in_flight && !is_fed(t, g, count) ? tr_batch_land(t, text) : 0;

    if (err)
        return err;
    *ret = (struct tr_agreement){.saves = tr_trainer_save_requests(t), .before = t->at.window_weight};
    tr_trainer_begin_stage(t, "wait for batch");
    err = tr_batch_wait(t, g, count);
    tr_trainer_end_stage(t);
    if (err && err != IM_EXIT_RESUMABLE)
        return err;
    ret->stop = err == IM_EXIT_RESUMABLE;
    ret->paused = tr_trainer_is_paused(t);
    ret->snapshot = tr_ranks_are_remote(t->child) && tr_trainer_leads(t) && !keeps_records(t, phase) &&
                    tr_trainer_snapshot_is_due(t, g + 1);
    if (!ret->stop) {
        err = tr_batch_view(t, phase, g, tr_batch_is_done(t, phase, g) ? 0 : count, ret_batch, text);
        if (err)
            return err;
        ret->weight = ret_batch->weight;
    }
    return tr_ranks_agree(&t->ranks, ret);
}

/* The same, once the run is not paused. Checkpoints that are asked for meanwhile are saved. */
static int prepare_unpaused(struct tr_trainer *t, const struct im_phase *phase,
                            struct tr_ring_batch *ret_batch, struct tr_agreement *ret, struct im_text *text)
{
    int err = prepare_step(t, phase, ret_batch, ret, text);

    while (err == 0 && ret->paused && !ret->stop) {
        err = tr_batch_land(t, text);
        tr_trainer_count_time(t, phase->split == IM_TRAIN);
        if (err == 0)
            err = tr_trainer_save_on_request(t, ret->saves, phase->split == IM_TRAIN, text);
        if (err == 0)
            err = tr_trainer_wait_paused(t, phase->split == IM_TRAIN, text);
        if (err == 0)
            err = prepare_step(t, phase, ret_batch, ret, text);
    }
    return err;
}

/* Whether the step may be in flight when the next one begins. Other ranks need not do the same: what they agree on, and
 * the order of that, is the same. */
static bool may_fly(const struct tr_trainer *t, const struct im_phase *phase, const struct tr_ring_batch *b,
                    const struct tr_agreement *agreed)
{
    const struct im_conf *conf = t->child->conf;

    return conf->step_ahead && t->cuda && conf->accumulate == 1 && conf->virtual_ranks == 0 &&
           !conf->lr_range_test && b->g + 1 < phase->first_batch + phase->steps &&
           agreed->saves == t->saves_seen &&
           (tr_ranks_are_remote(t->child) ? !agreed->snapshot : !tr_trainer_snapshot_is_due(t, b->g + 1));
}

static int take_step(struct tr_trainer *t, const struct im_phase *phase, struct tr_ring_batch *b,
                     const struct tr_agreement *agreed, struct im_text *text)
{
    const bool flies = may_fly(t, phase, b, agreed);
    int err;

    if (phase->split != IM_TRAIN)
        return tr_batch_validate(t, b, text);
    err = tr_batch_train(t, b, agreed->weight, text);
    return err || flies ? err : tr_batch_land(t, text);
}

/* The next step of all ranks. IM_EXIT_RESUMABLE: stopped and saved. */
static int one_step(struct tr_trainer *t, const struct im_phase *phase, struct im_text *text)
{
    struct tr_agreement agreed;
    struct tr_ring_batch b;
    int err = prepare_unpaused(t, phase, &b, &agreed, text);

    if (err)
        return err;
    if (agreed.stop) {
        err = tr_batch_land(t, text);
        return err ? err : save_and_stop(t, phase, text);
    }
    im_stats_enter(t->child->stats, IM_WORK);
    tr_trainer_begin_stage(t, phase->split == IM_TRAIN ? "train" : "validate");
    err = take_step(t, phase, &b, &agreed, text);
    tr_trainer_end_stage(t);
    if (err || t->in_flight)
        return err ? err : tr_trainer_snapshot_advance(t, text);
    if (b.g + 1 == phase->first_batch + phase->steps)
        err = end_pass(t, phase, text);
    if (err == 0)
        err = tr_trainer_save_on_request(t, agreed.saves, phase->split == IM_TRAIN, text);
    return err ? err : tr_trainer_snapshot(t, phase->split == IM_TRAIN, agreed.snapshot, text);
}

/* At the end of an epoch. */
static bool stops_early(const struct tr_trainer *t)
{
    const struct im_phase *next = im_plan_phase_of_batch(t->child->plan, t->at.next_batch);

    return next && next->split == IM_TRAIN && t->at.next_batch == next->first_batch &&
           tr_early_stop_is_due(t->child->conf, &t->at);
}

/* Requests for checkpoints are those of rank 0's node. */
static int agree_on_requests(struct tr_trainer *t)
{
    struct tr_agreement agreed = {.saves = tr_trainer_leads(t) ? t->saves_seen : 0};
    int err = tr_ranks_agree(&t->ranks, &agreed);

    t->saves_seen = agreed.saves;
    return err;
}

static int train_to_end(struct tr_trainer *t, struct im_text *text)
{
    const struct im_plan *plan = t->child->plan;
    const struct im_phase *phase = NULL;
    int err = 0;

    t->epoch_mark = im_now();
    /* What a trainer before this one did not come to is asked of this one. */
    t->saves_seen = atomic_load_explicit(&t->child->run->control->save_answers, memory_order_acquire);
    if (tr_ranks_are_remote(t->child))
        err = agree_on_requests(t);
    if (err == 0 && t->at.next_batch < plan->batches) /* all have restored the same, or none goes on */
        err = tr_ranks_compare(&t->ranks, &t->state, t->at.steps, text);
    t->snapshots_seen = atomic_load_explicit(&t->child->run->control->snapshot_answers, memory_order_acquire);
    while (t->at.next_batch < plan->batches && err == 0 && !t->lr_range_done && !stops_early(t)) {
        const struct im_phase *now = im_plan_phase_of_batch(plan, t->at.next_batch);

        if (now != phase)
            err = begin_pass(t, now, t->at.next_batch, text);
        phase = now;
        if (err == 0)
            err = one_step(t, phase, text);
    }
    if (err == 0 && t->at.next_batch < plan->batches && !t->lr_range_done && tr_trainer_leads(t))
        im_log(IM_LOG_INFO, "stopped early", "epoch=%" PRIu32 " best_epoch=%" PRIu32, t->at.epochs,
               t->at.stop_epoch);
    if (t->cuda)
        im_log(IM_LOG_INFO, "steps of the GPU", "ahead=%" PRIu64 " all=%" PRIu64, t->steps_ahead,
               t->at.steps);
    return err ? err : save_last_together(t, true, text);
}

int tr_await_start(struct im_child *child)
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

static int tell_ready(struct tr_trainer *t, struct im_text *text)
{
    const struct tr_network_bytes b = tr_network_bytes(t->net);
    const char *precision_warning = tr_network_precision_warning(t->net);
    const uint64_t snapshots = t->snapshot.memory.segment.bytes;

    if (precision_warning)
        im_log(IM_LOG_WARN, "precision", "note=%s", im_log_quote(&(struct im_quoted){0}, precision_warning));
    im_log(IM_LOG_INFO, "network ready",
           "parameters_bytes=%zu gradients_bytes=%zu optimizer_bytes=%zu statistics_bytes=%zu "
           "averages_bytes=%zu activations_bytes=%zu activations_apart_bytes=%zu backend_bytes=%zu "
           "shadow_bytes=%zu snapshots_bytes=%" PRIu64 " next_batch=%" PRIu64,
           b.parameters, b.gradients, b.optimizer, b.statistics, b.averages, b.activations, b.unshared,
           b.backend, b.shadow, snapshots, t->at.next_batch);
    return tr_trainer_leads(t) ? tr_report_ready(&t->report, &t->at, &b, snapshots, text) : 0;
}

/* First of all, while nothing can hang: what follows closes files and devices. */
static void tell_failure(const struct im_child *child, int err, const struct im_text *text)
{
    if ((err < 0 || err == IM_EXIT_PEER || err == IM_EXIT_CONTRADICTION) && text->s[0])
        im_log(IM_LOG_ERROR, "leaving", "why=%s", im_log_quote(&(struct im_quoted){0}, text->s));
    atomic_store_explicit(&child->entry->failed, (uint32_t)im_exit_status(err) + 1, memory_order_relaxed);
    IM_FAULT("trainer.leaving");
}

static bool is_failure(int err)
{
    return err != 0 && err != IM_EXIT_RESUMABLE;
}

bool tr_has_abandoned_gpu(const struct im_child *child, int err)
{
    return is_failure(err) && child->plan->world > 1 && child->conf->backend == IM_BACKEND_CUDA;
}

int tr_run(struct im_child *child, struct im_text *text)
{
    struct tr_trainer t = {.child = child};
    int err;

    if (child->conf->consume)
        return tr_consume(child, text);
    err = tr_trainer_open(&t, text);
    if (err == 0)
        err = tell_ready(&t, text);
    if (err == 0) {
        im_child_ready(child);
        err = tr_await_start(child);
    }
    if (err == 0)
        err = train_to_end(&t, text);
    if (err == -ECANCELED) { /* cancelled while planning: nothing is saved */
        err = im_child_should_leave(child);
        err = err ? err : IM_EXIT_FORCED;
    }
    if (err == IM_EXIT_CONTRADICTION && !text->s[0])
        im_fail(text, 0, "the numbers of another trainer changed in shared memory after it wrote them");
    if (err < 0 && !text->s[0])
        im_fail(text, err, "%s", strerror(-err));
    im_stats_enter(child->stats, IM_IDLE);
    if (is_failure(err))
        tell_failure(child, err, text);
    tr_trainer_close(&t, tr_has_abandoned_gpu(child, err));
    return err;
}
