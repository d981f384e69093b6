/* Every op of every backend against the reference: odd shapes, forward and backward, in place where the plan
 * allows it, a second gradient where the network forks. Around each buffer lie guards that must stay as they
 * were.
 *
 * Tolerance: normalised mean square error 1e-9 (fp32 sums of up to a few thousand terms give 1e-12). In bf16
 * the reference rounds what backend.h says. A backend without bf16 instructions rounds the same numbers, so
 * only sums that lie at the border of two bf16 numbers may fall on different sides: 5e-8, where leaving out
 * the rounding of the weights makes 1e-6. One that has them may round between steps of an op too, as the sum
 * of a fork's two gradients: 1e-4. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/rng.h"
#include "tests/backend/rig.h"
#include "tests/support/gpu.h"
#include "trainer/backends/step.h"
#ifndef TESTS_CUDA
#include "trainer/backends/onednn/loops.h"
#endif
#include "trainer/backends/ref/ops.h"

#ifdef TESTS_CUDA
static const struct tr_backend_ops *const tested = &tr_backend_cuda;
#else
static const struct tr_backend_ops *const tested = &tr_backend_onednn;
#endif

static double tolerance;

static void near(const char *what, const struct tr_op *op, const struct tensor *ours,
                 const struct tensor *theirs)
{
    double error = 0, power = 1e-30;

    for (size_t i = 0; i < ours->count; i++) {
        double d = (double)ours->v[i] - (double)theirs->v[i];

        error += d * d;
        power += (double)theirs->v[i] * (double)theirs->v[i];
    }
    if (!(error / power <= tolerance))
        fail_msg("%s of op %d, %d x %d x %d x %d, kernel %d stride %d, precision %d: NMSE %.3g", what,
                 op->kind, op->x.n, op->x.c, op->x.h, op->x.w, op->kernel, op->stride, op->precision,
                 error / power);
}

/* Values as the ops before this one would have made them. */
static void round_values(enum imk_dtype precision, struct values *v)
{
    struct tensor *all[] = {&v->x, &v->x2, &v->dy[0], &v->dy[1], &v->dx};

    for (size_t i = 0; i < IM_COUNT(all); i++)
        if (all[i]->v)
            tr_ref_round(precision, all[i]->v, all[i]->count);
}

static void choose_tolerance(const struct rig *r)
{
    bool by_way_of_fp32 = r->ops->precision_warning && r->ops->precision_warning(r->b, IMK_BF16) != NULL;

    tolerance = r->op.precision == IMK_F32 ? 1e-9 : by_way_of_fp32 ? 5e-8 : 1e-4;
}

static void conform_in_precision(const struct tr_op *op, bool in_network, bool fork)
{
    for (int in_place = 0; in_place < 2; in_place++) {
        struct values ref = rig_values(op, fork), fast = rig_values(op, fork);
        struct rig r;

        round_values(op->precision, &ref);
        round_values(op->precision, &fast);
        rig_open(&r, &tr_backend_ref, op, in_network);
        rig_run(&r, &ref, in_place);
        rig_close(&r);
        rig_open(&r, tested, op, in_network);
        choose_tolerance(&r);
        rig_run(&r, &fast, in_place);
        rig_close(&r);
        near("y", op, &fast.y, &ref.y);
        near("dx", op, &fast.dx, &ref.dx);
        near("dx2", op, &fast.dx2, &ref.dx2);
        near("dw", op, &fast.dw, &ref.dw);
        near("db", op, &fast.db, &ref.db);
        near("running mean", op, &fast.run_mean, &ref.run_mean);
        near("running variance", op, &fast.run_var, &ref.run_var);
        rig_values_free(&ref);
        rig_values_free(&fast);
    }
}

static void conform(const struct tr_op *op, bool in_network, bool fork)
{
    struct tr_op same = *op;

    for (int precision = IMK_F32; precision <= IMK_F16; precision++) {
        if (!(tested->precisions >> precision & 1))
            continue;
        same.precision = (enum imk_dtype)precision;
        conform_in_precision(&same, in_network, fork);
    }
}

