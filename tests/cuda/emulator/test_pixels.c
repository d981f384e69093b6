/* The input kernel and the loss against trainer/backends/ref/pool.c and trainer/backends/ref/head.c. */
#include "tests/cuda/emulator/help.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/rng.h"
#include "kernels/cuda/input.h"
#include "kernels/cuda/loss.h"
#include "trainer/backends/ref/ops.h"

static const struct tr_mix mixes[] = {
    {.kind = TR_MIX_NONE, .lambda = 1},
    {.kind = TR_MIX_UP, .lambda = 0.3},
    {.kind = TR_MIX_UP, .lambda = 0.5},
    {.kind = TR_MIX_CUT, .lambda = 0.6, .y0 = 1, .y1 = 4, .x0 = 2, .x1 = 5},
};
enum { MIXES = IM_COUNT(mixes) };

static struct imk_cuda_mix device_mix(const struct tr_mix *m)
{
    return (struct imk_cuda_mix){
        .lambda = m->lambda, .kind = m->kind, .y0 = m->y0, .y1 = m->y1, .x0 = m->x0, .x1 = m->x1};
}

/* One batch of n images of h x w in each type. The largest value is about 2.7; three fp32 roundings of it,
 * and those of the two factors. */
static void check_input(int n, int h, int w, int pitch, const struct tr_mix *mix, bool is_aligned)
{
    const struct tr_shape shape = {n, 3, h, w};
    const struct tr_op op = {.kind = TR_OP_INPUT,
                             .x = shape,
                             .y = shape,
                             .mean = {0.485f, 0.456f, 0.406f},
                             .std = {0.229f, 0.224f, 0.225f}};
    const struct imk_cuda_mix on_device = device_mix(mix);
    uint8_t *pixels = malloc(numbers(shape));
    float *want = blank(numbers(shape)), *got = blank(numbers(shape));
    struct im_rng r = im_rng_at(5, IM_RNG_TEST, 10, (uint64_t)w);

    for (size_t i = 0; i < numbers(shape); i++)
        pixels[i] = (uint8_t)im_rng_u32(&r);
    tr_ref_input(&op, &(struct tr_exec){.pixels = pixels, .mix = mix, .y = want});
    EACH_TYPE(type)
    {
        struct array y = array_new(type, (size_t)n * (size_t)h * (size_t)w * (size_t)pitch, is_aligned);
        struct imk_cuda_input a = {.pixels = pixels,
                                   .y = y.data,
                                   .type = type,
                                   .n = n,
                                   .h = h,
                                   .w = w,
                                   .pitch = pitch,
                                   .mix = mix->kind == TR_MIX_NONE ? NULL : &on_device};

        memcpy(a.mean, op.mean, sizeof a.mean);
        memcpy(a.std, op.std, sizeof a.std);
        EACH_ORDER(order)
        {
            RUN(imk_cuda_input(&a, NULL));
            plain_of(&y, shape, pitch, got);
            check_near("input", type, got, want, numbers(shape), 1e-6);
        }
        array_free(&y);
    }
    free(pixels);
    free(want);
    free(got);
}

static void input_is_the_references(void **state)
{
    (void)state;
    for (int m = 0; m < MIXES; m++) {
        check_input(3, 5, 7, 3, &mixes[m], true);
        check_input(2, 5, 7, 4, &mixes[m], true);
        check_input(1, 17, 19, 8, &mixes[m], true);
        check_input(2, 6, 6, 16, &mixes[m], true);
        check_input(2, 6, 6, 8, &mixes[m], false);
        check_input(4, 1, 1, 5, &mixes[m], true);
    }
}

