/* Whole networks on the CUDA backend, whose GPU is the processor (host.h): steps of the device against those
 * of the reference backend, which the host decides on (host_step.c), within the tolerance of the number type;
 * recorded against enqueued ones, early lanes against late ones: the same bits.
 *
 * With TESTS_GPU the same on a real GPU, but for what only the processor can be asked for: lanes at other
 * speeds, a second rank, a cuDNN that lacks engines. */
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
#ifndef TESTS_GPU
#include "tests/cuda/lanes/host.h"
#endif
#include "tests/support/gpu.h"
#include "trainer/backends/step.h"
#include "trainer/network/network.h"

/* FEW_STEPS: one as it is, one that is captured, and one that replays it. */
enum { CLASSES = 5, BATCH = 4, SIZE = 8, STEPS = 5, FEW_STEPS = 3, ARENAS = 6 };

static const enum tr_arena compared[ARENAS] = {TR_ARENA_PARAMS, TR_ARENA_MOMENTUM, TR_ARENA_STATS,
                                               TR_ARENA_SECOND, TR_ARENA_EMA,      TR_ARENA_EMA_STATS};

enum way { ENQUEUED, RECORDED };

struct run {
    const struct tr_backend_ops *ops;
    enum way way;
    enum imk_dtype precision;
    enum im_optimizer optimizer;
    bool muon, fixed_norm;
    struct tr_loss loss_kind;
    double clip, ema, loss_scale, drop;
    int accumulate; /* batches of a step */
    bool evaluates; /* in between */
    bool prefetches;
    bool mixes;
    bool two_ranks;         /* alike: sums double everything */
    bool apart;             /* gradients of weights on a stream of their own */
    int broken_step;        /* whose loss is not finite; 0: none */
    const struct run *from; /* whose arenas it goes on with */
    int first, steps;
    /* results */
    float *arenas[ARENAS];
    size_t floats[ARENAS];
    double loss[STEPS * 2], norm[STEPS * 2];
    int skipped;
};

static uint8_t *pixels; /* [2 * STEPS * 2][BATCH][SIZE][SIZE][3] */
static int32_t labels[BATCH];
static unsigned char valid[BATCH];

static int draw(void **state)
{
    const size_t bytes = (size_t)2 * STEPS * 2 * BATCH * SIZE * SIZE * 3;
    struct im_rng r = im_rng_at(8, IM_RNG_TEST, 1, 1);

    (void)state;
    pixels = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        pixels[i] = (uint8_t)im_rng_u32(&r);
    for (int i = 0; i < BATCH; i++) {
        labels[i] = (int32_t)im_rng_below(&r, CLASSES);
        valid[i] = i != 1;
    }
    return 0;
}

static int forget(void **state)
{
    (void)state;
    free(pixels);
    return 0;
}

static struct tr_batch batch_of(const struct run *run, int number)
{
    struct tr_batch b = {.pixels = pixels + (size_t)number * BATCH * SIZE * SIZE * 3,
                         .labels = labels,
                         .valid = valid,
                         .n = BATCH,
                         .size = SIZE,
                         .step = (uint64_t)number,
                         .stride = 1};

    if (run->mixes && number % 2)
        b.mix = (struct tr_mix){.kind = TR_MIX_CUT, .lambda = 0.75, .y0 = 0, .y1 = 4, .x0 = 2, .x1 = 6};
    else if (run->mixes)
        b.mix = (struct tr_mix){.kind = TR_MIX_UP, .lambda = 0.3};
    return b;
}

static struct imk_hyper hyper_of(const struct run *run, int step)
{
    return (struct imk_hyper){.lr = (run->muon ? 0.002 : 0.02) / (1 + step),
                              .momentum = 0.9,
                              .muon_momentum = 0.8,
                              .beta2 = 0.99,
                              .eps = 1e-6,
                              .weight_decay = 1e-3,
                              .trust = 0.01,
                              .unscale = 1,
                              .loss_scale = run->loss_scale,
                              .clip_norm = run->clip,
                              .ema_weight = 1 - run->ema,
                              .updates = (uint64_t)step,
                              .nesterov = run->optimizer == IM_OPTIMIZER_SGD};
}

#ifndef TESTS_GPU
/* ---- two ranks that have the same batch ---- */

