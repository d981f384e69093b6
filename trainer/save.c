/* Saves the state of the trainer: checkpoints on disk and the snapshot in shared memory. Both hold the
 * position, with the time spent until now.
 *
 * A checkpoint that cannot be written stops nobody: the older one stays, a snapshot is taken early, and it is
 * tried again after some seconds, at the next epoch's end and at the next request. One that the file system takes long
 * over is waited for some seconds; then training goes on while a thread writes it (saving.h), and no other is begun.
 * Once it is written it counts as if it had been in time: another one follows only where a later one was asked for. */
#include "trainer/impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ipc/base/fault.h"
#include "ipc/base/log.h"

#define RETRY_FIRST_NS (2 * IM_SECOND) /* after a checkpoint that could not be written; doubled each time */
#define RETRY_LAST_NS (60 * IM_SECOND)
#define LAST_FIRST_NS (IM_SECOND / 5) /* between the tries of the last save; doubled each time */
#define LAST_MOST_NS (5 * IM_SECOND)
#define NAP_NS (100 * IM_MS)           /* of these waits: how often is looked whether to leave */
#define PATIENCE_NS (10 * IM_SECOND)   /* for a checkpoint to be written, before training goes on */
#define STOP_RETRY_NS (10 * IM_SECOND) /* for the last save of a run that is asked to stop */
#define END_RETRY_NS (600 * IM_SECOND) /* for that of a run at its end: only this copy has it all */
#define END_TELL_NS (30 * IM_SECOND)   /* how often that is reported */
#define BLOCKED_TRIES 6                /* of the last save, where a name may not be replaced: no wait helps */
#define LINES_TELL_NS (2 * IM_SECOND)  /* lines of metrics are usually written by then */
#define LINES_WAIT_NS (10 * IM_SECOND) /* for them at the end of a run that has all else */

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

/* How many bytes a checkpoint's state takes; 0: not known. */
static uint64_t bytes_needed(struct tr_trainer *t, const struct tr_position_text *position)
{
    struct im_text text = {""};
    uint64_t bytes = 0;

    return tr_state_bytes_max(&t->state, position, &bytes, &text) < 0 ? 0 : bytes;
}

/* What continuing from there needs is on disk. */
static void note_on_disk(struct tr_trainer *t, const struct tr_position *at)
{
    t->save.is_known = true;
    t->save.saved_batch = at->next_batch;
    t->save.saved_steps = at->steps;
    t->save.saved_epochs = at->epochs;
}

static void note_saved(struct tr_trainer *t)
{
    note_on_disk(t, &t->at);
    tr_snapshot_saved(&t->snapshot, t->at.next_batch);
}

static void copy_best(double to[TR_WEIGHTS], const double from[TR_WEIGHTS])
{
    memcpy(to, from, TR_WEIGHTS * sizeof *to);
}

/* Best of the run is what the files of `best` hold: a best that was not written does not count. */
static void note_failure(struct tr_trainer *t, int epoch, unsigned best,
                         const struct tr_position_text *position, int err, const struct im_text *why)
{
    struct tr_save *s = &t->save;
    const bool lacks_state = !t->store.state_is_saved;
    const bool is_first = s->failures++ == 0, is_news = is_first || (lacks_state && !s->lacks_state);

    s->lacks_state = lacks_state;
    s->delay = is_first ? RETRY_FIRST_NS : 2 * s->delay > RETRY_LAST_NS ? RETRY_LAST_NS : 2 * s->delay;
    s->retry_at = im_now() + s->delay;
    s->next_batch = t->at.next_batch;
    s->epoch = epoch;
    s->best = best;
    s->why = *why;
    s->why_err = err;
    if (best) {
        copy_best(s->top1, t->at.best_top1);
        copy_best(t->at.best_top1, s->before);
    }
    if (!lacks_state)
        note_saved(t);
    else
        t->snapshot.due_at = 0; /* now the only copy of what was trained */
    im_log(
        is_news ? IM_LOG_WARN : IM_LOG_INFO,
        lacks_state
            ? "no checkpoint could be written; training goes on, the older one stays, and it is tried again"
            : "the weights beside a checkpoint could not be written; training goes on, and it is tried again",
        "why=%s bytes_needed=%" PRIu64 " failures=%" PRIu32, im_log_quote(&(struct im_quoted){0}, why->s),
        bytes_needed(t, position), s->failures);
}

