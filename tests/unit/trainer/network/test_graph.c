/* Placement of buffers, the cache of graphs, and that training on the reference backend learns. */
#include <errno.h>
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
#include "ipc/base/rng.h"
#include "tests/support/train_step.h"
#include "trainer/checkpoint/state.h"
#include "trainer/network/arena.h"

enum { BATCH = 8, SIZE = 8 };

static void blocks_with_a_common_time_never_overlap(void **state)
{
    struct im_rng r = im_rng_at(1, IM_RNG_TEST, 0, 0);
    struct tr_block blocks[200];

    (void)state;
    for (int round = 0; round < 20; round++) {
        size_t bytes = 0, peak = 0;

        for (int i = 0; i < 200; i++) {
            int first = (int)im_rng_below(&r, 100);

            blocks[i] = (struct tr_block){
                .bytes = im_rng_below(&r, 100000), .first = first, .last = first + (int)im_rng_below(&r, 30)};
        }
        assert_int_equal(tr_arena_place(blocks, 200, &bytes), 0);
        for (int i = 0; i < 200; i++) {
            assert_int_equal(blocks[i].offset % TR_BLOCK_ALIGN, 0);
            assert_true(blocks[i].offset + blocks[i].bytes <= bytes);
            for (int j = 0; j < i; j++) {
                bool meet = blocks[i].first <= blocks[j].last && blocks[j].first <= blocks[i].last;

                if (meet && blocks[i].bytes && blocks[j].bytes)
                    assert_true(blocks[i].offset + blocks[i].bytes <= blocks[j].offset ||
                                blocks[j].offset + blocks[j].bytes <= blocks[i].offset);
            }
        }
        for (int time = 0; time < 130; time++) {
            size_t live = 0;

            for (int i = 0; i < 200; i++)
                live +=
                    blocks[i].first <= time && time <= blocks[i].last ? blocks[i].bytes + TR_BLOCK_ALIGN : 0;
            peak = live > peak ? live : peak;
        }
        assert_true(bytes <= peak * 13 / 10); /* greedy by size stays close to what any placement needs */
    }
}

static void disjoint_lives_share_memory(void **state)
{
    struct tr_block blocks[] = {{.bytes = 8192, .first = 0, .last = 1},
                                {.bytes = 8192, .first = 2, .last = 3}};
    size_t bytes = 0;

    (void)state;
    assert_int_equal(tr_arena_place(blocks, 2, &bytes), 0);
    assert_int_equal(bytes, 8192);
}

static struct tr_network *make_that(const char *backend, bool accumulates)
{
    struct tr_network_config config = {
        .accumulates = accumulates,
        .averages = accumulates,
        .model = "resnet20",
        .stem = TR_STEM_AUTO,
        .classes = 4,
        .backend = backend,
        .threads = 1,
        .seed = 3,
        .mean = {0.5f, 0.5f, 0.5f},
        .std = {0.25f, 0.25f, 0.25f},
    };
    struct tr_network *net = NULL;
    struct im_text text = {{0}};

    assert_int_equal(tr_network_new(&config, &net, &text), 0);
    return net;
}

static struct tr_network *make(const char *backend)
{
    return make_that(backend, false);
}

/* Images of class k are bright in quadrant k, under noise. */
static void draw(uint8_t *pixels, int32_t *labels, int n, uint64_t item)
{
    struct im_rng r = im_rng_at(5, IM_RNG_TEST, 1, item);

    for (int i = 0; i < n; i++) {
        labels[i] = (int32_t)im_rng_below(&r, 4);
        for (int at = 0; at < SIZE * SIZE * 3; at++) {
            int y = at / 3 / SIZE, x = at / 3 % SIZE;
            int bright = (y >= SIZE / 2) * 2 + (x >= SIZE / 2) == labels[i];

            pixels[i * SIZE * SIZE * 3 + at] = (uint8_t)(im_rng_below(&r, 128) + (bright ? 127 : 0));
        }
    }
}

static void reference_learns_separable_images(void **state)
{
    struct tr_network *net = make("ref");
    struct imk_hyper hyper = {.lr = 0.05, .momentum = 0.9, .weight_decay = 1e-4};
    uint8_t pixels[BATCH * SIZE * SIZE * 3];
    int32_t labels[BATCH];
    struct tr_batch batch = {.pixels = pixels, .labels = labels, .n = BATCH, .size = SIZE};
    struct tr_tally tally;
    double first = 0, last = 0;

    (void)state;
    for (int step = 0; step < 16; step++) {
        draw(pixels, labels, BATCH, (uint64_t)step);
        assert_int_equal(train_step(net, &batch, &hyper, 0, &tally, NULL), 0);
        assert_int_equal(tally.valid, BATCH);
        first += step < 4 ? tally.loss_sum / BATCH / 4 : 0;
        last += step >= 12 ? tally.loss_sum / BATCH / 4 : 0;
    }
    assert_int_equal(tr_network_tracked(net), 16);
    assert_true(first > 0.5);
    assert_true(last < first * 0.5);
    tr_network_free(net);
}

