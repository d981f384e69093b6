/* Saves the state of the trainer: checkpoints on disk and the snapshot in shared memory. Both hold the
 * position, with the time spent until now. */
#include "trainer/impl.h"

#include "ipc/base/fault.h"
#include "trainer/checkpoint/times.h"

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
    int err;

    if (t->child->conf->lr_range_test) /* a range test that dies restarts */
        return 0;
    err = tr_ranks_compare(&t->ranks, &t->state, t->at.steps, text);
    if (err || !tr_trainer_leads(t))
        return err;
    IM_FAULT("trainer.save.before");
    err = im_child_should_leave(t->child);
    if (err)
        return err == IM_EXIT_RESUMABLE ? IM_EXIT_FORCED : err;
    tr_trainer_position(t, &position);
    tr_trainer_begin_stage(t, "save");
    err = tr_state_save(&t->state, &t->store, &position, epoch, best, text);
    if (err == 0 && epoch < 0)
        err = tr_times_write(&t->store, &t->at, text);
    tr_trainer_end_stage(t);
    if (err == 0)
        tr_snapshot_saved(&t->snapshot, t->at.next_batch);
    return err;
}

uint32_t tr_trainer_save_requests(const struct tr_trainer *t)
{
    return atomic_load_explicit(&t->child->run->control->save_requests, memory_order_acquire);
}

int tr_trainer_save_on_request(struct tr_trainer *t, uint32_t requests, bool training, struct im_text *text)
{
    if (requests == t->saves_seen)
        return 0;
    t->saves_seen = requests;
    tr_trainer_count_time(t, training);
    return tr_trainer_save(t, -1, false, text);
}

int tr_trainer_snapshot(struct tr_trainer *t, bool training, struct im_text *text)
{
    struct tr_position_text position;
    int err;

    if (!tr_snapshot_is_due(&t->snapshot, t->at.next_batch))
        return 0;
    tr_trainer_count_time(t, training);
    tr_trainer_position(t, &position);
    tr_position_write_times(&t->at, &position);
    tr_trainer_begin_stage(t, "snapshot");
    err = tr_snapshot_take(&t->snapshot, &t->state, &position, t->at.next_batch, text);
    tr_trainer_end_stage(t);
    return err;
}
