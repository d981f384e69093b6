/* Muon's step of one matrix, without its matrix products: trainer/backends/backend.h has the formula,
 * kernels/muon.h the iteration, trainer/backends/cuda/muon.c the order:
 *
 *     muon_begin, sum_squares of `direction`, muon_scale
 *     5 times: gram = x x^T, q = gram gram, muon_polynomial, x = q x
 *     with a fixed norm sum_squares of w; muon_end
 *
 * x is the matrix, or its transpose where that has fewer rows. A step that the verdict skips changes
 * neither w, m nor ema. */
#ifndef KERNELS_CUDA_MUON_H
#define KERNELS_CUDA_MUON_H

#include <stdbool.h>

#include "kernels/cuda/step.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Renews the momentum; direction = what is made orthogonal. 16 bytes an element. */
struct imk_cuda_muon_begin {
    float *m;
    const float *g;
    float *direction;
    size_t count;
    const struct imk_hyper *hyper;
    const struct imk_cuda_verdict *verdict;
};
int imk_cuda_muon_begin(const struct imk_cuda_muon_begin *a, struct CUstream_st *stream);

/* x = direction / max(sqrt(*squares), 1e-7). 4 + s bytes an element. */
struct imk_cuda_muon_scale {
    enum imk_dtype type; /* of x */
    const float *direction;
    void *x;
    uint32_t rows, columns; /* of direction; both at most 65535 */
    const double *squares;
};
int imk_cuda_muon_scale(const struct imk_cuda_muon_scale *a, struct CUstream_st *stream);

/* q = a I + b gram + c q, where q holds gram gram; [side][side]. 3 s bytes an element. */
struct imk_cuda_muon_polynomial {
    enum imk_dtype type; /* of gram and q */
    const void *gram;
    void *q;
    uint32_t side;
};
int imk_cuda_muon_polynomial(const struct imk_cuda_muon_polynomial *a, struct CUstream_st *stream);

/* The weights' step, and their average's. 8 + s bytes an element, 8 more with an average. */
struct imk_cuda_muon_end {
    enum imk_dtype type; /* of x */
    const void *x;
    float *w;
    float *ema; /* NULL: none */
    uint32_t rows, columns;
    bool decays;
    const double
        *squares; /* of w, which is scaled to the norm sqrt(rows) and does not decay; NULL: it decays */
    double rate;  /* of the step's lr */
    const struct imk_hyper *hyper;
    const struct imk_cuda_verdict *verdict;
};
int imk_cuda_muon_end(const struct imk_cuda_muon_end *a, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif

#endif
