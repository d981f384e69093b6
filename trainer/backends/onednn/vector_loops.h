/* The loops of batch norm, max-pooling and GELU over vectors of 8 numbers.
 *
 * Batch norm and GELU go over the values of a few channels of one image, a strip: vectors that lie `step` numbers apart. In
 * layouts whose channels are blocked or last, a vector is 8 channels of a pixel; in plain NCHW 8 pixels of one channel.
 * Sums are added up in double, one value after the other within each of 8 lanes. norm.c puts strips together.
 *
 * Versions: AVX2 and FMA, and one for every processor; vector_code.h is the code of both. Values are fp32 or bf16
 * (`narrow`), rounded to nearest even where they are stored. NaN passes a ReLU, as does its gradient, and is the
 * maximum of its window. */
#ifndef TRAINER_BACKENDS_ONEDNN_VECTOR_LOOPS_H
#define TRAINER_BACKENDS_ONEDNN_VECTOR_LOOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TR_LANES = 8 };

struct tr_strip {
    size_t at, step;      /* the first number, and from vector to vector */
    size_t whole, ragged; /* vectors of 8 numbers, and after them those that have fewer */
    size_t lanes;         /* that ragged ones have */
    size_t bits;          /* the first of its bytes of a ReLU's mask, one a vector */
    bool narrow;
};

/* What a strip's lanes are computed with; floats that follow from doubles in one way only (norm.c). */
struct tr_norm_lanes {
    float mean[TR_LANES];                        /* rounded; shift has the rest */
    float factor[TR_LANES], shift[TR_LANES];     /* y = factor (x - mean) + shift */
    float a[TR_LANES], b[TR_LANES], c[TR_LANES]; /* dx = a g + b (x - mean) + c */
};

/* Sums of a strip's lanes. */
struct tr_norm_sums {
    double first[TR_LANES], second[TR_LANES];
};

struct tr_norm_forward {
    const void *x, *x2; /* x2 NULL: nothing is added */
    void *y;
    uint8_t *bits; /* where a ReLU's gradient passes; NULL: not asked for */
    bool relu;
};

/* g = dy[0] + dy[1] (which may be NULL), 0 where a ReLU does not let it pass: by `bits`, or, NULL, by y, which
 * then follows from x alone. */
struct tr_norm_backward {
    const void *x;
    void *dy[2];
    const uint8_t *bits;
    bool relu;
    void *g; /* sums(): NULL, or where g is stored */
    void *dx;
};

/* GELU of x + bias; dx gets g = (dy[0] + dy[1]) times its slope there. dy[1] may be NULL. */
struct tr_gelu {
    const float *x;
    float *y;
    const float *dy[2];
    float *dx;
    float bias[TR_LANES];
};

/* Square windows over a plane of h x w pixels of `inner` numbers; the result has oh x ow. A place is where in its
 * window a maximum was found, row by row; of equal ones the first. */
struct tr_windows {
    int h, w, oh, ow, kernel, stride, pad;
    size_t inner;
    bool narrow;
};

struct tr_vector_loops {
    /* Adds the sums of x and of x^2. */
    void (*moments)(const struct tr_strip *s, const void *x, struct tr_norm_sums *sums);
    void (*apply)(const struct tr_strip *s, const struct tr_norm_lanes *p, const struct tr_norm_forward *f);
    /* Adds the sums of g and of g (x - mean). */
    void (*sums)(const struct tr_strip *s, const struct tr_norm_lanes *p, const struct tr_norm_backward *k,
                 struct tr_norm_sums *sums);
    void (*dx)(const struct tr_strip *s, const struct tr_norm_lanes *p, const struct tr_norm_backward *k);
    /* Of fp32 strips. The second adds the sums of what it stores in dx to sums->first. */
    void (*gelu)(const struct tr_strip *s, const struct tr_gelu *g);
    void (*gelu_backward)(const struct tr_strip *s, const struct tr_gelu *g, struct tr_norm_sums *sums);
    /* Row oh of y and of its places. */
    void (*maxpool)(const struct tr_windows *w, const void *x, void *y, uint8_t *places, int oh);
    /* Row h of dx: what each pixel gets from the windows whose maximum it is. dy[1] may be NULL. */
    void (*maxpool_backward)(const struct tr_windows *w, const void *const dy[2], const uint8_t *places,
                             void *dx, int h);
};

extern const struct tr_vector_loops tr_vector_loops_plain;
/* NULL: not for this processor, or not of this build. */
const struct tr_vector_loops *tr_vector_loops_avx2(void);

/* The fastest version for this processor. */
static inline const struct tr_vector_loops *tr_vector_loops(void)
{
    const struct tr_vector_loops *fast = tr_vector_loops_avx2();

    return fast ? fast : &tr_vector_loops_plain;
}

#endif
