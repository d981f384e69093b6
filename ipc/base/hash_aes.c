/* A hash of long runs of bytes by the AES round of x86: eight states of 128 bits, each of which takes every eighth block of 16
 * bytes. A round is a bijection of the state, so that a change of one block is found for certain in its state, and one of several
 * with all but 2^-128. The states go through XXH3. 16 bytes a clock, without wide vectors and their multiplications. */
#include <string.h>
#include <wmmintrin.h>

#include "ipc/base/hash.h"
#include "ipc/base/hash_versions.h"

enum { STATES = 8, BLOCK = 16, STEP = STATES * BLOCK };

#define AES __attribute__((target("aes,sse2")))
#define AES_INLINE __attribute__((target("aes,sse2"), always_inline)) static inline

/* Odd, without a pattern: of the golden ratio, and a prime of XXH64. */
#define MULTIPLIER UINT64_C(0x9e3779b97f4a7c15)
#define PRIME UINT64_C(0xc2b2ae3d27d4eb4f)

AES_INLINE void take_step(__m128i s[STATES], const unsigned char *bytes)
{
    const __m128i *block = (const void *)bytes;

    s[0] = _mm_aesenc_si128(s[0], _mm_loadu_si128(block));
    s[1] = _mm_aesenc_si128(s[1], _mm_loadu_si128(block + 1));
    s[2] = _mm_aesenc_si128(s[2], _mm_loadu_si128(block + 2));
    s[3] = _mm_aesenc_si128(s[3], _mm_loadu_si128(block + 3));
    s[4] = _mm_aesenc_si128(s[4], _mm_loadu_si128(block + 4));
    s[5] = _mm_aesenc_si128(s[5], _mm_loadu_si128(block + 5));
    s[6] = _mm_aesenc_si128(s[6], _mm_loadu_si128(block + 6));
    s[7] = _mm_aesenc_si128(s[7], _mm_loadu_si128(block + 7));
}

AES uint64_t im_hash_bulk_aes(const void *bytes, size_t n, uint64_t seed)
{
    const unsigned char *at = bytes;
    unsigned char last[STEP] = {0}, out[STEP];
    __m128i s[STATES];

    /* The length is in each state: zeros that fill the last step are no bytes. */
    for (unsigned k = 0; k < STATES; k++) {
        const uint64_t high = seed + (k + 1) * MULTIPLIER, low = n * PRIME + k;

        s[k] = _mm_set_epi64x((long long)high, (long long)low);
    }
    for (size_t steps = n / STEP; steps > 0; steps--, at += STEP)
        take_step(s, at);
    if (n % STEP > 0) {
        memcpy(last, at, n % STEP);
        take_step(s, last);
    }
    memcpy(out, s, sizeof out);
    return im_hash64(out, sizeof out, seed);
}
