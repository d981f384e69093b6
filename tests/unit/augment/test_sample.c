/* A whole batch of real images against Pillow: the crops that training draws and the crops of evaluation, 224
 * x 224, bit for bit (tolerance 0; a hash of all pixels, and a window of raw ones to show what differs). The
 * golden file also holds the boxes, so a change of the random draws, which would change every run's results,
 * does not go unnoticed.
 *
 *     unit_augment_sample --plans     prints what tests/golden/make_sample.py needs */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "augment/render.h"
#include "tests/unit/augment/golden_file.h"
#include "tests/unit/augment/sample.h"

#define IMAGES 16
#define SIZE 224
#define WINDOW 36
#define WINDOW_AT 90
#define SKIPPED 77

static struct sample sample;

/* Every twelfth file; the sample has 200. */
static const struct sample_file *file_of(uint32_t image)
{
    return &sample.files[image * 12 + 5];
}

static struct au_job job_of(uint32_t image, enum im_split split)
{
    return (struct au_job){
        .split = split, .seed = 11, .epoch = 2, .sample = image, .size = SIZE, .crop = AU_CROP_DEFAULT};
}

static struct au_crop plan_of(uint32_t image, enum im_split split)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_job job = job_of(image, split);
    struct au_decoder *decoder;
    struct au_image header;

    if (au_decoder_new(&decoder, &limits) < 0 ||
        au_decoder_open(decoder, file_of(image)->bytes, file_of(image)->n, &header, NULL) != 0)
        abort();
    au_decoder_free(&decoder);
    return au_crop_make(&job, header.width, header.height);
}

static void print_plans(void)
{
    for (int split = IM_TRAIN; split <= IM_VAL; split++) {
        for (uint32_t i = 0; i < IMAGES; i++) {
            struct au_crop plan = plan_of(i, (enum im_split)split);

            printf("%s %s %u %u %u %u %d\n", file_of(i)->name, split == IM_TRAIN ? "train" : "eval",
                   plan.box.x, plan.box.y, plan.box.w, plan.box.h, plan.flip);
        }
    }
}

static uint64_t fnv1a(const unsigned char *bytes, size_t n)
{
    uint64_t value = 0xcbf29ce484222325u;

    for (size_t i = 0; i < n; i++)
        value = (value ^ bytes[i]) * 0x100000001b3u;
    return value;
}

static void assert_image(struct au_renderer *renderer, uint32_t image, enum im_split split, FILE *golden)
{
    static unsigned char out[SIZE * SIZE * 3], window[WINDOW * WINDOW * 3];
    struct au_job job = job_of(image, split);
    struct au_crop plan = plan_of(image, split);
    struct im_text text = {""};

    assert_int_equal(golden_number(golden, 4), plan.box.x);
    assert_int_equal(golden_number(golden, 4), plan.box.y);
    assert_int_equal(golden_number(golden, 4), plan.box.w);
    assert_int_equal(golden_number(golden, 4), plan.box.h);
    assert_int_equal(golden_number(golden, 4), plan.flip);
    uint64_t hash = (uint64_t)golden_number(golden, 8);
    assert_int_equal(fread(window, 1, sizeof window, golden), sizeof window);

    assert_int_equal(au_render(renderer, &job, file_of(image)->bytes, file_of(image)->n, out, &text), 0);
    for (size_t y = 0; y < WINDOW; y++)
        assert_memory_equal(out + ((WINDOW_AT + y) * SIZE + WINDOW_AT) * 3, window + y * WINDOW * 3,
                            WINDOW * 3);
    if (fnv1a(out, sizeof out) != hash)
        fail_msg("%s: pixels outside the window differ from Pillow's", file_of(image)->name);
}

static void assert_batch(enum im_split split, unsigned cpu_flags)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    FILE *golden = fopen(GOLDEN_DIR "/sample.bin", "rb");
    struct au_renderer *renderer;

    assert_non_null(golden);
    if (split == IM_VAL)
        assert_int_equal(fseek(golden, (long)IMAGES * (28 + WINDOW * WINDOW * 3), SEEK_SET), 0);
    assert_int_equal(au_renderer_new(&renderer, &limits, cpu_flags), 0);
    for (uint32_t i = 0; i < IMAGES; i++)
        assert_image(renderer, i, split, golden);
    au_renderer_free(&renderer);
    fclose(golden);
}

static void training_crops_equal_pillow(void **state)
{
    (void)state;
    assert_batch(IM_TRAIN, imk_cpu_flags());
}

static void training_crops_equal_pillow_without_simd(void **state)
{
    (void)state;
    assert_batch(IM_TRAIN, 0);
}

static void evaluation_crops_equal_pillow(void **state)
{
    (void)state;
    assert_batch(IM_VAL, imk_cpu_flags());
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_crops_equal_pillow),
        cmocka_unit_test(training_crops_equal_pillow_without_simd),
        cmocka_unit_test(evaluation_crops_equal_pillow),
    };
    int failed = 0;

    if (sample_open(&sample) < 0)
        return SKIPPED;
    if (argc > 1 && strcmp(argv[1], "--plans") == 0)
        print_plans();
    else
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    sample_close(&sample);
    return failed;
}
