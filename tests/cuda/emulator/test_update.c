/* The optimisers, sums over arenas and the step's decisions against trainer/backends/ref/optimizer.c and the
 * rules of recipe.c. */
#include "tests/cuda/emulator/help.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "kernels/cuda/arena.h"
#include "kernels/cuda/optimizer.h"
#include "trainer/backends/ref/ops.h"

/* Spans with gaps between: longer than a chunk, odd, of one number, not on 16 bytes; with rates of their own, and
 * trained later than the others. */
static const struct tr_span spans[] = {
    {.first = 0, .count = 19001, .decays = true, .rate = 1},
    {.first = 19008, .count = 130, .decays = false, .rate = 1},
    {.first = 19152, .count = 1, .decays = true, .rate = 0.25},
    {.first = 19169, .count = 77, .decays = true, .rate = 0.5, .since = 5},
    {.first = 19264, .count = 8192, .decays = false, .rate = 1},
};
enum { SPANS = IM_COUNT(spans), FLOATS = 19264 + 8192 };

struct state {
    float *w, *m, *v, *g, *ema;
};

static struct state state_new(void)
{
    struct state s = {drawn(FLOATS, 1), drawn(FLOATS, 2), drawn(FLOATS, 3), drawn(FLOATS, 4),
                      drawn(FLOATS, 5)};

    for (int i = 0; i < FLOATS; i++)
        s.v[i] *= s.v[i];
    for (int i = 0; i < 40; i++) /* nothing has happened to these yet */
        s.g[i] = s.m[i] = s.v[i] = 0;
    return s;
}

static void state_free(struct state *s)
{
    free(s->w), free(s->m), free(s->v), free(s->g), free(s->ema);
}

/* What the host makes of the spans. */
struct tables {
    struct imk_cuda_span spans[SPANS];
    struct imk_cuda_chunk *chunks;
    uint32_t chunk_count;
};

static struct tables tables_new(void)
{
    struct tables t = {.chunks = NULL};

    for (uint32_t i = 0; i < SPANS; i++) {
        t.spans[i] = (struct imk_cuda_span){.first_chunk = t.chunk_count,
                                            .decays = spans[i].decays,
                                            .rate = spans[i].rate,
                                            .since = spans[i].since};
        t.spans[i].chunk_count = imk_cuda_span_chunks(spans[i].first, spans[i].count, i, NULL);
        t.chunk_count += t.spans[i].chunk_count;
    }
    t.chunks = malloc(t.chunk_count * sizeof *t.chunks);
    for (uint32_t i = 0; i < SPANS; i++)
        imk_cuda_span_chunks(spans[i].first, spans[i].count, i, t.chunks + t.spans[i].first_chunk);
    return t;
}

static const struct imk_hyper usual = {.lr = 0.1,
                                       .momentum = 0.9,
                                       .beta2 = 0.99,
                                       .eps = 1e-6,
                                       .weight_decay = 0.05,
                                       .trust = 0.02,
                                       .unscale = 0.5,
                                       .loss_scale = 1,
                                       .ema_weight = 0.01};

static struct tr_update reference_of(enum im_optimizer kind, const struct imk_hyper *hyper,
                                     const struct state *s)
{
    return (struct tr_update){.kind = kind,
                              .w = s->w,
                              .m = s->m,
                              .v = s->v,
                              .g = s->g,
                              .spans = spans,
                              .span_count = SPANS,
                              .hyper = hyper,
                              .grad_scale = 0.5};
}

static struct imk_cuda_update update_of(enum imk_cuda_optimizer kind, struct state *s, const struct tables *t)
{
    return (struct imk_cuda_update){.kind = kind,
                                    .w = s->w,
                                    .m = s->m,
                                    .v = s->v,
                                    .ema = s->ema,
                                    .g = s->g,
                                    .spans = t->spans,
                                    .chunks = t->chunks,
                                    .span_count = SPANS,
                                    .chunk_count = t->chunk_count,
                                    .hyper = &usual};
}

