/* Loss scaling for fp16, by the rules of torch.amp.GradScaler: the scale is halved at once when a gradient is
 * not finite (that step is skipped), and doubled after growth_interval good steps. Scales are powers of two,
 * so in fp32 they change no bit. */
#ifndef TRAINER_OPTIM_SCALER_H
#define TRAINER_OPTIM_SCALER_H

#include <stdbool.h>
#include <stdint.h>

#define TR_SCALER_INIT 65536.0
#define TR_SCALER_GROWTH 2.0
#define TR_SCALER_BACKOFF 0.5
#define TR_SCALER_INTERVAL 2000

struct tr_scaler {
    double scale;        /* 1 and constant: no scaling */
    uint32_t good_steps; /* since the scale last changed */
};

struct tr_scaler tr_scaler_init(bool dynamic);

/* Call after a step; finite: whether all its gradients were. */
void tr_scaler_update(struct tr_scaler *s, bool finite);

#endif
