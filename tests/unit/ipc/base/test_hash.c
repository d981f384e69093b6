/* Golden values: XXH3 (the reference implementation's own for empty input) and CRC-32C (RFC 3720, B.4). */
#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_SCALAR /* the definition, to compare with whatever the library chooses */
#include <xxhash.h>

#include "ipc/base/crc32c.h"
#include "ipc/base/hash.h"
#include "tests/unit/ipc/base/unit.h"

static void hash_of_nothing_is_the_known_answer(void **state)
{
    (void)state;
    assert_true(im_hash64("", 0, 0) == 0x2d06800538d394c2ULL);
}

static void hash_depends_on_seed_and_bytes(void **state)
{
    (void)state;
    assert_true(im_hash64("abc", 3, 0) != im_hash64("abc", 3, 1));
    assert_true(im_hash64("abc", 3, 0) != im_hash64("abd", 3, 0));
}

/* Files hold these values: a CPU with other instructions has to find the same. */
static void hash_of_each_length_is_that_of_plain_c(void **state)
{
    static unsigned char bytes[9000];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * i * 2654435761u >> 11);
    for (size_t n = 0; n < sizeof bytes - 16; n += n < 2100 ? 1 : 97)
        for (uint64_t seed = 0; seed < 3; seed++)
            assert_true(im_hash64(bytes + n % 16, n, seed * 0x9e3779b97f4a7c15u) ==
                        XXH3_64bits_withSeed(bytes + n % 16, n, seed * 0x9e3779b97f4a7c15u));
}

static unsigned char bulk[5000];

static void fill_bulk(void)
{
    for (size_t i = 0; i < sizeof bulk; i++)
        bulk[i] = (unsigned char)(i * i * 2654435761u >> 11);
}

/* Any one or two bits that change, wherever they are. */
static void bulk_hash_finds_changed_bits(void **state)
{
    enum { BITS = 8 * 170 };

    (void)state;
    fill_bulk();
    for (size_t n = BITS / 8; n <= 2 * BITS / 8; n += BITS / 8) { /* a part of a step behind one or two */
        const uint64_t whole = im_hash_bulk(bulk, n, 7);

        for (size_t first = 0; first < 8 * n; first++) {
            const size_t step = first % 7 > 0 ? 4 : 1;

            bulk[first / 8] ^= (unsigned char)(1u << first % 8);
            assert_true(im_hash_bulk(bulk, n, 7) != whole);
            for (size_t second = first + 1; second < 8 * n; second += step) {
                bulk[second / 8] ^= (unsigned char)(1u << second % 8);
                assert_true(im_hash_bulk(bulk, n, 7) != whole);
                bulk[second / 8] ^= (unsigned char)(1u << second % 8);
            }
            bulk[first / 8] ^= (unsigned char)(1u << first % 8);
        }
        assert_true(im_hash_bulk(bulk, n, 7) == whole);
    }
}

/* Bytes of another file in a part of a cell, bytes that are not there yet, blocks that changed places. */
static void bulk_hash_finds_torn_bytes(void **state)
{
    unsigned char torn[sizeof bulk];
    uint64_t whole;

    (void)state;
    fill_bulk();
    whole = im_hash_bulk(bulk, sizeof bulk, 7);
    for (size_t from = 0; from < sizeof bulk; from += 61)
        for (size_t n = 1; from + n <= sizeof bulk; n += 1 + n / 3) {
            memcpy(torn, bulk, sizeof bulk);
            memset(torn + from, 0, n);
            if (memcmp(torn, bulk, sizeof bulk) != 0)
                assert_true(im_hash_bulk(torn, sizeof torn, 7) != whole);
            memmove(torn + from, bulk, n);
            if (memcmp(torn, bulk, sizeof bulk) != 0)
                assert_true(im_hash_bulk(torn, sizeof torn, 7) != whole);
        }
    for (size_t a = 0; a + 32 <= sizeof bulk; a += 16)
        for (size_t b = a + 16; b + 16 <= sizeof bulk; b += 16) {
            memcpy(torn, bulk, sizeof bulk);
            memcpy(torn + a, bulk + b, 16);
            memcpy(torn + b, bulk + a, 16);
            assert_true(im_hash_bulk(torn, sizeof torn, 7) != whole);
        }
}

