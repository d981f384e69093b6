/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC'11).
 *
 * Every random choice of a run is a pure function of (seed, purpose, epoch, item, draw). There is no state to
 * save, to lose with a process or to share between processes: whoever does the work, first or again, draws
 * the same numbers. */
#ifndef IPC_BASE_RNG_H
#define IPC_BASE_RNG_H

#include <stdint.h>

/* What the numbers are for; two purposes never share a stream. Append only: the values are part of every
 * run's results. */
enum im_rng_purpose {
    IM_RNG_ORDER = 1,    /* item: 0; the key of an epoch's permutation */
    IM_RNG_AUGMENT = 2,  /* item: sample id */
    IM_RNG_INIT = 3,     /* item: parameter tensor's index */
    IM_RNG_MIX = 4,      /* item: step; MixUp and CutMix */
    IM_RNG_DROPPATH = 5, /* item: step; epoch: place of the sample in the step */
    IM_RNG_SUBSET = 6,   /* item: class */
    IM_RNG_SYNTH = 7,    /* item: image */
    IM_RNG_TEST = 15,
};

/* A position in one stream. A plain value: copy it to draw the same numbers again. */
struct im_rng {
    uint32_t key[2];
    uint32_t counter[4]; /* [0] counts blocks of four */
    uint32_t block[4];
    uint32_t used; /* of block; 4 = empty */
};

/* The stream of (seed, purpose, epoch, item). item < 2^56. */
struct im_rng im_rng_at(uint64_t seed, enum im_rng_purpose purpose, uint32_t epoch, uint64_t item);

uint32_t im_rng_u32(struct im_rng *r);
uint64_t im_rng_u64(struct im_rng *r);
double im_rng_unit(struct im_rng *r);                             /* [0, 1), 53 bits */
double im_rng_uniform(struct im_rng *r, double low, double high); /* [low, high) */
uint64_t im_rng_below(struct im_rng *r, uint64_t n); /* 0 .. n-1, unbiased (Lemire 2019); n >= 1 */
double im_rng_normal(struct im_rng *r);              /* N(0, 1), Box-Muller, two units per value */

#endif