/* Two steps, each within some roundings of numbers of order 1 (a step of AdamW and LAMB is lr times a
 * quotient of order 10 at most). */
static void check_optimizer(enum imk_cuda_optimizer kind, bool nesterov, unsigned order)
{
    static const enum im_optimizer kinds[] = {IM_OPTIMIZER_SGD, IM_OPTIMIZER_ADAMW, IM_OPTIMIZER_LARS,
                                              IM_OPTIMIZER_LAMB};
    struct state want = state_new(), got = state_new();
    struct tables t = tables_new();
    struct imk_cuda_verdict verdict;
    const size_t scratch_bytes = imk_cuda_update_scratch(kind, t.chunk_count, SPANS);
    void *scratch = malloc(scratch_bytes + 1);
    struct imk_cuda_update a = update_of(kind, &got, &t);
    struct imk_hyper hyper = usual;

    hyper.nesterov = nesterov;
    a.hyper = &hyper;
    a.verdict = &verdict;
    a.scratch = scratch_bytes ? scratch : NULL;
    emulation_seed(order);
    for (uint64_t step = 7; step < 9; step++) {
        const struct tr_update u = reference_of(kinds[kind], &hyper, &want);

        hyper.updates = step - 1;
        tr_ref_update(&u);
        for (int k = 0; k < SPANS; k++)
            tr_ref_lerp(want.ema + spans[k].first, want.w + spans[k].first, usual.ema_weight, spans[k].count);
        RUN(imk_cuda_decide(&(struct imk_cuda_decide){.hyper = &hyper, .verdict = &verdict}, NULL));
        RUN(imk_cuda_update(&a, NULL));
    }
    check_near("w", IMK_F32, got.w, want.w, FLOATS, 4e-6);
    check_near("m", IMK_F32, got.m, want.m, FLOATS, 1e-6);
    check_near("v", IMK_F32, got.v, want.v, FLOATS, 4e-6);
    check_near("ema", IMK_F32, got.ema, want.ema, FLOATS, 1e-6);
    free(scratch), free(t.chunks);
    state_free(&want), state_free(&got);
}

static void optimisers_are_the_references(void **state)
{
    (void)state;
    for (int kind = IMK_CUDA_SGD; kind <= IMK_CUDA_LAMB; kind++)
        for (size_t i = 0; i < IM_COUNT(orders); i++) {
            check_optimizer((enum imk_cuda_optimizer)kind, false, orders[i]);
            if (kind == IMK_CUDA_SGD || kind == IMK_CUDA_LARS)
                check_optimizer((enum imk_cuda_optimizer)kind, true, orders[i]);
        }
}

static void a_skipped_step_changes_nothing(void **state)
{
    (void)state;
    for (int kind = IMK_CUDA_SGD; kind <= IMK_CUDA_LAMB; kind++) {
        struct state want = state_new(), got = state_new();
        struct tables t = tables_new();
        const struct imk_cuda_verdict verdict = {.skip = 1, .grad_scale = (double)NAN};
        void *scratch = malloc(imk_cuda_update_scratch(IMK_CUDA_LAMB, t.chunk_count, SPANS));
        struct imk_cuda_update a = update_of((enum imk_cuda_optimizer)kind, &got, &t);

        a.verdict = &verdict;
        a.scratch = scratch;
        RUN(imk_cuda_update(&a, NULL));
        RUN(imk_cuda_lerp(&(struct imk_cuda_lerp){got.ema, got.w, FLOATS, 1, NULL, &verdict}, NULL));
        assert_memory_equal(got.w, want.w, FLOATS * sizeof(float));
        assert_memory_equal(got.m, want.m, FLOATS * sizeof(float));
        assert_memory_equal(got.v, want.v, FLOATS * sizeof(float));
        assert_memory_equal(got.ema, want.ema, FLOATS * sizeof(float));
        free(scratch), free(t.chunks);
        state_free(&want), state_free(&got);
    }
}