/* ---- steps that are skipped ---- */

/* A batch of a window; with a divisor this small the gradient of a finite loss is infinite. */
static bool skips(struct tr_network *net, uint32_t number, bool last, double divisor)
{
    struct tr_step step = {
        .divisor = divisor,
        .number = number,
        .last = last,
        .hyper = {.lr = 0.05, .momentum = 0.9, .unscale = 1, .loss_scale = 1, .ema_weight = 0.5}};
    uint8_t pixels[BATCH * SIZE * SIZE * 3];
    int32_t labels[BATCH];
    struct tr_batch batch = {.pixels = pixels, .labels = labels, .n = BATCH, .size = SIZE};
    struct tr_outcome outcome;

    draw(pixels, labels, BATCH, number);
    assert_int_equal(tr_network_step_begin(net, &batch, &step, NULL), 0);
    assert_int_equal(tr_network_step_end(net, &outcome, NULL), 0);
    assert_true(isfinite(outcome.tally.loss_sum));
    return outcome.skipped;
}

static float *copy_of(struct tr_network *net, enum tr_arena arena)
{
    float *copy = calloc(tr_network_floats(net, arena), sizeof *copy);

    assert_int_equal(tr_network_read(net, arena, copy), 0);
    return copy;
}

static bool equals(struct tr_network *net, enum tr_arena arena, const float *then)
{
    float *now = copy_of(net, arena);
    bool same = memcmp(now, then, tr_network_floats(net, arena) * sizeof *now) == 0;

    free(now);
    return same;
}

/* The state within a window, as a checkpoint holds it, into another network. */
static struct tr_network *moved(struct tr_network *net, const char *backend)
{
    struct tr_network *other = make_that(backend, true);
    struct tr_state from, to;

    assert_int_equal(tr_state_init(&from, net), 0);
    assert_int_equal(tr_state_init(&to, other), 0);
    assert_int_equal(tr_state_collect(&from, NULL), 0);
    for (int i = 0; i < TR_ARENA_COUNT; i++)
        if (from.arenas[i])
            assert_int_equal(tr_network_write(other, (enum tr_arena)i, from.arenas[i]), 0);
    tr_network_set_tracked(other, from.tracked);
    assert_int_equal(to.window_count, from.window_count);
    tr_state_fini(&from);
    tr_state_fini(&to);
    tr_network_free(net);
    return other;
}

static void skip_on(const char *backend)
{
    const enum tr_arena kept[] = {TR_ARENA_STATS, TR_ARENA_PARAMS, TR_ARENA_MOMENTUM, TR_ARENA_EMA,
                                  TR_ARENA_EMA_STATS};
    struct tr_network *net = make_that(backend, true);
    float *then[IM_COUNT(kept)];

    assert_false(skips(net, 1, false, BATCH));
    assert_false(skips(net, 2, true, BATCH));
    assert_int_equal(tr_network_tracked(net), 2);
    for (size_t i = 0; i < IM_COUNT(kept); i++)
        then[i] = copy_of(net, kept[i]);
    assert_false(skips(net, 1, false, BATCH));
    assert_false(equals(net, TR_ARENA_STATS, then[0])); /* until the window's end */
    net = moved(net, backend);
    assert_true(skips(net, 2, true, 1e-45));
    for (size_t i = 0; i < IM_COUNT(kept); i++) {
        assert_true(equals(net, kept[i], then[i]));
        free(then[i]);
    }
    assert_int_equal(tr_network_tracked(net), 2);
    tr_network_free(net);
}

static void a_skipped_step_has_moved_no_statistics(void **state)
{
    (void)state;
    skip_on("ref");
#ifdef IMSUPER_ONEDNN
    skip_on("onednn");
#endif
}

static void graphs_of_different_shapes_share_one_arena(void **state)
{
    struct tr_network *net = make("ref");
    struct tr_network_bytes small, large;

    (void)state;
    assert_int_equal(tr_network_prepare(net, 4, 16, true, NULL), 0);
    large = tr_network_bytes(net);
    assert_int_equal(tr_network_prepare(net, 1, 8, true, NULL), 0);
    assert_int_equal(tr_network_prepare(net, 4, 16, false, NULL), 0);
    small = tr_network_bytes(net);
    assert_int_equal(small.activations, large.activations);
    assert_int_equal(tr_network_prepare(net, 8, 16, true, NULL), 0);
    assert_true(tr_network_bytes(net).activations > large.activations);
    tr_network_free(net);
}

