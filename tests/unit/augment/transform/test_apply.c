/* Doing the steps of a draw: the policies bit for bit as torchvision does them, and composition, scratch
 * images and CPU features that must not show in the result. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "augment/transform/transform.h"
#include "tests/unit/augment/golden_file.h"

enum { SIZE_MAX_ = 224, GUARD = 64 };

static uint64_t fnv(const unsigned char *bytes, size_t n)
{
    uint64_t h = 0xcbf29ce484222325;

    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * 0x100000001b3;
    return h;
}

/* Runs the draw on a copy of `image` the way au_render does. The result is the caller's to free. */
static unsigned char *run(const struct au_draw *draw, const unsigned char *image, uint32_t size,
                          unsigned cpu_flags)
{
    size_t bytes = (size_t)3 * size * size;
    unsigned char *out = malloc(bytes + GUARD), *crop;
    struct au_canvas canvas = {0};

    assert_non_null(out);
    memset(out, 0xa5, bytes + GUARD);
    au_canvas_init(&canvas, cpu_flags);
    crop = au_canvas_source(&canvas, draw, size, out);
    assert_non_null(crop);
    memcpy(crop, image, bytes);
    au_draw_apply(&canvas, draw, size, out);
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(out[bytes + i], 0xa5);
    au_canvas_fini(&canvas);
    return out;
}

static FILE *open_golden(unsigned char *image, uint32_t *ret_size)
{
    FILE *f = fopen(GOLDEN_DIR "/policies.bin", "rb");

    assert_non_null(f);
    *ret_size = (uint32_t)golden_number(f, 2);
    assert_in_range(*ret_size, 1, SIZE_MAX_);
    assert_int_equal(fread(image, 3, (size_t)*ret_size * *ret_size, f), (size_t)*ret_size * *ret_size);
    assert_int_equal(golden_number(f, 2), 2);
    return f;
}

static double golden_double(FILE *f)
{
    uint64_t bits = (uint64_t)golden_number(f, 8);
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The tables of pairs, read or only passed over. */
static void check_tables(FILE *f, bool compare)
{
    for (uint32_t i = 0; i < 2 * AU_PAIRS * 2; i++) {
        enum au_policy policy = i < 2 * AU_PAIRS ? AU_POLICY_IMAGENET : AU_POLICY_CIFAR10;
        const struct au_policy_entry *e = au_policy_entry(policy, i / 2 % AU_PAIRS, i % 2);
        int64_t op = golden_number(f, 1);
        double probability = golden_double(f);
        int64_t magnitude = golden_number(f, 1);

        if (!compare)
            continue;
        assert_int_equal(e->op, op);
        assert_true(e->probability == probability);
        assert_int_equal(e->magnitude, magnitude);
    }
}

static void pairs_are_those_of_torchvision(void **state)
{
    static unsigned char image[3 * SIZE_MAX_ * SIZE_MAX_];
    uint32_t size;
    FILE *f = open_golden(image, &size);

    (void)state;
    check_tables(f, true);
    fclose(f);
}

/* The next case as a draw; its result's hash. */
static uint64_t read_case(FILE *f, uint32_t size, struct au_draw *ret, enum au_policy_op *ret_first)
{
    enum au_policy policy = (enum au_policy)golden_number(f, 1);
    struct au_policy_options options = {.policy = policy, .filter = IMK_NEAREST};
    int64_t ops = golden_number(f, 1);

    ret->count = ret->affine_count = 0;
    for (int64_t i = 0; i < ops; i++) {
        enum au_policy_op op = (enum au_policy_op)golden_number(f, 1);
        uint32_t bins = (uint32_t)golden_number(f, 2), k = (uint32_t)golden_number(f, 2);
        bool is_negative = golden_number(f, 1) && au_policy_signed(op);
        double magnitude = au_policy_magnitude(policy, op, bins, k, size);

        if (i == 0)
            *ret_first = op;
        au_policy_add(ret, &options, op, is_negative ? -magnitude : magnitude, size);
    }
    return (uint64_t)golden_number(f, 8);
}

static void policies_give_the_bytes_of_torchvision(void **state)
{
    static unsigned char image[3 * SIZE_MAX_ * SIZE_MAX_];
    uint32_t size, wrong = 0;
    FILE *f = open_golden(image, &size);
    int64_t cases;

    (void)state;
    check_tables(f, false);
    cases = golden_number(f, 4);
    assert_true(cases > 500);
    for (int64_t i = 0; i < cases; i++) {
        enum au_policy_op first = AU_OP_IDENTITY;
        struct au_draw draw;
        uint64_t hash = read_case(f, size, &draw, &first);
        unsigned char *out = run(&draw, image, size, imk_cpu_flags());

        if (fnv(out, (size_t)3 * size * size) != hash) {
            print_message("case %d (first op %d, %u steps) differs\n", (int)i, (int)first,
                          (unsigned)draw.count);
            wrong++;
        }
        free(out);
    }
    assert_int_equal(golden_number(f, 1), -1);
    fclose(f);
    assert_int_equal(wrong, 0);
}

/* Everything that there is, often. */
static struct au_transforms all_of_it(void)
{
    return (struct au_transforms){
        .policy = {.policy = AU_POLICY_RAND, .probability = 1, .num_ops = 6, .magnitude = 15, .bins = 31},
        .affine = {0.5, 0.0625, 0.1, 45, IMK_BORDER_REFLECT_101, IMK_BILINEAR, {0}},
        .jitter = {0.5, 0.4, 0.4, 0.4, 0.2},
        .dropout = {0.5, 1, 4, 1, 20, 1, 20, {true, {0}}},
        .cutout = 30,
        .erase = {0.5, 0.02, 0.33, 0.3, 3.3, {false, {1, 2, 3}}},
    };
}

static void noise(unsigned char *bytes, size_t n)
{
    struct im_rng rng = im_rng_at(3, IM_RNG_TEST, 0, 0);

    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)(im_rng_below(&rng, 200) + 20);
}

