/* The reference's gradients against central differences of its own forward, for L = sum(y * dy) with
 * random dy, and of the loss itself. The differences carry fp32 rounding of y over the step h; the
 * tolerance is for that. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/rng.h"
#include "trainer/backends/backend.h"

enum { FLOATS = 4096 };

struct bench {
    struct tr_backend *b;
    struct tr_op_plan *plan;
    struct tr_op op;
    float x[FLOATS], x2[FLOATS], y[FLOATS], dy[FLOATS], dx[FLOATS], w[FLOATS], dw[FLOATS], bias[64], db[64],
        mean[64], var[64];
    char save[FLOATS * 4];
};

static size_t count_of(struct tr_shape s)
{
    return (size_t)s.n * (size_t)s.c * (size_t)s.h * (size_t)s.w;
}

static struct tr_exec arguments(struct bench *t)
{
    static const float scale[] = {1.25f, 0, 3};

    return (struct tr_exec){.x = t->x,
                            .x2 = t->x2,
                            .y = t->y,
                            .save = t->save,
                            .scale = scale,
                            .dy = {t->dy, NULL},
                            .dx = t->dx,
                            .w = t->w,
                            .b = t->bias,
                            .dw = t->dw,
                            .db = t->db,
                            .run_mean = t->mean,
                            .run_var = t->var};
}

static double objective(struct bench *t)
{
    struct tr_exec e = arguments(t);
    double sum = 0;

    assert_int_equal(tr_backend_ref.forward(t->b, t->plan, &e), 0);
    for (size_t i = 0; i < count_of(t->op.y); i++)
        sum += (double)t->y[i] * (double)t->dy[i];
    return sum;
}

/* Every 7th element of v, whose analytic gradient is g. */
static void matches(struct bench *t, const char *name, float *v, const float *g, size_t count)
{
    const float h = 0x1p-7f;
    double scale = 0;

    for (size_t i = 0; i < count; i++)
        scale = fmax(scale, fabs((double)g[i]));
    assert_true(scale > 0);
    for (size_t i = 0; i < count; i += 7) {
        float kept = v[i];
        double up, down;

        v[i] = kept + h;
        up = objective(t);
        v[i] = kept - h;
        down = objective(t);
        v[i] = kept;
        if (fabs((up - down) / (2 * (double)h) - (double)g[i]) > 0.01 * scale)
            fail_msg("op %d, %s[%zu]: %g by differences, %g by backward", t->op.kind, name, i,
                     (up - down) / (2 * (double)h), (double)g[i]);
    }
}

static void check(struct tr_op op, size_t weights, size_t biases)
{
    struct bench *t = calloc(1, sizeof *t);
    struct im_rng r = im_rng_at(3, IM_RNG_TEST, 3, (uint64_t)op.kind);
    struct tr_plan_info info;
    struct tr_exec e = arguments(t);

    assert_non_null(t);
    assert_true(count_of(op.x) <= FLOATS && count_of(op.y) <= FLOATS && weights <= FLOATS);
    t->op = op;
    assert_int_equal(tr_backend_ref.open(1, &t->b, NULL), 0);
    assert_int_equal(tr_backend_ref.plan(t->b, &op, &t->plan, &info, NULL), 0);
    for (size_t i = 0; i < FLOATS; i++) {
        /* Distinct multiples of 1/16 plus an offset: no maximum and no ReLU changes sides within h. */
        t->x[i] = (float)((double)((int)im_rng_below(&r, 64) - 32) / 16 + 1.0 / 32);
        t->x2[i] = (float)((double)((int)im_rng_below(&r, 64) - 32) / 16);
        t->w[i] = (float)im_rng_uniform(&r, 0.5, 1.5);
        t->dy[i] = (float)im_rng_uniform(&r, -1, 1);
    }
    if (op.kind == TR_OP_MAXPOOL)
        for (size_t i = 0; i < count_of(op.x); i++)
            t->x[i] = (float)((double)(i * 37 % 101) / 16); /* 101 is prime: neighbours differ */
    for (int i = 0; i < 64; i++)
        t->bias[i] = (float)im_rng_uniform(&r, -0.5, 0.5);
    objective(t);
    e = arguments(t);
    assert_int_equal(tr_backend_ref.backward(t->b, t->plan, &e), 0);
    if (op.needs_dx)
        matches(t, "x", t->x, t->dx, count_of(op.x));
    if (op.kind == TR_OP_ADD)
        matches(t, "x2", t->x2, t->dx, count_of(op.x));
    if (weights)
        matches(t, "w", t->w, t->dw, weights);
    if (biases)
        matches(t, "b", t->bias, t->db, biases);
    tr_backend_ref.plan_free(t->b, t->plan);
    tr_backend_ref.close(t->b);
    free(t);
}