/* ---- cases ---- */

static void convolution(void **state)
{
    static const struct {
        int n, c, k, h, w, kernel, stride, pad;
    } rows[] = {
        {2, 3, 16, 9, 9, 3, 1, 1},    {2, 3, 64, 23, 23, 7, 2, 3},  {1, 16, 16, 7, 5, 3, 1, 1},
        {3, 16, 32, 8, 8, 3, 2, 1},   {2, 16, 32, 9, 9, 1, 2, 0},   {2, 32, 8, 5, 5, 1, 1, 0},
        {2, 24, 40, 2, 2, 3, 1, 1},   {1, 64, 64, 1, 1, 3, 1, 1},   {2, 5, 7, 6, 6, 3, 1, 1},
        {2, 8, 16, 11, 11, 3, 2, 1},  {1, 16, 16, 14, 14, 3, 1, 1}, {3, 32, 40, 7, 5, 3, 1, 1},
        {2, 64, 32, 12, 12, 3, 1, 1}, {5, 40, 40, 4, 4, 3, 1, 1},   {1, 272, 256, 5, 5, 3, 1, 1},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        int oh = (rows[i].h + 2 * rows[i].pad - rows[i].kernel) / rows[i].stride + 1;
        int ow = (rows[i].w + 2 * rows[i].pad - rows[i].kernel) / rows[i].stride + 1;
        struct tr_op op = {.kind = TR_OP_CONV,
                           .x = {rows[i].n, rows[i].c, rows[i].h, rows[i].w},
                           .y = {rows[i].n, rows[i].k, oh, ow},
                           .kernel = rows[i].kernel,
                           .stride = rows[i].stride,
                           .pad = rows[i].pad,
                           .training = true,
                           .needs_dx = rows[i].c != 3,
                           .weight_id = -1};

        conform(&op, rows[i].c != 3, false);
        conform(&op, false, true);
    }
}

/* dx added to what lies there. */
static void convolution_that_sums(void **state)
{
    struct tr_op op = {.kind = TR_OP_CONV,
                       .x = {2, 16, 7, 5},
                       .y = {2, 24, 7, 5},
                       .kernel = 3,
                       .stride = 1,
                       .pad = 1,
                       .training = true,
                       .needs_dx = true,
                       .sums_dx = true,
                       .weight_id = -1};

    (void)state;
    if (!(tested->fuses & TR_FUSES_SUM))
        skip();
    conform(&op, true, false);
    conform(&op, true, true);
    op.kernel = 1;
    op.pad = 0;
    conform(&op, true, false);
}

static const struct tr_shape shapes[] = {
    {2, 16, 7, 5}, {3, 8, 4, 4}, {4, 64, 1, 1}, {2, 5, 3, 3}, {1, 24, 9, 9}};

static void conform_batch_norm(bool adds)
{
    for (size_t i = 0; i < IM_COUNT(shapes); i++) {
        for (int bits = 0; bits < 8; bits++) {
            struct tr_op op = {.kind = TR_OP_BN,
                               .x = shapes[i],
                               .y = shapes[i],
                               .relu = bits & 1,
                               .adds = adds,
                               .training = bits & 2,
                               .needs_dx = true};

            conform(&op, true, bits & 4);
        }
    }
}

static void batch_norm(void **state)
{
    (void)state;
    conform_batch_norm(false);
}

static void batch_norm_that_adds(void **state)
{
    (void)state;
    if (!(tested->fuses & TR_FUSES_ADD))
        skip();
    conform_batch_norm(true);
}

static void batch_norm_that_pools(void **state)
{
    (void)state;
    if (!(tested->fuses & TR_FUSES_POOL))
        skip();
    for (int bits = 0; bits < 8; bits++) {
        int size = bits & 1 ? 9 : 6, stride = bits & 4 ? 2 : 1, out = (size - 1) / stride + 1;
        struct tr_op op = {.kind = TR_OP_BN,
                           .x = {2, 13, size, size},
                           .y = {2, 13, out, out},
                           .kernel = 3,
                           .stride = stride,
                           .pad = 1,
                           .relu = true,
                           .pools = true,
                           .training = bits & 2,
                           .needs_dx = true};

        conform(&op, true, bits & 1);
    }
}

