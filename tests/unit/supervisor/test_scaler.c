/* The decisions of --augmenters auto: single ones by table, and whole runs of a simulated pipeline. */
#include "supervisor/scaler.h"

#include <math.h>
#include <string.h>

#include "ipc/base/count.h"
#include "tests/unit/ipc/base/unit.h"

#define TICK (50 * IM_MS)

/* What a supervisor sees for a while without a change. */
struct view {
    const char *what;
    double train_wait, augment_wait, augment_busy, reader_busy;
    bool steady, automatic;
    uint32_t readers, augmenters, cores, max;
    /* What it does with them, within a minute. */
    enum sv_scaled stage;
    uint32_t to; /* 0: nothing */
};

static struct sv_scale_seen seen_of(const struct view *v, im_ns now)
{
    return (struct sv_scale_seen){
        .now = now,
        .steady = v->steady,
        .cores = v->cores,
        .stage =
            {{.count = v->readers, .max = v->max, .automatic = v->automatic, .busy = v->reader_busy},
             {.count = v->augmenters, .max = v->max, .automatic = v->automatic, .busy = v->augment_busy}},
        .augment_wait = v->augment_wait,
        .train_wait = v->train_wait,
        .rate = 100};
}

static const struct view views[] = {
    /*                            train  aug   aug   read                            */
    {"training limits", 0.05, 0.1, 0.60, 0.6, true, true, 1, 4, 16, 32, SV_SCALED_AUGMENTERS, 0},
    {"augmenters limit", 0.38, 0.05, 0.90, 0.2, true, true, 1, 4, 16, 32, SV_SCALED_AUGMENTERS, 6},
    {"one augmenter limits", 0.38, 0.05, 0.90, 0.2, true, true, 1, 1, 16, 32, SV_SCALED_AUGMENTERS, 2},
    {"readers limit", 0.38, 0.7, 0.30, 0.9, true, true, 2, 4, 16, 32, SV_SCALED_READERS, 3},
    {"no more than cores", 0.38, 0.05, 0.90, 0.2, true, true, 1, 4, 5, 32, SV_SCALED_AUGMENTERS, 5},
    {"cores are all taken", 0.38, 0.05, 0.90, 0.2, true, true, 1, 4, 4, 32, SV_SCALED_AUGMENTERS, 0},
    {"no more than there is room", 0.38, 0.05, 0.90, 0.2, true, true, 1, 4, 16, 4, SV_SCALED_AUGMENTERS, 0},
    {"a number that was asked for", 0.38, 0.05, 0.90, 0.2, true, false, 1, 4, 16, 32, SV_SCALED_AUGMENTERS,
     0},
    {"not yet steady", 0.38, 0.05, 0.90, 0.2, false, true, 1, 4, 16, 32, SV_SCALED_AUGMENTERS, 0},
    {"augmenters idle", 0.00, 0.9, 0.05, 0.6, true, true, 1, 8, 16, 32, SV_SCALED_AUGMENTERS, 6},
    {"readers idle", 0.00, 0.1, 0.60, 0.01, true, true, 3, 2, 16, 32, SV_SCALED_READERS, 2},
    {"one of each is left", 0.00, 0.9, 0.05, 0.01, true, true, 1, 1, 16, 32, SV_SCALED_AUGMENTERS, 0},
    {"busy enough to stay", 0.00, 0.3, 0.40, 0.6, true, true, 1, 4, 16, 32, SV_SCALED_AUGMENTERS, 0},
};

/* The first change within a minute. */
static bool first_change(struct sv_scaler *s, const struct view *v, struct sv_scale_change *ret,
                         im_ns *ret_at)
{
    for (im_ns now = IM_SECOND; now < 61 * IM_SECOND; now += TICK) {
        const struct sv_scale_seen seen = seen_of(v, now);

        if (sv_scaler_decide(s, &seen, ret)) {
            *ret_at = now;
            return true;
        }
    }
    return false;
}

static void test_decisions(void **state)
{
    (void)state;
    for (size_t i = 0; i < IM_COUNT(views); i++) {
        const struct view *v = &views[i];
        struct sv_scaler s = {0};
        struct sv_scale_change change = {0};
        im_ns at = 0;
        bool changed = first_change(&s, v, &change, &at);

        if (changed != (v->to != 0) || (changed && (change.what != v->stage || change.to != v->to)))
            fail_msg("%s: %s %d to %u", v->what, changed ? "changed" : "unchanged", change.what, change.to);
        if (changed) {
            im_ns hold = change.why == SV_SCALE_GROW ? SV_SCALE_GROW_HOLD : SV_SCALE_SHRINK_HOLD;

            assert_int_equal(at, IM_SECOND + hold); /* not before it has held, and then at once */
        }
    }
}

/* A condition that comes and goes is none. */
static void test_a_wait_that_does_not_hold_changes_nothing(void **state)
{
    struct sv_scaler s = {0};
    struct sv_scale_change change;

    (void)state;
    for (im_ns now = IM_SECOND; now < 300 * IM_SECOND; now += TICK) {
        struct view v = views[1];
        struct sv_scale_seen seen;

        if (now / IM_SECOND % 5 == 0)
            v.train_wait = 0.05;
        seen = seen_of(&v, now);
        assert_false(sv_scaler_decide(&s, &seen, &change));
    }
}

/* A pipeline: each stage can do so many images/s. An augmenter beyond `useful` brings nothing. */
struct pipeline {
    double reader, augmenter, train; /* images/s of one reader, one augmenter, the trainers */
    uint32_t useful;
    uint32_t count[SV_SCALED];
};

static double least(double a, double b)
{
    return a < b ? a : b;
}

