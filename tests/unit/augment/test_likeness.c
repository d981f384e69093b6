/* Images that look alike, by their difference hashes. */
#include "augment/tools/likeness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/rng.h"
#include "tests/unit/ipc/base/unit.h"

/* A picture that any size shows: a few waves. */
static unsigned char at(double x, double y)
{
    const double v =
        128 + 60 * (x > 0.5 ? 1 - x : x) * (y - 0.3) * 4 + (x * y > 0.2 ? 40 : 0) - (x + y > 1.2 ? 50 : 0);

    return (unsigned char)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static bool hash_of(uint32_t w, uint32_t h, int shift, uint32_t piece, uint64_t *ret)
{
    unsigned char *pixels = calloc((size_t)w * h, 3);
    struct au_likeness l;
    bool known;

    assert_non_null(pixels);
    for (uint32_t y = 0; y < h; y++)
        for (uint32_t x = 0; x < w; x++)
            memset(pixels + 3 * ((size_t)y * w + x),
                   shift < 0 ? 77 : at(x / (double)w, y / (double)h) + shift, 3);
    au_likeness_begin(&l, w, h);
    for (uint32_t y = 0; y < h; y += piece)
        au_likeness_rows(&l, y, y + piece > h ? h - y : piece,
                         &(struct au_pixels){.data = pixels + 3 * (size_t)y * w, .stride = 3 * (size_t)w});
    known = au_likeness_hash(&l, ret);
    free(pixels);
    return known;
}

static void size_and_strips_do_not_matter(void **state)
{
    uint64_t a, b;

    (void)state;
    assert_true(hash_of(320, 240, 0, 240, &a));
    assert_true(hash_of(320, 240, 0, 7, &b));
    assert_true(a == b);
    assert_true(hash_of(97, 71, 0, 16, &b));
    assert_in_range(__builtin_popcountll(a ^ b), 0, 4);
    assert_true(hash_of(320, 240, 9, 16, &b)); /* brighter */
    assert_in_range(__builtin_popcountll(a ^ b), 0, 2);
}

static void flat_and_tiny_images_say_nothing(void **state)
{
    uint64_t a;

    (void)state;
    assert_false(hash_of(64, 64, -1, 64, &a));
    assert_false(hash_of(8, 8, 0, 8, &a));
    assert_false(hash_of(9, 7, 0, 7, &a));
    assert_true(hash_of(9, 8, 0, 1, &a));
}

/* The same as comparing all with all. */
static void nearest_are_found_at_each_distance(void **state)
{
    enum { N = 600 };
    uint64_t hash[N];
    bool known[N];
    struct im_rng r = im_rng_at(5, IM_RNG_SYNTH, 0, 0);

    (void)state;
    for (size_t i = 0; i < N; i++) {
        hash[i] = (uint64_t)im_rng_u32(&r) << 32 | im_rng_u32(&r);
        known[i] = i % 7 != 3;
        if (i >= 300) { /* near one of before */
            hash[i] = hash[i - 300];
            for (size_t k = 0; k < i % 9; k++)
                hash[i] ^= UINT64_C(1) << im_rng_below(&r, 64);
        }
    }
    for (int most = 0; most <= AU_LIKENESS_BITS_MAX; most++) {
        struct au_alike *found;
        size_t count, k = 0;

        assert_int_equal(au_likeness_find(hash, known, N, most, &found, &count), 0);
        assert_true(count > 20);
        for (size_t i = 0; i < N; i++) {
            int best = 65;
            size_t like = 0;

            for (size_t b = 0; known[i] && b < i; b++)
                if (known[b] && __builtin_popcountll(hash[i] ^ hash[b]) < best)
                    best = __builtin_popcountll(hash[i] ^ hash[b]), like = b;
            if (best > most)
                continue;
            assert_true(k < count);
            assert_int_equal(found[k].item, i);
            assert_int_equal(found[k].like, like);
            assert_int_equal(found[k++].bits, best);
        }
        assert_int_equal(k, count);
        free(found);
    }
}

static void other_distances_are_refused(void **state)
{
    struct au_alike *found;
    size_t count;

    (void)state;
    assert_int_equal(au_likeness_find(NULL, NULL, 0, 8, &found, &count), -EINVAL);
    free(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_and_strips_do_not_matter),
        cmocka_unit_test(flat_and_tiny_images_say_nothing),
        cmocka_unit_test(nearest_are_found_at_each_distance),
        cmocka_unit_test(other_distances_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