/* Parameters that are constants: their gradients are not written (they stay the zeros of rig_values), batch norm
 * leaves its statistics alone, and the rest is that of the op. */
static void frozen_parameters(void **state)
{
    (void)state;
    for (int bits = 0; bits < 8; bits++) {
        struct tr_op norm = {.kind = TR_OP_BN,
                             .x = shapes[bits % 5],
                             .y = shapes[bits % 5],
                             .relu = bits & 1,
                             .training = true,
                             .needs_dx = true,
                             .frozen = true};
        struct tr_op conv = {.kind = TR_OP_CONV,
                             .x = {2, bits & 2 ? 64 : 16, 7, 5},
                             .y = {2, 32, 7, 5},
                             .kernel = bits & 1 ? 3 : 1,
                             .stride = 1,
                             .pad = bits & 1,
                             .training = true,
                             .needs_dx = true,
                             .frozen = true,
                             .weight_id = -1};
        struct tr_op fc = {.kind = TR_OP_FC,
                           .x = {5, 17, 1, 1},
                           .y = {5, 3, 1, 1},
                           .training = true,
                           .needs_dx = bits & 1,
                           .frozen = bits & 2};

        norm.adds = (tested->fuses & TR_FUSES_ADD) && bits & 2;
        conform(&norm, true, bits & 4);
        conform(&conv, true, bits & 4);
        conform(&fc, false, false);
    }
}

static void frozen_batch_norm_that_pools(void **state)
{
    struct tr_op op = {.kind = TR_OP_BN,
                       .x = {2, 13, 9, 9},
                       .y = {2, 13, 5, 5},
                       .kernel = 3,
                       .stride = 2,
                       .pad = 1,
                       .relu = true,
                       .pools = true,
                       .training = true,
                       .needs_dx = true,
                       .frozen = true};

    (void)state;
    if (!(tested->fuses & TR_FUSES_POOL))
        skip();
    conform(&op, true, false);
    conform(&op, true, true);
}

/* ---- batch norm over several ranks ---- */

/* What a batch would be told by the other ranks: the whole batch's numbers. It adds up what it tells them. */
struct others {
    const struct tr_op *op; /* of the whole */
    const struct values *whole;
    double count;
    double sums[4][256]; /* of values, their squares, dgamma, dbeta */
};

static void moments_of(const struct others *o, int c, double *ret_mean, double *ret_var)
{
    size_t plane = (size_t)o->op->x.h * (size_t)o->op->x.w, channels = (size_t)o->op->x.c;
    double m = (double)o->op->x.n * (double)plane, sum = 0, squares = 0;

    for (size_t i = 0; i < o->whole->x.count; i++) {
        double x = (double)o->whole->x.v[i];

        if (i / plane % channels != (size_t)c)
            continue;
        sum += x;
        squares += x * x;
    }
    *ret_mean = sum / m;
    *ret_var = squares / m - sum / m * sum / m;
}

static int tell_moments(void *context, int channels, double *count, float *mean, float *var)
{
    struct others *o = context;
    double m = *count;

    o->count += m;
    *count = (double)o->op->x.n * o->op->x.h * o->op->x.w;
    for (int c = 0; c < channels; c++) {
        double mu, v;

        o->sums[0][c] += m * (double)mean[c];
        o->sums[1][c] += m * ((double)var[c] + (double)mean[c] * (double)mean[c]);
        moments_of(o, c, &mu, &v);
        mean[c] = (float)mu;
        var[c] = (float)v;
    }
    return 0;
}

static int tell_sums(void *context, int channels, float *a, float *b)
{
    struct others *o = context;

    for (int c = 0; c < channels; c++) {
        o->sums[2][c] += (double)a[c];
        o->sums[3][c] += (double)b[c];
        a[c] = o->whole->dw.v[c];
        b[c] = o->whole->db.v[c];
    }
    return 0;
}

/* What a device adds up by itself (kernels/cuda/norm.h): forward sums of values and of their squares and
 * their count, backward dgamma and dbeta. The whole's take their place. */
