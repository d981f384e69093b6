/* MixUp (Zhang et al. 2018) and CutMix (Yun et al. 2019): the mixing parameters of one training batch. Only
 * draws; the op INPUT mixes the pixels and the op LOSS the targets (struct tr_mix in backend.h).
 *
 * The semantics are those of timm 1.0 (data/mixup.py, Mixup in mode 'batch'): one draw a batch, the partner
 * of sample i is sample n-1-i, lambda ~ Beta(alpha, alpha), CutMix' lambda is corrected to the area that its
 * box really has. timm requires an even batch; here the middle sample of an odd one is its own partner, which
 * leaves it unchanged. */
#ifndef TRAINER_OPTIM_MIX_H
#define TRAINER_OPTIM_MIX_H

#include <stdint.h>

#include "ipc/base/rng.h"
#include "trainer/backends/backend.h"

struct tr_mix_config {
    double mixup, cutmix; /* alpha; 0: off */
    double p;             /* share of the batches that are mixed */
    double switch_p;      /* share of those with CutMix, when both are on */
    uint64_t seed;
};

/* The mix of one batch of size x size images: a pure function of all arguments. step: of the pass. */
struct tr_mix tr_mix_draw(const struct tr_mix_config *config, uint32_t epoch, uint64_t step, uint32_t rank,
                          int size);

/* Beta(alpha, alpha), for any alpha > 0: two gamma draws (Marsaglia and Tsang 2000) whose logarithms are
 * compared, because for a small alpha both may be too small for a double. */
double tr_beta(struct im_rng *r, double alpha);

/* CutMix with the box of that share 1 - lambda about a centre, cut off at the edges. */
struct tr_mix tr_mix_box(double lambda, int size, int centre_y, int centre_x);

#endif
