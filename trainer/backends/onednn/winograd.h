/* 3x3 convolutions of stride 1 and padding 1 by Winograd's minimal filtering, F(2x2, 3x3): 16 products
 * instead of 36 (Lavin and Gray 2016, section 4.1). Values are fp32 in blocks of 8 channels ([n][c /
 * 8][h][w][8]); weights OIHW. For CPUs with AVX2 and FMA; with AVX-512 oneDNN's direct code is as fast. The
 * transforms have entries 0, 1 and 1/2 only: the error is that of a direct sum in fp32, within a factor of
 * two. The same bits in every run with one number of threads. */
#ifndef TRAINER_BACKENDS_ONEDNN_WINOGRAD_H
#define TRAINER_BACKENDS_ONEDNN_WINOGRAD_H

#include <stdbool.h>
#include <stddef.h>

struct tr_wino {
    int n, c, k, h, w; /* x: n x c x h x w, y: n x k x h x w */
    int threads;
};

/* Whether it is faster on this CPU for these sizes: channels are multiples of 8, and 32 at least (with fewer
 * the transforms cost more than the products save). For the gradient of the weights also: few enough weights
 * that each thread can sum up its own, and more than one tile an image. In a map of one tile each tap meets so few
 * values that its gradient is often exactly 0, which here is the rounding of its neighbours, and AdamW steps by the
 * sign of that; directly there are no more products. */
bool tr_wino_fits(const struct tr_wino *s);
bool tr_wino_gradient_fits(const struct tr_wino *s);

/* Floats of transformed weights, and of scratch memory for one call. */
size_t tr_wino_weight_floats(const struct tr_wino *s);
size_t tr_wino_scratch_floats(const struct tr_wino *s);

/* Transformed weights: for forward, and for backward data (channels swapped, taps turned by 180 degrees). */
void tr_wino_weights(const struct tr_wino *s, const float *oihw, bool backward, float *transformed);

/* y from x; with backward weights: dx from dy, c and k of `s` being those of the convolution. */
void tr_wino_run(const struct tr_wino *s, const float *from, const float *transformed, bool backward,
                 float *to, float *scratch);

/* dw (OIHW) from x and dy. */
void tr_wino_gradient(const struct tr_wino *s, const float *x, const float *dy, float *dw, float *scratch);

#endif
