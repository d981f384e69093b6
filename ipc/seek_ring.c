/* See seek_ring.h. Two counters of bytes, each moved by one side only, after the bytes: a process killed at any
 * instruction leaves a record that is there or is not. Neither side believes the other: every length is checked, and
 * bytes that do not agree with their checksum empty the ring. */
#include "ipc/seek_ring.h"

#include <errno.h>
#include <string.h>

#include "ipc/base/fault.h"
#include "ipc/base/hash.h"

#define ALIGN 8

struct frame {
    uint64_t key, check;
    uint32_t bytes, unused;
};

static_assert(IM_SEEK_RING_BYTES % ALIGN == 0 && sizeof(struct frame) % ALIGN == 0,
              "frames end where others begin");

static uint64_t frame_check(uint64_t key, const void *bytes, size_t n)
{
    return im_hash64(bytes, n, key + n);
}

static size_t size_of(size_t n)
{
    return sizeof(struct frame) + (n + ALIGN - 1) / ALIGN * ALIGN;
}

static void copy_in(struct im_seek_ring *ring, uint64_t at, const void *from, size_t n)
{
    size_t place = at % IM_SEEK_RING_BYTES, first = IM_SEEK_RING_BYTES - place;

    first = n < first ? n : first;
    memcpy(ring->bytes + place, from, first);
    memcpy(ring->bytes, (const char *)from + first, n - first);
}

static void copy_out(const struct im_seek_ring *ring, uint64_t at, void *to, size_t n)
{
    size_t place = at % IM_SEEK_RING_BYTES, first = IM_SEEK_RING_BYTES - place;

    first = n < first ? n : first;
    memcpy(to, ring->bytes + place, first);
    memcpy((char *)to + first, ring->bytes, n - first);
}

bool im_seek_ring_put(struct im_seek_ring *ring, uint64_t key, const void *bytes, size_t n)
{
    struct frame frame = {.key = key, .bytes = (uint32_t)n};
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    /* K2's acquire: the supervisor has copied what it has taken. */
    uint64_t held = written - atomic_load_explicit(&ring->taken, memory_order_acquire);

    if (held > IM_SEEK_RING_BYTES || n > IM_SEEK_RING_BYTES || size_of(n) > IM_SEEK_RING_BYTES - held)
        return false;
    frame.check = frame_check(key, bytes, n);
    copy_in(ring, written, &frame, sizeof frame);
    copy_in(ring, written + sizeof frame, bytes, n);
    IM_FAULT("seek.put.before");
    /* K1 release: the bytes are complete; pairs with the acquire of K2. */
    atomic_store_explicit(&ring->written, written + size_of(n), memory_order_release);
    IM_FAULT("seek.put.after");
    return true;
}

int im_seek_ring_take(struct im_seek_ring *ring, uint64_t *ret_key, void *buffer, size_t size)
{
    uint64_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_acquire), held = written - taken;
    struct frame frame = {0};

    if (held == 0)
        return -ENOENT;
    if (held <= IM_SEEK_RING_BYTES && held >= sizeof frame)
        copy_out(ring, taken, &frame, sizeof frame);
    if (held > IM_SEEK_RING_BYTES || frame.bytes > size || size_of(frame.bytes) > held) {
        atomic_store_explicit(&ring->taken, written, memory_order_release);
        return -ENOENT;
    }
    copy_out(ring, taken + sizeof frame, buffer, frame.bytes);
    if (held < sizeof frame || frame_check(frame.key, buffer, frame.bytes) != frame.check) {
        atomic_store_explicit(&ring->taken, written, memory_order_release);
        return -ENOENT;
    }
    *ret_key = frame.key;
    IM_FAULT("seek.take");
    /* K2 release: the bytes are copied; pairs with the acquire of K1. */
    atomic_store_explicit(&ring->taken, taken + size_of(frame.bytes), memory_order_release);
    return (int)frame.bytes;
}

bool im_seek_ring_is_empty(const struct im_seek_ring *ring)
{
    return atomic_load_explicit(&ring->written, memory_order_acquire) ==
           atomic_load_explicit(&ring->taken, memory_order_relaxed);
}
