/* Two triggers, either may be off: seconds since the last snapshot, and batches since it (an exact bound on
 * the work lost by a crash, whatever a step takes).
 *
 * The trainer's own thread takes the snapshot: the copy must be consistent between two steps, and on a CPU a
 * second thread would slow down the step anyway. Its share of the time is bounded: after a snapshot that took
 * s seconds, the next one by time comes no sooner than TR_SNAPSHOT_SHARE * s later. */
#include "trainer/checkpoint/snapshot.h"

#include <errno.h>
#include <inttypes.h>

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
    err = im_snapshot_open(child->snapshot_fd, bytes, &opened.memory, &why);
    if (err == -EFBIG) /* more than this machine, or a limit of it, lets one have */
        err = -ENODEV;
    if (err < 0)
        return im_fail(text, err, "%s; --snapshot-interval 0 --snapshot-steps 0 disables snapshots", why.s);
    im_stats_gauge(child->stats, IM_G_SNAPSHOT_BYTES, (double)opened.memory.segment.bytes);
    opened.due_at = after_death ? im_now() : later(&opened, 0);
    opened.early_ns = after_death ? TR_SNAPSHOT_EARLY_NS : 0;
    *s = opened;
    return 0;
}

void tr_snapshot_close(struct tr_snapshot *s)
{
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
    return (s->batches && next_batch - s->last_batch >= s->batches) ||
           ((s->interval_ns || s->early_ns) && im_now() >= s->due_at);
}

static int append_bytes(void *context, const void *bytes, size_t n, struct im_text *text)
{
    return im_snapshot_append(context, bytes, n, text);
}

int tr_snapshot_take(struct tr_snapshot *s, struct tr_state *state, const struct tr_position_text *position,
                     uint64_t next_batch, struct im_text *text)
{
    const struct tr_sink sink = {.context = &s->memory, .write = append_bytes};
    im_ns began = im_now(), cost;
    int err;

    im_snapshot_begin(&s->memory);
    err = tr_state_put(state, "the snapshot", &sink, position, text);
    if (err < 0)
        return err;
    im_snapshot_commit(&s->memory);
    cost = im_now() - began;
    s->last_batch = next_batch;
    s->due_at = later(s, cost);
    im_stats_add(s->child->stats, IM_C_SNAPSHOTS, 1);
    im_stats_gauge(s->child->stats, IM_G_SNAPSHOT_SECONDS, (double)cost / 1e9);
    return 0;
}

void tr_snapshot_forget(struct tr_snapshot *s)
{
    if (s->child)
        im_snapshot_forget(&s->memory);
}

void tr_snapshot_saved(struct tr_snapshot *s, uint64_t next_batch)
{
    if (!s->child)
        return;
    s->last_batch = next_batch;
    s->due_at = later(s, 0);
}
