/* Schedules against PyTorch's and FFCV's, case by case of tests/golden/schedule.txt; then what no
 * library has: epochs of different lengths, and rates scaled by the batch. */
#include <errno.h>
#include <math.h>

#include "ipc/base/err.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/optim/schedule.h"

enum { EPOCHS_MAX = 64, LINE_BYTES = 1 << 16 };

static struct im_conf conf_of(const char *keys)
{
    struct im_conf conf;
    struct im_text text = {""};
    char copy[512], *rest = copy;

    im_conf_defaults(&conf);
    snprintf(copy, sizeof copy, "%s", keys);
    for (char *word = strtok_r(rest, " ", &rest); word; word = strtok_r(rest, " ", &rest)) {
        char *value = strchr(word, '=');

        assert_non_null(value);
        *value = '\0';
        if (im_conf_set(&conf, word, value + 1, &text) < 0)
            fail_msg("%s", text.s);
    }
    if (im_conf_check(&conf, &text) < 0)
        fail_msg("%s: %s", keys, text.s);
    return conf;
}

static int init(struct tr_schedule *s, const struct im_conf *conf, uint32_t steps, struct im_text *text)
{
    struct tr_schedule_epoch epoch[EPOCHS_MAX];

    assert_in_range(conf->epochs, 1, EPOCHS_MAX);
    for (int i = 0; i < conf->epochs; i++)
        epoch[i] = (struct tr_schedule_epoch){.steps = steps, .images = 256};
    return tr_schedule_init(s, conf, epoch, (uint32_t)conf->epochs, text);
}

/* The numbers in `list` up to its end or a bar, against rate(s, 0), rate(s, 1), ...; returns how many. */
static uint64_t assert_numbers(const char *name, const struct tr_schedule *s, char **list,
                               double (*rate)(const struct tr_schedule *s, uint64_t step))
{
    uint64_t step = 0;

    for (;; step++) {
        char *end;
        double want = strtod(*list, &end), got = rate(s, step);

        if (end == *list)
            break;
        if (fabs(got - want) > 1e-14)
            fail_msg("%s, step %d: %.17g, expected %.17g", name, (int)step, got, want);
        *list = end;
    }
    *list += strspn(*list, " ");
    return step;
}

static void every_schedule_is_its_originals(void **state)
{
    FILE *f = fopen(GOLDEN_DIR "/schedule.txt", "re");
    char *line = malloc(LINE_BYTES);
    int cases = 0, momenta = 0;

    (void)state;
    assert_non_null(f);
    for (; fgets(line, LINE_BYTES, f); cases++) {
        char name[32], *keys, *numbers = strstr(line, " : ");
        struct im_text text = {""};
        struct im_conf conf;
        struct tr_schedule s;
        uint32_t steps = 0;
        int used = 0;

        assert_non_null(numbers);
        *numbers = '\0';
        numbers += 3;
        assert_int_equal(sscanf(line, "%31s %u %n", name, &steps, &used), 2);
        keys = line + used;
        conf = conf_of(keys);
        if (init(&s, &conf, steps, &text) < 0)
            fail_msg("%s: %s", keys, text.s);
        assert_int_equal(assert_numbers(keys, &s, &numbers, tr_schedule_lr), (uint64_t)conf.epochs * steps);
        if (*numbers++ == '|') {
            assert_int_equal(assert_numbers(keys, &s, &numbers, tr_schedule_momentum),
                             (uint64_t)conf.epochs * steps);
            momenta++;
        }
        tr_schedule_fini(&s);
    }
    fclose(f);
    free(line);
    assert_in_range(cases, 20, 1000);
    assert_in_range(momenta, 9, 1000);
}

static double rate_at(const char *keys, uint32_t steps, uint64_t step)
{
    struct im_conf conf = conf_of(keys);
    struct im_text text = {""};
    struct tr_schedule s;
    double lr;

    assert_int_equal(init(&s, &conf, steps, &text), 0);
    lr = tr_schedule_lr(&s, step);
    tr_schedule_fini(&s);
    return lr;
}

/* 3 steps of an epoch at 64 px are too few for onecycle to rise in, though the whole run has enough. */
static void a_course_too_short_for_its_size_is_refused(void **state)
{
    struct im_conf conf =
        conf_of("schedule=onecycle epochs=6 schedule-restarts=true resize-schedule=1-2:32,3:64,4-6:96");
    struct im_text text = {""};
    struct tr_schedule s;

    (void)state;
    assert_int_equal(init(&s, &conf, 3, &text), -EINVAL);
    assert_non_null(strstr(text.s, "of the 3 steps of epochs 3 to 3 is less than two steps of rise"));
    conf.schedule_restarts = false;
    assert_int_equal(init(&s, &conf, 3, &text), 0);
    tr_schedule_fini(&s);
}

