/* The factor that the loss is multiplied by so that small gradients survive a narrow type, with the rules of
 * torch.amp.GradScaler: halved at once when a gradient is not finite (the step is then left out), doubled
 * after so many good steps. Factors are powers of two, so that in fp32 they change no bit. */
#ifndef TRAINER_OPTIM_SCALER_H
#define TRAINER_OPTIM_SCALER_H

#include <stdbool.h>
#include <stdint.h>

#define TR_SCALER_INIT 65536.0
#define TR_SCALER_GROWTH 2.0
#define TR_SCALER_BACKOFF 0.5
#define TR_SCALER_INTERVAL 2000

struct tr_scaler {
    double scale;        /* 1 and never changed: no scaling */
    uint32_t good_steps; /* since the scale changed last */
};

struct tr_scaler tr_scaler_init(bool dynamic);

/* After a step: finite says whether all its gradients were. */
void tr_scaler_update(struct tr_scaler *s, bool finite);

#endif
