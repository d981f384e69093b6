/* No op makes a number of NaN: where the reference's answer to values or gradients with a NaN is NaN, that of every
 * backend is. And the reference itself, with a ReLU and a pool as PyTorch has them. Then whole networks: with a NaN in
 * any one tensor the loss of an evaluation is NaN, and a training step is skipped. Nor is a number made of nothing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "tests/backend/rig.h"
#include "trainer/backends/step.h"
#include "trainer/network/network.h"

#ifdef TESTS_CUDA
static const struct tr_backend_ops *const tested = &tr_backend_cuda;
#else
static const struct tr_backend_ops *const tested = &tr_backend_onednn;
#endif

/* ---- ops ---- */

static size_t count_nan(const struct tensor *t)
{
    size_t count = 0;

    for (size_t i = 0; t->v && i < t->count; i++)
        count += isnan(t->v[i]) ? 1 : 0;
    return count;
}

/* exactly: and no others, but where products spread it. */
static void same_nan(const char *what, const struct tr_op *op, const struct tensor *ours,
                     const struct tensor *theirs, bool exactly)
{
    for (size_t i = 0; i < theirs->count && theirs->v; i++)
        if (isnan(theirs->v[i]) ? !isnan(ours->v[i]) : exactly && isnan(ours->v[i]))
            fail_msg("%s of op %d%s%s%s in precision %d: number %zu is %g, the reference has %g", what,
                     op->kind, op->relu ? ", ReLU" : "", op->adds ? ", add" : "",
                     op->training ? "" : ", evaluation", op->precision, i, (double)ours->v[i],
                     (double)theirs->v[i]);
}

enum where { IN_X, IN_X2, IN_DY, IN_DY1, IN_W };

static void put(struct values *v, enum where where, size_t at)
{
    struct tensor *const t[] = {&v->x, &v->x2, &v->dy[0], &v->dy[1], &v->w};

    t[where]->v[at % t[where]->count] = NAN;
}

static void run_on(const struct tr_backend_ops *ops, const struct tr_op *op, bool in_network,
                   struct values *v)
{
    struct rig r;

    rig_open(&r, ops, op, in_network);
    rig_run(&r, v, false);
    rig_close(&r);
}

static void stays_in(const struct tr_op *op, bool in_network, enum where where, size_t at)
{
    const bool fork = where == IN_DY1, exactly = op->kind != TR_OP_CONV && op->kind != TR_OP_BLUR;
    struct values want = rig_values(op, fork), got = rig_values(op, fork);
    size_t seen;

    put(&want, where, at);
    put(&got, where, at);
    run_on(&tr_backend_ref, op, in_network, &want);
    run_on(tested, op, in_network, &got);
    same_nan("y", op, &got.y, &want.y, exactly);
    same_nan("dx", op, &got.dx, &want.dx, exactly);
    same_nan("dx2", op, &got.dx2, &want.dx2, exactly);
    same_nan("dw", op, &got.dw, &want.dw, exactly);
    same_nan("db", op, &got.db, &want.db, exactly);
    same_nan("running mean", op, &got.run_mean, &want.run_mean, exactly);
    same_nan("running variance", op, &got.run_var, &want.run_var, exactly);
    seen = count_nan(&want.y) + count_nan(&want.dx);
    assert_true(seen > 0 || where >= IN_DY); /* a ReLU may stop a gradient */
    rig_values_free(&want);
    rig_values_free(&got);
}

static void stays(const struct tr_op *op, bool in_network, bool has_w)
{
    struct tr_op same = *op;

    for (int precision = IMK_F32; precision <= IMK_F16; precision++) {
        if (!(tested->precisions >> precision & 1))
            continue;
        same.precision = (enum imk_dtype)precision;
        for (size_t at = 0; at < 60; at += 19) {
            stays_in(&same, in_network, IN_X, at);
            if (op->kind == TR_OP_ADD || op->adds)
                stays_in(&same, in_network, IN_X2, at);
            if (has_w)
                stays_in(&same, in_network, IN_W, at);
            if (!op->training)
                continue;
            stays_in(&same, in_network, IN_DY, at);
            if (op->kind != TR_OP_FC && op->kind != TR_OP_GAP) /* no network forks there */
                stays_in(&same, in_network, IN_DY1, at);
        }
    }
}

