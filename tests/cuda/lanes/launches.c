/* Launches of kernels as work of a lane: the linker leads every imk_cuda_ function that launches to one of
 * these (--wrap), which keeps the arguments and calls the kernel when the work runs. A kernel that refuses
 * its arguments aborts the test then. */
#include "ipc/base/err.h"
#include "kernels/cuda/arena.h"
#include "kernels/cuda/gelu.h"
#include "kernels/cuda/input.h"
#include "kernels/cuda/loss.h"
#include "kernels/cuda/muon.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/pool.h"
#include "kernels/cuda/step.h"
#include "tests/cuda/lanes/host.h"

#define LAUNCH(name)                                                                                         \
    int __real_imk_cuda_##name(const struct imk_cuda_##name *a, struct CUstream_st *stream);                 \
    int __wrap_imk_cuda_##name(const struct imk_cuda_##name *a, struct CUstream_st *stream);                 \
    static void run_##name(const void *args)                                                                 \
    {                                                                                                        \
        im_assert(__real_imk_cuda_##name(args, NULL) == 0);                                                  \
    }                                                                                                        \
    int __wrap_imk_cuda_##name(const struct imk_cuda_##name *a, struct CUstream_st *stream)                  \
    {                                                                                                        \
        return host_gpu_enqueue(stream, run_##name, a, sizeof(*a));                                          \
    }

LAUNCH(sum_squares)
LAUNCH(lerp)
LAUNCH(arena_add)
LAUNCH(restore)
LAUNCH(input)
LAUNCH(loss)
LAUNCH(decide)
LAUNCH(choose)
LAUNCH(bn_stats)
LAUNCH(bn_finish)
LAUNCH(bn_apply)
LAUNCH(bn_sums)
LAUNCH(bn_dx)
LAUNCH(stem)
LAUNCH(stem_sums)
LAUNCH(stem_dx)
LAUNCH(maxpool)
LAUNCH(maxpool_backward)
LAUNCH(blur)
LAUNCH(blur_backward)
LAUNCH(gap)
LAUNCH(gap_backward)
LAUNCH(add)
LAUNCH(add_backward)
LAUNCH(droppath)
LAUNCH(gelu)
LAUNCH(gelu_backward)
LAUNCH(cast)
LAUNCH(column_sums)
LAUNCH(update)
LAUNCH(muon_begin)
LAUNCH(muon_scale)
LAUNCH(muon_polynomial)
LAUNCH(muon_end)
LAUNCH(pack)
LAUNCH(unpack)
