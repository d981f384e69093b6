/* GPUs that are only described: what fits one is planned without it. */
#ifndef TRAINER_BACKENDS_CUDA_DESCRIBE_H
#define TRAINER_BACKENDS_CUDA_DESCRIBE_H

#include "trainer/backends/backend.h"
#include "trainer/backends/cuda/dnn.h"

#define TR_CUDA_HEADROOM ((size_t)64 << 20)                /* for allocations by the driver */
#define TR_CUDA_KEPT (TR_CUDA_HEADROOM + TR_DNN_WORKSPACE) /* of free memory, beside what is planned */

/* open(), close() and measure() alone, of any GPU. */
extern const struct tr_backend_ops tr_cuda_described;

#endif
