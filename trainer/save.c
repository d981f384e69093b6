/* Saves the state of the trainer: checkpoints on disk and the snapshot in shared memory. Both hold the
 * position, with the time spent until now. */
#include "trainer/impl.h"

#include "ipc/base/fault.h"

void tr_trainer_position(const struct tr_trainer *t, struct tr_position_text *ret)
{
    tr_position_write(&t->at, t->child->conf, t->child->plan, t->child->run->geometry.samples, ret);
}

void tr_trainer_count_time(struct tr_trainer *t, bool training)
{
    im_ns now = im_now();
    double seconds = (double)(now - t->epoch_mark) / 1e9;

    t->epoch_mark = now;
    t->at.epoch_seconds += seconds;
    if (training)
        t->at.train_seconds += seconds;
}

int tr_trainer_save(struct tr_trainer *t, int epoch, bool best, struct im_text *text)
{
    struct tr_position_text position;
    im_ns began = im_now();
    int err;

    if (t->child->conf->lr_range_test) /* a range test that dies restarts */
        return 0;
    err = tr_ranks_compare(&t->ranks, &t->state, t->at.steps, text);
    if (err <
        0) { /* the snapshots since the last checkpoint were not compared: they may hold the difference */
        tr_snapshot_forget(&t->snapshot);
        tr_ranks_meet(&t->ranks); /* nobody leaves, and is replaced, before that */
    }
    if (err || !tr_trainer_leads(t))
        return err;
    IM_FAULT("trainer.save.before");
    err = im_child_should_leave(t->child);
    if (err)
        return err == IM_EXIT_RESUMABLE ? IM_EXIT_FORCED : err;
    tr_trainer_position(t, &position);
    im_stats_enter(t->child->stats, IM_WAIT_IO); /* a step's deadline does not hold for a disk */
    tr_trainer_begin_stage(t, "save");
    err = tr_state_save(&t->state, &t->store, &position, epoch, best, text);
    tr_trainer_end_stage(t);
    im_stats_enter(t->child->stats, IM_WORK);
    if (err == 0) {
        im_stats_gauge(t->child->stats, IM_G_SAVE_SECONDS, (double)(im_now() - began) / 1e9);
        tr_snapshot_saved(&t->snapshot, t->at.next_batch);
    }
    return err;
}

uint32_t tr_trainer_save_requests(const struct tr_trainer *t)
{
    return atomic_load_explicit(&t->child->run->control->save_requests, memory_order_acquire);
}

int tr_trainer_save_on_request(struct tr_trainer *t, uint32_t requests, bool training, struct im_text *text)
{
    int err;

    if (requests == t->saves_seen)
        return 0;
    t->saves_seen = requests;
    tr_trainer_count_time(t, training);
    err = tr_trainer_save(t, -1, false, text);
    if (err == 0 && tr_trainer_leads(t))
        atomic_store_explicit(&t->child->run->control->save_answers, requests, memory_order_release);
    return err;
}

static int take_snapshot(struct tr_trainer *t, bool training, struct im_text *text)
{
    struct tr_position_text position;
    int err;

    tr_trainer_count_time(t, training);
    tr_trainer_position(t, &position);
    tr_trainer_begin_stage(t, "snapshot");
    err = tr_snapshot_take(&t->snapshot, &t->state, &position, t->at.next_batch, text);
    tr_trainer_end_stage(t);
    return err;
}

/* A request is served also where the last snapshot or checkpoint is of this very position. */
int tr_trainer_snapshot(struct tr_trainer *t, bool training, struct im_text *text)
{
    struct im_control *c = t->child->run->control;
    uint32_t requests = atomic_load_explicit(&c->snapshot_requests, memory_order_acquire);
    bool asked = requests != t->snapshots_seen;
    int err = 0;

    if (tr_snapshot_is_due(&t->snapshot, t->at.next_batch) ||
        (asked && tr_snapshot_is_behind(&t->snapshot, t->at.next_batch)))
        err = take_snapshot(t, training, text);
    if (err == 0 && asked && tr_trainer_leads(t)) {
        t->snapshots_seen = requests;
        atomic_store_explicit(&c->snapshot_answers, requests, memory_order_release);
    }
    return err;
}