struct device {
    struct others *o;
    const struct rig *r;
};

static void tell_device_moments(struct others *o, size_t c, double *sums)
{
    const double n = (double)o->op->x.n * o->op->x.h * o->op->x.w;

    o->count += sums[2 * c];
    sums[2 * c] = n;
    for (size_t i = 0; i < c; i++) {
        double mean, var;

        o->sums[0][i] += sums[i];
        o->sums[1][i] += sums[c + i];
        moments_of(o, (int)i, &mean, &var);
        sums[i] = n * mean;
        sums[c + i] = n * (var + mean * mean);
    }
}

static int tell_device(void *context, void *x, size_t count, bool is_double, struct CUstream_st *stream)
{
    const struct device *d = context;
    const size_t bytes = count * (is_double ? sizeof(double) : sizeof(float)), c = count / 2;
    union {
        double sums[2 * 256 + 1];
        float gradients[2 * 256];
    } host;

    (void)stream;
    assert_true(bytes <= sizeof host);
    assert_int_equal(d->r->ops->copy_out(d->r->b, &host, x, bytes), 0);
    if (is_double)
        tell_device_moments(d->o, c, host.sums);
    else
        tell_sums(d->o, (int)c, host.gradients, host.gradients + c);
    return d->r->ops->copy_in(d->r->b, x, &host, bytes);
}

/* Samples from .. from+n-1 of the whole, as views. */
static struct values part_of(const struct values *whole, const struct tr_op *op, int from, int n)
{
    struct values v = rig_values(op, whole->dy[1].v != NULL);
    struct tensor *parts[] = {&v.x, &v.x2, &v.dy[0], &v.dy[1], &v.y, &v.dx, &v.dx2};
    const struct tensor *wholes[] = {&whole->x, &whole->x2, &whole->dy[0], &whole->dy[1],
                                     &whole->y, &whole->dx, &whole->dx2};

    for (size_t i = 0; i < IM_COUNT(parts); i++) {
        const size_t one = wholes[i]->count / (size_t)op->x.n;

        parts[i]->count = one * (size_t)n;
        if (parts[i]->v)
            memcpy(parts[i]->v, wholes[i]->v + one * (size_t)from, parts[i]->count * sizeof(float));
    }
    return v;
}

static void synced_part(struct others *o, const struct tr_backend_ops *ops, int from, int n)
{
    const struct tr_bn_sync sync = {.context = o, .moments = tell_moments, .sums = tell_sums};
    struct values want = part_of(o->whole, o->op, from, n), got = part_of(o->whole, o->op, from, n);
    struct tr_op op = *o->op;
    struct rig r;
    struct device device = {.o = o, .r = &r};
    const struct tr_rank_sum sum = {.context = &device, .sum = tell_device};

    op.x.n = op.y.n = n;
    op.synced = true;
    rig_open(&r, ops, &op, true);
    r.sync = &sync;
    ops->step->set_ranks(r.b, &sum);
    memset(got.y.v, 0, got.y.count * sizeof(float));
    memset(got.dx.v, 0, got.dx.count * sizeof(float));
    rig_run(&r, &got, from == 0);
    rig_close(&r);
    near("y", &op, &got.y, &want.y);
    near("dx", &op, &got.dx, &want.dx);
    near("dx2", &op, &got.dx2, &want.dx2);
    near("running mean", &op, &got.run_mean, &o->whole->run_mean);
    near("running variance", &op, &got.run_var, &o->whole->run_var);
    rig_values_free(&want);
    rig_values_free(&got);
}

