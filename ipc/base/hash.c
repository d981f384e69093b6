/* XXH3 behind our names: the one file that includes xxhash.h.
 *
 * The plain functions of a distribution's library are built for the least CPU. Where the library has versions for
 * AVX2 and AVX-512 too, xxh_x86dispatch.h puts them in the place of the plain ones: the same values, three times as
 * fast, and the bytes of each image are hashed twice.
 *
 * The streaming state is xxhash's own, allocated by it because it needs 64-byte alignment. Feeding bytes
 * cannot fail (xxhash reports only NULL arguments), so the functions return nothing. */
#include "ipc/base/hash.h"

#ifdef IMSUPER_XXHASH_DISPATCH
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#include "ipc/base/err.h"

uint64_t im_hash64(const void *bytes, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, n, seed);
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
