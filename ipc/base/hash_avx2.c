/* XXH3 of xxhash.h, compiled for AVX2 (CMakeLists.txt): the header holds all of it. */
#include "ipc/base/hash_versions.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static_assert(XXH_VECTOR == XXH_AVX2, "this file is compiled for AVX2");

uint64_t im_hash64_avx2(const void *bytes, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, n, seed);
}