/* A batch on two ranks, one sample here and the others there, is the whole batch on one. */
static void synced(const struct tr_backend_ops *ops, const struct tr_op *op, bool fork)
{
    struct values whole = rig_values(op, fork);
    struct others o = {.op = op, .whole = &whole};
    struct rig r;

    rig_open(&r, &tr_backend_ref, op, true);
    rig_run(&r, &whole, false);
    rig_close(&r);
    tolerance = 1e-9;
    synced_part(&o, ops, 0, 1);
    synced_part(&o, ops, 1, op->x.n - 1);
    assert_true(o.count == (double)op->x.n * op->x.h * op->x.w);
    for (int c = 0; c < op->x.c; c++) {
        double mean, var;

        moments_of(&o, c, &mean, &var);
        assert_true(fabs(o.sums[0][c] / o.count - mean) < 1e-6);
        assert_true(fabs(o.sums[1][c] / o.count - mean * mean - var) < 1e-6);
        assert_true(fabs(o.sums[2][c] - (double)whole.dw.v[c]) < 1e-4);
        assert_true(fabs(o.sums[3][c] - (double)whole.db.v[c]) < 1e-4);
    }
    rig_values_free(&whole);
}

static void batch_norm_over_ranks(void **state)
{
    const struct tr_shape odd = {3, 21, 5, 3}, blocks = {4, 32, 6, 6};

    (void)state;
    for (int bits = 0; bits < 32; bits++) {
        const struct tr_backend_ops *ops = bits & 4 ? tested : &tr_backend_ref;
        const struct tr_op op = {.kind = TR_OP_BN,
                                 .x = bits & 1 ? odd : blocks,
                                 .y = bits & 1 ? odd : blocks,
                                 .relu = bits & 2,
                                 .adds = bits & 16,
                                 .training = true,
                                 .needs_dx = true};

        if (ops == &tr_backend_ref || !op.adds || (ops->fuses & TR_FUSES_ADD))
            synced(ops, &op, bits & 8);
    }
}

static void batch_norm_over_ranks_that_pools(void **state)
{
    (void)state;
    for (int bits = 0; bits < 4; bits++) {
        const struct tr_backend_ops *ops = bits & 1 ? tested : &tr_backend_ref;
        const struct tr_op op = {.kind = TR_OP_BN,
                                 .x = {3, 13, 7, 7},
                                 .y = {3, 13, 4, 4},
                                 .kernel = 3,
                                 .stride = 2,
                                 .pad = 1,
                                 .relu = true,
                                 .pools = true,
                                 .training = true,
                                 .needs_dx = true};

        if (ops == &tr_backend_ref || (ops->fuses & TR_FUSES_POOL))
            synced(ops, &op, bits & 2);
    }
}

static void residual_addition(void **state)
{
    (void)state;
    for (size_t i = 0; i < IM_COUNT(shapes); i++) {
        for (int bits = 0; bits < 4; bits++) {
            struct tr_op op = {.kind = TR_OP_ADD,
                               .x = shapes[i],
                               .y = shapes[i],
                               .relu = bits & 1,
                               .training = true,
                               .needs_dx = true};

            conform(&op, true, bits & 2);
        }
    }
}

static void max_pool(void **state)
{
    (void)state;
    for (int size = 2; size < 9; size++) {
        for (int stride = 1; stride < 3; stride++) {
            int out = (size - 1) / stride + 1;
            struct tr_op op = {.kind = TR_OP_MAXPOOL,
                               .x = {2, 16, size, size},
                               .y = {2, 16, out, out},
                               .kernel = 3,
                               .stride = stride,
                               .pad = 1,
                               .training = true,
                               .needs_dx = true};

            conform(&op, true, size % 2);
        }
    }
}

static void blur(void **state)
{
    static const struct tr_shape rows[] = {{2, 16, 7, 5}, {3, 8, 4, 4},  {2, 5, 3, 3},
                                           {1, 24, 9, 8}, {2, 64, 2, 2}, {1, 3, 12, 11}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        for (int bits = 0; bits < 8; bits++) {
            int stride = bits & 1 ? 2 : 1;
            struct tr_op op = {
                .kind = TR_OP_BLUR,
                .x = rows[i],
                .y = {rows[i].n, rows[i].c, (rows[i].h - 1) / stride + 1, (rows[i].w - 1) / stride + 1},
                .kernel = 3,
                .stride = stride,
                .pad = 1,
                .reflect = bits & 2,
                .training = true,
                .needs_dx = true};

            conform(&op, bits & 4, i % 2);
        }
    }
}