static void note_no_failure(struct tr_trainer *t)
{
    struct tr_save *s = &t->save;

    if (s->failures > 0)
        im_log(IM_LOG_WARN, "a checkpoint is written again", "failures=%" PRIu32, s->failures);
    s->failures = 0;
    s->lacks_state = false;
    s->delay = 0;
}

/* Somebody who watches sees that this process lives. > 0: leave. */
static int give_sign_of_life(struct tr_trainer *t)
{
    atomic_fetch_add_explicit(&t->child->entry->progress, 1, memory_order_relaxed);
    return im_child_should_leave(t->child);
}

static void say_silence(const struct tr_trainer *t, struct im_text *why)
{
    im_fail(why, -ETIMEDOUT,
            "writing a checkpoint to %s has taken %" PRIu64
            " s, and it goes on: the file system does not answer",
            t->store.directory, (uint64_t)((im_now() - t->saving.began) / IM_SECOND));
}

static bool is_of(const struct tr_saving_order *order, uint64_t next_batch, int epoch)
{
    return order->at.next_batch == next_batch && (epoch < 0 || order->epoch == epoch);
}

/* The accuracy of the files of `best`, as a late checkpoint has left them. */
static void note_late_best(struct tr_trainer *t, const struct tr_saving_order *order)
{
    for (int w = 0; w < TR_WEIGHTS; w++)
        if (order->best & (1u << w))
            t->at.best_top1[w] = order->at.best_top1[w];
}

/* What the files hold, of one that was written after all. Where the last one that failed was this one, or asked for no more
 * than it has, nothing is left to be made up for. */
static void note_late(struct tr_trainer *t, const struct tr_saving_result *r)
{
    struct tr_save *s = &t->save;
    bool is_all;

    t->store = r->store;
    if (r->err < 0) {
        s->retry_at = im_now();
        s->why = r->why;
        s->why_err = r->err;
        if (r->store.state_is_saved)
            note_on_disk(t, &r->order.at);
        im_log(IM_LOG_WARN, "the checkpoint that took long could not be written; it is tried again", "why=%s",
               im_log_quote(&(struct im_quoted){0}, r->why.s));
        return;
    }
    is_all = is_of(&r->order, s->next_batch, s->epoch) && !(s->best & ~r->order.best);
    note_late_best(t, &r->order);
    im_log(IM_LOG_WARN,
           is_all ? "the checkpoint that took long is written"
                  : "the checkpoint that took long is written; one of what was trained since follows",
           "next_batch=%" PRIu64 " step=%" PRIu64, r->order.at.next_batch, r->order.at.steps);
    note_on_disk(t, &r->order.at); /* a snapshot may be newer */
    if (is_all)
        note_no_failure(t);
    else
        s->retry_at = im_now();
}

/* True: one that took long has been written meanwhile; ret says which. */
static bool look_at_saving(struct tr_trainer *t, struct tr_saving_order *ret)
{
    const im_ns began = t->saving.began;
    struct tr_saving_result late;

    if (!t->saving.job || !tr_saving_wait(&t->saving, 0, &late))
        return false;
    if (late.err == 0) /* a time limit needs the number */
        im_stats_gauge(t->child->stats, IM_G_SAVE_SECONDS, (double)(im_now() - began) / 1e9);
    note_late(t, &late);
    *ret = late.order;
    return late.err == 0;
}

/* 0: written or failed, as *ret says. -ETIMEDOUT: it goes on without us. > 0: leave. */
static int write_in_time(struct tr_trainer *t, struct tr_saving_result *ret)
{
    im_ns until = im_now() + PATIENCE_NS;
    int leave = 0;

    while (!tr_saving_wait(&t->saving, NAP_NS, ret)) {
        leave = give_sign_of_life(t);
        if (leave)
            return leave;
        if (im_now() >= until && tr_saving_set_apart(&t->saving, &t->state) == 0)
            return -ETIMEDOUT;
    }
    return 0;
}