static int compare_values(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void bulk_hash_depends_on_length_and_seed_and_not_on_the_address(void **state)
{
    enum { LENGTHS = 700, SEEDS = 3 };
    static uint64_t values[SEEDS * LENGTHS];
    static unsigned char moved[LENGTHS + 16];

    (void)state;
    memset(bulk, 0, sizeof bulk); /* nothing but the length tells them apart */
    for (size_t n = 0; n < LENGTHS; n++)
        for (uint64_t seed = 0; seed < SEEDS; seed++)
            values[n * SEEDS + seed] = im_hash_bulk(bulk, n, seed);
    qsort(values, IM_COUNT(values), sizeof values[0], compare_values);
    for (size_t i = 1; i < IM_COUNT(values); i++)
        assert_true(values[i] != values[i - 1]);
    fill_bulk();
    for (size_t n = 0; n < LENGTHS; n += 13)
        for (size_t by = 0; by < 16; by++) {
            memcpy(moved + by, bulk, n);
            assert_true(im_hash_bulk(moved + by, n, 1) == im_hash_bulk(bulk, n, 1));
        }
}

static void streamed_hash_equals_the_whole(void **state)
{
    unsigned char bytes[5000];
    struct im_hash *h = im_hash_new(7);

    (void)state;
    assert_non_null(h);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 31 >> 2);
    for (size_t from = 0, step = 0; from < sizeof bytes; from += step, step++) {
        size_t n = step < sizeof bytes - from ? step : sizeof bytes - from;

        im_hash_add(h, bytes + from, n);
        assert_true(im_hash_value(h) == im_hash64(bytes, from + n, 7));
    }
    im_hash_free(&h);
    assert_null(h);
}

static void crc_of_the_digits_is_the_known_answer(void **state)
{
    (void)state;
    assert_int_equal(im_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(im_crc32c_table(0, "123456789", 9), 0xe3069283);
}

static void crc_of_32_zeros_is_that_of_the_rfc(void **state)
{
    unsigned char zeros[32] = {0};

    (void)state;
    assert_int_equal(im_crc32c(0, zeros, 32), 0x8a9136aa);
}

static void crc_by_instruction_equals_the_table_at_each_length_and_start(void **state)
{
    unsigned char bytes[100];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 37 + 11);
    for (size_t from = 0; from < 9; from++) {
        for (size_t n = 0; n + from <= sizeof bytes; n++)
            assert_int_equal(im_crc32c(5, bytes + from, n), im_crc32c_table(5, bytes + from, n));
    }
}

static void crc_can_be_continued(void **state)
{
    (void)state;
    assert_int_equal(im_crc32c(im_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_of_nothing_is_the_known_answer),
        cmocka_unit_test(hash_depends_on_seed_and_bytes),
        cmocka_unit_test(hash_of_each_length_is_that_of_plain_c),
        cmocka_unit_test(bulk_hash_finds_changed_bits),
        cmocka_unit_test(bulk_hash_finds_torn_bytes),
        cmocka_unit_test(bulk_hash_depends_on_length_and_seed_and_not_on_the_address),
        cmocka_unit_test(streamed_hash_equals_the_whole),
        cmocka_unit_test(crc_of_the_digits_is_the_known_answer),
        cmocka_unit_test(crc_of_32_zeros_is_that_of_the_rfc),
        cmocka_unit_test(crc_by_instruction_equals_the_table_at_each_length_and_start),
        cmocka_unit_test(crc_can_be_continued),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