static void in_convolutions(void **state)
{
    (void)state;
    for (int bits = 0; bits < 4; bits++) { /* Winograd has 32 channels and more */
        const int c = bits & 1 ? 32 : 16, size = bits & 2 ? 8 : 5;
        const struct tr_op op = {.kind = TR_OP_CONV,
                                 .x = {2, c, size, size},
                                 .y = {2, c, size, size},
                                 .kernel = 3,
                                 .stride = 1,
                                 .pad = 1,
                                 .training = true,
                                 .needs_dx = true,
                                 .weight_id = -1};

        stays(&op, true, true);
    }
}

/* Of a map of 2x2 with one pixel, whatever its channels hold: the taps that never meet it have a gradient of 0 and not one of
 * rounding, by whose sign AdamW's first steps would go. */
static void taps_without_a_pixel_have_no_gradient(void **state)
{
    const struct tr_op op = {.kind = TR_OP_CONV,
                             .x = {8, 32, 2, 2},
                             .y = {8, 32, 2, 2},
                             .kernel = 3,
                             .stride = 1,
                             .pad = 1,
                             .training = true,
                             .needs_dx = true,
                             .weight_id = -1};
    struct values v = rig_values(&op, false);
    size_t zeros = 0;

    (void)state;
    for (size_t i = 0; i < v.x.count; i++)
        v.x.v[i] = i % 4 == 0 ? v.x.v[i] : 0; /* row 0, column 0 */
    run_on(tested, &op, true, &v);
    for (size_t i = 0; i < v.dw.count; i++)
        if (i % 9 >= 6 || i % 3 == 2) {
            assert_true(v.dw.v[i] == 0);
            zeros++;
        }
    assert_int_equal(zeros, (size_t)32 * 32 * 5);
    rig_values_free(&v);
}

static void in_batch_norm(void **state)
{
    static const struct tr_shape shapes[] = {{2, 16, 7, 5}, {2, 5, 3, 3}};

    (void)state;
    for (int bits = 0; bits < 32; bits++) {
        const struct tr_shape shape = shapes[bits & 1];
        const struct tr_op op = {.kind = TR_OP_BN,
                                 .x = shape,
                                 .y = shape,
                                 .relu = bits & 2,
                                 .adds = bits & 4,
                                 .training = bits & 8,
                                 .frozen = bits & 16,
                                 .needs_dx = true};

        if (op.frozen && !op.training)
            continue;
        if (!op.adds || (tested->fuses & TR_FUSES_ADD))
            stays(&op, true, true);
    }
}

static void in_pools(void **state)
{
    const struct tr_op max = {.kind = TR_OP_MAXPOOL,
                              .x = {2, 16, 7, 7},
                              .y = {2, 16, 4, 4},
                              .kernel = 3,
                              .stride = 2,
                              .pad = 1,
                              .training = true,
                              .needs_dx = true};
    const struct tr_op stem = {.kind = TR_OP_BN,
                               .x = {2, 16, 7, 7},
                               .y = {2, 16, 4, 4},
                               .kernel = 3,
                               .stride = 2,
                               .pad = 1,
                               .relu = true,
                               .pools = true,
                               .training = true,
                               .needs_dx = true};
    const struct tr_op average = {
        .kind = TR_OP_GAP, .x = {2, 16, 7, 7}, .y = {2, 16, 1, 1}, .training = true, .needs_dx = true};

    (void)state;
    stays(&max, true, false);
    stays(&max, false, false);
    stays(&average, true, false);
    if (tested->fuses & TR_FUSES_POOL)
        stays(&stem, true, true);
}