/* The collected state to files. 0, negative errno with a sentence where they could not be written, > 0: leave. */
static int write_checkpoint(struct tr_trainer *t, const struct tr_saving_order *order, struct im_text *why)
{
    struct tr_saving_result result;
    int err = t->saving.job ? -ETIMEDOUT : tr_saving_begin(&t->saving, &t->state, &t->store, order);
    if (err == 0)
        err = write_in_time(t, &result);
    if (err == -ETIMEDOUT)
        say_silence(t, why);
    else if (err < 0)
        im_fail(why, err, "no memory to write a checkpoint");
    if (err)
        return err;
    t->store = result.store;
    *why = result.why;
    return result.err;
}

/* Of `best`, with these accuracies, what is better than the files: a late checkpoint may have brought better ones. */
static unsigned take_best(struct tr_trainer *t, unsigned best, const double top1[TR_WEIGHTS])
{
    unsigned better = 0;

    copy_best(t->save.before, t->at.best_top1);
    for (int w = 0; w < TR_WEIGHTS; w++)
        if ((best & (1u << w)) && top1[w] > t->at.best_top1[w]) {
            better |= 1u << w;
            t->at.best_top1[w] = top1[w];
        }
    return better;
}

/* What is to be saved now: with it what failed at this very position. False: a late checkpoint has it all. */
static bool choose(struct tr_trainer *t, int *epoch, unsigned *best)
{
    struct tr_save *s = &t->save;
    struct tr_saving_order late;
    double top1[TR_WEIGHTS];
    bool is_late;

    copy_best(top1, t->at.best_top1);
    if (*best)
        copy_best(t->at.best_top1, s->before);
    is_late = look_at_saving(t, &late);
    if (s->failures > 0 && s->next_batch == t->at.next_batch) {
        if (*epoch < 0)
            *epoch = s->epoch;
        if (s->best && !*best) {
            *best = s->best;
            copy_best(top1, s->top1);
        }
    }
    *best = take_best(t, *best, top1);
    return !(is_late && s->failures == 0 && *best == 0 && is_of(&late, t->at.next_batch, *epoch));
}

/* Rank 0. A device that cannot be read is an error; a disk that cannot be written is none. > 0: leave. */
static int save_now(struct tr_trainer *t, int epoch, unsigned best, struct im_text *text)
{
    struct tr_saving_order order;
    struct im_text why = {""};
    im_ns began = im_now();
    int err, written = 0;

    if (!choose(t, &epoch, &best))
        return 0;
    tr_report_settle(&t->report); /* lines that the checkpoint says are written */
    order = (struct tr_saving_order){.at = t->at, .epoch = epoch, .best = best};
    tr_trainer_position(t, &order.position);
    im_stats_enter(t->child->stats, IM_WAIT_IO); /* a step's deadline does not hold for a disk */
    tr_trainer_begin_stage(t, "save");
    err = tr_state_collect(&t->state, text);
    if (err == 0)
        written = write_checkpoint(t, &order, &why);
    if (written < 0)
        note_failure(t, epoch, best, &order.position, written, &why);
    if (err == 0 && written == 0) {
        note_no_failure(t);
        note_saved(t);
    }
    tr_trainer_end_stage(t);
    im_stats_enter(t->child->stats, IM_WORK);
    if (t->save.failures == 0)
        im_stats_gauge(t->child->stats, IM_G_SAVE_SECONDS, (double)(im_now() - began) / 1e9);
    return err ? err : written > 0 ? written : 0;
}

static bool is_saved(const struct tr_trainer *t)
{
    return t->save.is_known && t->save.saved_batch == t->at.next_batch;
}

/* Also where this process began from a snapshot, newer than what is on disk. */
static bool must_save(const struct tr_trainer *t)
{
    return t->save.failures > 0 || !is_saved(t);
}

static bool is_stopping(const struct tr_trainer *t)
{
    return im_run_state(t->child->run) == IM_RUN_STOPPING;
}