static void input_refuses_what_it_cannot_take(void **state)
{
    struct imk_cuda_input a = {.type = IMK_BF16, .n = 1, .h = 2, .w = 2, .pitch = 2, .std = {1, 1, 1}};

    (void)state;
    assert_int_equal(imk_cuda_input(&a, NULL), -EINVAL);
    a.pitch = 4;
    a.type = (enum imk_dtype)3;
    assert_int_equal(imk_cuda_input(&a, NULL), -EINVAL);
    a.type = IMK_F32;
    a.n = 0;
    assert_int_equal(imk_cuda_input(&a, NULL), 0);
}

/* ---- loss ---- */

struct loss_case {
    int n, classes, x_pitch, dx_pitch;
    double smoothing, divisor, scale;
    bool masked;
    double spread; /* of the logits */
    struct tr_loss loss;
};

static void check_tally(const struct imk_cuda_tally *got, const struct tr_tally *want, double terms)
{
    if (isnan(want->loss_sum))
        assert_true(isnan(got->loss_sum));
    else if (!(fabs(got->loss_sum - want->loss_sum) <= 1e-6 * terms + 1e-6 * fabs(want->loss_sum)))
        fail_msg("loss is %.12g, not %.12g", got->loss_sum, want->loss_sum);
    assert_true(got->valid == (double)want->valid);
    assert_true(got->top1 == (double)want->top1);
    assert_true(got->top5 == (double)want->top5);
}

/* p is off by some roundings of exponentials whose arguments may be some dozens: 40 * 2^-24 and a few more.
 * Of binary cross-entropy each term is off by a rounding or two of its own. */
static void compare_loss(const struct loss_case *c, enum imk_dtype x_type, enum imk_dtype dx_type,
                         const struct tr_mix *mix, float *logits, const int32_t *labels, const uint8_t *valid)
{
    const struct tr_shape shape = {c->n, c->classes, 1, 1};
    struct array x = array_of(x_type, shape, c->x_pitch, logits, true);
    struct array dx = array_new(dx_type, (size_t)c->n * (size_t)c->dx_pitch, true);
    float *want = blank(numbers(shape)), *got = blank(numbers(shape));
    struct tr_tally tally;
    struct imk_cuda_tally on_device;
    const struct imk_cuda_mix device = device_mix(mix);
    const struct imk_cuda_loss_terms terms = {c->smoothing, c->divisor};
    const double scale = c->scale;
    void *scratch = malloc(imk_cuda_loss_scratch(c->n));
    const struct tr_op op = {.kind = TR_OP_LOSS, .x = shape, .training = true, .loss = c->loss};
    const bool is_mean = c->loss.kind == TR_LOSS_BCE && !c->loss.sums_classes;
    const struct imk_cuda_loss a = {.kind = c->loss.kind == TR_LOSS_BCE ? IMK_CUDA_BCE : IMK_CUDA_CE,
                                    .threshold = c->loss.threshold,
                                    .sums_classes = c->loss.sums_classes,
                                    .x = x.data,
                                    .dx = dx.data,
                                    .x_type = x_type,
                                    .dx_type = dx_type,
                                    .n = c->n,
                                    .classes = c->classes,
                                    .x_pitch = c->x_pitch,
                                    .dx_pitch = c->dx_pitch,
                                    .labels = labels,
                                    .valid = c->masked ? valid : NULL,
                                    .mix = mix->kind == TR_MIX_NONE ? NULL : &device,
                                    .terms = &terms,
                                    .scale = c->scale > 0 ? &scale : NULL,
                                    .scratch = scratch,
                                    .tally = &on_device};
    double factor;

    tr_ref_loss(&op, &(struct tr_exec){.x = logits,
                                       .labels = labels,
                                       .valid = a.valid,
                                       .mix = mix,
                                       .smoothing = (float)c->smoothing,
                                       .divisor = c->divisor,
                                       .dx = want,
                                       .tally = &tally});
    factor = (c->scale > 0 ? c->scale : 1);
    for (size_t i = 0; i < numbers(shape); i++)
        want[i] *= (float)factor;
    factor /= c->divisor > 0 ? c->divisor : tally.valid > 0 ? tally.valid : 1;
    factor /= is_mean ? c->classes : 1;
    EACH_ORDER(order)
    {
        RUN(imk_cuda_loss(&a, NULL));
        plain_of(&dx, shape, c->dx_pitch, got);
        check_near("gradient of the logits", dx_type, got, want, numbers(shape), 3e-6 * factor);
        check_tally(&on_device, &tally, tally.valid);
    }
    free(scratch);
    free(want);
    free(got);
    array_free(&x);
    array_free(&dx);
}