struct doubling {
    void *x;
    size_t count;
    bool is_double;
};

static void run_doubling(const void *args)
{
    const struct doubling *d = args;

    for (size_t i = 0; i < d->count; i++) {
        if (d->is_double)
            ((double *)d->x)[i] *= 2;
        else
            ((float *)d->x)[i] *= 2;
    }
}

static int double_it(void *context, void *x, size_t count, bool is_double, struct CUstream_st *stream)
{
    (void)context;
    return host_gpu_enqueue(stream, run_doubling,
                            &(struct doubling){.x = x, .count = count, .is_double = is_double},
                            sizeof(struct doubling));
}

static const struct tr_rank_sum twins = {.sum = double_it};
#else
static const struct tr_rank_sum twins; /* no test asks for it */
#endif

/* ---- a step ---- */

static double divisor_of(const struct run *run, int usable)
{
    return (double)usable * run->accumulate * (run->two_ranks ? 2 : 1) / run->loss_scale;
}

static int usable_of(const struct tr_batch *b)
{
    int usable = 0;

    for (int i = 0; i < b->n; i++)
        usable += valid[i] && (b->mix.kind == TR_MIX_NONE || valid[b->n - 1 - i]);
    return usable;
}

/* What the device holds is read no more: another batch may come to its place. */
static void overwrite_taken(struct tr_network *net, const struct tr_batch *b, uint8_t *kept)
{
    const size_t bytes = (size_t)b->n * SIZE * SIZE * 3;
    uint8_t *place = pixels + (b->pixels - pixels);

    memcpy(kept, place, bytes);
    assert_true(tr_network_input_consumed(net));
    memset(place, 0xa5, bytes);
}

static void put_back(const struct tr_batch *b, const uint8_t *kept)
{
    memcpy(pixels + (b->pixels - pixels), kept, (size_t)b->n * SIZE * SIZE * 3);
}

static void take_step(struct run *run, struct tr_network *net, const struct tr_batch *b, int number,
                      const struct tr_batch *next)
{
    const int step = number / run->accumulate;
    const struct tr_step how = {.label_smoothing = 0.1f,
                                .divisor = divisor_of(run, usable_of(b)),
                                .number = (uint32_t)(number % run->accumulate) + 1,
                                .last = (number + 1) % run->accumulate == 0,
                                .hyper = hyper_of(run, step)};
    uint8_t kept[BATCH * SIZE * SIZE * 3];
    struct tr_outcome outcome;
    struct im_text text = {{0}};

    if (tr_network_step_begin(net, b, &how, &text) < 0)
        fail_msg("%s", text.s);
    if (next)
        assert_int_equal(tr_network_prefetch(net, next, NULL), 0);
    if (run->prefetches)
        overwrite_taken(net, b, kept);
    if (tr_network_step_end(net, &outcome, &text) < 0)
        fail_msg("%s", text.s);
    if (run->prefetches)
        put_back(b, kept);
    run->loss[number] = outcome.tally.loss_sum / (run->two_ranks ? 2 : 1);
    if (how.last) {
        run->norm[step] = outcome.norm;
        run->skipped += outcome.skipped;
    }
}

static struct tr_network *open_net(const struct run *run)
{
    const struct tr_network_config config = {
        .model = "resnet20",
        .classes = CLASSES,
        .drop_path_rate = run->drop,
        .ops = run->ops,
        .precision = run->precision,
        .seed = 3,
        .mean = {0.5f, 0.5f, 0.5f},
        .std = {0.25f, 0.25f, 0.25f},
        .loss = run->loss_kind,
        .optimizer = run->optimizer,
        .muon = run->muon,
        .muon_fixed_norm = run->fixed_norm,
        .device = {.deterministic = true, .dw_apart = run->apart, .cache = getenv("IMSUPER_TEST_PLANS")},
        .accumulates = run->accumulate > 1,
        .averages = run->ema > 0,
        .rank_sum = run->two_ranks ? &twins : NULL,
        .plain_steps = run->way == ENQUEUED};
    struct im_text text = {{0}};
    struct tr_network *net;

    if (tr_network_new(&config, &net, &text) < 0)
        fail_msg("%s", text.s);
    return net;
}