/* A run that is asked to stop at the position of its last checkpoint needs no other one. */
static bool must_save_now(const struct tr_trainer *t, int epoch)
{
    return epoch >= 0 || !is_stopping(t) || must_save(t) || !tr_checkpoint_is_there(&t->store);
}

/* Waits between two tries, less when somebody asks to stop. Whoever watches sees that this process lives. > 0:
 * leave. */
static int rest(struct tr_trainer *t, im_ns delay)
{
    const struct timespec nap = {.tv_nsec = NAP_NS};
    const bool stopping = is_stopping(t);
    const im_ns until = im_now() + delay;
    int leave = 0;

    im_stats_enter(t->child->stats, IM_WAIT_IO);
    while (!leave && im_now() < until && is_stopping(t) == stopping) {
        nanosleep(&nap, NULL);
        leave = give_sign_of_life(t);
    }
    return leave;
}

/* What a person can do about it. */
static const char *advice(int err)
{
    return err == -ENOSPC || err == -EDQUOT || err == -EFBIG
               ? "make room, and the same command continues from the last checkpoint"
               : "fix that; the same command then continues from the last checkpoint";
}

static int tell_unsaved(const struct tr_trainer *t, struct im_text *text)
{
    const struct tr_save *s = &t->save;
    char saved[160] = "there is no checkpoint";

    if (is_saved(t))
        snprintf(saved, sizeof saved, "the last checkpoint has all that was trained");
    else if (s->is_known)
        snprintf(saved, sizeof saved, "the last checkpoint is that of epoch %" PRIu32 ", step %" PRIu64,
                 s->saved_epochs, s->saved_steps);
    return im_fail(text, -EIO,
                   "NOT SAVED: %s; %s; training went on to epoch %" PRIu32 ", step %" PRIu64 "; %s", s->why.s,
                   saved, t->at.epochs, t->at.steps, advice(s->why_err));
}

/* Training is done and the run is not: whoever looks at the screen must see why. */
static void tell_waiting(const struct tr_trainer *t, bool done, im_ns until)
{
    const bool lines_only = done && !must_save(t);
    const im_ns now = im_now(), left = until > now ? until - now : 0;

    im_log(IM_LOG_WARN,
           lines_only ? "training is done; waiting some seconds for the last lines of metrics"
                      : "training is done; waiting for a place to save; Ctrl-C ends it",
           "why=%s minutes_left=%" PRIu64,
           im_log_quote(&(struct im_quoted){0},
                        lines_only ? "metrics.jsonl or summary.csv takes no lines" : t->save.why.s),
           (uint64_t)((left + 59 * IM_SECOND) / (60 * IM_SECOND)));
}

/* A file that its owner has made immutable, a mount point in its place, another user's in a sticky folder. */
static bool is_blocked(const struct tr_trainer *t)
{
    return t->save.why_err == -EPERM || t->save.why_err == -EBUSY;
}

/* The run ends here, saved if anything of it is: IM_EXIT_RESUMABLE. */
static int end_blocked(const struct tr_trainer *t, struct im_text *text)
{
    if (!t->store.state_is_kept && !is_saved(t))
        return tell_unsaved(t, text);
    im_log(IM_LOG_ERROR,
           "a file of the run may not be replaced; the run ends with all that was trained saved", "why=%s",
           im_log_quote(&(struct im_quoted){0}, t->save.why.s));
    return IM_EXIT_RESUMABLE;
}