static struct sv_scale_seen look(const struct pipeline *p, im_ns now, uint32_t cores)
{
    uint32_t working = p->count[1] < p->useful ? p->count[1] : p->useful;
    double read = p->reader * p->count[0], augment = p->augmenter * working;
    double rate = least(least(read, augment), p->train);

    return (struct sv_scale_seen){
        .now = now,
        .steady = true,
        .cores = cores,
        .stage = {{.count = p->count[0], .max = 64, .automatic = true, .busy = rate / read},
                  {.count = p->count[1], .max = 64, .automatic = true, .busy = rate / augment}},
        .augment_wait = read <= augment && read < p->train ? 1 - rate / augment : 0,
        .train_wait = 1 - rate / p->train,
        .rate = rate};
}

/* Plays `seconds`; returns how many changes were made. */
static int play(struct pipeline *p, struct sv_scaler *s, uint32_t cores, im_ns from, im_ns seconds)
{
    int changes = 0;

    for (im_ns now = from; now < from + seconds * IM_SECOND; now += TICK) {
        const struct sv_scale_seen seen = look(p, now, cores);
        struct sv_scale_change change;

        if (!sv_scaler_decide(s, &seen, &change))
            continue;
        assert_int_equal(change.from, p->count[change.what]);
        assert_in_range(change.to, 1, cores);
        p->count[change.what] = change.to;
        changes++;
    }
    return changes;
}

/* A GPU takes 5,000 images/s, an augmenter makes 500: ten or a few more of them, and then peace. */
static void test_it_grows_until_training_limits_and_rests(void **state)
{
    struct pipeline p = {.reader = 20000, .augmenter = 500, .train = 5000, .useful = 64, .count = {1, 2}};
    struct sv_scaler s = {0};
    int changes = play(&p, &s, 32, IM_SECOND, 300);

    (void)state;
    assert_in_range(p.count[1], 9, 14);
    assert_in_range(changes, 3, 8);
    assert_int_equal(play(&p, &s, 32, 301 * IM_SECOND, 3600), 0);
    assert_int_equal(p.count[0], 1);
}

static void test_readers_grow_where_files_limit(void **state)
{
    struct pipeline p = {.reader = 800, .augmenter = 1000, .train = 4000, .useful = 64, .count = {1, 4}};
    struct sv_scaler s = {0};

    (void)state;
    play(&p, &s, 32, IM_SECOND, 300);
    assert_in_range(p.count[0], 5, 7);
    assert_in_range(p.count[1], 4, 6);
    assert_int_equal(play(&p, &s, 32, 301 * IM_SECOND, 3600), 0);
}

/* The disk's or memory's limit: more augmenters bring nothing. The change is undone, and tried again seldom. */
static void test_growth_that_does_not_help_is_undone(void **state)
{
    struct pipeline p = {.reader = 20000, .augmenter = 500, .train = 5000, .useful = 4, .count = {1, 4}};
    struct sv_scaler s = {0};
    int changes = play(&p, &s, 32, IM_SECOND, 60);

    (void)state;
    assert_int_equal(changes, 2); /* 4 -> 6 -> 4 */
    assert_int_equal(p.count[1], 4);
    changes = play(&p, &s, 32, 61 * IM_SECOND, 3600);
    assert_in_range(changes, 2, 8); /* after 5, 10, 20 and 40 minutes */
    assert_int_equal(p.count[1], 4);
}

/* A run with far too many gives them back, down to what is needed, and does not take them again. */
static void test_it_shrinks_and_does_not_swing(void **state)
{
    struct pipeline p = {.reader = 20000, .augmenter = 500, .train = 500, .useful = 64, .count = {3, 16}};
    struct sv_scaler s = {0};

    (void)state;
    play(&p, &s, 32, IM_SECOND, 1200);
    assert_in_range(p.count[1], 2, 3);
    assert_int_equal(p.count[0], 1);
    assert_int_equal(play(&p, &s, 32, 1201 * IM_SECOND, 3600), 0);
}

/* Images grow during a run (--resize-schedule): an augmenter makes fewer, and more of them are needed. */
static void test_it_follows_a_run_that_changes(void **state)
{
    struct pipeline p = {.reader = 20000, .augmenter = 1000, .train = 3000, .useful = 64, .count = {1, 4}};
    struct sv_scaler s = {0};

    (void)state;
    play(&p, &s, 32, IM_SECOND, 600);
    assert_in_range(p.count[1], 3, 5);
    p.augmenter = 250;
    play(&p, &s, 32, 601 * IM_SECOND, 600);
    assert_in_range(p.count[1], 11, 16);
}

/* Somebody else's change in between (imsuper scale) is not undone. */
static void test_a_change_by_hand_is_not_undone(void **state)
{
    struct view v = views[1];
    struct sv_scaler s = {0};
    struct sv_scale_change change;
    im_ns at = 0;

    (void)state;
    assert_true(first_change(&s, &v, &change, &at));
    v.augmenters = 9;
    v.automatic = false;
    for (im_ns now = at; now < at + 60 * IM_SECOND; now += TICK) {
        const struct sv_scale_seen seen = seen_of(&v, now);

        assert_false(sv_scaler_decide(&s, &seen, &change));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_a_wait_that_does_not_hold_changes_nothing),
        cmocka_unit_test(test_it_grows_until_training_limits_and_rests),
        cmocka_unit_test(test_readers_grow_where_files_limit),
        cmocka_unit_test(test_growth_that_does_not_help_is_undone),
        cmocka_unit_test(test_it_shrinks_and_does_not_swing),
        cmocka_unit_test(test_it_follows_a_run_that_changes),
        cmocka_unit_test(test_a_change_by_hand_is_not_undone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