/* A parameter that makes the loss infinite, and back. */
static void poison(struct tr_network *net, float *kept, bool in)
{
    const struct tr_model *m = tr_network_model(net);
    float *params = malloc(m->param_floats * sizeof(float));
    const size_t at = m->tensors[0].offset;

    assert_int_equal(tr_network_read(net, TR_ARENA_PARAMS, params), 0);
    if (in)
        *kept = params[at];
    params[at] = in ? (float)INFINITY : *kept;
    assert_int_equal(tr_network_write(net, TR_ARENA_PARAMS, params), 0);
    free(params);
}

static void go_on(struct tr_network *net, const struct run *from)
{
    for (int i = 0; i < ARENAS && from; i++)
        if (from->floats[i] > 0)
            assert_int_equal(tr_network_write(net, compared[i], from->arenas[i]), 0);
}

static void train(struct run *run)
{
    struct tr_network *net;
    float kept = 0;

    run->loss_scale = run->loss_scale > 0 ? run->loss_scale : 1;
    run->accumulate = run->accumulate > 0 ? run->accumulate : 1;
    run->steps = run->steps > 0 ? run->steps : STEPS;
    net = open_net(run);
    go_on(net, run->from);
    if (run->prefetches)
        assert_int_equal(
            tr_network_pin_host(net, pixels, (size_t)2 * STEPS * 2 * BATCH * SIZE * SIZE * 3, NULL), 0);
    for (int i = run->first * run->accumulate; i < (run->first + run->steps) * run->accumulate; i++) {
        const struct tr_batch b = batch_of(run, i), next = batch_of(run, i + 1);
        const bool breaks = run->broken_step > 0 && run->broken_step == i;
        struct tr_tally tally;

        if (breaks)
            poison(net, &kept, true);
        take_step(run, net, &b, i, run->prefetches && i % 3 != 2 ? &next : NULL);
        if (breaks)
            poison(net, &kept, false);
        if (run->evaluates && i % 2) {
            assert_int_equal(tr_network_evaluate(net, &b, false, NULL, &tally, NULL), 0);
            if (run->ema > 0)
                assert_int_equal(tr_network_evaluate(net, &b, true, NULL, &tally, NULL), 0);
        }
    }
    if (run->prefetches)
        tr_network_unpin_host(net, pixels);
    for (int i = 0; i < ARENAS; i++) {
        run->floats[i] = tr_network_floats(net, compared[i]);
        run->arenas[i] = calloc(run->floats[i] + 1, sizeof(float));
        if (run->floats[i] > 0)
            assert_int_equal(tr_network_read(net, compared[i], run->arenas[i]), 0);
    }
    tr_network_free(net);
}

static void release(struct run *run)
{
    for (int i = 0; i < ARENAS; i++)
        free(run->arenas[i]);
}

static double nmse(const float *a, const float *b, size_t count)
{
    double error = 0, power = 1e-30;

    for (size_t i = 0; i < count; i++) {
        double d = (double)a[i] - (double)b[i];

        error += d * d;
        power += (double)b[i] * (double)b[i];
    }
    return error / power;
}

static void same_bits(const struct run *a, const struct run *b, const char *what)
{
    for (int i = 0; i < ARENAS; i++) {
        assert_int_equal(a->floats[i], b->floats[i]);
        for (size_t k = 0; k < a->floats[i]; k++)
            if (memcmp(&a->arenas[i][k], &b->arenas[i][k], sizeof(float)) != 0)
                fail_msg("%s: arena %d differs at %zu of %zu: %.9g and %.9g", what, (int)compared[i], k,
                         a->floats[i], (double)a->arenas[i][k], (double)b->arenas[i][k]);
    }
    for (int i = 0; i < STEPS; i++)
        assert_true(a->loss[i] == b->loss[i] || (isnan(a->loss[i]) && isnan(b->loss[i])));
    assert_int_equal(a->skipped, b->skipped);
}

static void near(const char *what, const char *number, double value, double want, double tolerance)
{
    if (isfinite(want) ? !(fabs(value - want) <= tolerance * fabs(want)) : isfinite(value))
        fail_msg("%s: %s is %.9g, of the reference %.9g", what, number, value, want);
}

/* ---- tests ---- */

