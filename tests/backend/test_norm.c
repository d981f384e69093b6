/* Batch norm of CPUs: its loops for AVX2 against those for every processor, and the same bits for any number of threads.
 * That it computes the right thing is test_conformance.c's; how exactly, tests/bench/peers/op_errors.py's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "tests/backend/rig.h"
#include "trainer/backends/onednn/vector_loops.h"

enum { VECTORS = 37, NUMBERS = 2 * TR_LANES * VECTORS };

/* The strips that norm.c makes: channels in blocks of 8 and of 16, plain NCHW with a short end, channels last with
 * fewer than 8 left. */
static const struct tr_strip strips[] = {
    {.step = TR_LANES, .whole = VECTORS},
    {.step = 2 * TR_LANES, .whole = VECTORS, .at = TR_LANES, .bits = 3},
    {.step = TR_LANES, .whole = VECTORS - 1, .ragged = 1, .lanes = 3},
    {.step = 5, .ragged = VECTORS, .lanes = 5},
};

static void make_lanes(struct tr_norm_lanes *p)
{
    struct tensor t = rig_draw(6 * TR_LANES, 20, -1, 1);

    memcpy(p->mean, t.v, sizeof p->mean);
    memcpy(p->factor, t.v + 8, sizeof p->factor);
    memcpy(p->shift, t.v + 16, sizeof p->shift);
    memcpy(p->a, t.v + 24, sizeof p->a);
    memcpy(p->b, t.v + 32, sizeof p->b);
    memcpy(p->c, t.v + 40, sizeof p->c);
    free(t.v);
}

/* Products of two floats are exact in double, so that a fused addition changes nothing. */
static void sums_are_the_same_bits(void **state)
{
    const struct tr_vector_loops *fast = tr_vector_loops_avx2(), *plain = &tr_vector_loops_plain;
    struct tensor x = rig_draw(NUMBERS, 21, -3, 3), dy = rig_draw(NUMBERS, 22, -1, 1);
    struct tr_norm_lanes lanes;
    uint8_t bits[VECTORS + 3];

    (void)state;
    if (!fast) {
        print_message("skipped: no AVX2\n");
        skip();
    }
    make_lanes(&lanes);
    for (size_t i = 0; i < sizeof bits; i++)
        bits[i] = (uint8_t)(37 * i);
    for (size_t i = 0; i < IM_COUNT(strips); i++)
        for (int narrow = 0; narrow < 2; narrow++) {
            struct tr_norm_sums sums[4] = {{{0}, {0}}};
            const struct tr_norm_backward k = {.x = x.v, .dy = {dy.v}, .relu = true, .bits = bits};
            struct tr_strip s = strips[i];

            s.narrow = narrow; /* any two bytes are a bf16 number; of draws none is NaN */
            for (size_t j = 0; narrow && j < 2 * NUMBERS; j++)
                if ((((uint16_t *)(void *)x.v)[j] & 0x7f80) > 0x4100)
                    ((uint16_t *)(void *)x.v)[j] &= 0xc0ff;
            fast->moments(&s, x.v, &sums[0]);
            plain->moments(&s, x.v, &sums[1]);
            fast->sums(&s, &lanes, &k, &sums[2]);
            plain->sums(&s, &lanes, &k, &sums[3]);
            assert_true(sums[0].second[0] > 0);
            assert_memory_equal(&sums[0], &sums[1], sizeof sums[0]);
            if (!narrow)
                assert_memory_equal(&sums[2], &sums[3], sizeof sums[2]);
        }
    free(x.v);
    free(dy.v);
}

