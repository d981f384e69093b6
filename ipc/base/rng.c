#include "ipc/base/rng.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#include <Random123/philox.h>
#pragma GCC diagnostic pop

#include <math.h>

struct im_rng im_rng_at(uint64_t seed, enum im_rng_purpose purpose, uint32_t epoch, uint64_t item)
{
    return (struct im_rng){
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
        .counter = {0, (uint32_t)item, epoch, (uint32_t)purpose << 24 | (uint32_t)(item >> 32)},
        .used = 4,
    };
}

uint32_t im_rng_u32(struct im_rng *r)
{
    if (r->used == 4) {
        philox4x32_ctr_t counter = {{r->counter[0], r->counter[1], r->counter[2], r->counter[3]}};
        philox4x32_key_t key = {{r->key[0], r->key[1]}};
        philox4x32_ctr_t out = philox4x32(counter, key);

        for (int i = 0; i < 4; i++)
            r->block[i] = out.v[i];
        r->counter[0]++;
        r->used = 0;
    }
    return r->block[r->used++];
}

uint64_t im_rng_u64(struct im_rng *r)
{
    uint64_t high = im_rng_u32(r);

    return high << 32 | im_rng_u32(r);
}

double im_rng_unit(struct im_rng *r)
{
    return (double)(im_rng_u64(r) >> 11) * 0x1p-53;
}

double im_rng_uniform(struct im_rng *r, double low, double high)
{
    return low + (high - low) * im_rng_unit(r);
}

uint64_t im_rng_below(struct im_rng *r, uint64_t n)
{
    /* Lemire, "Fast random integer generation in an interval": reject the few low products
     * that would bias. */
    unsigned __int128 product = (unsigned __int128)im_rng_u64(r) * n;

    if ((uint64_t)product < n) {
        uint64_t threshold = (0 - n) % n;

        while ((uint64_t)product < threshold)
            product = (unsigned __int128)im_rng_u64(r) * n;
    }
    return (uint64_t)(product >> 64);
}

double im_rng_normal(struct im_rng *r)
{
    double radius = sqrt(-2.0 * log(1.0 - im_rng_unit(r)));

    return radius * cos(2.0 * 3.14159265358979323846 * im_rng_unit(r));
}