static void blur_of_one_pixel_is_refused_where_it_reflects(void **state)
{
    struct tr_op op = {.kind = TR_OP_BLUR,
                       .x = {1, 8, 1, 1},
                       .y = {1, 8, 1, 1},
                       .kernel = 3,
                       .stride = 2,
                       .pad = 1,
                       .reflect = true};
    const struct tr_backend_ops *both[] = {&tr_backend_ref, tested};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct tr_plan_info info;
        struct tr_backend *b;
        struct tr_op_plan *plan;

        assert_int_equal(both[i]->open(1, &b, NULL), 0);
        assert_int_equal(both[i]->plan(b, &op, &plan, &info, NULL), -EINVAL);
        both[i]->close(b);
    }
}

static void stochastic_depth(void **state)
{
    (void)state;
    for (size_t i = 0; i < IM_COUNT(shapes); i++) {
        for (int bits = 0; bits < 4; bits++) {
            struct tr_op op = {.kind = TR_OP_DROPPATH,
                               .x = shapes[i],
                               .y = shapes[i],
                               .training = bits & 1,
                               .needs_dx = true};

            conform(&op, true, bits & 2);
        }
    }
}

static void gelu(void **state)
{
    (void)state;
    for (size_t i = 0; i < IM_COUNT(shapes); i++) {
        for (int bits = 0; bits < 8; bits++) {
            struct tr_op op = {.kind = TR_OP_GELU,
                               .x = shapes[i],
                               .y = shapes[i],
                               .biased = bits & 4,
                               .training = bits & 1,
                               .needs_dx = true};

            conform(&op, true, bits & 2);
        }
    }
}

static void global_average_pool(void **state)
{
    (void)state;
    for (size_t i = 0; i < IM_COUNT(shapes); i++) {
        struct tr_op op = {.kind = TR_OP_GAP,
                           .x = shapes[i],
                           .y = {shapes[i].n, shapes[i].c, 1, 1},
                           .training = true,
                           .needs_dx = true};

        conform(&op, true, false);
    }
}

static void fully_connected(void **state)
{
    static const int rows[][3] = {{1, 64, 10}, {5, 17, 3}, {8, 512, 100}, {3, 7, 1}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        struct tr_op op = {.kind = TR_OP_FC,
                           .x = {rows[i][0], rows[i][1], 1, 1},
                           .y = {rows[i][0], rows[i][2], 1, 1},
                           .training = true,
                           .needs_dx = true};

        conform(&op, false, false);
    }
}