static void convolution(void **state)
{
    (void)state;
    check((struct tr_op){.kind = TR_OP_CONV,
                         .x = {2, 3, 7, 6},
                         .y = {2, 4, 7, 6},
                         .kernel = 3,
                         .stride = 1,
                         .pad = 1,
                         .training = true,
                         .needs_dx = true},
          4 * 3 * 9, 0);
    check((struct tr_op){.kind = TR_OP_CONV,
                         .x = {2, 3, 9, 8},
                         .y = {2, 2, 5, 4},
                         .kernel = 3,
                         .stride = 2,
                         .pad = 1,
                         .training = true,
                         .needs_dx = true},
          2 * 3 * 9, 0);
    check((struct tr_op){.kind = TR_OP_CONV,
                         .x = {2, 3, 9, 9},
                         .y = {2, 2, 5, 5},
                         .kernel = 1,
                         .stride = 2,
                         .training = true,
                         .needs_dx = true},
          2 * 3, 0);
}

static void batch_norm(void **state)
{
    (void)state;
    check(
        (struct tr_op){
            .kind = TR_OP_BN, .x = {3, 4, 5, 5}, .y = {3, 4, 5, 5}, .training = true, .needs_dx = true},
        4, 4);
}

static void residual_addition(void **state)
{
    (void)state;
    check((struct tr_op){.kind = TR_OP_ADD,
                         .x = {2, 3, 5, 5},
                         .y = {2, 3, 5, 5},
                         .relu = true,
                         .training = true,
                         .needs_dx = true},
          0, 0);
}

static void pools(void **state)
{
    (void)state;
    check((struct tr_op){.kind = TR_OP_MAXPOOL,
                         .x = {2, 3, 9, 9},
                         .y = {2, 3, 5, 5},
                         .kernel = 3,
                         .stride = 2,
                         .pad = 1,
                         .training = true,
                         .needs_dx = true},
          0, 0);
    check(
        (struct tr_op){
            .kind = TR_OP_GAP, .x = {2, 3, 4, 5}, .y = {2, 3, 1, 1}, .training = true, .needs_dx = true},
        0, 0);
}

static void blur(void **state)
{
    (void)state;
    for (int stride = 1; stride < 3; stride++)
        for (int reflect = 0; reflect < 2; reflect++)
            check((struct tr_op){.kind = TR_OP_BLUR,
                                 .x = {2, 3, 8, 7},
                                 .y = {2, 3, 7 / stride + 1, 6 / stride + 1},
                                 .kernel = 3,
                                 .stride = stride,
                                 .pad = 1,
                                 .reflect = reflect,
                                 .training = true,
                                 .needs_dx = true},
                  0, 0);
}

static void stochastic_depth(void **state)
{
    (void)state;
    check(
        (struct tr_op){
            .kind = TR_OP_DROPPATH, .x = {3, 4, 3, 3}, .y = {3, 4, 3, 3}, .training = true, .needs_dx = true},
        0, 0);
}

static void gelu(void **state)
{
    struct tr_op op = {
        .kind = TR_OP_GELU, .x = {3, 4, 3, 5}, .y = {3, 4, 3, 5}, .training = true, .needs_dx = true};

    (void)state;
    check(op, 0, 0);
    op.biased = true;
    check(op, 0, 4);
}

static void fully_connected(void **state)
{
    (void)state;
    check(
        (struct tr_op){
            .kind = TR_OP_FC, .x = {3, 10, 1, 1}, .y = {3, 5, 1, 1}, .training = true, .needs_dx = true},
        50, 5);
}

static void check_loss(struct tr_loss loss, const struct tr_mix *mix)
{
    struct tr_op op = {.kind = TR_OP_LOSS,
                       .x = {4, 6, 1, 1},
                       .y = {4, 6, 1, 1},
                       .training = true,
                       .needs_dx = true,
                       .loss = loss};
    struct im_rng r = im_rng_at(4, IM_RNG_TEST, 3, 0);
    const int32_t labels[4] = {1, 5, 99, 0};
    const uint8_t valid[4] = {1, 1, 0, 1};
    struct tr_plan_info info;
    struct tr_tally tally;
    struct tr_backend *b;
    struct tr_op_plan *plan;
    float x[24], dx[24], again[24];
    struct tr_exec e = {
        .x = x, .dx = dx, .labels = labels, .valid = valid, .mix = mix, .smoothing = 0.1f, .tally = &tally};
    const uint32_t count = mix ? 2 : 3; /* a masked sample takes its partner along */

    for (int i = 0; i < 24; i++)
        x[i] = (float)im_rng_uniform(&r, -3, 3);
    assert_int_equal(tr_backend_ref.open(1, &b, NULL), 0);
    assert_int_equal(tr_backend_ref.plan(b, &op, &plan, &info, NULL), 0);
    assert_int_equal(tr_backend_ref.forward(b, plan, &e), 0);
    assert_int_equal(tally.valid, count);
    e.dx = again;
    for (int i = 0; i < 24; i++) {
        float kept = x[i];
        double up, down;

        x[i] = kept + 0x1p-7f;
        tr_backend_ref.forward(b, plan, &e);
        up = tally.loss_sum / count;
        x[i] = kept - 0x1p-7f;
        tr_backend_ref.forward(b, plan, &e);
        down = tally.loss_sum / count;
        x[i] = kept;
        assert_true(fabs((up - down) * 64 - (double)dx[i]) < 1e-4);
        if (i / 6 == 2)
            assert_true(dx[i] == 0);
    }
    tr_backend_ref.plan_free(b, plan);
    tr_backend_ref.close(b);
}