static void elsewhere(void **state)
{
    const struct tr_op blur = {.kind = TR_OP_BLUR,
                               .x = {2, 16, 6, 6},
                               .y = {2, 16, 3, 3},
                               .kernel = 3,
                               .stride = 2,
                               .pad = 1,
                               .training = true,
                               .needs_dx = true};
    const struct tr_op fc = {
        .kind = TR_OP_FC, .x = {4, 16, 1, 1}, .y = {4, 10, 1, 1}, .training = true, .needs_dx = true};
    struct tr_op add = {
        .kind = TR_OP_ADD, .x = {2, 16, 5, 3}, .y = {2, 16, 5, 3}, .training = true, .needs_dx = true};

    (void)state;
    stays(&blur, true, false);
    stays(&fc, false, true);
    stays(&add, true, false);
    add.relu = true;
    stays(&add, true, false);
    add.kind = TR_OP_DROPPATH;
    add.relu = false;
    stays(&add, true, false);
    add.kind = TR_OP_GELU;
    stays(&add, true, false);
}

/* max_pool2d takes the last NaN of a window; relu passes the gradient of a NaN. */
static void the_reference_has_pytorchs_nan(void **state)
{
    const struct tr_op max = {.kind = TR_OP_MAXPOOL,
                              .x = {1, 1, 2, 2},
                              .y = {1, 1, 1, 1},
                              .kernel = 2,
                              .stride = 2,
                              .training = true,
                              .needs_dx = true};
    const struct tr_op add = {.kind = TR_OP_ADD,
                              .x = {1, 1, 1, 3},
                              .y = {1, 1, 1, 3},
                              .relu = true,
                              .training = true,
                              .needs_dx = true};
    struct values v = rig_values(&max, false), sum = rig_values(&add, false);
    const float x[] = {1, NAN, NAN, 9}, a[] = {NAN, 2, -2};

    (void)state;
    memcpy(v.x.v, x, sizeof x);
    run_on(&tr_backend_ref, &max, false, &v);
    assert_true(isnan(v.y.v[0]));
    assert_true(v.dx.v[0] == 0 && v.dx.v[1] == 0 && v.dx.v[2] == v.dy[0].v[0] && v.dx.v[3] == 0);
    memcpy(sum.x.v, a, sizeof a);
    memset(sum.x2.v, 0, 3 * sizeof(float));
    run_on(&tr_backend_ref, &add, false, &sum);
    assert_true(isnan(sum.y.v[0]) && sum.y.v[1] == 2 && sum.y.v[2] == 0);
    assert_true(sum.dx.v[0] == sum.dy[0].v[0] && sum.dx.v[1] == sum.dy[0].v[1] && sum.dx.v[2] == 0);
    rig_values_free(&v);
    rig_values_free(&sum);
}

/* ---- networks ---- */

enum { N = 2, SIZE = 32, CLASSES = 7 };

static struct tr_network *network(const char *model, const struct tr_backend_ops *ops,
                                  enum imk_dtype precision, double drop_path, enum tr_blurpool blurpool)
{
    const struct tr_network_config config = {
        .model = model,
        .classes = CLASSES,
        .ops = ops,
        .backend = ops->name,
        .device = {.deterministic = true, .cache = getenv("IMSUPER_TEST_PLANS")},
        .threads = 2,
        .drop_path_rate = drop_path,
        .blurpool = blurpool,
        .precision = precision,
        .seed = 1,
        .mean = {0.5f, 0.5f, 0.5f},
        .std = {0.25f, 0.25f, 0.25f}};
    struct tr_network *net = NULL;
    struct im_text text = {""};

    if (tr_network_new(&config, &net, &text) < 0)
        fail_msg("%s", text.s);
    return net;
}

static struct tr_batch batch_of(uint8_t *pixels, int32_t *labels)
{
    for (size_t i = 0; i < (size_t)N * SIZE * SIZE * 3; i++)
        pixels[i] = (uint8_t)(i * 2654435761u >> 24);
    for (int i = 0; i < N; i++)
        labels[i] = i;
    return (struct tr_batch){.pixels = pixels, .labels = labels, .n = N, .size = SIZE};
}