static void chunks_cover_their_span(void **state)
{
    struct imk_cuda_chunk c[3];

    (void)state;
    assert_int_equal(imk_cuda_span_chunks(5, 0, 1, c), 0);
    assert_int_equal(imk_cuda_span_chunks(5, IMK_CUDA_CHUNK, 1, c), 1);
    assert_int_equal(imk_cuda_span_chunks(16, 2 * IMK_CUDA_CHUNK + 3, 4, c), 3);
    assert_int_equal(c[1].first, 16 + IMK_CUDA_CHUNK);
    assert_int_equal(c[2].count, 3);
    assert_int_equal(c[2].span, 4);
}

/* ---- arenas ---- */

static void sums_of_squares_are_exact_and_the_same_bits_in_any_order(void **state)
{
    static const size_t counts[] = {0, 1, 9, 4097, 70001};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(counts); i++) {
        float *x = drawn(counts[i], i);
        const double want = tr_ref_sum_squares(x, counts[i]);
        double *scratch = malloc(IMK_CUDA_SUM_SCRATCH), sum, first = 0;

        EACH_ORDER(order)
        {
            RUN(imk_cuda_sum_squares(&(struct imk_cuda_sum_squares){x, counts[i], scratch, &sum}, NULL));
            if (!(fabs(sum - want) <= 1e-12 * want))
                fail_msg("sum of %zu squares is %.17g, not %.17g", counts[i], sum, want);
            first = order == 0 ? sum : first;
            assert_true(sum == first);
        }
        free(scratch), free(x);
    }
}

/* Squares of numbers that fp32 just holds do not overflow; one that is not finite shows. */
static void sums_of_squares_are_finite_when_all_numbers_are(void **state)
{
    float x[100] = {0};
    double *scratch = malloc(IMK_CUDA_SUM_SCRATCH), sum;
    const struct imk_cuda_sum_squares a = {x, 100, scratch, &sum};

    (void)state;
    for (int i = 0; i < 100; i++)
        x[i] = 3e38f;
    RUN(imk_cuda_sum_squares(&a, NULL));
    assert_true(isfinite(sum));
    x[99] = -(float)INFINITY;
    RUN(imk_cuda_sum_squares(&a, NULL));
    assert_true(!isfinite(sum));
    x[99] = (float)NAN;
    RUN(imk_cuda_sum_squares(&a, NULL));
    assert_true(!isfinite(sum));
    free(scratch);
}

/* From the beginning of a buffer, and from one float behind that. */
static void check_averages(size_t count, size_t shift)
{
    float *x = drawn(count + shift, 1), *want = drawn(count + shift, 2), *got = drawn(count + shift, 2);
    const double take = 0.3;

    tr_ref_lerp(want + shift, x + shift, take, count);
    RUN(imk_cuda_lerp(&(struct imk_cuda_lerp){got + shift, x + shift, count, 1, &take, NULL}, NULL));
    check_near("lerp", IMK_F32, got, want, count + shift, 0);
    tr_ref_add(want + shift, x + shift, count);
    RUN(imk_cuda_arena_add(&(struct imk_cuda_arena_add){got + shift, x + shift, count}, NULL));
    check_near("add", IMK_F32, got, want, count + shift, 2e-7);
    got[shift] = (float)NAN;
    RUN(imk_cuda_lerp(&(struct imk_cuda_lerp){got + shift, x + shift, count, 1, NULL, NULL}, NULL));
    assert_memory_equal(got + shift, x + shift, count * sizeof(float)); /* a copy, whatever was there */
    free(x), free(want), free(got);
}

static void averages_and_sums_are_the_references(void **state)
{
    (void)state;
    check_averages(1001, 0);
    check_averages(4096, 0);
    check_averages(77, 1);
}

