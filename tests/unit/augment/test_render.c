/* The renderer against the long way round: decode the whole image with plain libjpeg, cut, resize all of it
 * with the reference kernels, cut again, mirror. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "augment/render.h"
#include "ipc/base/count.h"
#include "ipc/base/fault.h"
#include "tests/unit/augment/jpeg_file.h"

#define GUARD_BYTES 64
#define GUARD 0x5a

static const struct au_limits limits = AU_LIMITS_DEFAULT;

/* Renders into exactly size * size * 3 bytes between guards. free() the result's guard. */
static unsigned char *render(struct au_renderer *renderer, const struct au_job *job, const void *bytes,
                             size_t n, int expected)
{
    size_t out_bytes = (size_t)job->size * job->size * 3;
    unsigned char *memory = malloc(out_bytes + 2 * GUARD_BYTES);
    struct im_text text = {""};

    assert_non_null(memory);
    memset(memory, GUARD, out_bytes + 2 * GUARD_BYTES);
    assert_int_equal(au_render(renderer, job, bytes, n, memory + GUARD_BYTES, &text), expected);
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        assert_int_equal(memory[i], GUARD);
        assert_int_equal(memory[GUARD_BYTES + out_bytes + i], GUARD);
    }
    memmove(memory, memory + GUARD_BYTES, out_bytes);
    return memory;
}

/* All of `box` of the image (w pixels wide) resized to out_w x out_h with the reference kernels. */
static unsigned char *resize_all(const unsigned char *rgb, uint32_t w, const struct imk_box *box,
                                 uint32_t out_w, uint32_t out_h)
{
    struct imk_axis h_axis = {box->w, out_w, 0, out_w, false}, v_axis = {box->h, out_h, 0, out_h, false};
    void *h_memory = malloc(imk_taps_bytes(&h_axis)), *v_memory = malloc(imk_taps_bytes(&v_axis));
    size_t stride = (size_t)3 * out_w;
    unsigned char *rows = malloc(stride * box->h + IMK_SLACK), *out = malloc(stride * out_h);
    struct imk_image_ops ops;
    struct imk_taps h, v;

    assert_true(h_memory && v_memory && rows && out);
    imk_image_ops_init(&ops, 0);
    imk_taps_fill(&h, &h_axis, 0.0, (double)h_axis.in, &ops, h_memory);
    imk_taps_fill(&v, &v_axis, 0.0, (double)v_axis.in, &ops, v_memory);
    ops.resize_rows(rows, stride, rgb + ((size_t)(box->y + v.begin) * w + box->x + h.begin) * 3,
                    (size_t)3 * w, v.end - v.begin, &h);
    ops.resize_columns(out, stride, rows, stride, stride, &v);
    free(h_memory);
    free(v_memory);
    free(rows);
    return out;
}

static void assert_plan_is_rendered(struct au_renderer *renderer, const struct au_job *job, const void *bytes,
                                    size_t n)
{
    uint32_t w, h;
    int components;
    unsigned char *whole = jpeg_decode_whole(bytes, n, &w, &h, &components);
    unsigned char *out = render(renderer, job, bytes, n, 0), *resized;
    struct au_crop plan;

    assert_non_null(whole);
    plan = au_crop_make(job, w, h);
    resized = resize_all(whole, w, &plan.box, plan.resized_w, plan.resized_h);
    for (uint32_t y = 0; y < plan.size; y++) {
        for (uint32_t x = 0; x < plan.size; x++) {
            int64_t from_x = plan.x + (int64_t)(plan.flip ? plan.size - 1 - x : x),
                    from_y = plan.y + (int64_t)y;
            const unsigned char zero[3] = {0}, *expected = zero;

            if (plan.pad_mode != IM_PAD_CONSTANT) {
                from_x = au_pad_source(plan.pad_mode, from_x, plan.resized_w, plan.padding);
                from_y = au_pad_source(plan.pad_mode, from_y, plan.resized_h, plan.padding);
            }
            if (from_x >= 0 && from_x < plan.resized_w && from_y >= 0 && from_y < plan.resized_h)
                expected = resized + ((size_t)from_y * plan.resized_w + (size_t)from_x) * 3;
            if (memcmp(out + ((size_t)y * plan.size + x) * 3, expected, 3) != 0)
                fail_msg("%ux%u to %u: pixel %u,%u differs", w, h, plan.size, x, y);
        }
    }
    free(whole);
    free(out);
    free(resized);
}