static void memory_is_counted_by_kind(void **state)
{
    const struct tr_network_config config = {.model = "resnet20",
                                             .classes = 4,
                                             .backend = "ref",
                                             .threads = 1,
                                             .std = {1, 1, 1},
                                             .optimizer = IM_OPTIMIZER_ADAMW,
                                             .accumulates = true,
                                             .averages = true};
    struct tr_network *net = NULL;
    struct tr_network_bytes b;
    size_t values;

    (void)state;
    assert_int_equal(tr_network_new(&config, &net, NULL), 0);
    assert_int_equal(tr_network_prepare(net, 4, 16, true, NULL), 0);
    b = tr_network_bytes(net);
    values = tr_network_model(net)->param_floats * sizeof(float);
    assert_int_equal(b.parameters, values);
    assert_int_equal(b.gradients, 2 * values); /* of this batch, and the sum of those before */
    assert_int_equal(b.optimizer, 2 * values); /* both moments */
    assert_int_equal(b.averages, values + b.statistics / 2);
    assert_int_equal(b.arenas, b.parameters + b.gradients + b.optimizer + b.statistics + b.averages);
    assert_true(b.unshared > b.activations);
    tr_network_free(net);
}

static void more_shapes_than_the_cache_holds_still_run(void **state)
{
    struct tr_network *net = make("ref");
    uint8_t pixels[2 * 40 * 40 * 3] = {0};
    int32_t labels[2] = {0, 1};
    struct tr_tally tally;

    (void)state;
    for (int size = 8; size < 28; size++) {
        struct tr_batch batch = {.pixels = pixels, .labels = labels, .n = 1, .size = size};

        assert_int_equal(tr_network_prepare(net, batch.n, batch.size, size % 2 == 0, NULL), 0);
    }
    {
        struct tr_batch last = {.pixels = pixels, .labels = labels, .n = 1, .size = 8};

        assert_int_equal(tr_network_evaluate(net, &last, false, NULL, &tally, NULL), 0);
    }
    tr_network_free(net);
}

static void evaluation_needs_less_memory_than_training(void **state)
{
    struct tr_network *train = make("ref"), *eval = make("ref");

    (void)state;
    assert_int_equal(tr_network_prepare(train, 4, 16, true, NULL), 0);
    assert_int_equal(tr_network_prepare(eval, 4, 16, false, NULL), 0);
    assert_true(tr_network_bytes(eval).activations * 4 < tr_network_bytes(train).activations);
    tr_network_free(train);
    tr_network_free(eval);
}

static void labels_out_of_range_are_refused(void **state)
{
    struct tr_network *net = make("ref");
    uint8_t pixels[2 * SIZE * SIZE * 3] = {0}, valid[2] = {1, 0};
    int32_t labels[2] = {0, 4};
    struct tr_batch batch = {.pixels = pixels, .labels = labels, .n = 2, .size = SIZE};
    struct im_text text = {{0}};
    struct tr_tally tally;

    (void)state;
    assert_int_equal(tr_network_evaluate(net, &batch, false, NULL, &tally, &text), -EINVAL);
    assert_non_null(strstr(text.s, "label 4"));
    batch.valid = valid;
    assert_int_equal(tr_network_evaluate(net, &batch, false, NULL, &tally, &text), 0);
    assert_int_equal(tally.valid, 1);
    tr_network_free(net);
}

static void a_batch_too_large_is_refused_with_the_one_that_fits(void **state)
{
    static const char *const backends[] = {"ref", "onednn"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct tr_network_config config = {
            .model = "resnet20", .classes = 4, .backend = backends[i], .threads = 1, .std = {1, 1, 1}};
        struct tr_network *net = NULL;
        struct im_text text = {{0}};

        assert_int_equal(tr_network_new(&config, &net, NULL), 0);
        assert_int_equal(tr_network_prepare(net, 5, 16, true, NULL), 0);
        config.memory_max = tr_network_bytes(net).activations;
        tr_network_free(net);
        assert_int_equal(tr_network_new(&config, &net, NULL), 0);
        assert_int_equal(tr_network_prepare(net, 60000, 16, true, &text), -ENOMEM);
        assert_non_null(strstr(text.s, "at batch 60000 of 16 x 16 pixels in training"));
        assert_non_null(strstr(text.s, "the largest batch that fits is 5"));
        assert_int_equal(tr_network_bytes(net).activations, 0);
        assert_int_equal(tr_network_prepare(net, 5, 16, true, &text), 0);
        assert_int_equal(tr_network_prepare(net, 6, 16, true, &text), -ENOMEM);
        assert_non_null(strstr(text.s, "fits is 5"));
        tr_network_free(net);
    }
}

