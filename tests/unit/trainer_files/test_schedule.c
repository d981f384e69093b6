/* Schedules against PyTorch 2.15's: SequentialLR of LinearLR and CosineAnnealingLR, stepped once a batch, in
 * double. */
#include "trainer/schedule.h"

#include "ipc/base/err.h"
#include "tests/unit/base/unit.h"

#include <errno.h>
#include <math.h>

static void assert_rates(const struct tr_schedule_config *config, const double *want, size_t count)
{
    struct im_text text = {""};
    struct tr_schedule s;

    assert_int_equal(tr_schedule_init(&s, config, &text), 0);
    for (size_t i = 0; i < count; i++)
        if (fabs(tr_schedule_lr(&s, i) - want[i]) > 1e-14)
            fail_msg("step %zu: %.17g, expected %.17g", i, tr_schedule_lr(&s, i), want[i]);
}

static void cosine_with_warmup_is_pytorchs(void **state)
{
    static const double want[] = {0.004,
                                  0.103,
                                  0.202,
                                  0.301,
                                  0.4,
                                  0.384813966736002,
                                  0.341567802846716,
                                  0.276845344756835,
                                  0.2005,
                                  0.124154655243165,
                                  0.0594321971532838,
                                  0.0161860332639983,
                                  0.001};
    const struct tr_schedule_config config = {.kind = TR_SCHEDULE_COSINE,
                                              .lr = 0.4,
                                              .lr_min = 1e-3,
                                              .epochs = 3,
                                              .warmup_epochs = 1,
                                              .warmup_factor = 0.01,
                                              .steps_per_epoch = 4};

    (void)state;
    assert_rates(&config, want, COUNT(want));
}

static void cosine_without_warmup_is_pytorchs(void **state)
{
    static const double want[] = {0.1,  0.0961939766255643, 0.0853553390593274, 0.0691341716182545,
                                  0.05, 0.0308658283817455, 0.0146446609406726, 0.00380602337443566,
                                  0};
    const struct tr_schedule_config config = {
        .kind = TR_SCHEDULE_COSINE, .lr = 0.1, .epochs = 2, .warmup_factor = 1, .steps_per_epoch = 4};

    (void)state;
    assert_rates(&config, want, COUNT(want));
}

static void constant_with_warmup_is_pytorchs(void **state)
{
    static const double want[] = {0.02, 0.08, 0.14, 0.2, 0.2, 0.2, 0.2};
    const struct tr_schedule_config config = {.kind = TR_SCHEDULE_CONSTANT,
                                              .lr = 0.2,
                                              .epochs = 2,
                                              .warmup_epochs = 1,
                                              .warmup_factor = 0.1,
                                              .steps_per_epoch = 3};

    (void)state;
    assert_rates(&config, want, COUNT(want));
}

static void fractional_warmup_meets_the_cosine_at_its_step(void **state)
{
    const struct tr_schedule_config config = {.kind = TR_SCHEDULE_COSINE,
                                              .lr = 1,
                                              .epochs = 4,
                                              .warmup_epochs = 0.5,
                                              .warmup_factor = 0.2,
                                              .steps_per_epoch = 5};
    struct im_text text = {""};
    struct tr_schedule s;

    (void)state;
    assert_int_equal(tr_schedule_init(&s, &config, &text), 0);
    assert_true(fabs(tr_schedule_lr(&s, 2) - (0.2 + 0.8 * 2 / 2.5)) < 1e-15);
    assert_true(fabs(tr_schedule_lr(&s, 3) - 0.5 * (1 + cos(M_PI * 0.5 / 17.5))) < 1e-15);
}

static void after_the_last_step_the_cosine_stays_at_its_end(void **state)
{
    const struct tr_schedule_config config = {.kind = TR_SCHEDULE_COSINE,
                                              .lr = 1,
                                              .lr_min = 0.25,
                                              .epochs = 2,
                                              .warmup_epochs = 2,
                                              .warmup_factor = 0.5,
                                              .steps_per_epoch = 2};
    struct im_text text = {""};
    struct tr_schedule s;

    (void)state;
    assert_int_equal(tr_schedule_init(&s, &config, &text), 0);
    assert_true(tr_schedule_lr(&s, 3) == 0.875);
    assert_true(tr_schedule_lr(&s, 4) == 0.25); /* all of it was warm-up: nothing is divided by zero */
    assert_true(tr_schedule_lr(&s, UINT64_MAX) == 0.25);
}

static void values_out_of_bounds_are_refused_by_name(void **state)
{
    const struct tr_schedule_config good = {.kind = TR_SCHEDULE_COSINE,
                                            .lr = 0.1,
                                            .lr_min = 0.01,
                                            .epochs = 2,
                                            .warmup_epochs = 1,
                                            .warmup_factor = 0.1,
                                            .steps_per_epoch = 10};
    struct tr_schedule_config bad[9];
    const char *says[] = {"learning rate is -1",   "learning rate is nan", "last learning rate is 0.2",
                          "number of epochs is 0", "warm-up epochs is 3",  "warm-up epochs is -1",
                          "first factor is 0",     "first factor is 1.5",  "steps per epoch is 0"};
    struct im_text text;
    struct tr_schedule s;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++)
        bad[i] = good;
    bad[0].lr = -1;
    bad[1].lr = NAN;
    bad[2].lr_min = 0.2;
    bad[3].epochs = 0;
    bad[4].warmup_epochs = 3;
    bad[5].warmup_epochs = -1;
    bad[6].warmup_factor = 0;
    bad[7].warmup_factor = 1.5;
    bad[8].steps_per_epoch = 0;
    for (size_t i = 0; i < COUNT(bad); i++) {
        text = (struct im_text){""};
        assert_int_equal(tr_schedule_init(&s, &bad[i], &text), -EINVAL);
        if (!strstr(text.s, says[i]))
            fail_msg("\"%s\" does not say \"%s\"", text.s, says[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cosine_with_warmup_is_pytorchs),
        cmocka_unit_test(cosine_without_warmup_is_pytorchs),
        cmocka_unit_test(constant_with_warmup_is_pytorchs),
        cmocka_unit_test(fractional_warmup_meets_the_cosine_at_its_step),
        cmocka_unit_test(after_the_last_step_the_cosine_stays_at_its_end),
        cmocka_unit_test(values_out_of_bounds_are_refused_by_name),
    };

    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
