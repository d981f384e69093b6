/* Samples that are made in two steps, as with --pixel-cache: the image is decoded and resized, and the sample is cut from that. Against
 * the one step, where both are to be the same, and against each other, where some rows are there and others are not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "augment/render.h"
#include "ipc/base/count.h"
#include "ipc/pixel_cells.h"
#include "tests/unit/augment/sample.h"

#define SIZE 64
#define SIDE 80

static struct sample sample;

struct made {
    unsigned char *pixels;
    struct au_shrunk is;
    uint32_t first, end; /* rows that were asked for */
    int result;
};

static int rows_of(void *context, uint32_t first, uint32_t count, struct au_pixels *ret)
{
    struct made *m = context;
    const size_t stride = (size_t)3 * m->is.width;

    m->first = first;
    m->end = first + count;
    *ret = (struct au_pixels){m->pixels + first * stride, stride};
    return m->result;
}

static void make(struct au_renderer *r, const struct au_shrink *shrink, const struct sample_file *file,
                 struct made *m)
{
    assert_int_equal(
        au_render_shrunk(r, shrink, file->bytes, file->n, im_pixel_fits, m->pixels, &m->is, NULL), 0);
}

static int cut(struct au_renderer *r, const struct au_job *job, struct made *m, unsigned char *out)
{
    const struct au_ready ready = {m->is.width, m->is.height, rows_of, m};

    return au_render_ready(r, job, &ready, out, NULL);
}

static struct au_job job_of(uint32_t image, enum im_split split, bool scaled)
{
    struct au_job job = {.split = split,
                         .seed = 3,
                         .epoch = image % 3,
                         .sample = image,
                         .size = SIZE,
                         .crop = AU_CROP_DEFAULT};

    job.crop.eval_resize = SIDE;
    job.crop.scaled_decode = scaled;
    return job;
}

/* The short side is that of evaluation: nothing else has become of the pixels of its crop. */
static void evaluation_has_the_same_pixels_in_two_steps(void **state)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    static unsigned char one[SIZE * SIZE * 3], two[SIZE * SIZE * 3];
    struct made m = {.pixels = malloc(im_pixel_room(1000) + IMK_SLACK)};
    struct au_renderer *r;

    (void)state;
    assert_non_null(m.pixels);
    assert_int_equal(au_renderer_new(&r, &limits, imk_cpu_flags()), 0);
    for (uint32_t i = 0; i < sample.count; i += 3) {
        struct au_job job = job_of(i, IM_VAL, i % 2);
        struct au_shrink shrink = {.side = SIDE, .enlarges = true, .scaled_decode = i % 2};

        if (i % 9 == 0) /* most images are enlarged */
            job.crop.eval_resize = shrink.side = 700;
        assert_int_equal(au_render(r, &job, sample.files[i].bytes, sample.files[i].n, one, NULL), 0);
        make(r, &shrink, &sample.files[i], &m);
        assert_int_equal(cut(r, &job, &m, two), 0);
        assert_memory_equal(one, two, sizeof one);
    }
    au_renderer_free(&r);
    free(m.pixels);
}

/* Images that are no larger than the cells' side lose nothing. */
static void small_images_have_the_same_pixels_in_training_too(void **state)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    static unsigned char one[SIZE * SIZE * 3], two[SIZE * SIZE * 3];
    const struct au_shrink shrink = {.side = 1000};
    struct made m = {.pixels = malloc(im_pixel_room(1000) + IMK_SLACK)};
    struct au_renderer *r;

    (void)state;
    assert_non_null(m.pixels);
    assert_int_equal(au_renderer_new(&r, &limits, imk_cpu_flags()), 0);
    for (uint32_t i = 0; i < sample.count; i += 5) {
        const struct au_job job = job_of(i, IM_TRAIN, false);

        make(r, &shrink, &sample.files[i], &m);
        assert_int_equal(au_render(r, &job, sample.files[i].bytes, sample.files[i].n, one, NULL), 0);
        assert_int_equal(cut(r, &job, &m, two), 0);
        if (m.is.width < 1000 || m.is.height < 1000)
            assert_memory_equal(one, two, sizeof one);
        assert_true(m.end <= m.is.height);
    }
    au_renderer_free(&r);
    free(m.pixels);
}

