/* Two runs with the same seed and number of threads give the same bits, on either side of an evaluation, and
 * a changed seed does not. */
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

enum { CLASSES = 10, BATCH = 24, SIZE = 32, STEPS = 3 };

struct job {
    const char *model, *backend;
    int threads;
    uint64_t seed;
    bool evaluates; /* between the steps */
};

static void draw(uint8_t *pixels, int32_t *labels, int step)
{
    struct im_rng r = im_rng_at(9, IM_RNG_TEST, 0, (uint64_t)step);

    for (size_t i = 0; i < (size_t)BATCH * SIZE * SIZE * 3; i++)
        pixels[i] = (uint8_t)im_rng_u32(&r);
    for (int i = 0; i < BATCH; i++)
        labels[i] = (int32_t)im_rng_below(&r, CLASSES);
}

/* Parameters, then momentum, then statistics after STEPS steps; the caller frees. */
static float *train(struct job job, size_t *ret_floats)
{
    struct tr_network_config config = {.model = job.model,
                                       .classes = CLASSES,
                                       .backend = job.backend,
                                       .threads = job.threads,
                                       .seed = job.seed,
                                       .mean = {0.5f, 0.5f, 0.5f},
                                       .std = {0.25f, 0.25f, 0.25f}};
    struct imk_hyper hyper = {.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-4};
    uint8_t *pixels = malloc((size_t)BATCH * SIZE * SIZE * 3);
    int32_t labels[BATCH];
    struct tr_batch batch = {.pixels = pixels, .labels = labels, .n = BATCH, .size = SIZE};
    struct tr_network *net = NULL;
    struct tr_tally tally;
    size_t params, stats;
    float *all;

    assert_int_equal(tr_network_new(&config, &net, NULL), 0);
    for (int step = 0; step < STEPS; step++) {
        draw(pixels, labels, step);
        assert_int_equal(train_step(net, &batch, &hyper, 0.1f, &tally, NULL), 0);
        batch.n = BATCH / 3;
        if (job.evaluates)
            assert_int_equal(tr_network_evaluate(net, &batch, false, NULL, &tally, NULL), 0);
        batch.n = BATCH;
    }
    params = tr_network_floats(net, TR_ARENA_PARAMS);
    stats = tr_network_floats(net, TR_ARENA_STATS);
    *ret_floats = 2 * params + stats;
    all = calloc(*ret_floats, sizeof *all);
    assert_int_equal(tr_network_read(net, TR_ARENA_PARAMS, all), 0);
    assert_int_equal(tr_network_read(net, TR_ARENA_MOMENTUM, all + params), 0);
    assert_int_equal(tr_network_read(net, TR_ARENA_STATS, all + 2 * params), 0);
    tr_network_free(net);
    free(pixels);
    return all;
}

static bool equal(struct job a, struct job b)
{
    size_t floats = 0;
    float *first = train(a, &floats), *second = train(b, &floats);
    bool same = memcmp(first, second, floats * sizeof *first) == 0;

    free(first);
    free(second);
    return same;
}

static void same_bits_with_one_thread(void **state)
{
    struct job job = {.model = "resnet20", .backend = "onednn", .threads = 1, .seed = 1};

    (void)state;
    assert_true(equal(job, job));
}

static void same_bits_with_two_threads(void **state)
{
    struct job job = {.model = "resnet20", .backend = "onednn", .threads = 2, .seed = 1};

    (void)state;
    assert_true(equal(job, job));
}

static void same_bits_with_three_threads_on_the_large_family(void **state)
{
    struct job job = {.model = "resnet50", .backend = "onednn", .threads = 3, .seed = 1};

    (void)state;
    assert_true(equal(job, job));
}

static void evaluation_leaves_training_alone(void **state)
{
    struct job job = {.model = "resnet20", .backend = "onednn", .threads = 2, .seed = 1};
    struct job other = job;

    (void)state;
    other.evaluates = true;
    assert_true(equal(job, other));
}

static void another_seed_gives_other_bits(void **state)
{
    struct job job = {.model = "resnet20", .backend = "onednn", .threads = 2, .seed = 1};
    struct job other = job;

    (void)state;
    other.seed = 2;
    assert_false(equal(job, other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_with_one_thread),
        cmocka_unit_test(same_bits_with_two_threads),
        cmocka_unit_test(same_bits_with_three_threads_on_the_large_family),
        cmocka_unit_test(evaluation_leaves_training_alone),
        cmocka_unit_test(another_seed_gives_other_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