static void fractional_warmup_meets_the_cosine_at_its_step(void **state)
{
    const char *keys = "lr=1 epochs=4 warmup-epochs=0.5 warmup-factor=0.2";

    (void)state;
    assert_true(fabs(rate_at(keys, 5, 2) - (0.2 + 0.8 * 2 / 2.5)) < 1e-15);
    assert_true(fabs(rate_at(keys, 5, 3) - 0.5 * (1 + cos(M_PI * 0.5 / 17.5))) < 1e-15);
}

static void after_the_last_step_a_schedule_stays_at_its_end(void **state)
{
    const char *warm = "lr=1 lr-min=0.25 epochs=2 warmup-epochs=2 warmup-factor=0.5";

    (void)state;
    assert_true(rate_at(warm, 2, 3) == 0.875);
    assert_true(rate_at(warm, 2, 4) == 0.25); /* all of it was warm-up: nothing is divided by zero */
    assert_true(rate_at(warm, 2, UINT64_MAX) == 0.25);
    assert_true(rate_at("schedule=onecycle lr=1 epochs=4", 5, UINT64_MAX) ==
                rate_at("schedule=onecycle lr=1 epochs=4", 5, 19));
    assert_true(rate_at("schedule=triangular lr=1 epochs=4", 5, 20) == 0);
    assert_true(rate_at("schedule=step step-epochs=2 lr=1 epochs=4", 5, UINT64_MAX) == 0.1 * 0.1);
}

/* 2 epochs of 10 steps, 2 of 20: the cosine runs over all 60, and half of it is at step 30. */
static void epochs_of_different_lengths_count_by_their_steps(void **state)
{
    static const struct tr_schedule_epoch epoch[] = {{10, 256}, {10, 256}, {20, 128}, {20, 128}};
    struct im_conf conf = conf_of("lr=1 epochs=4");
    struct im_text text = {""};
    struct tr_schedule s;

    (void)state;
    assert_int_equal(tr_schedule_init(&s, &conf, epoch, 4, &text), 0);
    assert_true(fabs(tr_schedule_lr(&s, 30) - 0.5) < 1e-15);
    tr_schedule_fini(&s);

    conf = conf_of("lr=1 epochs=4 schedule=multistep milestones=3 warmup-epochs=2.5 warmup-factor=0.4");
    assert_int_equal(tr_schedule_init(&s, &conf, epoch, 4, &text), 0);
    assert_true(fabs(tr_schedule_lr(&s, 15) - 0.7) < 1e-15); /* warm-up: 10 + 10 + 20 / 2 steps */
    assert_true(tr_schedule_lr(&s, 30) == 1);
    assert_true(tr_schedule_lr(&s, 39) == 1);
    assert_true(tr_schedule_lr(&s, 40) == 0.1);
    tr_schedule_fini(&s);
}

/* Two epochs of 13 batches, for which two ranks take seven steps each. After three steps one is gone: a step takes one batch,
 * and two of its steps are where one was. Then three take three at a time. */
static void with_fewer_batches_a_step_the_rate_is_that_of_the_same_place(void **state)
{
    static const uint64_t batches[] = {13, 13};
    static const struct tr_schedule_epoch epoch[] = {{13, 256}, {13, 256}};
    struct tr_schedule_pace pace = {
        .taken = 3, .order = 6, .step = 6, .ranks = 1, .order_ranks = 2, .accumulate = 1, .batches = batches};
    struct im_conf conf = conf_of("lr=1 epochs=2 schedule=onecycle cycle-momentum=true");
    struct im_text text = {""};
    struct tr_schedule s, two;

    (void)state;
    assert_int_equal(init(&two, &conf, 7, &text), 0);
    assert_int_equal(tr_schedule_init_paced(&s, &conf, epoch, 2, &pace, &text), 0);
    assert_true(tr_schedule_lr(&s, 2) == tr_schedule_lr(&two, 2)); /* before it */
    for (uint64_t step = 3; step < 10; step++) {
        assert_true(tr_schedule_lr(&s, step) == tr_schedule_lr(&two, 3 + (step - 3) / 2));
        assert_true(tr_schedule_momentum(&s, step) == tr_schedule_momentum(&two, 3 + (step - 3) / 2));
    }
    for (uint64_t step = 10; step < 23; step++) /* the next epoch begins where it began */
        assert_true(tr_schedule_lr(&s, step) == tr_schedule_lr(&two, 7 + (step - 10) / 2));
    assert_true(tr_schedule_lr(&s, 23) == tr_schedule_lr(&two, 14));
    tr_schedule_fini(&s);

    /* From batch 7 on: its step begins with batch 6, which is done. Then 9 and 12, and those of the next epoch. */
    pace = (struct tr_schedule_pace){
        .taken = 4, .order = 7, .step = 2, .ranks = 3, .order_ranks = 2, .accumulate = 1, .batches = batches};
    assert_int_equal(tr_schedule_init_paced(&s, &conf, epoch, 2, &pace, &text), 0);
    assert_true(tr_schedule_lr(&s, 4) == tr_schedule_lr(&two, 3));
    assert_true(tr_schedule_lr(&s, 5) == tr_schedule_lr(&two, 4));
    assert_true(tr_schedule_lr(&s, 6) == tr_schedule_lr(&two, 6));
    assert_true(tr_schedule_lr(&s, 7) == tr_schedule_lr(&two, 7));
    assert_true(tr_schedule_lr(&s, 8) == tr_schedule_lr(&two, 8));
    tr_schedule_fini(&s);
    tr_schedule_fini(&two);
}

