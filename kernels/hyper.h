/* The numbers of one optimiser's step: one struct from the schedule to the kernels. */
#ifndef KERNELS_HYPER_H
#define KERNELS_HYPER_H

#include <stdbool.h>
#include <stdint.h>

struct imk_hyper {
    double lr, momentum, beta2, eps, weight_decay, trust; /* momentum: AdamW and LAMB call it beta1 */
    double muon_momentum;                                 /* of the matrices that Muon steps */
    double unscale; /* over loss_scale, what makes the gradient arena the gradient of the mean loss; NaN: the
                          step is skipped whatever the gradient */
    double loss_scale; /* which the gradients have in them; a power of two; 1 unless fp16 is stored */
    double clip_norm;  /* 0: none is set; LAMB then clips at 1 */
    double ema_weight; /* 1 - decay of the averages; 1 copies */
    uint64_t updates;  /* that were taken before this one */
    bool nesterov;     /* SGD, LARS */
};

#endif
