/* One batch from the ring and back: wait for it, train or validate on it together with the other ranks, count
 * it, release it. The position advances by one.
 *
 * On a GPU a step may begin while the one before runs: that one is in flight. The position, and all that is reported
 * and saved, is that of the last step that has landed: whoever saves lands first. */
#include "trainer/impl.h"

#include <inttypes.h>

#include "ipc/base/fault.h"
#include "ipc/ledger.h"
#include "ipc/wait.h"

int tr_batch_wait(struct tr_trainer *t, uint64_t batch, uint32_t count)
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

/* Reads what is stored of each of the complete batch's places. False: one is not what its augmenter described, or not
 * of the sample that the plan has there. */
static bool read_places(struct tr_trainer *t, const struct im_phase *phase, uint64_t g, uint32_t count,
                        const struct im_batch_view *view, struct tr_places *ret, uint32_t *ret_place)
{
    const struct im_child *child = t->child;

    if (phase->split == IM_TRAIN && (t->order.n == 0 || t->order_epoch != phase->epoch)) {
        t->order = im_shuffle_at(child->conf->seed, phase->epoch, child->run->geometry.samples[IM_TRAIN]);
        t->order_epoch = phase->epoch;
    }
    for (uint32_t place = 0; place < count; place++) {
        uint64_t position = im_plan_position(child->plan, phase, g, child->index, place);

        *ret_place = place;
        ret->positions[place] = position;
        ret->samples[place] = phase->split == IM_TRAIN ? im_shuffle_item(&t->order, position) : position;
        if (!im_batch_read(view, g, child->index, place, ret->samples[place], &ret->labels[place],
                           &ret->verdicts[place]))
            return false;
    }
    return true;
}

/* What this step has of the order that the pass is cut for: batch norm's running statistics follow its first rank, and with
 * virtual ranks the gradients are added in it. */
static void divide_step(const struct tr_trainer *t, const struct im_phase *phase, uint64_t g,
                        struct tr_batch *ret)
{
    const struct im_plan *plan = t->child->plan;
    const uint32_t order = phase->order_ranks;
    const uint32_t first = (order - t->at.window_batches * plan->world % order) % order;

    ret->statistics_from = -1;
    if (t->child->conf->virtual_ranks == 0) {
        ret->keeps_statistics =
            t->child->conf->share.world > 0 && first != 0 && t->child->conf->elastic == IM_ELASTIC_KEEP;
        return;
    }
    ret->ranks = im_plan_step_ranks(plan, g);
    ret->keeps_statistics = first >= ret->ranks;
    if (order % plan->world != 0 && !ret->keeps_statistics) /* it is another rank's each time */
        ret->statistics_from = (int32_t)first;
    if (plan->world == 1)
        ret->ranks = 0;
}

bool tr_batch_is_done(const struct tr_trainer *t, const struct im_phase *phase, uint64_t g)
{
    struct im_order order;

    if (phase->split != IM_TRAIN || t->at.order == 0 ||
        im_plan_batch_count(t->child->plan, g, t->child->index) == 0)
        return false;
    order = im_plan_order(t->child->plan, phase, g, t->child->index);
    return (uint64_t)order.step * phase->order_ranks + order.rank < t->at.order;
}

int tr_batch_view(struct tr_trainer *t, const struct im_phase *phase, uint64_t g, uint32_t count,
                  struct tr_ring_batch *ret, struct im_text *text)
{
    const struct im_plan *plan = t->child->plan;
    const struct im_order order = im_plan_order(plan, phase, g, t->child->index);
    uint32_t place = 0;
    const uint32_t in_window = t->at.window_batches * plan->world + plan->first_rank + t->child->index;

    *ret = (struct tr_ring_batch){.g = g, .count = count, .phase = phase};
    im_run_batch_view(t->child->run, t->child->index, g, &ret->view);
    if (!read_places(t, phase, g, count, &ret->view, &t->places, &place)) {
        im_fail(text, 0,
                "place %" PRIu32 " of batch %" PRIu64
                " in shared memory is not what was written there, or not what the plan has there",
                place, g);
        return IM_EXIT_CONTRADICTION;
    }
    for (uint32_t i = 0; i < count; i++) {
        t->valid[i] = t->places.verdicts[i] == 0;
        ret->valid += t->valid[i];
    }
    ret->batch = (struct tr_batch){
        .pixels = ret->view.pixels,
        .labels = t->places.labels,
        .valid = t->valid,
        .n = (int)count,
        .size = (int)phase->image_size,
        .step = t->at.steps + t->in_flight, /* a window has one batch then */
        .first = in_window / phase->order_ranks * phase->batch_size * phase->order_ranks + order.rank,
        .stride = phase->order_ranks};
    if (phase->split == IM_TRAIN)
        divide_step(t, phase, g, &ret->batch);
    ret->weight = ret->valid;
    if (phase->split == IM_TRAIN)
        ret->weight =
            tr_training_step_mix(&t->training_step, &ret->batch, phase->epoch, order.step, order.rank);
    return 0;
}

