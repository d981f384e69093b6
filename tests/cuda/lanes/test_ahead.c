/* Steps that begin before the end of the step before, against the same steps one by one: the same bits, losses and
 * positions, also where a step is skipped, which the next one then finds out on the device. The GPU is the processor
 * (host.h), with lanes that run late and early; with TESTS_GPU it is a real one. */
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
#include "ipc/config/conf.h"
#ifndef TESTS_GPU
#include "tests/cuda/lanes/host.h"
#endif
#include "tests/support/gpu.h"
#include "trainer/network/network.h"
#include "trainer/training_step.h"

enum { CLASSES = 5, BATCH = 4, SIZE = 8, STEPS = 9, SHORT = 7, ARENAS = 6 };

static const enum tr_arena compared[ARENAS] = {TR_ARENA_PARAMS, TR_ARENA_MOMENTUM, TR_ARENA_STATS,
                                               TR_ARENA_SECOND, TR_ARENA_EMA,      TR_ARENA_EMA_STATS};

struct run {
    bool ahead;
    bool apart; /* gradients of weights, where steps go ahead */
    unsigned eager;
    enum imk_dtype precision;
    double scale; /* of the loss, at first */
    /* results */
    float *arenas[ARENAS];
    size_t floats[ARENAS];
    struct tr_step_result results[STEPS];
    struct tr_position at;
    int begun_ahead, skipped_before; /* those behind a step that was skipped */
};

static uint8_t pixels[STEPS][BATCH * SIZE * SIZE * 3];
static int32_t labels[STEPS][BATCH];

static int draw(void **state)
{
    struct im_rng r = im_rng_at(12, IM_RNG_TEST, 1, 1);

    (void)state;
    for (int g = 0; g < STEPS; g++) {
        for (size_t i = 0; i < sizeof pixels[g]; i++)
            pixels[g][i] = (uint8_t)im_rng_u32(&r);
        for (int i = 0; i < BATCH; i++)
            labels[g][i] = (int32_t)im_rng_below(&r, CLASSES);
    }
    return 0;
}

/* The step before the last is short. */
static struct tr_batch batch_of(int g)
{
    return (struct tr_batch){.pixels = pixels[g],
                             .labels = labels[g],
                             .n = g == SHORT ? BATCH - 1 : BATCH,
                             .size = SIZE,
                             .step = (uint64_t)g,
                             .stride = 1};
}

static void land(struct run *run, struct tr_training_step *r, int g)
{
    struct im_text text = {""};

    if (tr_training_step_end(r, &run->at, g == STEPS - 1, &run->results[g], &text) != 0)
        fail_msg("step %d: %s", g, text.s);
}

/* As trainer/batch.c does it. */
static void take_steps(struct run *run, struct tr_training_step *r)
{
    bool in_flight = false;

    for (int g = 0; g < STEPS; g++) {
        const struct tr_batch b = batch_of(g), next = batch_of(g + 1 < STEPS ? g + 1 : g);
        const bool last = g == STEPS - 1;
        struct im_text text = {""};
        int err;

        if (in_flight && !tr_training_step_goes_ahead(r, &b)) {
            land(run, r, g - 1);
            in_flight = false;
        }
        err = (in_flight ? tr_training_step_begin_ahead : tr_training_step_begin)(r, &run->at, &b, b.n, BATCH,
                                                                                  last, &text);
        if (err != 0)
            fail_msg("step %d: %s", g, text.s);
        assert_int_equal(tr_network_prefetch(r->net, &next, NULL), 0);
        run->begun_ahead += in_flight;
        if (in_flight) {
            land(run, r, g - 1);
            run->skipped_before += run->results[g - 1].skipped;
        }
        in_flight = run->ahead;
        if (!in_flight)
            land(run, r, g);
    }
    if (in_flight)
        land(run, r, STEPS - 1);
}

static void configure(struct im_conf *conf)
{
    im_conf_defaults(conf);
    conf->opt = IM_OPTIMIZER_ADAMW; /* the number of updates counts */
    conf->loss_scale = IM_LOSS_SCALE_DYNAMIC;
    conf->ema = 0.9;
    conf->ema_warmup = IM_EMA_WARMUP_TIMM;
    conf->grad_clip = 1;
    conf->lr = 0.01;
    conf->epochs = 1;
    conf->max_bad_steps = STEPS + 1;
}