static struct au_draw draw_all(uint64_t sample, uint32_t size)
{
    const struct au_transforms t = all_of_it();
    struct im_rng rng = im_rng_at(8, IM_RNG_AUGMENT, 0, sample);
    struct au_draw draw;

    au_draw_make(&t, &rng, size, &draw);
    return draw;
}

static void a_draw_gives_what_its_steps_give_one_after_the_other(void **state)
{
    static unsigned char image[3 * SIZE_MAX_ * SIZE_MAX_];

    (void)state;
    noise(image, sizeof image);
    for (uint64_t sample = 0; sample < 200; sample++) {
        uint32_t size = 9 + (uint32_t)(sample * 7 % 60);
        struct au_draw draw = draw_all(sample, size);
        unsigned char *at_once = run(&draw, image, size, imk_cpu_flags());
        unsigned char *turn = malloc((size_t)3 * size * size);

        assert_non_null(turn);
        memcpy(turn, image, (size_t)3 * size * size);
        for (uint32_t i = 0; i < draw.count; i++) {
            struct au_draw one = {0};
            unsigned char *next;

            au_draw_add(&one, &draw.steps[i]);
            next = run(&one, turn, size, imk_cpu_flags());
            free(turn);
            turn = next;
        }
        assert_memory_equal(at_once, turn, (size_t)3 * size * size);
        free(at_once);
        free(turn);
    }
}

static void every_level_of_cpu_features_gives_the_same_bytes(void **state)
{
    static unsigned char image[3 * SIZE_MAX_ * SIZE_MAX_];
    unsigned all = imk_cpu_flags();

    (void)state;
    if (all == 0)
        skip();
    noise(image, sizeof image);
    for (unsigned flags = all; flags > 0; flags = (flags - 1) & all) {
        for (uint64_t sample = 0; sample < 60; sample++) {
            uint32_t size = sample % 4 == 0 ? SIZE_MAX_ : 17 + (uint32_t)(sample * 11 % 100);
            struct au_draw draw = draw_all(sample, size);
            unsigned char *reference = run(&draw, image, size, 0), *fast = run(&draw, image, size, flags);

            assert_memory_equal(reference, fast, (size_t)3 * size * size);
            free(reference);
            free(fast);
        }
    }
}

static void a_rectangle_changes_its_pixels_only(void **state)
{
    static unsigned char image[3 * SIZE_MAX_ * SIZE_MAX_];
    struct au_step step = {.kind = AU_STEP_RECTANGLE};
    struct au_draw draw = {0};
    unsigned char *out;
    uint32_t random_bytes[256] = {0};

    (void)state;
    noise(image, sizeof image);
    step.rectangle.box = (struct imk_box){10, 100, 120, 100};
    step.rectangle.fill.is_random = true;
    step.rectangle.noise = 99;
    au_draw_add(&draw, &step);
    out = run(&draw, image, SIZE_MAX_, imk_cpu_flags());
    for (uint32_t i = 0; i < 3 * SIZE_MAX_ * SIZE_MAX_; i++) {
        uint32_t y = i / 3 / SIZE_MAX_, x = i / 3 % SIZE_MAX_;

        if (x >= 10 && x < 130 && y >= 100 && y < 200)
            random_bytes[out[i]]++;
        else
            assert_int_equal(out[i], image[i]);
    }
    for (int value = 0; value < 256; value++) /* 36000 bytes: 140.6 of each, give or take 11.8 */
        assert_in_range(random_bytes[value], 140 - 54, 141 + 54);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_those_of_torchvision),
        cmocka_unit_test(policies_give_the_bytes_of_torchvision),
        cmocka_unit_test(a_draw_gives_what_its_steps_give_one_after_the_other),
        cmocka_unit_test(every_level_of_cpu_features_gives_the_same_bytes),
        cmocka_unit_test(a_rectangle_changes_its_pixels_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
