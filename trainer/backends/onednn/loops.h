/* Elementwise loops over whole activations and parameters that a CPU backend runs beside its library: in any
 * layout, on the library's threads. All give the same bits for any number of threads. */
#ifndef TRAINER_BACKENDS_ONEDNN_LOOPS_H
#define TRAINER_BACKENDS_ONEDNN_LOOPS_H

#include "trainer/backends/backend.h"

/* Sets the threads of parallel regions of the calling thread, ours and the library's. */
void tr_cpu_set_threads(int threads);
int tr_cpu_count(void); /* processors this process may use */

/* Zeroed memory, aligned to 64 bytes, on huge pages where it is large. NULL when there is none. */
void *tr_cpu_alloc(size_t bytes);
void tr_cpu_free(void *memory);

void tr_cpu_add(float *a, const float *b, size_t count); /* a += b */

/* bf16 as the upper half of an fp32 number, rounded to nearest even; NaN stays NaN. */
void tr_cpu_widen(float *to, const uint16_t *from, size_t count);
void tr_cpu_narrow(uint16_t *to, const float *from, size_t count);
void tr_cpu_round(float *to, const float *from, size_t count);      /* to the nearest bf16 number */
void tr_cpu_add_bf16(uint16_t *a, const uint16_t *b, size_t count); /* a += b */

/* y = a + b, then ReLU, which NaN passes; y may be a. */
void tr_cpu_residual(float *y, const float *a, const float *b, size_t count, bool relu);

/* dx = (dy0 + dy1), with ReLU 0 where y <= 0; dy1 may be NULL; dx may be dy0. */
void tr_cpu_residual_backward(float *dx, const float *dy0, const float *dy1, const float *y, size_t count,
                              bool relu);

/* A filter of three taps along each axis, as tables: place i of the result is the sum over k of weight[i][k]
 * times place index[i][k] of what is read. An unused tap has weight 0 and any index. */
struct tr_taps {
    int index[3];
    float weight[3];
};

/* [planes][h][w][inner] from planes of from_h x from_w: rows[h] and columns[w] say what a place
 * is made of. */
struct tr_filter {
    size_t planes, inner;
    int from_h, from_w, h, w;
    const struct tr_taps *rows, *columns;
};
void tr_cpu_filter(const struct tr_filter *f, const float *from, float *to);

/* y[n][i] = scale[n] x[n][i]; y may be x. */
void tr_cpu_scale(float *y, const float *x, const float *scale, size_t samples, size_t floats);

void tr_cpu_input(const struct tr_op *op, const struct tr_exec *e); /* y plain NCHW */

/* The backend's functions of these names (backend.h); in trainer/backends/onednn/optimizer.c. threads: those set. */
int tr_cpu_update(const struct tr_update *u, int threads);
void tr_cpu_lerp(float *y, const float *x, double k, size_t count);
double tr_cpu_sum_squares(const float *x, size_t count);

int tr_cpu_muon(const struct tr_update *u, int threads); /* all spans with rows; -ENOMEM */

#endif
