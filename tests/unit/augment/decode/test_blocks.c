/* Samples from coefficients: our inverse DCT, and its blocks' places, against all that libjpeg-turbo makes of the same file, from
 * coefficients of real images to such as no encoder makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jpeglib.h>

#include "augment/decode/decode.h"
#include "ipc/base/count.h"
#include "tests/unit/augment/jpeg_file.h"

static uint32_t next_random(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)*state * n) >> 32);
}

/* How large the numbers are, and how many of a block's are not 0. */
struct numbers {
    uint32_t most, share, quant; /* |coefficient| <= most, 1 in `share`; multipliers up to quant */
};

static void fill_block(JCOEF *block, const struct numbers *numbers, uint32_t *random)
{
    /* DC differences have one bit more than other values have, so each of them fits. */
    block[0] = (JCOEF)((int)next_random(random, 2 * numbers->most + 1) - (int)numbers->most);
    for (int k = 1; k < DCTSIZE2; k++)
        block[k] = next_random(random, numbers->share) > 0
                       ? 0
                       : (JCOEF)((int)next_random(random, 2 * numbers->most + 1) - (int)numbers->most);
}

static void fill_component(j_decompress_ptr from, jvirt_barray_ptr array, const jpeg_component_info *c,
                           const struct numbers *numbers, uint32_t *random)
{
    for (JDIMENSION y = 0; y < c->height_in_blocks; y++) {
        JBLOCKARRAY row = from->mem->access_virt_barray((j_common_ptr)from, array, y, 1, TRUE);

        for (JDIMENSION x = 0; x < c->width_in_blocks; x++)
            fill_block(row[0][x], numbers, random);
    }
}

/* The file with other coefficients and multipliers in it. */
static unsigned char *refill_file(const unsigned char *bytes, size_t n, const struct numbers *numbers,
                                  uint32_t *random, unsigned long *ret_n)
{
    struct jpeg_error_mgr errors;
    struct jpeg_decompress_struct from = {.err = jpeg_std_error(&errors)};
    struct jpeg_compress_struct to = {.err = &errors};
    jvirt_barray_ptr *arrays;
    unsigned char *out = NULL;

    jpeg_create_decompress(&from);
    jpeg_create_compress(&to);
    jpeg_mem_src(&from, bytes, (unsigned long)n);
    *ret_n = 0;
    jpeg_mem_dest(&to, &out, ret_n);
    jpeg_read_header(&from, TRUE);
    arrays = jpeg_read_coefficients(&from);
    jpeg_copy_critical_parameters(&from, &to);
    for (int q = 0; q < NUM_QUANT_TBLS; q++)
        for (int k = 0; to.quant_tbl_ptrs[q] && k < DCTSIZE2; k++)
            to.quant_tbl_ptrs[q]->quantval[k] = (UINT16)(1 + next_random(random, numbers->quant));
    to.optimize_coding = TRUE;
    jpeg_write_coefficients(&to, arrays);
    for (int c = 0; c < from.num_components; c++)
        fill_component(&from, arrays[c], &from.comp_info[c], numbers, random);
    jpeg_finish_compress(&to);
    jpeg_destroy_compress(&to);
    jpeg_finish_decompress(&from);
    jpeg_destroy_decompress(&from);
    return out;
}

static void assert_same(struct au_decoder *own, struct au_decoder *library, const unsigned char *bytes,
                        size_t n, uint32_t *random)
{
    struct au_image image;
    struct au_pixels a, b;
    struct imk_box box;

    assert_int_equal(au_decoder_open(own, bytes, n, &image, NULL), 0);
    assert_int_equal(au_decoder_open(library, bytes, n, &image, NULL), 0);
    box.w = 1 + next_random(random, image.width);
    box.h = 1 + next_random(random, image.height);
    box.x = next_random(random, image.width - box.w + 1);
    box.y = next_random(random, image.height - box.h + 1);
    assert_int_equal(au_decoder_region(own, &box, &a, NULL), 0);
    assert_int_equal(au_decoder_region(library, &box, &b, NULL), 0);
    assert_false(au_decoder_used_library(own));
    assert_true(au_decoder_used_library(library));
    for (uint32_t y = 0; y < box.h; y++)
        assert_memory_equal(a.data + y * a.stride, b.data + y * b.stride, (size_t)3 * box.w);
}