static void statistics_are_restored_when_a_step_is_skipped(void **state)
{
    float old[3] = {1, 2, 3}, now[3] = {4, 5, 6};
    struct imk_cuda_verdict verdict = {.grad_scale = 1};

    (void)state;
    RUN(imk_cuda_restore(&(struct imk_cuda_restore){now, old, 3, &verdict}, NULL));
    assert_true(now[0] == 4 && now[2] == 6);
    verdict.skip = 1;
    RUN(imk_cuda_restore(&(struct imk_cuda_restore){now, old, 3, &verdict}, NULL));
    assert_true(now[0] == 1 && now[2] == 3);
}

/* ---- decisions ---- */

static struct imk_cuda_verdict decided(struct imk_hyper h, double squares, double loss, double clip,
                                       enum imk_cuda_clip kind)
{
    const struct imk_cuda_tally tally = {.loss_sum = loss};
    struct imk_cuda_verdict v;

    h.clip_norm = clip;
    RUN(imk_cuda_decide(&(struct imk_cuda_decide){&h, &squares, &tally, &v, kind}, NULL));
    return v;
}

static struct imk_hyper usual_at(double loss_scale, uint64_t updates)
{
    struct imk_hyper h = usual;

    h.loss_scale = loss_scale;
    h.updates = updates;
    return h;
}

static void assert_is(double value, double want)
{
    if (!(fabs(value - want) <= 1e-12 * fabs(want)))
        fail_msg("%.17g, not %.17g", value, want);
}

static void gradients_are_clipped_by_their_norm(void **state)
{
    const struct imk_hyper h = usual_at(4, 0);
    struct imk_cuda_verdict v = decided(h, 6400, 1, 0, IMK_CUDA_CLIP_NORM);

    (void)state;
    assert_is(v.norm, 10); /* 80 * 0.5 / 4 */
    assert_is(v.grad_scale, 0.125);
    v = decided(h, 6400, 1, 5, IMK_CUDA_CLIP_NORM);
    assert_is(v.grad_scale, 0.125 * 5 / (10 + 1e-6));
    v = decided(h, 6400, 1, 20, IMK_CUDA_CLIP_NORM);
    assert_is(v.grad_scale, 0.125);
    v = decided(h, 6400, 1, 0, IMK_CUDA_CLIP_LAMB);
    assert_is(v.grad_scale, 0.0125);
    v = decided(h, 6400, 1, 20, IMK_CUDA_CLIP_LAMB);
    assert_is(v.grad_scale, 0.125);
}

static void corrections_are_those_of_the_step(void **state)
{
    const struct imk_hyper h = usual_at(1, 4);
    const struct imk_cuda_verdict v = decided(h, 1, 1, 0, IMK_CUDA_CLIP_NORM);

    (void)state;
    assert_is(v.correction1, 1 / (1 - pow(0.9, 5)));
    assert_is(v.root2, 1 / sqrt(1 - pow(0.99, 5)));
}

static void steps_that_are_not_finite_are_skipped(void **state)
{
    const struct imk_hyper h = usual_at(8, 0);

    (void)state;
    assert_int_equal(decided(h, (double)INFINITY, 1, 0, IMK_CUDA_CLIP_NORM).skip, 1);
    assert_int_equal(decided(h, 1, (double)NAN, 0, IMK_CUDA_CLIP_NORM).skip, 1);
    assert_int_equal(decided(h, 1, 1, 0, IMK_CUDA_CLIP_NORM).skip, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optimisers_are_the_references),
        cmocka_unit_test(a_skipped_step_changes_nothing),
        cmocka_unit_test(chunks_cover_their_span),
        cmocka_unit_test(sums_of_squares_are_exact_and_the_same_bits_in_any_order),
        cmocka_unit_test(sums_of_squares_are_finite_when_all_numbers_are),
        cmocka_unit_test(averages_and_sums_are_the_references),
        cmocka_unit_test(statistics_are_restored_when_a_step_is_skipped),
        cmocka_unit_test(gradients_are_clipped_by_their_norm),
        cmocka_unit_test(corrections_are_those_of_the_step),
        cmocka_unit_test(steps_that_are_not_finite_are_skipped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