static void check_loss(const struct loss_case *c, const struct tr_mix *mix)
{
    const size_t count = (size_t)c->n * (size_t)c->classes;
    int32_t *labels = malloc((size_t)c->n * sizeof *labels);
    uint8_t *valid = malloc((size_t)c->n);
    struct im_rng r = im_rng_at(5, IM_RNG_TEST, 11, (uint64_t)c->classes);

    for (int i = 0; i < c->n; i++) {
        valid[i] = i % 3 != 1;
        labels[i] = c->masked && !valid[i] ? -7 : (int32_t)im_rng_below(&r, (uint64_t)c->classes);
    }
    EACH_TYPE(type)
    {
        float *logits = drawn(count, (uint64_t)c->n);

        for (size_t i = 0; i < count; i++)
            logits[i] *= (float)c->spread;
        compare_loss(c, type, IMK_F32, mix, logits, labels, valid);
        compare_loss(c, IMK_F32, type, mix, logits, labels, valid);
        free(logits);
    }
    free(labels);
    free(valid);
}

static void loss_and_gradient_are_the_references(void **state)
{
    static const struct loss_case cases[] = {
        {.n = 1, .classes = 1, .x_pitch = 1, .dx_pitch = 1, .spread = 1},
        {.n = 5, .classes = 3, .x_pitch = 3, .dx_pitch = 8, .smoothing = 0.1, .spread = 1},
        {.n = 7, .classes = 10, .x_pitch = 16, .dx_pitch = 10, .smoothing = 0.1, .masked = true, .spread = 3},
        {.n = 4,
         .classes = 1000,
         .x_pitch = 1000,
         .dx_pitch = 1000,
         .divisor = 17,
         .scale = 1024,
         .masked = true,
         .spread = 2},
        {.n = 9, .classes = 131, .x_pitch = 131, .dx_pitch = 136, .divisor = 3, .spread = 10},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++)
        for (int m = 0; m < MIXES; m++)
            check_loss(&cases[i], &mixes[m]);
}

/* The shares of 0.3 and 0.7, with smoothing a little less, lie above the one threshold and on both sides of
 * the other. */
static void binary_loss_and_gradient_are_the_references(void **state)
{
    static const struct loss_case cases[] = {
        {.n = 1, .classes = 1, .x_pitch = 1, .dx_pitch = 1, .spread = 1},
        {.n = 5, .classes = 3, .x_pitch = 3, .dx_pitch = 8, .smoothing = 0.1, .spread = 1},
        {.n = 7,
         .classes = 10,
         .x_pitch = 16,
         .dx_pitch = 10,
         .smoothing = 0.1,
         .masked = true,
         .spread = 30},
        {.n = 4,
         .classes = 260,
         .x_pitch = 260,
         .dx_pitch = 260,
         .divisor = 17,
         .scale = 1024,
         .masked = true,
         .spread = 2},
    };
    static const double thresholds[] = {0, 0.2, 0.5};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        for (size_t k = 0; k < IM_COUNT(thresholds); k++) {
            struct loss_case c = cases[i];

            c.loss = (struct tr_loss){
                .kind = TR_LOSS_BCE, .threshold = thresholds[k], .sums_classes = (i + k) % 2};
            for (int m = 0; m < MIXES; m++)
                check_loss(&c, &mixes[m]);
        }
    }
}

