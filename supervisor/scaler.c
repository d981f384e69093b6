#include "supervisor/scaler.h"

static void forget_conditions(struct sv_scaler *s)
{
    for (int i = 0; i < SV_SCALED; i++)
        s->grow_since[i] = s->shrink_since[i] = 0;
}

/* Keeps since when a condition holds; returns whether it has held for `hold`. */
static bool has_held(im_ns *since, bool holds, im_ns now, im_ns hold)
{
    if (!holds) {
        *since = 0;
        return false;
    }
    if (*since == 0)
        *since = now;
    return now - *since >= hold;
}

static bool scaler_begin(struct sv_scaler *s, const struct sv_scale_seen *seen,
                         const struct sv_scale_change *change, struct sv_scale_change *ret)
{
    forget_conditions(s);
    s->judging = change->why != SV_SCALE_UNDO;
    s->judge_at = seen->now + SV_SCALE_SETTLE;
    s->last = *change;
    *ret = *change;
    return true;
}

/* Did the last change do harm, or no good? */
static bool was_wrong(const struct sv_scale_change *last, const struct sv_scale_seen *seen)
{
    if (last->why == SV_SCALE_GROW)
        return seen->train_wait >= SV_SCALE_WAIT && seen->rate < SV_SCALE_GAIN * last->rate_before;
    return seen->train_wait >= SV_SCALE_WAIT / 2 || SV_SCALE_GAIN * seen->rate < last->rate_before;
}

static bool undo(struct sv_scaler *s, const struct sv_scale_seen *seen, struct sv_scale_change *ret)
{
    const struct sv_scale_change last = s->last;
    int direction = last.why == SV_SCALE_SHRINK;
    im_ns *rest = &s->rest[last.what][direction];

    s->judging = false;
    if (seen->stage[last.what].count != last.to || !seen->stage[last.what].automatic ||
        !was_wrong(&last, seen)) {
        *rest = 0;
        return false;
    }
    *rest = *rest == 0 ? SV_SCALE_REST : 2 * *rest < SV_SCALE_REST_MAX ? 2 * *rest : SV_SCALE_REST_MAX;
    s->rest_until[last.what][direction] = seen->now + *rest;
    return scaler_begin(s, seen,
                        &(struct sv_scale_change){.what = last.what,
                                                  .why = SV_SCALE_UNDO,
                                                  .from = last.to,
                                                  .to = last.from,
                                                  .rate_before = last.rate_before},
                        ret);
}

static uint32_t cap_of(const struct sv_scale_seen *seen, enum sv_scaled what)
{
    return seen->stage[what].max < seen->cores ? seen->stage[what].max : seen->cores;
}

static bool grow(struct sv_scaler *s, const struct sv_scale_seen *seen, struct sv_scale_change *ret)
{
    const enum sv_scaled limit =
        seen->augment_wait >= SV_SCALE_FILES ? SV_SCALED_READERS : SV_SCALED_AUGMENTERS;

    for (int i = 0; i < SV_SCALED; i++) {
        const enum sv_scaled what = (enum sv_scaled)i;
        uint32_t count = seen->stage[i].count, cap = cap_of(seen, what), to;
        bool limits = seen->train_wait >= SV_SCALE_WAIT && what == limit;

        if (!has_held(&s->grow_since[i], limits, seen->now, SV_SCALE_GROW_HOLD) ||
            !seen->stage[i].automatic || count >= cap || seen->now < s->rest_until[i][0])
            continue;
        to = count + (count / 2 > 0 ? count / 2 : 1);
        return scaler_begin(s, seen,
                            &(struct sv_scale_change){.what = what,
                                                      .why = SV_SCALE_GROW,
                                                      .from = count,
                                                      .to = to < cap ? to : cap,
                                                      .rate_before = seen->rate},
                            ret);
    }
    return false;
}

static bool shrink(struct sv_scaler *s, const struct sv_scale_seen *seen, struct sv_scale_change *ret)
{
    for (int i = 0; i < SV_SCALED; i++) {
        uint32_t count = seen->stage[i].count, to = count - (count / 4 > 0 ? count / 4 : 1);
        bool light = count > 1 && seen->train_wait < SV_SCALE_CALM &&
                     seen->stage[i].busy * count <= SV_SCALE_LIGHT * to;

        if (!has_held(&s->shrink_since[i], light, seen->now, SV_SCALE_SHRINK_HOLD) ||
            !seen->stage[i].automatic || seen->now < s->rest_until[i][1])
            continue;
        return scaler_begin(s, seen,
                            &(struct sv_scale_change){.what = (enum sv_scaled)i,
                                                      .why = SV_SCALE_SHRINK,
                                                      .from = count,
                                                      .to = to,
                                                      .rate_before = seen->rate},
                            ret);
    }
    return false;
}

bool sv_scaler_decide(struct sv_scaler *s, const struct sv_scale_seen *seen, struct sv_scale_change *ret)
{
    if (!seen->steady) {
        forget_conditions(s);
        s->judge_at = seen->now + SV_SCALE_SETTLE;
        return false;
    }
    if (seen->now < s->judge_at)
        return false;
    if (s->judging && undo(s, seen, ret))
        return true;
    return grow(s, seen, ret) || shrink(s, seen, ret);
}
