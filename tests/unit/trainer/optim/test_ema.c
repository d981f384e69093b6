/* The averages' decay at each update, against timm's (tests/golden/make_recipe.py) and TensorFlow's rule. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "trainer/optim/schedule.h"

static char golden_path[4096];

static void timms_warmup_is_timms(void **state)
{
    FILE *f = fopen(golden_path, "re");
    char line[300];
    int compared = 0;

    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        unsigned long long t;
        double decay, want;

        if (sscanf(line, "ema %lf %llu %lf", &decay, &t, &want) != 3)
            continue;
        assert_true(fabs(tr_ema_decay(decay, IM_EMA_WARMUP_TIMM, t) - want) < 1e-11);
        compared++;
    }
    fclose(f);
    assert_int_equal(compared, 14);
    /* ModelEmaV3 counts from the second update: its s is t - 1. */
    assert_true(tr_ema_decay(0.9999, IM_EMA_WARMUP_TIMM, 1) == 0);
    assert_true(fabs(tr_ema_decay(0.9999, IM_EMA_WARMUP_TIMM, 2) - 0.370039) < 1e-6);
    assert_true(fabs(tr_ema_decay(0.9999, IM_EMA_WARMUP_TIMM, 1000) - 0.99) < 1e-12);
}

/* ExponentialMovingAverage(decay, num_updates=t): min(decay, (1 + t) / (10 + t)). */
static void tensorflows_warmup_meets_the_decay(void **state)
{
    (void)state;
    assert_true(fabs(tr_ema_decay(0.99, IM_EMA_WARMUP_TF, 1) - 2.0 / 11) < 1e-15);
    assert_true(fabs(tr_ema_decay(0.99, IM_EMA_WARMUP_TF, 90) - 0.91) < 1e-15);
    assert_true(tr_ema_decay(0.99, IM_EMA_WARMUP_TF, 889) < 0.99);
    assert_true(tr_ema_decay(0.99, IM_EMA_WARMUP_TF, 890) <= 0.99);
    assert_true(tr_ema_decay(0.99, IM_EMA_WARMUP_TF, 891) == 0.99);
}

static void without_warmup_the_decay_is_the_decay(void **state)
{
    (void)state;
    assert_true(tr_ema_decay(0.9999, IM_EMA_WARMUP_NONE, 1) == 0.9999);
    assert_true(tr_ema_decay(0.9999, IM_EMA_WARMUP_NONE, UINT64_MAX) == 0.9999);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timms_warmup_is_timms),
        cmocka_unit_test(tensorflows_warmup_meets_the_decay),
        cmocka_unit_test(without_warmup_the_decay_is_the_decay),
    };

    if (argc != 2)
        return 2;
    snprintf(golden_path, sizeof golden_path, "%s/recipe.txt", argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
