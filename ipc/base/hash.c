/* XXH3 behind our names.
 *
 * The plain functions of a distribution's library are built for the least CPU. On those that have AVX2, hash_avx2.c makes
 * the same values in a quarter of the time. The bytes of each image are hashed twice, by im_hash_bulk() (hash_aes.c).
 *
 * Not AVX-512, which libxxhash's own choice (xxh_x86dispatch.h) takes where there is one: a Xeon lowers its clock by a quarter for a
 * third of a millisecond or more after its multiplications, and as long as the upper halves of its registers are in use, which libxxhash
 * 0.8.1 leaves so. Reading and decoding took 8 to 14 % longer (tests/bench/results/2026-11-30-overhead.md).
 *
 * The streaming state is xxhash's own, allocated by it because it needs 64-byte alignment. Feeding bytes
 * cannot fail (xxhash reports only NULL arguments), so the functions return nothing. */
#include "ipc/base/hash.h"

#include <xxhash.h>

#include "ipc/base/err.h"
#include "ipc/base/hash_versions.h"

#define WIDE_MIN 256 /* bytes; shorter ones have other code, without vectors */

uint64_t im_hash64(const void *bytes, size_t n, uint64_t seed)
{
#ifdef IMSUPER_HASH_X86
    if (n >= WIDE_MIN && __builtin_cpu_supports("avx2"))
        return im_hash64_avx2(bytes, n, seed);
#endif
    return XXH3_64bits_withSeed(bytes, n, seed);
}

uint64_t im_hash_bulk(const void *bytes, size_t n, uint64_t seed)
{
#ifdef IMSUPER_HASH_X86
    if (__builtin_cpu_supports("aes"))
        return im_hash_bulk_aes(bytes, n, seed);
#endif
    return im_hash64(bytes, n, seed);
}

struct im_hash *im_hash_new(uint64_t seed)
{
    XXH3_state_t *state = XXH3_createState();

    if (state)
        im_assert(XXH3_64bits_reset_withSeed(state, seed) == XXH_OK);
    return (struct im_hash *)state;
}

void im_hash_add(struct im_hash *h, const void *bytes, size_t n)
{
    if (n > 0)
        im_assert(XXH3_64bits_update((XXH3_state_t *)h, bytes, n) == XXH_OK);
}

uint64_t im_hash_value(const struct im_hash *h)
{
    return XXH3_64bits_digest((const XXH3_state_t *)h);
}

void im_hash_free(struct im_hash **h)
{
    if (*h)
        XXH3_freeState((XXH3_state_t *)*h);
    *h = NULL;
}
