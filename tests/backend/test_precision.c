/* Whole networks in bf16: beside the reference's bf16, beside fp32 training, and what it costs in memory. The
 * single ops are in conformance.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/err.h"
#include "ipc/base/rng.h"
#include "tests/support/train_step.h"

enum { CLASSES = 4, BATCH = 16, SIZE = 16, STEPS_MAX = 12 };

struct run {
    const char *backend;
    uint32_t fuses; /* of the reference: what is fused is not rounded in between */
    enum imk_dtype precision;
    int steps;
    double loss[STEPS_MAX];
    size_t activations;
};

/* Images of one colour per class, with noise: something to be learned in a few steps. */
static void draw(uint8_t *pixels, int32_t *labels, int step)
{
    struct im_rng r = im_rng_at(4, IM_RNG_TEST, 1, (uint64_t)step);
    size_t image = (size_t)SIZE * SIZE * 3;

    for (size_t n = 0; n < BATCH; n++) {
        labels[n] = (int32_t)im_rng_below(&r, CLASSES);
        for (size_t i = 0; i < image; i++)
            pixels[n * image + i] = (uint8_t)(im_rng_below(&r, 160) + (i % 3 == (size_t)labels[n] ? 90 : 0));
    }
}

static void train(struct run *run)
{
    struct tr_backend_ops ref = tr_backend_ref;
    struct tr_network_config config = {.model = "resnet20",
                                       .ops = run->fuses ? &ref : NULL,
                                       .classes = CLASSES,
                                       .backend = run->backend,
                                       .threads = 2,
                                       .precision = run->precision,
                                       .seed = 3,
                                       .mean = {0.5f, 0.5f, 0.5f},
                                       .std = {0.25f, 0.25f, 0.25f}};
    struct imk_hyper hyper = {.lr = 0.01, .momentum = 0.9, .weight_decay = 1e-4};
    uint8_t pixels[BATCH * SIZE * SIZE * 3];
    int32_t labels[BATCH];
    struct tr_batch batch = {.pixels = pixels, .labels = labels, .n = BATCH, .size = SIZE};
    struct tr_network *net = NULL;
    struct tr_tally tally;

    ref.fuses = run->fuses;
    assert_int_equal(tr_network_new(&config, &net, NULL), 0);
    for (int step = 0; step < run->steps; step++) {
        draw(pixels, labels, step);
        assert_int_equal(train_step(net, &batch, &hyper, 0, &tally, NULL), 0);
        run->loss[step] = tally.loss_sum / tally.valid;
    }
    run->activations = tr_network_bytes(net).activations;
    tr_network_free(net);
}

static double worst_difference(const struct run *a, const struct run *b)
{
    double worst = 0;

    for (int i = 0; i < a->steps; i++)
        worst = fmax(worst, fabs(a->loss[i] - b->loss[i]));
    return worst;
}

/* Nothing but the order of sums differs before the first update; after it, what lay at the border of
 * two bf16 numbers. */
static void onednn_follows_the_reference(void **state)
{
    struct run ref = {.backend = "ref", .precision = IMK_BF16, .steps = 3}, fast = ref;

    (void)state;
    fast.backend = "onednn";
    ref.fuses = tr_backend_onednn.fuses;
    train(&ref);
    train(&fast);
    assert_true(fabs(ref.loss[0] - fast.loss[0]) < 2e-3);
    print_message("losses differ by %.2g\n", worst_difference(&ref, &fast));
    assert_true(worst_difference(&ref, &fast) < 2e-2);
}

static void training_follows_fp32(void **state)
{
    struct run fp32 = {.backend = "onednn", .precision = IMK_F32, .steps = STEPS_MAX}, bf16 = fp32;

    (void)state;
    bf16.precision = IMK_BF16;
    train(&fp32);
    train(&bf16);
    print_message("losses differ by %.2g, from %.3f to %.3f\n", worst_difference(&fp32, &bf16), bf16.loss[0],
                  bf16.loss[STEPS_MAX - 1]);
    assert_true(worst_difference(&fp32, &bf16) > 0);
    assert_true(fabs(fp32.loss[0] - bf16.loss[0]) < 1e-2);
    assert_true(worst_difference(&fp32, &bf16) < 0.15);
    assert_true(bf16.loss[STEPS_MAX - 1] < 0.75 * bf16.loss[0]);
}

static void activations_take_half_the_memory(void **state)
{
    struct run fp32 = {.backend = "onednn", .precision = IMK_F32, .steps = 1}, bf16 = fp32;

    (void)state;
    bf16.precision = IMK_BF16;
    train(&fp32);
    train(&bf16);
    assert_true(bf16.activations > 0 && (double)bf16.activations < 0.6 * (double)fp32.activations);
}

static void same_bits_in_every_run(void **state)
{
    struct run once = {.backend = "onednn", .precision = IMK_BF16, .steps = 4}, again = once;

    (void)state;
    train(&once);
    train(&again);
    assert_memory_equal(once.loss, again.loss, sizeof once.loss);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(onednn_follows_the_reference),
        cmocka_unit_test(training_follows_fp32),
        cmocka_unit_test(activations_take_half_the_memory),
        cmocka_unit_test(same_bits_in_every_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