static void sweep(struct au_job job, const uint32_t (*sizes)[2], size_t n_sizes, int samples)
{
    struct au_renderer *renderer;

    assert_int_equal(au_renderer_new(&renderer, &limits, imk_cpu_flags()), 0);
    for (size_t i = 0; i < n_sizes; i++) {
        struct jpeg_spec spec = {JPEG_YCC, sizes[i][0], sizes[i][1], 2, 2, i % 3 == 2, false, false, 0, 90};
        size_t n;
        unsigned char *bytes = jpeg_make(&spec, &n);

        for (int s = 0; s < samples; s++) {
            job.sample = (uint64_t)s;
            assert_plan_is_rendered(renderer, &job, bytes, n);
        }
        free(bytes);
    }
    au_renderer_free(&renderer);
}

static const uint32_t image_sizes[][2] = {{1, 1},   {2, 90},    {90, 2},   {33, 47},
                                          {64, 64}, {150, 100}, {301, 280}};
#define IMAGE_SIZES IM_COUNT(image_sizes)

static void resized_crops_of_training(void **state)
{
    struct au_job job = {.split = IM_TRAIN, .seed = 1, .crop = AU_CROP_DEFAULT};

    (void)state;
    for (job.size = 1; job.size < 130; job.size += 21)
        sweep(job, image_sizes, IMAGE_SIZES, 6);
}

static void padded_crops_of_training(void **state)
{
    struct au_job job = {.split = IM_TRAIN, .seed = 1, .crop = AU_CROP_DEFAULT};

    (void)state;
    job.crop.train_crop = AU_CROP_PADDED;
    for (job.size = 1; job.size < 130; job.size += 21)
        sweep(job, image_sizes, IMAGE_SIZES, 8);
}

/* Of images smaller, as large, and larger than the crop; with and without a flip. */
static void padding_copies_what_lies_inside(void **state)
{
    struct au_job job = {.split = IM_TRAIN, .seed = 1, .crop = AU_CROP_DEFAULT};

    (void)state;
    job.crop.train_crop = AU_CROP_PADDED;
    for (int mode = IM_PAD_EDGE; mode <= IM_PAD_SYMMETRIC; mode++)
        for (job.size = 9; job.size < 130; job.size += 23) {
            job.crop.pad_mode = (enum im_conf_pad_mode)mode;
            sweep(job, image_sizes, IMAGE_SIZES, 8);
        }
}

static void padded_crops_far_from_the_image_are_black(void **state)
{
    struct au_job job = {.split = IM_TRAIN, .seed = 1, .size = 5, .crop = AU_CROP_DEFAULT};

    (void)state;
    job.crop.train_crop = AU_CROP_PADDED;
    job.crop.padding = 40;
    sweep(job, image_sizes, 3, 40);
}

static void centre_crops_of_evaluation(void **state)
{
    struct au_job job = {.split = IM_VAL, .crop = AU_CROP_DEFAULT};

    (void)state;
    for (job.size = 1; job.size < 130; job.size += 21) {
        job.crop.eval_resize = job.size + job.size / 7;
        sweep(job, image_sizes, IMAGE_SIZES, 1);
    }
}

static void centre_crops_larger_than_the_image_are_padded(void **state)
{
    struct au_job job = {.split = IM_VAL, .size = 64, .crop = AU_CROP_DEFAULT};

    (void)state;
    job.crop.eval_resize = 31;
    sweep(job, image_sizes, IMAGE_SIZES, 1);
}