/* Rows that nobody asked for may hold anything, and larger images become smaller. */
static void a_sample_depends_on_the_rows_that_it_asks_for(void **state)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    static unsigned char one[SIZE * SIZE * 3], two[SIZE * SIZE * 3];
    const struct au_shrink shrink = {.side = SIDE};
    struct made m = {.pixels = malloc(im_pixel_room(SIDE) + IMK_SLACK)};
    struct au_renderer *r;
    size_t fewer = 0;

    (void)state;
    assert_non_null(m.pixels);
    assert_int_equal(au_renderer_new(&r, &limits, imk_cpu_flags()), 0);
    for (uint32_t i = 0; i < sample.count; i += 3) {
        const struct au_job job = job_of(i, IM_TRAIN, false);

        make(r, &shrink, &sample.files[i], &m);
        assert_true(m.is.width == SIDE || m.is.height == SIDE);
        assert_int_equal(cut(r, &job, &m, one), 0);
        memset(m.pixels, 0x5a, (size_t)3 * m.is.width * m.first);
        memset(m.pixels + (size_t)3 * m.is.width * m.end, 0x5a,
               (size_t)3 * m.is.width * (m.is.height - m.end));
        fewer += m.end - m.first < m.is.height;
        assert_int_equal(cut(r, &job, &m, two), 0);
        assert_memory_equal(one, two, sizeof one);
    }
    assert_true(fewer > sample.count / 6);
    m.result = -EAGAIN;
    {
        const struct au_job job = job_of(0, IM_TRAIN, false);

        assert_int_equal(cut(r, &job, &m, one), -EAGAIN);
    }
    au_renderer_free(&r);
    free(m.pixels);
}

static void sizes_follow_from_the_short_side(void **state)
{
    static const struct {
        struct au_shrink shrink;
        uint32_t w, h, to_w, to_h;
    } cases[] = {{{.side = 256}, 500, 375, 341, 256},
                 {{.side = 256}, 375, 500, 256, 341},
                 {{.side = 256}, 256, 9000, 256, 9000},
                 {{.side = 256}, 100, 50, 100, 50},
                 {{.side = 256, .enlarges = true}, 100, 50, 512, 256},
                 {{.side = 256}, 257, 257, 256, 256},
                 {{.side = 1}, 65500, 2, 32750, 1}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        uint64_t w, h;

        au_shrink_size(&cases[i].shrink, cases[i].w, cases[i].h, &w, &h);
        assert_int_equal(w, cases[i].to_w);
        assert_int_equal(h, cases[i].to_h);
    }
}

static void a_shape_without_a_cell_and_bad_bytes_are_told(void **state)
{
    static const unsigned char strip[] = "P6 300 2 255\n"; /* and 1800 bytes */
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    unsigned char bytes[sizeof strip - 1 + 1800] = {0}, pixels[3 * 20 * 20 * IM_PIXEL_SHAPE_MAX + IMK_SLACK];
    const struct au_shrink shrink = {.side = 20, .enlarges = true};
    struct au_shrunk is;
    struct au_renderer *r;

    (void)state;
    memcpy(bytes, strip, sizeof strip - 1);
    assert_int_equal(au_renderer_new(&r, &limits, 0), 0);
    assert_int_equal(au_render_shrunk(r, &shrink, bytes, sizeof bytes, im_pixel_fits, pixels, &is, NULL),
                     AU_SHRINK_NONE);
    assert_true(au_render_shrunk(r, &shrink, "not an image", 12, im_pixel_fits, pixels, &is, NULL) > 0);
    au_renderer_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_follow_from_the_short_side),
        cmocka_unit_test(a_shape_without_a_cell_and_bad_bytes_are_told),
        cmocka_unit_test(evaluation_has_the_same_pixels_in_two_steps),
        cmocka_unit_test(small_images_have_the_same_pixels_in_training_too),
        cmocka_unit_test(a_sample_depends_on_the_rows_that_it_asks_for),
    };
    int failed;

    if (sample_open(&sample) < 0)
        return 77;
    failed = cmocka_run_group_tests_name("shrunk", tests, NULL, NULL);
    sample_close(&sample);
    return failed;
}
