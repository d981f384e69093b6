/* What a trainer gets of real images, against Pillow: ids and labels of two epochs in their order, and every
 * pixel of one batch, delivered by readers and augmenters over the rings. tests/golden/make_batch.py made
 * the expected bytes with Pillow and with formulas of its own; no code of ours had a part in it. Tolerance:
 * 1 of 255. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/dataset.h"
#include "tests/support/pipeline.h"
#include "tests/unit/augment/golden_file.h"

#define SEED 20240229
#define SKIPPED 77

enum { EPOCHS = 2, BATCH_SIZE = 16, SIDE = 64, PIXELS = SIDE * SIDE * 3, TOLERANCE = 1, SAMPLES_MAX = 1000 };

static struct dataset set;

struct golden {
    uint32_t samples, batch;
    uint32_t ids[EPOCHS][SAMPLES_MAX], labels[EPOCHS][SAMPLES_MAX];
    unsigned char pixels[BATCH_SIZE][PIXELS];
    uint64_t compared; /* bytes of pixels */
    uint64_t delivered;
};

static void read_golden(struct golden *g)
{
    FILE *file = fopen(GOLDEN_DIR "/batch.bin", "rb");

    assert_non_null(file);
    g->samples = (uint32_t)golden_number(file, 4);
    assert_in_range(g->samples, 1, SAMPLES_MAX);
    assert_int_equal(golden_number(file, 4), BATCH_SIZE);
    assert_int_equal(golden_number(file, 4), SIDE);
    g->batch = (uint32_t)golden_number(file, 4);
    for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
        for (uint32_t i = 0; i < g->samples; i++) {
            g->ids[epoch][i] = (uint32_t)golden_number(file, 4);
            g->labels[epoch][i] = (uint32_t)golden_number(file, 4);
        }
    }
    assert_int_equal(fread(g->pixels, 1, sizeof g->pixels, file), sizeof g->pixels);
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
}

static void compare_pixels(struct golden *g, const unsigned char *pixels, uint32_t place)
{
    for (size_t i = 0; i < PIXELS; i++) {
        int ours = pixels[place * PIXELS + i], theirs = g->pixels[place][i];

        if (abs(ours - theirs) > TOLERANCE)
            fail_msg("place %u, x %zu, y %zu, channel %zu: %d, Pillow has %d", place, i / 3 % SIDE,
                     i / 3 / SIDE, i % 3, ours, theirs);
        g->compared++;
    }
}

static int compare(void *context, uint64_t batch, const struct im_phase *phase,
                   const struct im_batch_view *view, uint32_t count)
{
    struct golden *g = context;
    uint64_t first = (batch - phase->first_batch) * BATCH_SIZE;

    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(view->samples[i], g->ids[phase->epoch][first + i]);
        assert_int_equal(view->labels[i], g->labels[phase->epoch][first + i]);
        assert_int_equal(view->verdicts[i], 0);
        if (batch == g->batch)
            compare_pixels(g, view->pixels, i);
    }
    g->delivered += count;
    return 0;
}

static void batches_equal_pillows(void **state)
{
    static struct golden golden;
    struct im_text text = {""};
    struct im_conf conf;
    struct pipeline *p = NULL;

    (void)state;
    read_golden(&golden);
    im_conf_defaults(&conf);
    conf.seed = SEED;
    conf.epochs = EPOCHS;
    conf.batch_size = BATCH_SIZE;
    conf.drop_last = false;
    conf.image_size = SIDE;
    conf.readers = conf.augmenters = 2;
    if (dataset_configure(&set, "golden", &conf, &text) < 0 || pipeline_open(&p, &conf, &text) < 0)
        fail_msg("%s", text.s);
    pipeline_begin(p, 0);
    assert_int_equal(pipeline_start_workers(p), 0);
    if (pipeline_consume(p, 0, 0, pipeline_plan(p)->batches, compare, &golden, &text) != 0)
        fail_msg("%s", text.s);
    pipeline_close(&p);
    assert_int_equal(golden.delivered, EPOCHS * golden.samples);
    assert_int_equal(golden.compared, BATCH_SIZE * PIXELS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(batches_equal_pillows)};
    struct im_text text = {""};
    int err = dataset_unpack_sample(&set, &text), failed;

    if (err == -ENOENT)
        return SKIPPED;
    if (err < 0) {
        fprintf(stderr, "%s\n", text.s);
        return 1;
    }
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    dataset_remove(&set);
    return failed;
}