int tr_trainer_save_last(struct tr_trainer *t, bool at_the_end, struct im_text *text)
{
    im_ns until = im_now() + (at_the_end ? END_RETRY_NS : STOP_RETRY_NS);
    bool done = !at_the_end, stopping = !at_the_end;
    im_ns delay = LAST_FIRST_NS, lines_at = im_now() + LINES_TELL_NS, tell_at = 0;
    im_ns lines_until = im_now() + LINES_WAIT_NS;
    struct tr_saving_order late;
    int err = 0, blocked = 0;

    if (!tr_trainer_leads(t) || im_conf_is_probe(t->child->conf))
        return at_the_end && tr_trainer_leads(t) ? tr_report_done(&t->report, &t->at, text) : 0;
    for (;;) {
        look_at_saving(t, &late);
        if (must_save(t))
            err = save_now(t, at_the_end ? (int)t->at.epochs : -1, 0, text);
        if (err == 0 && !must_save(t) && !done) {
            t->save.why_err = tr_report_done(&t->report, &t->at, &t->save.why);
            done = t->save.why_err == 0;
            lines_until = im_now() + LINES_WAIT_NS;
        }
        if (err || (!must_save(t) && done && (tr_report_settle(&t->report) || im_now() > lines_until)))
            return err; /* lines that are lost are reported when their files are closed */
        if (is_blocked(t) && ++blocked >= BLOCKED_TRIES)
            return end_blocked(t, text);
        if (!stopping && is_stopping(t)) { /* somebody waits for us */
            stopping = true;
            until = im_now() + STOP_RETRY_NS;
        }
        if (im_now() > until) {
            const bool saved = at_the_end ? !must_save(t) : is_saved(t);

            return saved && done ? 0 : tell_unsaved(t, text);
        }
        if (!stopping && im_now() >= (must_save(t) ? tell_at : lines_at > tell_at ? lines_at : tell_at)) {
            tell_waiting(t, done, done && !must_save(t) ? lines_until : until);
            tell_at = im_now() + END_TELL_NS;
        }
        err = rest(t, delay);
        if (err)
            return err;
        delay = 2 * delay < LAST_MOST_NS ? 2 * delay : LAST_MOST_NS;
    }
}

uint32_t tr_trainer_save_requests(struct tr_trainer *t)
{
    struct tr_saving_order late;

    if (tr_ranks_are_remote(t->child) && !tr_trainer_leads(t)) /* those of rank 0's node count */
        return t->saves_seen;
    look_at_saving(t, &late);
    if (t->save.failures > 0 && !t->saving.job && im_now() >= t->save.retry_at) { /* one under way may do */
        t->save.retries++;
        t->save.retry_at = UINT64_MAX; /* set by the next failure */
    }
    return t->save.retries +
           atomic_load_explicit(&t->child->run->control->save_requests, memory_order_acquire);
}

int tr_trainer_save_on_request(struct tr_trainer *t, uint32_t requests, bool training, struct im_text *text)
{
    int err;

    if (requests == t->saves_seen)
        return 0;
    t->saves_seen = requests;
    tr_trainer_count_time(t, training);
    err = tr_trainer_save(t, -1, 0, text);
    if (err == 0 && tr_trainer_leads(t))
        atomic_store_explicit(&t->child->run->control->save_answers, requests - t->save.retries,
                              memory_order_release);
    return err;
}

/* `whole`: it is complete before the next step. */
static int take_snapshot(struct tr_trainer *t, bool training, bool whole, struct im_text *text)
{
    struct tr_position_text position;
    int err;

    if (tr_trainer_leads(t))
        tr_report_settle(&t->report); /* lines that the snapshot says are written */
    tr_trainer_count_time(t, training);
    tr_trainer_position(t, &position);
    tr_position_write_times(&t->at, &position);
    tr_identity_write(&t->identity, &position);
    tr_trainer_begin_stage(t, "snapshot");
    err = whole ? tr_snapshot_take(&t->snapshot, &t->state, &position, t->at.next_batch, text)
                : tr_snapshot_begin(&t->snapshot, &t->state, &position, t->at.next_batch, text);
    tr_trainer_end_stage(t);
    return err;
}

int tr_trainer_snapshot_advance(struct tr_trainer *t, struct im_text *text)
{
    return tr_snapshot_advance(&t->snapshot, false, text);
}

bool tr_trainer_snapshot_is_due(const struct tr_trainer *t, uint64_t next_batch)
{
    return atomic_load_explicit(&t->child->run->control->snapshot_requests, memory_order_acquire) !=
               t->snapshots_seen ||
           tr_snapshot_is_due(&t->snapshot, next_batch);
}