/* 1023 and 65535: more than any coefficient or multiplier can be. */
static void any_coefficients_give_what_the_library_gives(void **state)
{
    static const struct jpeg_spec files[] = {
        {JPEG_YCC, 77, 50, 1, 1, false, false, false, 0, 90},
        {JPEG_YCC, 90, 71, 2, 2, false, false, false, 0, 90},
        {JPEG_YCC, 75, 41, 2, 1, false, false, false, 0, 90},
        {JPEG_YCC, 50, 75, 1, 2, false, false, false, 0, 90},
        {JPEG_GREY, 59, 61, 1, 1, false, false, false, 0, 90},
        {JPEG_YCC, 90, 33, 4, 1, false, false, false, 0, 90},
        {JPEG_GREY, 59, 61, 2, 2, false, false, false, 0, 90},
    };
    static const struct numbers numbers[] = {
        {4, 8, 16},    {60, 3, 16},   {300, 1, 8},     {1000, 1, 4},    {1023, 2, 60},    {1000, 64, 30},
        {1023, 1, 16}, {1023, 1, 32}, {1023, 1, 1000}, {700, 9, 65535}, {1023, 1, 65535}, {3, 4, 65535},
    };
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_decoder *own, *library;
    uint32_t random = 11;

    (void)state;
    assert_int_equal(au_decoder_new(&own, &limits), 0);
    assert_int_equal(au_decoder_new(&library, &limits), 0);
    au_decoder_use_library(library, true);
    for (size_t f = 0; f < IM_COUNT(files); f++)
        for (size_t k = 0; k < IM_COUNT(numbers); k++) {
            size_t n;
            unsigned long made;
            unsigned char *bytes = jpeg_make(&files[f], &n);
            unsigned char *filled = refill_file(bytes, n, &numbers[k], &random, &made);

            for (int box = 0; box < 12; box++)
                assert_same(own, library, filled, made, &random);
            free(filled);
            free(bytes);
        }
    au_decoder_free(&own);
    au_decoder_free(&library);
}

/* Cuts width and height in the frame header; as many MCUs remain, and what the last ones hold lies outside. */
static void cut_frame(unsigned char *bytes, size_t n, int width_by, int height_by)
{
    for (size_t at = 2; at + 9 < n; at += 2 + (size_t)(bytes[at + 2] << 8 | bytes[at + 3]))
        if (bytes[at] == 0xff && bytes[at + 1] >= 0xc0 && bytes[at + 1] <= 0xc1) {
            bytes[at + 6] = (unsigned char)(bytes[at + 6] - height_by);
            bytes[at + 8] = (unsigned char)(bytes[at + 8] - width_by);
            return;
        }
    fail_msg("no frame header");
}

static void coefficients_outside_of_the_image_leave_nothing(void **state)
{
    static const struct jpeg_spec files[] = {{JPEG_YCC, 96, 64, 2, 2, false, false, false, 0, 90},
                                             {JPEG_YCC, 96, 64, 2, 1, false, false, false, 0, 90},
                                             {JPEG_YCC, 96, 64, 1, 2, false, false, false, 0, 90}};
    const struct numbers numbers = {40, 2, 8};
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_decoder *own, *library;
    uint32_t random = 5;

    (void)state;
    assert_int_equal(au_decoder_new(&own, &limits), 0);
    assert_int_equal(au_decoder_new(&library, &limits), 0);
    au_decoder_use_library(library, true);
    for (size_t f = 0; f < IM_COUNT(files); f++) {
        size_t n;
        unsigned long made;
        unsigned char *bytes = jpeg_make(&files[f], &n);
        unsigned char *filled = refill_file(bytes, n, &numbers, &random, &made);

        cut_frame(filled, made, 9 * (files[f].h_sampling - 1), 9 * (files[f].v_sampling - 1));
        for (int box = 0; box < 40; box++)
            assert_same(own, library, filled, made, &random);
        free(filled);
        free(bytes);
    }
    au_decoder_free(&own);
    au_decoder_free(&library);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_coefficients_give_what_the_library_gives),
        cmocka_unit_test(coefficients_outside_of_the_image_leave_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
