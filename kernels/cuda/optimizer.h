/* SGD, AdamW, LARS and LAMB over the flat arena: struct tr_update of trainer/backends/backend.h has the formulas. All
 * that changes from step to step is read from device memory; a step that the verdict skips changes nothing.
 *
 * The arena is cut into chunks, none of which reaches over the end of a span; a block takes a chunk. LARS and
 * LAMB sum the squares of each chunk first and those of a span's chunks in order. Bytes an element: SGD 20,
 * LARS 28, AdamW 28, LAMB 40; 8 more with averages. What no span covers is not touched. */
#ifndef KERNELS_CUDA_OPTIMIZER_H
#define KERNELS_CUDA_OPTIMIZER_H

#include <stdbool.h>

#include "kernels/cuda/step.h"

#ifdef __cplusplus
extern "C" {
#endif

enum imk_cuda_optimizer { IMK_CUDA_SGD, IMK_CUDA_ADAMW, IMK_CUDA_LARS, IMK_CUDA_LAMB };

/* Tables that the host makes once and copies to the device. */
struct imk_cuda_span {
    uint32_t first_chunk, chunk_count;
    uint32_t decays; /* 0 or 1 */
    uint32_t reserved;
    double rate;    /* of the step's lr */
    uint64_t since; /* updates taken before the first of this span */
};

#define IMK_CUDA_CHUNK 8192 /* floats at most */

struct imk_cuda_chunk {
    uint64_t first; /* element of the arena */
    uint32_t count; /* 1 .. IMK_CUDA_CHUNK */
    uint32_t span;
};

/* Host: the next chunks of a table that is filled span by span, in ascending order; chunks may be NULL, to
 * count. Returns how many chunks the span takes. */
uint32_t imk_cuda_span_chunks(uint64_t first, uint64_t count, uint32_t span, struct imk_cuda_chunk *chunks);

/* Bytes of scratch that LARS and LAMB take; 0 for the others. */
size_t imk_cuda_update_scratch(enum imk_cuda_optimizer kind, uint32_t chunk_count, uint32_t span_count);

struct imk_cuda_update {
    enum imk_cuda_optimizer kind;
    float *w, *m, *v; /* arenas: parameters, moments; v: AdamW and LAMB only */
    float *ema;       /* averaged parameters: ema += ema_weight (w - ema) with the new w; NULL: none */
    const float *g;   /* gradients, read only */
    const struct imk_cuda_span *spans;
    const struct imk_cuda_chunk *chunks;
    uint32_t span_count, chunk_count;
    const struct imk_hyper *hyper;
    const struct imk_cuda_verdict *verdict;
    void *scratch; /* imk_cuda_update_scratch bytes, aligned to 16 */
};
int imk_cuda_update(const struct imk_cuda_update *a, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif

#endif
