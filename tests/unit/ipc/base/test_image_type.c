/* Which files are images, by their names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/image_type.h"

static void endings_tell_the_type_in_any_case(void **state)
{
    static const struct {
        const char *name;
        enum im_image_type type;
    } rows[] = {
        {"a.jpg", IM_IMAGE_JPEG},          {"a.JPEG", IM_IMAGE_JPEG},
        {"a.b.JpE", IM_IMAGE_JPEG},        {"a.jfif", IM_IMAGE_JPEG},
        {"a.png", IM_IMAGE_PNG},           {"a.WebP", IM_IMAGE_WEBP},
        {"a.gif", IM_IMAGE_GIF},           {"a.BMP", IM_IMAGE_BMP},
        {"a.tif", IM_IMAGE_TIFF},          {"a.TIFF", IM_IMAGE_TIFF},
        {"00000.ppm", IM_IMAGE_PNM},       {"1.pgm", IM_IMAGE_PNM},
        {"a.jp2", IM_IMAGE_JPEG2000},      {"a.jpx", IM_IMAGE_JPEG2000},
        {"a.avif", IM_IMAGE_AVIF},         {"IMG_0001.HEIC", IM_IMAGE_HEIF},
        {"a.jxl", IM_IMAGE_JPEGXL},        {"a.txt", IM_IMAGE_TYPE_COUNT},
        {"jpg", IM_IMAGE_TYPE_COUNT},      {"a.", IM_IMAGE_TYPE_COUNT},
        {"", IM_IMAGE_TYPE_COUNT},         {"a.jp", IM_IMAGE_TYPE_COUNT},
        {"a.jpgx", IM_IMAGE_TYPE_COUNT},   {"a.jpg .jpeg", IM_IMAGE_JPEG},
        {"a.jpg .x", IM_IMAGE_TYPE_COUNT}, {"a.tif tiff", IM_IMAGE_TYPE_COUNT},
        {"a.jpg~", IM_IMAGE_TYPE_COUNT},   {"a.peg", IM_IMAGE_TYPE_COUNT},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++)
        if (im_image_type_of_name(rows[i].name) != rows[i].type)
            fail_msg("'%s' is of type %d", rows[i].name, (int)im_image_type_of_name(rows[i].name));
}

static void types_are_decoded_or_it_is_said_what_is_missing(void **state)
{
    (void)state;
    for (int type = 0; type < IM_IMAGE_TYPE_COUNT; type++) {
        assert_true(strlen(im_image_type_name((enum im_image_type)type)) > 2);
        if (!im_image_type_is_decoded((enum im_image_type)type))
            assert_true(strlen(im_image_type_missing((enum im_image_type)type)) > 10);
    }
    assert_true(im_image_type_is_decoded(IM_IMAGE_TIFF));
    assert_false(im_image_type_is_decoded(IM_IMAGE_HEIF));
    assert_false(im_image_type_is_decoded(IM_IMAGE_TYPE_COUNT));
}

static void lists_name_each_type_once(void **state)
{
    struct im_image_type_list decoded, others;

    (void)state;
    assert_string_equal(im_image_types_list(&decoded, true), decoded.s);
    assert_int_equal(strncmp(decoded.s, "JPEG, PNG, WebP, GIF, BMP, TIFF, PNM", 36), 0);
    assert_non_null(strstr(im_image_types_list(&others, false), "HEIF, JPEG XL"));
    assert_true((strstr(decoded.s, "AVIF") != NULL) == IM_HAS_AVIF);
    assert_true((strstr(others.s, "AVIF") != NULL) == !IM_HAS_AVIF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endings_tell_the_type_in_any_case),
        cmocka_unit_test(types_are_decoded_or_it_is_said_what_is_missing),
        cmocka_unit_test(lists_name_each_type_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
