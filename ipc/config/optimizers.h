/* The optimisers, once: the choices of --opt and what the trainer calls them. Their formulas are in
 * trainer/backends/backend.h. A run's files hold names, not values, so their order may change. */
#ifndef IPC_CONFIG_OPTIMIZERS_H
#define IPC_CONFIG_OPTIMIZERS_H

#include <stdbool.h>

/* X(constant, "name"); the first is the default. */
#define IM_OPTIMIZERS(X)                                                                                     \
    X(IM_OPTIMIZER_SGD, "sgd")                                                                               \
    X(IM_OPTIMIZER_ADAMW, "adamw")                                                                           \
    X(IM_OPTIMIZER_LARS, "lars")                                                                             \
    X(IM_OPTIMIZER_LAMB, "lamb")

#define IM_OPTIMIZER_CONSTANT_(constant, name) constant,
enum im_optimizer { IM_OPTIMIZERS(IM_OPTIMIZER_CONSTANT_) };
#undef IM_OPTIMIZER_CONSTANT_

/* Whether it keeps a second moment beside the first: then beta1 and beta2 apply, not momentum. */
static inline bool im_optimizer_is_adaptive(enum im_optimizer optimizer)
{
    switch (optimizer) {
    case IM_OPTIMIZER_SGD:
    case IM_OPTIMIZER_LARS:
        return false;
    case IM_OPTIMIZER_ADAMW:
    case IM_OPTIMIZER_LAMB:
        return true;
    }
    return false;
}

#endif