static void same_job_gives_the_same_bytes_in_any_process(void **state)
{
    const struct jpeg_spec spec = {JPEG_YCC, 300, 200, 2, 1, false, false, false, 0, 90};
    struct au_job job = {.split = IM_TRAIN, .seed = 9, .sample = 4, .size = 96, .crop = AU_CROP_DEFAULT},
                  other = job;
    struct au_renderer *used, *fresh;
    size_t n;
    unsigned char *bytes = jpeg_make(&spec, &n), *a, *b;

    (void)state;
    assert_int_equal(au_renderer_new(&used, &limits, imk_cpu_flags()), 0);
    assert_int_equal(au_renderer_new(&fresh, &limits, 0), 0); /* on another CPU, even */
    for (other.sample = 100; other.sample < 120; other.sample++)
        free(render(used, &other, bytes, n, 0));
    free(render(used, &other, bytes, n / 3, IM_VERDICT_TRUNCATED));
    a = render(used, &job, bytes, n, 0);
    b = render(fresh, &job, bytes, n, 0);
    assert_memory_equal(a, b, 96 * 96 * 3);
    free(a);
    free(b);
    free(bytes);
    au_renderer_free(&used);
    au_renderer_free(&fresh);
}

static void second_epoch_needs_no_more_memory(void **state)
{
    struct au_job job = {.split = IM_TRAIN, .seed = 2, .size = 64, .crop = AU_CROP_DEFAULT};
    struct au_renderer *renderer;
    size_t bytes_after_first = 0;

    (void)state;
    assert_int_equal(au_renderer_new(&renderer, &limits, imk_cpu_flags()), 0);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < IMAGE_SIZES; i++) {
            struct jpeg_spec spec = {
                JPEG_YCC, image_sizes[i][0], image_sizes[i][1], 2, 2, false, false, false, 0, 90};
            size_t n;
            unsigned char *bytes = jpeg_make(&spec, &n);

            job.sample = i;
            free(render(renderer, &job, bytes, n, 0));
            free(bytes);
        }
        if (pass == 0)
            bytes_after_first = au_renderer_bytes(renderer);
        else
            assert_int_equal(au_renderer_bytes(renderer), bytes_after_first);
    }
    au_renderer_free(&renderer);
}

static void no_memory_is_our_error_and_passes(void **state)
{
    const struct jpeg_spec spec = {JPEG_YCC, 300, 200, 2, 1, false, false, false, 0, 90};
    struct au_job job = {.split = IM_TRAIN, .seed = 9, .sample = 4, .size = 96, .crop = AU_CROP_DEFAULT};
    size_t n;
    unsigned char *bytes = jpeg_make(&spec, &n);

    (void)state;
    /* One after the other: the filter tables, the pixels, the rows between the passes. */
    for (int k = 1; k <= 3; k++) {
        struct au_renderer *renderer;
        char rule[64];

        assert_int_equal(au_renderer_new(&renderer, &limits, imk_cpu_flags()), 0);
        snprintf(rule, sizeof rule, "augment.memory=fail:ENOMEM@%d", k);
        if (im_fault_arm(rule, NULL) == -ENOTSUP) {
            au_renderer_free(&renderer);
            free(bytes);
            skip();
        }
        free(render(renderer, &job, bytes, n, -ENOMEM));
        free(render(renderer, &job, bytes, n, 0));
        assert_int_equal(im_fault_arm("", NULL), 0);
        au_renderer_free(&renderer);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resized_crops_of_training),
        cmocka_unit_test(padded_crops_of_training),
        cmocka_unit_test(padding_copies_what_lies_inside),
        cmocka_unit_test(padded_crops_far_from_the_image_are_black),
        cmocka_unit_test(centre_crops_of_evaluation),
        cmocka_unit_test(centre_crops_larger_than_the_image_are_padded),
        cmocka_unit_test(same_job_gives_the_same_bytes_in_any_process),
        cmocka_unit_test(second_epoch_needs_no_more_memory),
        cmocka_unit_test(no_memory_is_our_error_and_passes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