static uint32_t requests(const struct tr_trainer *t)
{
    return atomic_load_explicit(&t->child->run->control->snapshot_requests, memory_order_acquire);
}

static void answer(struct tr_trainer *t, uint32_t number)
{
    t->snapshots_seen = number;
    atomic_store_explicit(&t->child->run->control->snapshot_answers, number, memory_order_release);
}

/* A request is served also where the last snapshot or checkpoint is of this very position. */
static int snapshot_here(struct tr_trainer *t, bool training, struct im_text *text)
{
    const uint32_t number = requests(t);
    const bool asked = number != t->snapshots_seen;
    const bool whole = asked || tr_snapshot_is_bound(&t->snapshot, t->at.next_batch);
    int err = tr_snapshot_advance(&t->snapshot, asked, text);

    if (err == 0 && (tr_snapshot_is_due(&t->snapshot, t->at.next_batch) ||
                     (asked && tr_snapshot_is_behind(&t->snapshot, t->at.next_batch))))
        err = take_snapshot(t, training, whole, text);
    if (err == 0 && asked && tr_trainer_leads(t))
        answer(t, number);
    return err;
}

/* Every machine's is the same: rank 0's statistics are what a checkpoint has, and validation uses. */
static int snapshot_together(struct tr_trainer *t, bool training, struct im_text *text)
{
    const uint32_t number = requests(t);
    const bool asked = tr_trainer_leads(t) && number != t->snapshots_seen;
    const bool whole = asked || tr_snapshot_is_bound(&t->snapshot, t->at.next_batch);
    int err = tr_ranks_share_statistics(&t->ranks, t->net, text);

    if (err == 0)
        err = tr_snapshot_advance(&t->snapshot, true, text);
    if (err == 0 && tr_snapshot_is_behind(&t->snapshot, t->at.next_batch))
        err = take_snapshot(t, training, whole, text);
    if (err == 0 && asked)
        answer(t, number);
    return err;
}

int tr_trainer_snapshot(struct tr_trainer *t, bool training, bool agreed, struct im_text *text)
{
    if (!tr_ranks_are_remote(t->child))
        return snapshot_here(t, training, text);
    return agreed ? snapshot_together(t, training, text) : tr_snapshot_advance(&t->snapshot, false, text);
}

int tr_trainer_snapshot_paused(struct tr_trainer *t, bool training, struct im_text *text)
{
    return tr_ranks_are_remote(t->child) && !tr_trainer_leads(t) ? 0 : snapshot_here(t, training, text);
}

/* On a machine that has no checkpoint: what rank 0 writes to its disk. */
static int keep_saved(struct tr_trainer *t, struct im_text *text)
{
    int err = tr_snapshot_advance(&t->snapshot, true, text);

    if (err == 0 && tr_snapshot_is_behind(&t->snapshot, t->at.next_batch))
        err = take_snapshot(t, false, true, text);
    return err;
}

int tr_trainer_save(struct tr_trainer *t, int epoch, unsigned best, struct im_text *text)
{
    const bool remote = tr_ranks_are_remote(t->child);
    int err = 0;

    if (im_conf_is_probe(t->child->conf)) /* a range test that dies restarts */
        return 0;
    if (remote && !t->ranks.shared)
        err = tr_ranks_share_statistics(&t->ranks, t->net, text);
    if (err == 0)
        err = tr_ranks_compare(&t->ranks, &t->state, t->at.steps, text);
    if (err <
        0) { /* the snapshots since the last checkpoint were not compared: they may hold the difference */
        tr_snapshot_forget(&t->snapshot);
        tr_ranks_meet(&t->ranks); /* nobody leaves, and is replaced, before that */
    }
    if (err || !tr_trainer_leads(t))
        return err == 0 && remote ? keep_saved(t, text) : err;
    IM_FAULT("trainer.save.before");
    err = im_child_should_leave(t->child);
    if (err == 0 && must_save_now(t, epoch))
        err = save_now(t, epoch, best, text);
    return err == IM_EXIT_RESUMABLE ? IM_EXIT_FORCED : err;
}