/* What small gradients add up to; with values that are rounded, mostly noise. */
static bool is_moment(enum tr_arena arena)
{
    return arena == TR_ARENA_MOMENTUM || arena == TR_ARENA_SECOND;
}

/* The reference takes the same steps: whether they are taken, their losses and norms, and where they lead. */
static void follows_the_reference(const struct run *cuda, double tolerance, const char *what)
{
    struct run ref = *cuda;

    ref.ops = &tr_backend_ref;
    ref.skipped = 0;
    train(&ref);
    for (int i = 0; i < ARENAS; i++)
        if (ref.floats[i] > 0 && !(cuda->precision != IMK_F32 && is_moment(compared[i])) &&
            !(nmse(cuda->arenas[i], ref.arenas[i], ref.floats[i]) < tolerance))
            fail_msg("%s: arena %d: NMSE %g", what, (int)compared[i],
                     nmse(cuda->arenas[i], ref.arenas[i], ref.floats[i]));
    for (int i = 0; i < ref.steps; i++) {
        near(what, "the loss", cuda->loss[i], ref.loss[i], sqrt(tolerance));
        near(what, "the norm", cuda->norm[i], ref.norm[i], sqrt(tolerance));
    }
    assert_int_equal(cuda->skipped, ref.skipped);
    release(&ref);
}

/* tolerance: of fp32 only the order of sums differs; what that grows to in these steps is 2e-10 at most,
 * and 1e-7 with LAMB. Of narrow types, 1e-3 was seen, and 0.1 of a norm. */
static void all_ways(struct run run, double tolerance, const char *what)
{
    struct run enqueued = run, recorded = run;

    enqueued.way = ENQUEUED;
    recorded.way = RECORDED;
    train(&enqueued);
    train(&recorded);
    same_bits(&recorded, &enqueued, what);
    for (int i = 0; i < STEPS; i++)
        assert_true(recorded.norm[i] == enqueued.norm[i] || isnan(recorded.norm[i]));
    follows_the_reference(&recorded, tolerance, what);
    release(&enqueued);
    release(&recorded);
}

static bool everything; /* also what goes over the same kernels in another order */

static void steps_are_those_of_the_reference(void **state)
{
    (void)state;
    all_ways((struct run){.ops = &tr_backend_cuda, .drop = 0.2, .mixes = true}, 1e-8, "SGD");
    all_ways((struct run){.ops = &tr_backend_cuda,
                          .loss_kind = {.kind = TR_LOSS_BCE, .threshold = 0.2, .sums_classes = true},
                          .mixes = true},
             1e-8, "SGD with BCE");
    all_ways((struct run){.ops = &tr_backend_cuda,
                          .optimizer = IM_OPTIMIZER_ADAMW,
                          .clip = 0.5,
                          .ema = 0.9,
                          .evaluates = true},
             1e-8, "AdamW, clipped, averaged");
    all_ways((struct run){.ops = &tr_backend_cuda, .optimizer = IM_OPTIMIZER_LAMB, .clip = 0.5}, 1e-6,
             "LAMB");
    all_ways((struct run){.ops = &tr_backend_cuda, .muon = true, .accumulate = 2, .clip = 0.5}, 1e-6,
             "Muon and SGD of two batches");
    all_ways((struct run){.ops = &tr_backend_cuda, .muon = true, .fixed_norm = true, .ema = 0.9}, 1e-6,
             "Muon with a fixed norm, averaged");
    if (!everything)
        return;
    all_ways((struct run){.ops = &tr_backend_cuda, .optimizer = IM_OPTIMIZER_LARS, .accumulate = 2}, 1e-6,
             "LARS of two batches");
    all_ways(
        (struct run){
            .ops = &tr_backend_cuda, .optimizer = IM_OPTIMIZER_LAMB, .accumulate = 2, .precision = IMK_BF16},
        2e-2, "LAMB of two batches in bf16");
    all_ways((struct run){.ops = &tr_backend_cuda,
                          .optimizer = IM_OPTIMIZER_LARS,
                          .loss_kind = {.kind = TR_LOSS_BCE, .threshold = 0.2},
                          .mixes = true,
                          .precision = IMK_F16,
                          .loss_scale = 1024},
             1e-3, "LARS with BCE in fp16");
    all_ways(
        (struct run){
            .ops = &tr_backend_cuda, .muon = true, .ema = 0.9, .precision = IMK_F16, .loss_scale = 1024},
        2e-2, "Muon in fp16, averaged");
    all_ways((struct run){.ops = &tr_backend_cuda, .muon = true, .precision = IMK_BF16}, 2e-2,
             "Muon in bf16");
}