/* Images of a full optimiser step. */
static uint64_t full_step(const struct tr_trainer *t, const struct im_phase *phase)
{
    return (uint64_t)phase->batch_size * t->child->plan->window;
}

/* While a GPU is busy: starts to copy the next batch of the pass, if it is complete. */
static int prefetch(struct tr_trainer *t, const struct tr_ring_batch *b, struct im_text *text)
{
    uint32_t place;
    const struct im_child *child = t->child;
    const uint64_t g = b->g + 1;
    const uint32_t count = t->cuda && g < b->phase->first_batch + b->phase->steps
                               ? im_plan_batch_count(child->plan, g, child->index)
                               : 0;
    struct im_batch_view view;

    if (count == 0 || im_batch_done(child->run, child->index, g, 0, count) < count)
        return 0;
    im_run_batch_view(child->run, child->index, g, &view);
    if (!read_places(t, b->phase, g, count, &view, &t->next, &place))
        return 0; /* when its step comes, it is judged */
    return tr_network_prefetch(
        t->net, &(struct tr_batch){.pixels = view.pixels, .n = (int)count, .size = (int)b->phase->image_size},
        text);
}

/* Returns the slots to the ring; the batch must not be read afterwards. */
static void release_slots(const struct tr_trainer *t, struct tr_ring_batch *b)
{
    if (!b->released)
        im_batch_free(t->child->run, t->child->index, b->g);
    b->released = true;
}

static bool is_last(const struct tr_ring_batch *b)
{
    return b->g + 1 == b->phase->first_batch + b->phase->steps;
}

/* The gradients of all ranks' samples, with which the window has `weight`, and the same update everywhere. A
 * prefetched batch is released while the device computes on it, so that augmenters refill its slots
 * meanwhile. Should this process die before the step's end, the batch is delivered again, as all since the
 * last snapshot are. */
static int begin_training(struct tr_trainer *t, struct tr_ring_batch *b, double weight, struct im_text *text)
{
    int err = (t->in_flight ? tr_training_step_begin_ahead : tr_training_step_begin)(
        &t->training_step, &t->at, &b->batch, weight, full_step(t, b->phase), is_last(b), text);

    t->ranks.shared = false;
    if (err == 0)
        err = prefetch(t, b, text);
    if (err == 0 && tr_network_input_consumed(t->net))
        release_slots(t, b);
    return tr_ranks_resolve_error(&t->ranks, err, text);
}

/* Of images with several labels, for the end of the pass. */
static int keep_logits(struct tr_trainer *t, const struct tr_ring_batch *b, enum tr_weights weights,
                       const float *logits, struct im_text *text)
{
    const struct tr_scored_batch scored = {.places = t->places.positions,
                                           .labels = b->batch.labels,
                                           .valid = b->batch.valid,
                                           .logits = logits,
                                           .n = b->batch.n,
                                           .pass = t->at.epochs};

    return tr_is_multi_label(&t->multi) ? tr_multi_label_write(&t->multi, weights, &scored, text) : 0;
}

/* For the tables of each class. */
static void keep_taken(struct tr_trainer *t, const struct tr_ring_batch *b, enum tr_weights weights)
{
    tr_per_class_write(&t->per_class, weights,
                       &(struct tr_taken){.places = t->places.positions,
                                          .labels = b->batch.labels,
                                          .valid = b->batch.valid,
                                          .n = b->batch.n,
                                          .pass = t->at.epochs});
}

/* Adds to the sums, with the current or the averaged weights. */
static int evaluate_with(struct tr_trainer *t, const struct tr_ring_batch *b, bool averaged,
                         struct tr_sums *sums, struct im_text *text)
{
    const enum tr_weights weights = averaged ? TR_AVERAGED : TR_PLAIN;
    const bool tables = t->per_class.is_on;
    struct tr_tally tally = {0};
    int err = 0;

    if (b->count > 0)
        err = tr_network_evaluate(t->net, &b->batch, averaged, tables ? t->per_class.logits : t->multi.logits,
                                  &tally, text);
    if (err == 0 && b->count > 0 && tables)
        keep_taken(t, b, weights);
    if (err == 0 && b->count > 0)
        err = keep_logits(t, b, weights, t->multi.logits, text);
    return err ? err : tr_ranks_add_tally(&t->ranks, &tally, sums);
}

/* The same, and what became of each image. */
static int evaluate_images(struct tr_trainer *t, const struct tr_ring_batch *b, struct im_text *text)
{
    const struct tr_outcome_places at = {t->places.positions, t->places.samples, t->places.verdicts};
    struct tr_tally tally = {0};
    int err = 0;

    if (b->count > 0)
        err = tr_outcomes_evaluate(&t->outcomes, t->net, &b->batch, &at, &tally, text);
    if (err == 0 && b->count > 0)
        err = keep_logits(t, b, TR_PLAIN, t->outcomes.logits, text);
    return err ? err : tr_ranks_add_tally(&t->ranks, &tally, &t->at.sums[IM_VAL]);
}