/* Far from zero the logarithms of a naive form overflow; near it, two labels that are one add up. */
static void binary_loss_of_large_logits_and_of_equal_labels(void **state)
{
    const struct loss_case c = {.n = 2,
                                .classes = 4,
                                .x_pitch = 4,
                                .dx_pitch = 4,
                                .loss = {.kind = TR_LOSS_BCE, .sums_classes = true}};
    const int32_t labels[2] = {1, 1};
    float logits[8] = {1000, -1000, 1000, 0, -1e-30f, 88, -104, 3e38f};

    (void)state;
    compare_loss(&c, IMK_F32, IMK_F32, &mixes[1], logits, labels, NULL);
    compare_loss(&c, IMK_F32, IMK_F32, &mixes[0], logits, labels, NULL);
}

static void more_samples_than_a_block_has_threads_are_added_up(void **state)
{
    const struct loss_case c = {.n = 1030, .classes = 2, .x_pitch = 2, .dx_pitch = 2, .divisor = 10};
    float *logits = drawn(2060, 1);
    int32_t *labels = calloc(1030, sizeof *labels);

    (void)state;
    compare_loss(&c, IMK_F32, IMK_F32, &mixes[0], logits, labels, NULL);
    free(logits);
    free(labels);
}

/* Equal logits are ranked by their class, and a logit that is no number beats the label's. */
static void ties_and_strange_logits_are_ranked_as_in_the_reference(void **state)
{
    const struct loss_case c = {.n = 4, .classes = 7, .x_pitch = 7, .dx_pitch = 7};
    const int32_t labels[4] = {0, 5, 6, 2};
    float logits[28] = {0};

    (void)state;
    logits[14] = (float)INFINITY;
    logits[7 * 3] = (float)NAN;
    for (int i = 7; i < 14; i++)
        logits[i] = i < 9 ? -(float)INFINITY : 1.5f;
    compare_loss(&c, IMK_F32, IMK_F32, &mixes[0], logits, labels, NULL);
}

static void a_label_that_is_no_class_makes_the_loss_nan(void **state)
{
    const int32_t labels[2] = {1, 9};
    const float logits[6] = {0};
    const struct imk_cuda_loss_terms terms = {0, 0};
    struct imk_cuda_tally tally;
    void *scratch = malloc(imk_cuda_loss_scratch(2));
    struct imk_cuda_loss a = {.x = logits,
                              .n = 2,
                              .classes = 3,
                              .x_pitch = 3,
                              .labels = labels,
                              .terms = &terms,
                              .scratch = scratch,
                              .tally = &tally};

    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        a.kind = kind ? IMK_CUDA_BCE : IMK_CUDA_CE;
        RUN(imk_cuda_loss(&a, NULL));
        assert_true(isnan(tally.loss_sum));
    }
    free(scratch);
}

static void no_samples_make_an_empty_tally(void **state)
{
    const struct imk_cuda_loss_terms terms = {0, 0};
    struct imk_cuda_tally tally = {1, 1, 1, 1};

    (void)state;
    RUN(imk_cuda_loss(
        &(struct imk_cuda_loss){.n = 0, .classes = 3, .x_pitch = 3, .terms = &terms, .tally = &tally}, NULL));
    assert_true(tally.loss_sum == 0 && tally.valid == 0 && tally.top1 == 0 && tally.top5 == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_is_the_references),
        cmocka_unit_test(input_refuses_what_it_cannot_take),
        cmocka_unit_test(loss_and_gradient_are_the_references),
        cmocka_unit_test(binary_loss_and_gradient_are_the_references),
        cmocka_unit_test(binary_loss_of_large_logits_and_of_equal_labels),
        cmocka_unit_test(more_samples_than_a_block_has_threads_are_added_up),
        cmocka_unit_test(ties_and_strange_logits_are_ranked_as_in_the_reference),
        cmocka_unit_test(a_label_that_is_no_class_makes_the_loss_nan),
        cmocka_unit_test(no_samples_make_an_empty_tally),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