static void a_broken_step_changes_nothing(bool muon)
{
    struct run run = {.ops = &tr_backend_cuda, .muon = muon, .broken_step = 3, .ema = 0.9, .way = RECORDED};

    if (muon) /* for the rest; SGD is elsewhere */
        run.optimizer = IM_OPTIMIZER_ADAMW;
    all_ways(run, muon ? 1e-6 : 1e-8, muon ? "Muon and AdamW, a broken step" : "a broken step");
    train(&run);
    assert_int_equal(run.skipped, 1);
    for (int i = 0; i < ARENAS; i++)
        for (size_t k = 0; k < run.floats[i]; k++)
            assert_true(isfinite(run.arenas[i][k]));
    release(&run);
}

static void a_step_that_is_not_finite_changes_nothing(void **state)
{
    (void)state;
    a_broken_step_changes_nothing(false);
    a_broken_step_changes_nothing(true);
}

#ifndef TESTS_GPU
/* Each lane as late as can be and as early as can be: what depends on it lacks a wait. */
static void lanes_are_ordered(void **state)
{
    struct run late = {.ops = &tr_backend_cuda, .way = RECORDED, .two_ranks = true, .prefetches = true};

    (void)state;
    train(&late);
    for (unsigned eager = 1; eager < 8; eager = everything || eager == 4 ? eager + 1 : 2 * eager) {
        struct run early = {.ops = &tr_backend_cuda, .way = RECORDED, .two_ranks = true, .prefetches = true};

        host_gpu_set(&(struct host_gpu_options){.eager = eager});
        train(&early);
        same_bits(&early, &late, "early lanes");
        release(&early);
    }
    host_gpu_set(&(struct host_gpu_options){0});
    release(&late);
}

/* Gradients of weights on a stream of their own change no bit: lanes that run late show a value that was overwritten before it
 * was read, early ones one that was read before it was there. WEIGHTS late and COMM early: a sum over ranks of what is
 * not there yet. no_norms: batch norm works in scratch memory. */
static void gradients_of_weights_run_apart(void **state)
{
    enum { COMPUTE = 1 << TR_GPU_COMPUTE, COMM = 1 << TR_GPU_COMM, WEIGHTS = 1 << TR_GPU_WEIGHTS };
    static const struct {
        struct host_gpu_options options;
        enum way way;
    } cases[] = {{{.eager = 0}, RECORDED},
                 {{.eager = COMPUTE}, RECORDED},
                 {{.eager = COMPUTE}, ENQUEUED},
                 {{.eager = WEIGHTS}, ENQUEUED},
                 {{.eager = WEIGHTS}, RECORDED},
                 {{.eager = COMM}, RECORDED},
                 {{.eager = COMPUTE, .no_norms = true}, RECORDED}};
    const struct run base = {.ops = &tr_backend_cuda, .way = RECORDED, .two_ranks = true, .steps = FEW_STEPS};
    struct run together[2] = {base, base};

    (void)state;
    train(&together[0]);
    host_gpu_set(&(struct host_gpu_options){.no_norms = true});
    train(&together[1]);
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct run apart = base;

        apart.apart = true;
        apart.way = cases[i].way;
        host_gpu_set(&cases[i].options);
        train(&apart);
        same_bits(&apart, &together[cases[i].options.no_norms], "gradients of weights apart");
        release(&apart);
    }
    host_gpu_set(&(struct host_gpu_options){0});
    release(&together[0]);
    release(&together[1]);
}

/* Where cuDNN has no engines for pixels of four channels they have eight, which are zeros: the same sums. */
static void pixels_have_four_channels_or_eight(void **state)
{
    static const enum imk_dtype types[] = {IMK_BF16, IMK_F16};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct run four = {.ops = &tr_backend_cuda,
                           .way = RECORDED,
                           .steps = FEW_STEPS,
                           .precision = types[i],
                           .mixes = true},
                   eight = four;

        train(&four);
        host_gpu_set(&(struct host_gpu_options){.no_narrow = true});
        train(&eight);
        host_gpu_set(&(struct host_gpu_options){0});
        same_bits(&four, &eight, "four channels");
        release(&four);
        release(&eight);
    }
}