static int evaluate_batch(struct tr_trainer *t, const struct tr_ring_batch *b, struct im_text *text)
{
    int err = t->child->conf->evaluate ? evaluate_images(t, b, text)
                                       : evaluate_with(t, b, false, &t->at.sums[IM_VAL], text);

    return err || !(t->child->conf->ema > 0) ? err : evaluate_with(t, b, true, &t->at.ema, text);
}

/* With --elastic drop: how far the pass has come. Returns the samples of the step, of all ranks. */
static uint64_t count_step(struct tr_trainer *t, const struct tr_ring_batch *b)
{
    const struct im_plan *plan = t->child->plan;
    uint64_t from, before = t->at.order;

    if (t->child->conf->elastic != IM_ELASTIC_DROP)
        return im_plan_step_count(plan, b->g);
    from = im_plan_order_at(plan, b->phase, b->g);
    t->at.order = is_last(b) ? 0 : im_plan_order_at(plan, b->phase, b->g + 1);
    return im_plan_step_count(plan, b->g) -
           (before > from ? im_plan_order_samples(plan, b->phase, from, before, true) : 0);
}

/* Finishes a step: releases the batch, advances the position. */
static void finish_batch(struct tr_trainer *t, struct tr_ring_batch *b)
{
    struct im_child *child = t->child;

    t->at.next_batch = b->g + 1;
    if (b->phase->split == IM_TRAIN)
        t->at.train_samples += count_step(t, b);
    IM_FAULT("trainer.step.done");
    release_slots(t, b);
    atomic_store_explicit(&child->entry->position, b->g + 2, memory_order_release);
    atomic_fetch_add_explicit(&child->entry->progress, 1, memory_order_relaxed);
    im_stats_add(child->stats, IM_C_SAMPLES, b->count);
    im_stats_add(child->stats, IM_C_BATCHES, 1);
    im_stats_add(child->stats, IM_C_BAD, b->count - b->valid);
    im_stats_since(child->stats, IM_H_ITEM, b->began);
}

/* All ranks have agreed on its step. */
static int enter(struct tr_trainer *t, struct tr_ring_batch *b, struct im_text *text)
{
    struct im_child *child = t->child;
    int err =
        im_ledger_enter(child->run, (enum im_split)b->phase->split, (uint32_t)(b->phase - child->plan->phase),
                        t->places.samples, t->places.verdicts, b->count);

    b->began = im_now();
    if (err < 0)
        return im_fail(text, err, "batch %" PRIu64 " holds a sample that does not exist", b->g);
    tr_first_batch_keep(t, b);
    return 0;
}

int tr_batch_validate(struct tr_trainer *t, struct tr_ring_batch *b, struct im_text *text)
{
    int err = enter(t, b, text);

    if (err == 0)
        err = evaluate_batch(t, b, text);
    if (err == 0)
        finish_batch(t, b);
    return err;
}

int tr_batch_land(struct tr_trainer *t, struct im_text *text)
{
    struct tr_ring_batch *b = &t->flying;
    const struct im_conf *conf = t->child->conf;
    struct tr_step_result step = {0};
    int err;

    if (!t->in_flight)
        return 0;
    t->in_flight = false;
    tr_ranks_begin_wait(&t->ranks);
    err = tr_training_step_end(&t->training_step, &t->at, is_last(b), &step, text);
    err = tr_ranks_resolve_error(&t->ranks, err, text);
    if (err)
        return err;
    finish_batch(t, b);
    if (!step.ended)
        return 0;
    t->at.window_order = t->at.order;
    t->lr = step.lr;
    if (conf->lr_range_test)
        t->lr_range_done = im_lr_range_add(&t->smooth, step.loss) || t->at.steps >= (uint64_t)conf->num_iter;
    return tr_trainer_leads(t) ? tr_report_step(&t->report, &t->at, &step, text) : 0;
}

int tr_batch_train(struct tr_trainer *t, struct tr_ring_batch *b, double weight, struct im_text *text)
{
    int err = t->in_flight && !tr_training_step_goes_ahead(&t->training_step, &b->batch)
                  ? tr_batch_land(t, text)
                  : 0;

    if (err == 0)
        err = enter(t, b, text);
    if (err == 0)
        err = tr_trainer_whiten(t, b, text);
    if (err == 0)
        err = begin_training(t, b, weight, text);
    if (err)
        return err;
    if (t->in_flight) {
        t->steps_ahead++;
        err = tr_batch_land(t, text);
        b->began = im_now();
    }
    t->flying = *b;
    t->in_flight = err == 0;
    return err;
}
