/* Inputs of a training step and its decision, in device memory, so that a captured step can be replayed
 * unchanged. The host writes the blocks marked H and copies them before a replay; kernels write those marked
 * D. Fixed layouts; padding bytes do not matter. */
#ifndef KERNELS_CUDA_STEP_H
#define KERNELS_CUDA_STEP_H

#include "kernels/cuda/types.h"
#include "kernels/hyper.h"

#ifdef __cplusplus
extern "C" {
#endif

/* H: how a batch is mixed with itself in reverse order; struct tr_mix of trainer/backends/backend.h. */
enum imk_cuda_mix_kind { IMK_CUDA_MIX_NONE, IMK_CUDA_MIX_UP, IMK_CUDA_MIX_CUT };

struct imk_cuda_mix {
    double lambda; /* the share of the sample itself */
    uint32_t kind;
    int32_t y0, y1, x0, x1; /* CutMix: rows y0 .. y1-1 and columns x0 .. x1-1 are the partner's */
    uint32_t reserved;
};

/* D: sums over the samples that take part. Counts are doubles, so that one all-reduce of four doubles adds up
 * the ranks. */
struct imk_cuda_tally {
    double loss_sum, valid, top1, top5;
};

/* H: of the loss. */
struct imk_cuda_loss_terms {
    double smoothing;
    double divisor; /* what the gradient is divided by; 0: the number of valid samples, or the sum of their
                       labels' weights */
};

/* D: about one step. */
struct imk_cuda_verdict {
    double norm;        /* of the gradient of the mean loss, before clipping; 0 when squares is NULL */
    double grad_scale;  /* what the optimiser multiplies the arena's gradient by */
    double correction1; /* 1 / (1 - momentum^t), t = updates + 1 */
    double root2;       /* 1 / sqrt(1 - beta2^t) */
    uint64_t skip;      /* 1: the loss or the gradient was not finite; nothing may change */
};

/* How the gradient is clipped: torch.nn.utils.clip_grad_norm_ (min(1, clip / (norm + 1e-6)), none where
 * clip_norm is 0), or as LAMB's definition has it (1 / max(1, norm / clip), clip 1 where it is 0). */
enum imk_cuda_clip { IMK_CUDA_CLIP_NORM, IMK_CUDA_CLIP_LAMB };

/* Decides on a step (one thread): norm = sqrt(*squares) * unscale / loss_scale; the step is skipped when norm
 * or tally->loss_sum is not finite. */
struct imk_cuda_decide {
    const struct imk_hyper *hyper;      /* H */
    const double *squares;              /* of the whole gradient; NULL: not looked at */
    const struct imk_cuda_tally *tally; /* of all ranks; NULL: not looked at */
    struct imk_cuda_verdict *verdict;   /* overwritten */
    enum imk_cuda_clip clip;
};
int imk_cuda_decide(const struct imk_cuda_decide *a, struct CUstream_st *stream);

/* For a step that the host stages before the one before has ended (one thread): where that was skipped, the
 * numbers for this case take the place of those for the other. */
struct imk_cuda_choose {
    const struct imk_cuda_verdict *before;
    const struct imk_hyper *hyper_if_skipped; /* H */
    const double *divisor_if_skipped;         /* H */
    struct imk_hyper *hyper;
    struct imk_cuda_loss_terms *terms; /* its divisor */
};
int imk_cuda_choose(const struct imk_cuda_choose *a, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif

#endif