static void two_ranks_alike_are_one(void **state)
{
    struct run one = {.ops = &tr_backend_cuda, .way = RECORDED, .steps = FEW_STEPS, .clip = 0.3}, two = one;

    (void)state;
    two.two_ranks = true;
    train(&one);
    train(&two);
    same_bits(&two, &one, "two ranks");
    for (int i = 0; i < FEW_STEPS; i++) /* clipping hides a sum that is missing */
        assert_true(two.norm[i] == one.norm[i]);
    release(&one);
    release(&two);
}

#endif

/* Batches come from page-locked memory beside the step before. */
static void batches_ahead_of_their_step_are_the_same(void **state)
{
    struct run plain = {.ops = &tr_backend_cuda, .way = RECORDED}, ahead = plain;

    (void)state;
    ahead.prefetches = true;
    train(&plain);
    train(&ahead);
    same_bits(&ahead, &plain, "prefetched");
    release(&plain);
    release(&ahead);
}

static void a_run_that_goes_on_is_one_run(void **state)
{
    struct run whole = {.ops = &tr_backend_cuda, .way = RECORDED, .ema = 0.9}, head = whole, tail = whole;

    (void)state;
    head.steps = 2;
    tail.first = 2;
    tail.steps = STEPS - 2;
    tail.from = &head;
    train(&whole);
    train(&head);
    train(&tail);
    for (int i = 0; i < 2; i++)
        tail.loss[i] = whole.loss[i];
    same_bits(&tail, &whole, "after a resume");
    release(&whole);
    release(&head);
    release(&tail);
}

#ifndef TESTS_GPU
/* Where cuDNN has engines for neither batch norm nor adding, kernels of ours give the same within fp32. */
static void what_cudnn_lacks_is_ours(void **state)
{
    struct run with = {.ops = &tr_backend_cuda, .way = RECORDED, .steps = FEW_STEPS}, without = with;

    (void)state;
    train(&with);
    host_gpu_set(&(struct host_gpu_options){.no_norms = true});
    train(&without);
    host_gpu_set(&(struct host_gpu_options){0});
    assert_true(nmse(without.arenas[0], with.arenas[0], with.floats[0]) < 1e-6);
    release(&with);
    release(&without);
}

#endif

static void narrow_types_learn(void **state)
{
    struct run wide = {.ops = &tr_backend_cuda, .way = RECORDED, .steps = FEW_STEPS}, bf16 = wide,
               fp16 = wide;

    (void)state;
    bf16.precision = IMK_BF16;
    fp16.precision = IMK_F16;
    fp16.loss_scale = 256;
    train(&wide);
    train(&bf16);
    train(&fp16);
    for (int i = 0; i < FEW_STEPS; i++) {
        assert_true(fabs(bf16.loss[i] - wide.loss[i]) < 0.15 * wide.loss[i]);
        assert_true(fabs(fp16.loss[i] - wide.loss[i]) < 0.15 * wide.loss[i]);
    }
    release(&wide);
    release(&bf16);
    release(&fp16);
}

#ifndef TESTS_GPU
/* ---- the host's GPU itself ---- */

static void a_missing_wait_shows(void **state)
{
    static const unsigned ways[] = {0, 1 << TR_GPU_COMPUTE};
    float got[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct tr_gpu *g;
        void *at;
        float *number;

        host_gpu_set(&(struct host_gpu_options){.eager = ways[i]});
        assert_int_equal(tr_gpu_open(0, &g, NULL), 0);
        assert_int_equal(tr_gpu_memory_new(g, 4, "a number", &at, NULL), 0);
        assert_int_equal(tr_gpu_pinned_new(g, 4, "a number", (void **)&number, NULL), 0);
        *number = 1;
        tr_gpu_copy(g, TR_GPU_COPY, at, number, 4); /* and COMPUTE does not wait */
        tr_gpu_copy(g, TR_GPU_COMPUTE, number, at, 4);
        tr_gpu_sync(g, TR_GPU_COMPUTE);
        got[i] = *number;
        tr_gpu_sync(g, TR_GPU_COPY);
        tr_gpu_memory_free(g, at);
        tr_gpu_pinned_free(g, number);
        tr_gpu_close(g);
    }
    host_gpu_set(&(struct host_gpu_options){0});
    assert_true(got[0] == 0 && got[1] == 0); /* what the number was before */
}

