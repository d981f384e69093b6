/* Seek indexes from an augmenter to the supervisor: whole and in order, or not at all. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/seek_ring.h"

enum { BYTES_MAX = 32768 };

static int set_up(void **state)
{
    *state = aligned_alloc(IM_LINE, sizeof(struct im_seek_ring));
    assert_non_null(*state);
    memset(*state, 0, sizeof(struct im_seek_ring));
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static size_t fill(uint64_t key, unsigned char *bytes)
{
    size_t n = key % 11 == 0 ? 0 : key * 7919 % 3000;

    if (key % 50 == 49)
        n = BYTES_MAX - key % 100;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)(key + i);
    return n;
}

static void take_one(struct im_seek_ring *ring, uint64_t expected)
{
    unsigned char bytes[BYTES_MAX], want[BYTES_MAX];
    size_t n = fill(expected, want);
    uint64_t key = 0;

    assert_int_equal(im_seek_ring_take(ring, &key, bytes, sizeof bytes), n);
    assert_int_equal(key, expected);
    assert_memory_equal(bytes, want, n);
}

static void records_come_out_as_they_went_in(void **state)
{
    struct im_seek_ring *ring = *state;
    unsigned char bytes[BYTES_MAX];
    uint64_t in = 0, out = 0, refused = 0, key;

    assert_true(im_seek_ring_is_empty(ring));
    assert_int_equal(im_seek_ring_take(ring, &key, bytes, sizeof bytes), -ENOENT);
    while (out < 5000) {
        size_t n = fill(in, bytes);

        if (im_seek_ring_put(ring, in, bytes, n)) {
            in++;
            assert_false(im_seek_ring_is_empty(ring));
            if (in % 3 != 0)
                continue;
        } else {
            refused++;
        }
        take_one(ring, out++);
    }
    assert_true(refused > 100);
    while (out < in)
        take_one(ring, out++);
    assert_true(im_seek_ring_is_empty(ring));
    assert_false(im_seek_ring_put(ring, 1, bytes, IM_SEEK_RING_BYTES));
}

/* Faulty memory, or an augmenter that was taken over: nothing is believed, and what follows is taken again. */
static void damage_empties_the_ring(void **state)
{
    struct im_seek_ring *ring = *state;
    unsigned char bytes[BYTES_MAX];
    uint64_t key, through = 0;

    for (uint64_t k = 0; k < 2000; k++) {
        uint64_t written = ring->written;

        assert_true(im_seek_ring_put(ring, k, bytes, fill(k, bytes)));
        if (k % 5 == 0)
            ring->bytes[(written + k % 24) % IM_SEEK_RING_BYTES] ^= (unsigned char)(1 + k % 255);
        else if (k % 5 == 1)
            ring->written += k * UINT64_C(0x9e3779b97f4a7c15) >> k % 64;
        else if (k % 5 == 2)
            ring->taken -= k % 64 * 8;
        for (int i = 0; i < 20 && !im_seek_ring_is_empty(ring); i++) {
            int n = im_seek_ring_take(ring, &key, bytes, sizeof bytes);

            assert_true(n == -ENOENT || n <= BYTES_MAX);
            through += n >= 0 && key == k;
        }
        assert_true(im_seek_ring_is_empty(ring));
    }
    assert_in_range(through, 800, 1600);
}

static void what_is_larger_than_the_buffer_is_passed_over(void **state)
{
    struct im_seek_ring *ring = *state;
    unsigned char bytes[200] = {0}, small[100];
    uint64_t key;

    assert_true(im_seek_ring_put(ring, 1, bytes, sizeof bytes));
    assert_int_equal(im_seek_ring_take(ring, &key, small, sizeof small), -ENOENT);
    assert_true(im_seek_ring_put(ring, 2, bytes, sizeof small));
    assert_int_equal(im_seek_ring_take(ring, &key, small, sizeof small), sizeof small);
    assert_int_equal(key, 2);
}

static void *produce(void *arg)
{
    unsigned char bytes[BYTES_MAX];

    for (uint64_t k = 0; k < 20000;) {
        if (im_seek_ring_put(arg, k, bytes, fill(k, bytes)))
            k++;
        else
            sched_yield();
    }
    return NULL;
}

static void two_threads(void **state)
{
    struct im_seek_ring *ring = *state;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, produce, ring), 0);
    for (uint64_t k = 0; k < 20000; k++) {
        while (im_seek_ring_is_empty(ring))
            sched_yield();
        take_one(ring, k);
    }
    pthread_join(thread, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(records_come_out_as_they_went_in),
        TEST(damage_empties_the_ring),
        TEST(what_is_larger_than_the_buffer_is_passed_over),
        TEST(two_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