static void loss_with_smoothing_and_a_masked_sample(void **state)
{
    (void)state;
    check_loss((struct tr_loss){.kind = TR_LOSS_CE}, NULL);
}

static void binary_loss_of_shares_and_of_whole_classes(void **state)
{
    const struct tr_mix mix = {.kind = TR_MIX_UP, .lambda = 0.7};

    (void)state;
    for (int i = 0; i < 8; i++)
        check_loss(
            (struct tr_loss){.kind = TR_LOSS_BCE, .threshold = i & 1 ? 0.2 : 0, .sums_classes = (i & 2) != 0},
            i & 4 ? &mix : NULL);
}

/* Far from zero the logarithms of a naive form overflow. */
static void binary_loss_of_large_logits_is_finite(void **state)
{
    struct tr_op op = {.kind = TR_OP_LOSS,
                       .x = {1, 4, 1, 1},
                       .y = {1, 4, 1, 1},
                       .training = true,
                       .needs_dx = true,
                       .loss = {.kind = TR_LOSS_BCE, .sums_classes = true}};
    const float x[4] = {1000, -1000, 1000, 0};
    const int32_t label = 0;
    struct tr_plan_info info;
    struct tr_tally tally;
    struct tr_backend *b;
    struct tr_op_plan *plan;
    float dx[4];

    (void)state;
    assert_int_equal(tr_backend_ref.open(1, &b, NULL), 0);
    assert_int_equal(tr_backend_ref.plan(b, &op, &plan, &info, NULL), 0);
    assert_int_equal(tr_backend_ref.forward(
                         b, plan, &(struct tr_exec){.x = x, .dx = dx, .labels = &label, .tally = &tally}),
                     0);
    assert_true(fabs(tally.loss_sum - (1000 + log(2))) < 1e-9); /* right, right, wrong by 1000, undecided */
    assert_true(dx[0] == 0 && dx[1] == 0 && dx[2] == 1 && dx[3] == 0.5f);
    tr_backend_ref.plan_free(b, plan);
    tr_backend_ref.close(b);
}

static void ranks_count_ties_by_index_and_nan_as_wrong(void **state)
{
    struct tr_op op = {.kind = TR_OP_LOSS, .x = {3, 6, 1, 1}, .y = {3, 6, 1, 1}};
    const int32_t labels[3] = {0, 5, 2};
    const float x[18] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, NAN, 0, 0, 0};
    struct tr_plan_info info;
    struct tr_tally tally;
    struct tr_backend *b;
    struct tr_op_plan *plan;

    (void)state;
    assert_int_equal(tr_backend_ref.open(1, &b, NULL), 0);
    assert_int_equal(tr_backend_ref.plan(b, &op, &plan, &info, NULL), 0);
    assert_int_equal(
        tr_backend_ref.forward(b, plan, &(struct tr_exec){.x = x, .labels = labels, .tally = &tally}), 0);
    assert_int_equal(tally.valid, 3);
    assert_int_equal(tally.top1, 1);
    assert_int_equal(tally.top5, 1);
    tr_backend_ref.plan_free(b, plan);
    tr_backend_ref.close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution),
        cmocka_unit_test(batch_norm),
        cmocka_unit_test(residual_addition),
        cmocka_unit_test(pools),
        cmocka_unit_test(blur),
        cmocka_unit_test(stochastic_depth),
        cmocka_unit_test(gelu),
        cmocka_unit_test(fully_connected),
        cmocka_unit_test(loss_with_smoothing_and_a_masked_sample),
        cmocka_unit_test(binary_loss_of_shares_and_of_whole_classes),
        cmocka_unit_test(binary_loss_of_large_logits_is_finite),
        cmocka_unit_test(ranks_count_ties_by_index_and_nan_as_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
