/* When a run ends because validation became no better. */
#include <math.h>

#include "tests/unit/ipc/base/unit.h"
#include "trainer/early_stop.h"

/* An epoch of 10 validation images: `right` of them, and this mean loss. */
static void validate(const struct im_conf *conf, struct tr_position *p, uint32_t epoch, uint64_t right,
                     double loss)
{
    p->epochs = epoch;
    p->sums[IM_VAL] = (struct tr_sums){.loss = 10 * loss, .valid = 10, .top1 = right};
    tr_early_stop_epoch(conf, p);
}

static void a_run_ends_after_n_epochs_without_a_better_one(void **state)
{
    struct im_conf conf;
    struct tr_position p;

    (void)state;
    im_conf_defaults(&conf);
    p = tr_position_start(&conf);
    validate(&conf, &p, 1, 5, 1);
    assert_false(tr_early_stop_is_due(&conf, &p)); /* it is off */
    conf.early_stop = 2;
    validate(&conf, &p, 2, 5, 1); /* as good is not better */
    assert_false(tr_early_stop_is_due(&conf, &p));
    validate(&conf, &p, 3, 6, 2);
    assert_int_equal(p.stop_epoch, 3);
    validate(&conf, &p, 4, 5, 0.5);
    assert_false(tr_early_stop_is_due(&conf, &p));
    validate(&conf, &p, 5, 6, 0.5);
    assert_true(tr_early_stop_is_due(&conf, &p));
}

static void epochs_without_validation_end_nothing(void **state)
{
    struct im_conf conf;
    struct tr_position p;

    (void)state;
    im_conf_defaults(&conf);
    conf.early_stop = 2;
    p = tr_position_start(&conf);
    p.epochs = 4;
    assert_false(tr_early_stop_is_due(&conf, &p));
    validate(&conf, &p, 5, 5, 1);
    p.epochs = 9;
    assert_false(tr_early_stop_is_due(&conf, &p));
    validate(&conf, &p, 10, 5, 1);
    assert_true(tr_early_stop_is_due(&conf, &p));
}

static void it_goes_by_the_loss_where_that_is_asked_for(void **state)
{
    struct im_conf conf;
    struct tr_position p;

    (void)state;
    im_conf_defaults(&conf);
    conf.early_stop = 1;
    conf.early_stop_on = IM_EARLY_STOP_LOSS;
    p = tr_position_start(&conf);
    validate(&conf, &p, 1, 5, 1);
    validate(&conf, &p, 2, 4, 0.9);
    assert_false(tr_early_stop_is_due(&conf, &p));
    validate(&conf, &p, 3, 9, 0.95);
    assert_true(tr_early_stop_is_due(&conf, &p));
}

/* Averages lag behind at first and are better later. */
static void averaged_weights_count_where_they_are_better(void **state)
{
    struct im_conf conf;
    struct tr_position p;

    (void)state;
    im_conf_defaults(&conf);
    conf.early_stop = 1;
    conf.ema = 0.9;
    p = tr_position_start(&conf);
    p.ema = (struct tr_sums){.loss = 10, .valid = 10, .top1 = 1};
    validate(&conf, &p, 1, 5, 1);
    p.ema.top1 = 6;
    validate(&conf, &p, 2, 5, 1);
    assert_false(tr_early_stop_is_due(&conf, &p));
    p.ema.top1 = 5;
    validate(&conf, &p, 3, 5, 1);
    assert_true(tr_early_stop_is_due(&conf, &p));
}

static void a_loss_that_is_not_finite_is_never_better(void **state)
{
    struct im_conf conf;
    struct tr_position p;

    (void)state;
    im_conf_defaults(&conf);
    conf.early_stop = 1;
    p = tr_position_start(&conf);
    validate(&conf, &p, 1, 5, 1);
    validate(&conf, &p, 2, 9, (double)NAN);
    assert_int_equal(p.stop_epoch, 1);
    assert_true(tr_early_stop_is_due(&conf, &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_ends_after_n_epochs_without_a_better_one),
        cmocka_unit_test(epochs_without_validation_end_nothing),
        cmocka_unit_test(it_goes_by_the_loss_where_that_is_asked_for),
        cmocka_unit_test(averaged_weights_count_where_they_are_better),
        cmocka_unit_test(a_loss_that_is_not_finite_is_never_better),
    };

    return cmocka_run_group_tests_name("early_stop", tests, NULL, NULL);
}
