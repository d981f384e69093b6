/* Cross-entropy with label smoothing: TR_OP_LOSS of trainer/backends/backend.h. The gradient and each sample's terms
 * in one pass (of softmax, logits are read three times, but the first from the L1 cache; of BCE, once), then
 * the tally in the order of the samples. x bytes + dx bytes a logit. */
#ifndef KERNELS_CUDA_LOSS_H
#define KERNELS_CUDA_LOSS_H

#include <stdbool.h>

#include "kernels/cuda/step.h"

#ifdef __cplusplus
extern "C" {
#endif

enum imk_cuda_loss_kind {
    IMK_CUDA_CE,  /* of softmax: dx = (p - q) * *scale / divisor */
    IMK_CUDA_BCE, /* each class a question of its own: dx = (sigmoid(x) - q) * weight * *scale / divisor */
};

/* dx is zero for samples that take no part and in the padding. A valid sample whose label is none has a
 * loss of NaN and so has the tally. */
struct imk_cuda_loss {
    enum imk_cuda_loss_kind kind;
    double threshold;     /* BCE: above 0, q is 1 where it is larger than this and 0 elsewhere */
    const float *weights; /* CE, and BCE with sets: [classes], of each class; NULL: all 1 */
    const uint32_t
        *sets; /* BCE: [set_count][set_words], what classes a label holds, a bit each; NULL: itself */
    int set_words, set_count;
    bool sums_classes; /* BCE: the weight is 1; otherwise 1 / classes */
    const void *x;     /* logits: [n][x_pitch] */
    void *dx;          /* [n][dx_pitch]; NULL in evaluation */
    enum imk_dtype x_type, dx_type;
    int n, classes, x_pitch, dx_pitch; /* pitches: at least classes */
    const int32_t *labels;             /* [n] */
    const uint8_t *valid;              /* [n], 0 = masked; NULL: all take part */
    const struct imk_cuda_mix *mix;    /* NULL: no mixing */
    const struct imk_cuda_loss_terms *terms;
    const double *scale;          /* of the loss, for the gradient only; NULL: 1 */
    void *scratch;                /* imk_cuda_loss_scratch(n) bytes, aligned to 16 */
    struct imk_cuda_tally *tally; /* overwritten */
};
int imk_cuda_loss(const struct imk_cuda_loss *a, struct CUstream_st *stream);

size_t imk_cuda_loss_scratch(int n);

#ifdef __cplusplus
}
#endif

#endif