static void images_below_the_stride_are_refused(void **state)
{
    struct tr_network_config config = {
        .model = "resnet18", .classes = 4, .backend = "ref", .threads = 1, .std = {1, 1, 1}};
    struct tr_network *net = NULL;
    struct im_text text = {{0}};

    (void)state;
    assert_int_equal(tr_network_new(&config, &net, &text), 0);
    assert_int_equal(tr_network_prepare(net, 1, 31, true, &text), -EINVAL);
    assert_non_null(strstr(text.s, "31 x 31"));
    assert_non_null(strstr(text.s, "--stem small"));
    assert_int_equal(tr_network_prepare(net, 1, 32, true, &text), 0);
    tr_network_free(net);
}

/* The loss of one image in a training step of a network that drops most of its blocks. */
static double dropped_loss(uint64_t step, uint32_t first)
{
    struct tr_network_config config = {.model = "resnet20",
                                       .classes = 4,
                                       .drop_path_rate = 0.9,
                                       .backend = "ref",
                                       .threads = 1,
                                       .seed = 3,
                                       .std = {1, 1, 1}};
    uint8_t pixels[SIZE * SIZE * 3];
    int32_t label = 1;
    struct tr_batch batch = {
        .pixels = pixels, .labels = &label, .n = 1, .size = SIZE, .step = step, .first = first};
    const struct imk_hyper hyper = {.lr = 0.1};
    struct tr_network *net = NULL;
    struct tr_tally tally;

    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * i * 31);
    assert_int_equal(tr_network_new(&config, &net, NULL), 0);
    assert_int_equal(train_step(net, &batch, &hyper, 0, &tally, NULL), 0);
    tr_network_free(net);
    return tally.loss_sum;
}

static void drop_path_draws_by_step_and_place(void **state)
{
    int steps = 0, places = 0;

    (void)state;
    for (uint32_t i = 1; i < 8; i++) {
        assert_true(dropped_loss(i, 5) == dropped_loss(i, 5));
        steps += dropped_loss(i, 5) != dropped_loss(0, 5);
        places += dropped_loss(1, i + 5) != dropped_loss(1, 5);
    }
    assert_true(steps > 2);
    assert_true(places > 2);
}

static void unknown_backend_is_refused(void **state)
{
    struct tr_network_config config = {.model = "resnet20", .classes = 4, .backend = "tpu", .std = {1, 1, 1}};
    struct tr_network *net = NULL;
    struct im_text text = {{0}};

    (void)state;
    assert_int_equal(tr_network_new(&config, &net, &text), -ENOENT);
    assert_non_null(strstr(text.s, "tpu"));
}

static void written_parameters_are_read_back(void **state)
{
    struct tr_network *net = make("ref");
    size_t floats = tr_network_floats(net, TR_ARENA_PARAMS);
    float *a = calloc(floats, sizeof *a), *b = calloc(floats, sizeof *b);

    (void)state;
    assert_int_equal(tr_network_read(net, TR_ARENA_PARAMS, a), 0);
    a[5] = 42;
    assert_int_equal(tr_network_write(net, TR_ARENA_PARAMS, a), 0);
    assert_int_equal(tr_network_read(net, TR_ARENA_PARAMS, b), 0);
    assert_memory_equal(a, b, floats * sizeof *a);
    free(a);
    free(b);
    tr_network_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_with_a_common_time_never_overlap),
        cmocka_unit_test(disjoint_lives_share_memory),
        cmocka_unit_test(reference_learns_separable_images),
        cmocka_unit_test(a_skipped_step_has_moved_no_statistics),
        cmocka_unit_test(graphs_of_different_shapes_share_one_arena),
        cmocka_unit_test(memory_is_counted_by_kind),
        cmocka_unit_test(more_shapes_than_the_cache_holds_still_run),
        cmocka_unit_test(evaluation_needs_less_memory_than_training),
        cmocka_unit_test(labels_out_of_range_are_refused),
        cmocka_unit_test(unknown_backend_is_refused),
        cmocka_unit_test(a_batch_too_large_is_refused_with_the_one_that_fits),
        cmocka_unit_test(images_below_the_stride_are_refused),
        cmocka_unit_test(drop_path_draws_by_step_and_place),
        cmocka_unit_test(written_parameters_are_read_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
