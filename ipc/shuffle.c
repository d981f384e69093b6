/* A balanced Feistel network over the next domain of an even number of bits, with cycle walking (Black and
 * Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002): values outside 0 .. n-1 are permuted again
 * until they fall inside. The domain is at most four times n (but never below 256), so a look-up takes four
 * walks at worst on average and always ends: a cycle that starts inside comes back inside.
 *
 * Round keys come from Philox, one stream per epoch; the round function is the finaliser of MurmurHash3 in
 * Stafford's variant 13, as in SplitMix64, over half + key. Ten rounds and halves of at least four bits keep
 * small n uniform too, which is what tests/unit/reader measures (places, adjacent pairs, whole permutations
 * of few items). This shuffles; it is not a cipher. */
#include "ipc/shuffle.h"

#include "ipc/base/err.h"
#include "ipc/base/rng.h"

#define HALF_BITS_MIN 4
#define N_MAX ((uint64_t)1 << 62)

struct im_shuffle im_shuffle_at(uint64_t seed, uint32_t epoch, uint64_t n)
{
    struct im_shuffle order = {.n = n, .half_bits = HALF_BITS_MIN};
    struct im_rng rng = im_rng_at(seed, IM_RNG_ORDER, epoch, 0);

    im_assert(n >= 1 && n <= N_MAX);
    while ((uint64_t)1 << (2 * order.half_bits) < n)
        order.half_bits++;
    for (int i = 0; i < IM_ORDER_ROUNDS; i++)
        order.round_keys[i] = im_rng_u64(&rng);
    return order;
}

static uint64_t mix(uint64_t half, uint64_t key, uint32_t half_bits)
{
    uint64_t x = half + key;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return x >> (64 - half_bits);
}

static uint64_t permute(const struct im_shuffle *order, uint64_t value)
{
    uint64_t left = value >> order->half_bits;
    uint64_t right = value & (((uint64_t)1 << order->half_bits) - 1);

    for (int i = 0; i < IM_ORDER_ROUNDS; i++) {
        uint64_t next = left ^ mix(right, order->round_keys[i], order->half_bits);

        left = right;
        right = next;
    }
    return left << order->half_bits | right;
}

uint64_t im_shuffle_item(const struct im_shuffle *order, uint64_t position)
{
    uint64_t value = position;

    im_assert(position < order->n);
    do
        value = permute(order, value);
    while (value >= order->n);
    return value;
}

uint64_t im_shuffle(uint64_t seed, uint32_t epoch, uint64_t n, uint64_t position)
{
    struct im_shuffle order = im_shuffle_at(seed, epoch, n);

    return im_shuffle_item(&order, position);
}