static void rates_scale_with_each_epochs_batch(void **state)
{
    static const struct tr_schedule_epoch epoch[] = {{10, 1024}, {10, 64}};
    struct im_conf conf = conf_of("lr=0.1 epochs=2 schedule=constant lr-scale=linear");
    struct im_text text = {""};
    struct tr_schedule s;

    (void)state;
    assert_int_equal(tr_schedule_init(&s, &conf, epoch, 2, &text), 0);
    assert_true(tr_schedule_lr(&s, 9) == 0.1 * 4 && tr_schedule_lr(&s, 10) == 0.1 / 4);
    tr_schedule_fini(&s);
    conf.lr_scale = IM_LR_SCALE_SQRT;
    assert_int_equal(tr_schedule_init(&s, &conf, epoch, 2, &text), 0);
    assert_true(tr_schedule_lr(&s, 9) == 0.1 * 2 && tr_schedule_lr(&s, 10) == 0.1 / 2);
    tr_schedule_fini(&s);
}

static void momentum_cycles_only_where_it_is_asked_for(void **state)
{
    struct im_conf conf = conf_of("schedule=onecycle cycle-momentum=false epochs=5 momentum=0.7");
    struct im_text text = {""};
    struct tr_schedule s;

    (void)state;
    assert_int_equal(init(&s, &conf, 10, &text), 0);
    assert_true(tr_schedule_momentum(&s, 12) == 0.7);
    tr_schedule_fini(&s);
    conf.schedule = IM_SCHEDULE_COSINE;
    conf.cycle_momentum = true;
    assert_int_equal(init(&s, &conf, 10, &text), 0);
    assert_true(tr_schedule_momentum(&s, 12) == 0.7);
    tr_schedule_fini(&s);
}

static void a_rise_without_a_step_is_refused(void **state)
{
    struct im_conf conf = conf_of("schedule=onecycle pct-start=0.1 epochs=5");
    struct im_text text = {""};
    struct tr_schedule s;

    (void)state;
    assert_int_equal(init(&s, &conf, 2, &text), -EINVAL);
    assert_non_null(
        strstr(text.s, "pct-start 0.1 of the 10 steps after warm-up is less than two steps of rise"));
    assert_int_equal(init(&s, &conf, 3, &text), 0);
    tr_schedule_fini(&s);
}

static void an_epoch_without_a_step_is_refused(void **state)
{
    static const struct tr_schedule_epoch epoch[] = {{10, 256}, {0, 256}};
    struct im_conf conf = conf_of("epochs=2");
    struct im_text text = {""};
    struct tr_schedule s;

    (void)state;
    assert_int_equal(tr_schedule_init(&s, &conf, epoch, 2, &text), -EINVAL);
    assert_non_null(strstr(text.s, "epoch 2 has no steps"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_schedule_is_its_originals),
        cmocka_unit_test(a_course_too_short_for_its_size_is_refused),
        cmocka_unit_test(fractional_warmup_meets_the_cosine_at_its_step),
        cmocka_unit_test(after_the_last_step_a_schedule_stays_at_its_end),
        cmocka_unit_test(epochs_of_different_lengths_count_by_their_steps),
        cmocka_unit_test(with_fewer_batches_a_step_the_rate_is_that_of_the_same_place),
        cmocka_unit_test(rates_scale_with_each_epochs_batch),
        cmocka_unit_test(momentum_cycles_only_where_it_is_asked_for),
        cmocka_unit_test(a_rise_without_a_step_is_refused),
        cmocka_unit_test(an_epoch_without_a_step_is_refused),
    };

    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