static void loss_is(struct tr_network *net, const struct tr_batch *batch, const char *name, bool finite)
{
    struct tr_tally tally;
    struct im_text text = {""};

    if (tr_network_evaluate(net, batch, false, NULL, &tally, &text) < 0)
        fail_msg("%s", text.s);
    if (isfinite(tally.loss_sum) != finite || (!finite && tally.top1 > 0))
        fail_msg("with a NaN in %s the loss is %g, and %u of %d are right", name, tally.loss_sum, tally.top1,
                 N);
}

static bool step_skips(struct tr_network *net, const struct tr_batch *batch)
{
    struct tr_step step = {
        .number = 1, .last = true, .hyper = {.lr = 0.1, .unscale = 1, .loss_scale = 1, .ema_weight = 1}};
    struct tr_outcome outcome;

    assert_int_equal(tr_network_step_begin(net, batch, &step, NULL), 0);
    assert_int_equal(tr_network_step_end(net, &outcome, NULL), 0);
    return outcome.skipped;
}

/* A number that counts at any image size: of a filter the middle, which never lies on padding alone. */
static size_t middle_of(const struct tr_param_tensor *t)
{
    const size_t taps = t->rank == 4 ? (size_t)t->shape[2] * (size_t)t->shape[3] : 1;

    return t->count / 2 / taps * taps + taps / 2;
}

/* Each tensor in turn has one NaN, every `apart`-th of them. */
static void every_tensor_of(struct tr_network *net, int apart)
{
    const struct tr_model *m = tr_network_model(net);
    uint8_t pixels[N * SIZE * SIZE * 3];
    int32_t labels[N];
    struct tr_batch batch = batch_of(pixels, labels);
    float *values[2] = {calloc(m->param_floats, sizeof(float)), calloc(m->stat_floats, sizeof(float))};
    const enum tr_arena arenas[] = {TR_ARENA_PARAMS, TR_ARENA_STATS};

    for (int i = 0; i < 2; i++)
        assert_int_equal(tr_network_read(net, arenas[i], values[i]), 0);
    loss_is(net, &batch, "nothing", true);
    for (int i = 0; i < m->tensor_count; i += apart) {
        const struct tr_param_tensor *t = &m->tensors[i];
        const int of_stats = tr_tensor_home(t) == TR_HOME_STATS;
        float *at = values[of_stats] + t->offset + middle_of(t), old = *at;

        if (tr_tensor_home(t) == TR_HOME_COUNTER)
            continue;
        *at = NAN;
        assert_int_equal(tr_network_write(net, arenas[of_stats], values[of_stats]), 0);
        loss_is(net, &batch, t->name, false);
        if (!of_stats && !step_skips(net, &batch))
            fail_msg("with a NaN in %s a step is taken", t->name);
        *at = old;
        assert_int_equal(tr_network_write(net, arenas[of_stats], values[of_stats]), 0);
    }
    loss_is(net, &batch, "nothing", true);
    for (int i = 0; i < 2; i++)
        free(values[i]);
    tr_network_free(net);
}

static void in_networks(void **state)
{
    (void)state;
#ifdef TESTS_CUDA
    every_tensor_of(network("resnet20", tested, IMK_F32, 0, TR_BLURPOOL_NONE), 7);
#else
    every_tensor_of(network("resnet20", tested, IMK_F32, 0, TR_BLURPOOL_NONE), 5);
    every_tensor_of(network("resnet18", tested, IMK_F32, 0, TR_BLURPOOL_NONE), 7);
    every_tensor_of(network("resnet18", tested, IMK_BF16, 0.2, TR_BLURPOOL_ZHANG), 11);
    every_tensor_of(network("resnetv2_18", tested, IMK_F32, 0, TR_BLURPOOL_FFCV), 11);
    every_tensor_of(network("resnet20", &tr_backend_ref, IMK_F32, 0, TR_BLURPOOL_NONE), 31);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_convolutions), cmocka_unit_test(taps_without_a_pixel_have_no_gradient),
        cmocka_unit_test(in_batch_norm),   cmocka_unit_test(in_pools),
        cmocka_unit_test(elsewhere),       cmocka_unit_test(the_reference_has_pytorchs_nan),
        cmocka_unit_test(in_networks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