static void what_cannot_be_recorded_is_an_error(void **state)
{
    struct tr_gpu_graph *r;
    struct tr_gpu_event *e;
    struct tr_gpu *g;
    void *at;

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(tr_gpu_open(0, &g, NULL), 0);
        assert_int_equal(tr_gpu_memory_new(g, 4, "a number", &at, NULL), 0);
        assert_int_equal(tr_gpu_event_new(g, TR_GPU_ORDER, &e), 0);
        assert_int_equal(tr_gpu_capture_begin(g), 0);
        if (i == 0) /* the host waits */
            assert_int_equal(tr_gpu_sync(g, TR_GPU_COMPUTE), -EINVAL);
        if (i == 1) /* a lane that has not joined */
            assert_int_equal(tr_gpu_zero(g, TR_GPU_COMM, at, 4), -EINVAL);
        if (i == 2) { /* a lane that COMPUTE does not wait for */
            assert_int_equal(tr_gpu_event_record(g, e, TR_GPU_COMPUTE), 0);
            assert_int_equal(tr_gpu_wait(g, TR_GPU_COMM, e), 0);
            assert_int_equal(tr_gpu_zero(g, TR_GPU_COMM, at, 4), 0);
        }
        if (i == 3) /* plain memory */
            assert_int_equal(tr_gpu_copy(g, TR_GPU_COMPUTE, at, &i, 4), -EINVAL);
        assert_int_equal(tr_gpu_capture_end(g, &r, NULL), -EINVAL);
        tr_gpu_event_free(g, e);
        tr_gpu_memory_free(g, at);
        tr_gpu_close(g);
    }
}

/* CUDA: cudaErrorCapturedEvent. */
static void a_recorded_event_is_no_place_outside(void **state)
{
    struct tr_gpu_graph *r;
    struct tr_gpu_event *e;
    struct tr_gpu *g;

    (void)state;
    assert_int_equal(tr_gpu_open(0, &g, NULL), 0);
    assert_int_equal(tr_gpu_event_new(g, TR_GPU_ORDER, &e), 0);
    assert_int_equal(tr_gpu_wait(g, TR_GPU_COPY, e), 0); /* never recorded */
    assert_int_equal(tr_gpu_capture_begin(g), 0);
    assert_int_equal(tr_gpu_event_record(g, e, TR_GPU_COMPUTE), 0);
    assert_int_equal(tr_gpu_capture_end(g, &r, NULL), 0);
    assert_int_equal(tr_gpu_wait(g, TR_GPU_COPY, e), -EINVAL);
    tr_gpu_graph_free(g, r);
    tr_gpu_event_free(g, e);
    tr_gpu_close(g);
}

#endif

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#ifndef TESTS_GPU
        cmocka_unit_test(a_recorded_event_is_no_place_outside),
        cmocka_unit_test(a_missing_wait_shows),
        cmocka_unit_test(what_cannot_be_recorded_is_an_error),
        cmocka_unit_test(lanes_are_ordered),
        cmocka_unit_test(gradients_of_weights_run_apart),
        cmocka_unit_test(two_ranks_alike_are_one),
        cmocka_unit_test(pixels_have_four_channels_or_eight),
        cmocka_unit_test(what_cudnn_lacks_is_ours),
#endif
        cmocka_unit_test(steps_are_those_of_the_reference),
        cmocka_unit_test(a_step_that_is_not_finite_changes_nothing),
        cmocka_unit_test(batches_ahead_of_their_step_are_the_same),
        cmocka_unit_test(a_run_that_goes_on_is_one_run),
        cmocka_unit_test(narrow_types_learn),
    };

    everything = argc > 1 && strcmp(argv[1], "all") == 0;
#ifdef TESTS_GPU
    everything = true;
    if (!has_gpu(&tr_backend_cuda))
        return 77;
#endif
    return cmocka_run_group_tests(tests, draw, forget);
}