#ifndef TESTS_CUDA
static float number(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Numbers of every sign, exponent and rounding situation: the definition by arithmetic, the loops by bits. */
static void bf16_rounds_to_the_nearest_even(void **state)
{
    static const uint32_t tails[] = {0,      1,       0x7fff,  0x8000,  0x8001,
                                     0xffff, 0x10000, 0x17fff, 0x18000, 0x18001};

    (void)state;
    for (uint32_t top = 0; top < 1u << 16; top += 2) {
        for (size_t i = 0; i < IM_COUNT(tails); i++) {
            float value = number((top << 16) + tails[i]), want = value, copied, rounded;
            uint16_t half;

            tr_ref_round(IMK_BF16, &want, 1);
            tr_cpu_narrow(&half, &value, 1);
            tr_cpu_widen(&copied, &half, 1);
            tr_cpu_round(&rounded, &value, 1);
            assert_int_equal(isnan(value), isnan(copied));
            assert_int_equal(isnan(value), isnan(rounded));
            if (isnan(value))
                continue;
            assert_memory_equal(&copied, &want, sizeof want);
            assert_memory_equal(&rounded, &want, sizeof want);
        }
    }
}

#endif

/* Each bf16 value that the backend made has 16 zero bits below, the logits do not. */
static void bf16_values_have_eight_bits(void **state)
{
    struct tr_op op = {.kind = TR_OP_BN,
                       .precision = IMK_BF16,
                       .x = shapes[0],
                       .y = shapes[0],
                       .training = true,
                       .needs_dx = true};
    struct tr_op fc = {.kind = TR_OP_FC,
                       .precision = IMK_BF16,
                       .x = {4, 64, 1, 1},
                       .y = {4, 10, 1, 1},
                       .training = true,
                       .needs_dx = true};
    struct values v = rig_values(&op, false), logits = rig_values(&fc, false);
    struct rig r;
    int odd = 0;

    (void)state;
    rig_open(&r, tested, &op, true);
    assert_int_equal(r.info.y_bytes % (rig_count(op.y) * sizeof(uint16_t)), 0);
    rig_run(&r, &v, false);
    rig_close(&r);
    for (size_t i = 0; i < v.y.count; i++) {
        float y = v.y.v[i], dx = v.dx.v[i];

        tr_ref_round(IMK_BF16, &y, 1);
        tr_ref_round(IMK_BF16, &dx, 1);
        assert_true(y == v.y.v[i] && dx == v.dx.v[i]);
    }
    rig_open(&r, tested, &fc, false);
    rig_run(&r, &logits, false);
    rig_close(&r);
    for (size_t i = 0; i < logits.y.count; i++) {
        float y = logits.y.v[i];

        tr_ref_round(IMK_BF16, &y, 1);
        odd += y != logits.y.v[i];
    }
    assert_true(odd > 0);
    rig_values_free(&v);
    rig_values_free(&logits);
}

static void pixels_become_normalised_values(void **state)
{
    struct tr_op op = {.kind = TR_OP_INPUT,
                       .x = {2, 3, 5, 7},
                       .y = {2, 3, 5, 7},
                       .mean = {0.4f, 0.5f, 0.6f},
                       .std = {0.2f, 0.3f, 0.4f}};
    const struct tr_backend_ops *both[] = {&tr_backend_ref, tested};
    uint8_t pixels[2 * 5 * 7 * 3];

    (void)state;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 37);
    for (int k = 0; k < 2; k++) {
        struct tensor y = rig_draw(sizeof pixels, 0, 0, 0);
        struct rig r;
        char *buffer;

        rig_open(&r, both[k], &op, false);
        buffer = rig_buffer(&r, r.info.y_bytes);
        assert_int_equal(r.ops->forward(r.b, r.plan, &(struct tr_exec){.pixels = pixels, .y = buffer}), 0);
        assert_int_equal(r.ops->value_out(r.b, r.info.y_layout, op.y, buffer, y.v), 0);
        for (int n = 0; n < 2; n++)
            for (int c = 0; c < 3; c++)
                for (int at = 0; at < 35; at++)
                    assert_true(fabs((double)y.v[(n * 3 + c) * 35 + at] -
                                     (pixels[(n * 35 + at) * 3 + c] / 255.0 - (0.4 + 0.1 * c)) /
                                         (0.2 + 0.1 * c)) < 1e-5);
        rig_buffer_free(&r, buffer, r.info.y_bytes);
        rig_close(&r);
        free(y.v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution),
        cmocka_unit_test(convolution_that_sums),
        cmocka_unit_test(batch_norm),
        cmocka_unit_test(batch_norm_that_adds),
        cmocka_unit_test(batch_norm_that_pools),
        cmocka_unit_test(frozen_parameters),
        cmocka_unit_test(frozen_batch_norm_that_pools),
        cmocka_unit_test(batch_norm_over_ranks),
        cmocka_unit_test(batch_norm_over_ranks_that_pools),
        cmocka_unit_test(residual_addition),
        cmocka_unit_test(max_pool),
        cmocka_unit_test(blur),
        cmocka_unit_test(blur_of_one_pixel_is_refused_where_it_reflects),
        cmocka_unit_test(stochastic_depth),
        cmocka_unit_test(gelu),
        cmocka_unit_test(global_average_pool),
        cmocka_unit_test(fully_connected),
#ifndef TESTS_CUDA
        cmocka_unit_test(bf16_rounds_to_the_nearest_even),
#endif
        cmocka_unit_test(bf16_values_have_eight_bits),
        cmocka_unit_test(pixels_become_normalised_values),
    };

#ifdef TESTS_GPU
    if (!has_gpu(tested))
        return 77;
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