/* The largest |a - b|, as a share of the numbers that were added up. */
static double apart(const float *a, const float *b, size_t count, double scale)
{
    double worst = 0;

    for (size_t i = 0; i < count; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst / scale;
}

/* A product and a sum are rounded once or twice: an ulp or two of their parts. */
static void results_differ_by_an_ulp(void **state)
{
    const struct tr_vector_loops *fast = tr_vector_loops_avx2(), *plain = &tr_vector_loops_plain;
    struct tensor x = rig_draw(NUMBERS, 21, -3, 3), x2 = rig_draw(NUMBERS, 23, -1, 1),
                  dy = rig_draw(NUMBERS, 22, -1, 1);
    struct tr_norm_lanes lanes;

    (void)state;
    if (!fast)
        skip();
    make_lanes(&lanes);
    for (size_t i = 0; i < IM_COUNT(strips); i++)
        for (int adds = 0; adds < 2; adds++) {
            static float y[2][NUMBERS], dx[2][NUMBERS];
            uint8_t bits[2][VECTORS + 3] = {{0}};

            for (int v = 0; v < 2; v++) {
                const struct tr_vector_loops *loops = v ? plain : fast;
                const struct tr_norm_forward f = {.x = x.v,
                                                  .x2 = adds ? x2.v : NULL,
                                                  .y = y[v],
                                                  .bits = adds ? bits[v] : NULL,
                                                  .relu = true};
                const struct tr_norm_backward k = {
                    .x = x.v, .dy = {dy.v}, .relu = true, .bits = adds ? bits[v] : NULL, .dx = dx[v]};

                memset(y[v], 0, sizeof y[v]);
                memset(dx[v], 0, sizeof dx[v]);
                loops->apply(&strips[i], &lanes, &f);
                loops->dx(&strips[i], &lanes, &k);
            }
            assert_memory_equal(bits[0], bits[1], sizeof bits[0]);
            assert_true(apart(y[0], y[1], NUMBERS, 6) < 2e-7);
            assert_true(apart(dx[0], dx[1], NUMBERS, 6) < 2e-7);
        }
    free(x.v);
    free(x2.v);
    free(dy.v);
}

static struct values run(const struct tr_op *op, bool in_network, int threads)
{
    struct values v = rig_values(op, op->adds);
    struct rig r;

    rig_open_with(&r, &tr_backend_onednn, op, in_network, threads);
    rig_run(&r, &v, false);
    rig_close(&r);
    return v;
}

static void must_be_equal(const struct tensor *a, const struct tensor *b, const char *what, int threads)
{
    if (a->count != b->count || memcmp(a->v, b->v, a->count * sizeof(float)) != 0)
        fail_msg("%s has other bits with %d threads than with 1", what, threads);
}

/* Channels for whole vectors and not, images for fewer slices than 64 and more, groups that threads divide and not. */
static void bits_do_not_depend_on_threads(void **state)
{
    static const struct tr_shape shapes[] = {{3, 16, 9, 9}, {70, 24, 3, 3}, {5, 20, 4, 4}, {2, 256, 5, 5}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(shapes); i++)
        for (int kind = 0; kind < 8; kind++) {
            const struct tr_op op = {.kind = TR_OP_BN,
                                     .precision = kind & 4 ? IMK_BF16 : IMK_F32,
                                     .x = shapes[i],
                                     .y = shapes[i],
                                     .relu = true,
                                     .adds = (kind & 1) != 0,
                                     .training = true,
                                     .needs_dx = true,
                                     .weight_id = -1};
            const bool in_network = (kind & 2) != 0;
            struct values one = run(&op, in_network, 1);

            for (int threads = 2; threads <= 3; threads++) {
                struct values v = run(&op, in_network, threads);

                must_be_equal(&one.y, &v.y, "y", threads);
                must_be_equal(&one.dx, &v.dx, "dx", threads);
                must_be_equal(&one.dx2, &v.dx2, "dx2", threads);
                must_be_equal(&one.dw, &v.dw, "dw", threads);
                must_be_equal(&one.db, &v.db, "db", threads);
                must_be_equal(&one.run_mean, &v.run_mean, "the running mean", threads);
                must_be_equal(&one.run_var, &v.run_var, "the running variance", threads);
                rig_values_free(&v);
            }
            rig_values_free(&one);
        }
}

/* The classifier's bias: sums of many samples, one after the other in fp32, would lose three digits. */
static void sums_over_samples_are_exact(void **state)
{
    enum { SAMPLES = 5000, CLASSES = 70 };
    const struct tr_op op = {.kind = TR_OP_FC,
                             .x = {SAMPLES, 3, 1, 1},
                             .y = {SAMPLES, CLASSES, 1, 1},
                             .training = true,
                             .needs_dx = true,
                             .weight_id = -1};
    struct values v = run(&op, false, 1);

    (void)state;
    for (size_t k = 0; k < CLASSES; k++) {
        double sum = 0, size = 0;

        for (size_t n = 0; n < SAMPLES; n++) {
            sum += (double)v.dy[0].v[n * CLASSES + k];
            size += fabs((double)v.dy[0].v[n * CLASSES + k]);
        }
        if (!(fabs((double)v.db.v[k] - sum) <= 6e-8 * fabs(sum) + 1e-12 * size))
            fail_msg("class %zu: %.9g, not %.9g", k, (double)v.db.v[k], sum);
    }
    rig_values_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_the_same_bits),
        cmocka_unit_test(results_differ_by_an_ulp),
        cmocka_unit_test(bits_do_not_depend_on_threads),
        cmocka_unit_test(sums_over_samples_are_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