static void train(struct run *run)
{
    const struct tr_schedule_epoch epoch = {.steps = STEPS, .images = STEPS * BATCH};
    struct tr_network_config config = {.model = "resnet20",
                                       .classes = CLASSES,
                                       .ops = &tr_backend_cuda,
                                       .precision = run->precision,
                                       .seed = 3,
                                       .mean = {0.5f, 0.5f, 0.5f},
                                       .std = {0.25f, 0.25f, 0.25f},
                                       .device = {.deterministic = true,
                                                  .dw_apart = run->apart && run->ahead,
                                                  .cache = getenv("IMSUPER_TEST_PLANS")}};
    static struct im_conf conf;
    struct tr_training_step step;
    struct tr_schedule schedule;
    struct tr_network *net;
    struct im_text text = {""};

#ifndef TESTS_GPU
    host_gpu_set(&(struct host_gpu_options){.eager = run->eager});
#endif
    configure(&conf);
    tr_training_step_network(&conf, &config);
    if (tr_network_new(&config, &net, &text) < 0 || tr_schedule_init(&schedule, &conf, &epoch, 1, &text) < 0)
        fail_msg("%s", text.s);
    assert_int_equal(tr_network_reset_averages(net), 0);
    assert_int_equal(tr_network_pin_host(net, pixels, sizeof pixels, NULL), 0);
    run->at = tr_position_start(&conf);
    run->at.scaler.scale = run->scale;
    tr_training_step_init(&step, &conf, net, &schedule);
    take_steps(run, &step);
    tr_network_unpin_host(net, pixels);
    for (int i = 0; i < ARENAS; i++) {
        run->floats[i] = tr_network_floats(net, compared[i]);
        run->arenas[i] = calloc(run->floats[i] + 1, sizeof(float));
        if (run->floats[i] > 0)
            assert_int_equal(tr_network_read(net, compared[i], run->arenas[i]), 0);
    }
    tr_schedule_fini(&schedule);
    tr_network_free(net);
}

static void release(struct run *run)
{
    for (int i = 0; i < ARENAS; i++)
        free(run->arenas[i]);
}

static void same(double a, double b)
{
    assert_true(a == b || (isnan(a) && isnan(b)));
}

static void same_run(const struct run *a, const struct run *b)
{
    for (int g = 0; g < STEPS; g++) {
        assert_int_equal(a->results[g].skipped, b->results[g].skipped);
        same(a->results[g].loss, b->results[g].loss);
        same(a->results[g].norm, b->results[g].norm);
        same(a->results[g].lr, b->results[g].lr);
    }
    assert_int_equal(a->at.steps, b->at.steps);
    assert_int_equal(a->at.updates, b->at.updates);
    assert_true(a->at.scaler.scale == b->at.scaler.scale);
    for (int i = 0; i < ARENAS; i++) {
        assert_int_equal(a->floats[i], b->floats[i]);
        assert_memory_equal(a->arenas[i], b->arenas[i], a->floats[i] * sizeof(float));
    }
}

/* late, and early lanes */
static const unsigned ways[] = {
    0,
#ifndef TESTS_GPU
    1 << TR_GPU_COMPUTE,
    1 << TR_GPU_COPY,
#endif
};

static void ahead_and_one_by_one_are_the_same(struct run run, int skips)
{
    struct run want = run;

    train(&want);
    assert_int_equal(want.begun_ahead, 0);
    for (size_t i = 0; i < IM_COUNT(ways); i++) {
        struct run got = run;

        got.ahead = true;
        got.eager = ways[i];
        train(&got);
        /* The first is enqueued, the second is captured; the short one is enqueued, and the last one is behind it. */
        assert_int_equal(got.begun_ahead, STEPS - 4);
        assert_true(got.skipped_before >= skips);
        same_run(&got, &want);
        release(&got);
    }
    release(&want);
}

static void steps_that_are_taken(void **state)
{
    (void)state;
    ahead_and_one_by_one_are_the_same((struct run){.scale = 256}, 0);
}

/* Two streams of a step that is captured, replayed behind the one before. */
static void steps_with_gradients_of_weights_apart(void **state)
{
    (void)state;
    ahead_and_one_by_one_are_the_same((struct run){.scale = 256, .apart = true}, 0);
}

/* A scale that fp16 cannot hold is halved until it can: steps are skipped, then taken. The next step has begun by then, and has
 * its scale, its count of updates and its averages by what the device found. */
static void steps_that_are_skipped(void **state)
{
    (void)state;
    ahead_and_one_by_one_are_the_same((struct run){.precision = IMK_F16, .scale = 2097152}, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_that_are_taken),
        cmocka_unit_test(steps_with_gradients_of_weights_apart),
        cmocka_unit_test(steps_that_are_skipped),
    };

#ifdef TESTS_GPU
    if (!has_gpu(&tr_backend_cuda))
        return 77;
#endif
    return cmocka_run_group_tests(tests, draw, NULL);
}
