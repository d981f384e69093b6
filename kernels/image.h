/* Pixel kernels: antialiased resizing and colour conversion of 8-bit images, bit for bit as Pillow does them.
 *
 * Pixels are interleaved RGB, 3 bytes each, rows `stride` bytes apart. The functions are pure: no allocation,
 * no state, and all versions of one give the same bytes.
 *
 * Resizing is separable, as in Pillow's Resample.c: a filter table for each axis (struct imk_taps), first the
 * horizontal pass into scratch rows, then the vertical pass; each pass rounds and clips to 8 bits. A table
 * may cover a part of the output only, which gives exactly that part of the whole result.
 *
 * In this folder: pure functions over pixels (image.h, ops.h) and tensors (cuda/). ref/ is the definition of
 * the pixel kernels, cpu/ has the SIMD versions, which must return the same bytes. No allocation, no I/O and
 * no global state; nothing is included from other folders. Tests compare each version of a kernel with
 * ref/. */
#ifndef KERNELS_IMAGE_H
#define KERNELS_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that must be readable after the last pixel of a source, and writable after the last row of scratch:
 * the SIMD versions load and store whole vectors. Final outputs are never written outside their pixels. */
#define IMK_SLACK 32

struct imk_box {
    uint32_t x, y, w, h;
};

/* One axis of a resize: `in` source positions become `out`; of these, [first, first + count) are wanted, from
 * last to first when `mirrored`. 1 <= in, 1 <= out, 1 <= count, first + count <= out. */
struct imk_axis {
    uint32_t in, out, first, count;
    bool mirrored;
};

/* Filter table of an axis. Output position i is the sum over t < n[i] of weight[i * stride + t] *
 * source[begin + start[i] + t], in units of 2^-22, rounded to nearest. Weights are >= 0 and sum to 2^22
 * within rounding; those after n[i] are 0. */
struct imk_taps {
    struct imk_axis axis;
    uint32_t begin, end; /* the source positions that the table reads */
    uint32_t longest;    /* the largest n */
    uint32_t stride;     /* a multiple of 4 */
    uint32_t *start, *n; /* [count] */
    int32_t *weight;     /* [count][stride] */
    uint32_t *parts; /* [count][stride]: the same in the form of the version that filled the table (split) */
};

/* Fraction bits of a weight: Pillow's PRECISION_BITS, 32 - 8 - 2. */
#define IMK_WEIGHT_BITS 22

/* Bytes of memory a table of this axis takes. */
size_t imk_taps_bytes(const struct imk_axis *axis);

/* The source positions under one output position: [start, start + n), its centre among them at `centre`, in
 * units where position p reaches from p to p + 1. 1 <= n. */
struct imk_window {
    double centre;
    uint32_t start, n;
};

/* The table of functions; fill with imk_image_ops_init. A filter table belongs to the version that filled it. */
struct imk_image_ops {
    const char *name; /* "ref", "avx2", "avx512" */

    /* The weights of one output position, `stride` of them (a multiple of 4, >= n): a triangle about the centre
     * that is 0 at 1 / support_inverse from it, made to sum to 1 and rounded half up; 0 after n. */
    void (*weigh)(int32_t *weight, uint32_t stride, const struct imk_window *window, double support_inverse);

    /* Weights for the multiplies of resize_rows and resize_columns: parts [n] from weight [n], n a multiple of 4.
     * NULL: these need none. */
    void (*split)(uint32_t *parts, const int32_t *weight, uint32_t n);

    /* Horizontal pass over `rows` rows. src is at source column taps->begin; each row of dst gets count
     * pixels, and up to IMK_SLACK bytes after them may be overwritten (so dst_stride >= 3 * count + IMK_SLACK
     * for rows that must survive). */
    void (*resize_rows)(unsigned char *dst, size_t dst_stride, const unsigned char *src, size_t src_stride,
                        uint32_t rows, const struct imk_taps *taps);

    /* Vertical pass over rows of `row_bytes` bytes: count rows of dst from the rows of src, which is at
     * source row taps->begin. Writes exactly row_bytes of each row. */
    void (*resize_columns)(unsigned char *dst, size_t dst_stride, const unsigned char *src, size_t src_stride,
                           size_t row_bytes, const struct imk_taps *taps);

    /* n CMYK pixels as Adobe writes them into JPEG (inverted, 4 bytes) to RGB, by Pillow's cmyk2rgb. */
    void (*cmyk_to_rgb)(unsigned char *dst, const unsigned char *src, size_t n);

    /* Copies n RGB pixels from last to first. dst and src do not overlap. */
    void (*mirror_rgb)(unsigned char *dst, const unsigned char *src, size_t n);

    /* The inverse DCT of a JPEG block, as libjpeg's jidctint.c makes it of 8 x 8 samples, to the bit: rows[y] + x gets
     * 8 samples for each y. Block and quant (multipliers of the coefficients) have the order of imk_dct_place(); products have
     * 16 bits. The block is cleared. False: the numbers are too large for 16 bits within, which no encoder makes, and
     * implementations differ; nothing is written. */
    bool (*idct)(unsigned char *const rows[8], size_t x, int16_t block[64], const uint16_t quant[64]);
};

/* Where the coefficient of a row and column stands in a block for idct(): rows (and columns) 0 and 4, 2 and 6, 1 and 3, 5 and 7 are
 * side by side, because their sums of products are made by one instruction. */
static inline uint32_t imk_dct_place(uint32_t row, uint32_t column)
{
    static const uint8_t places[8] = {0, 4, 2, 5, 1, 6, 3, 7};

    return places[row] / 2 * 16 + (uint32_t)places[column] * 2 + places[row] % 2;
}

/* Fills the table of Pillow's bilinear filter (precompute_coeffs and normalize_coeffs_8bpc of Resample.c:
 * a triangle of half-width max(1, in / out)). The output shows [from, from + span) of the source
 * positions: 0 and `in` where it shows all of them, else 0 <= from, 0 < span, from + span <= in, a crop of
 * pixels that are larger than those it was measured in. `memory` holds imk_taps_bytes(), is aligned to 8
 * and stays the caller's. */
void imk_taps_fill(struct imk_taps *taps, const struct imk_axis *axis, double from, double span,
                   const struct imk_image_ops *ops, void *memory);

/* CPU features that versions ask for. */
enum imk_cpu {
    IMK_CPU_AVX2 = 1u << 0,
    IMK_CPU_BMI2 = 1u << 1, /* BMI, too */
    /* F, BW, VL, VNNI and VBMI, which CPUs have from Ice Lake and Zen 4 on: those that have less lower their clock for 512
     * bits. Set only beside AVX2. */
    IMK_CPU_AVX512 = 1u << 2,
};

/* What this CPU and its operating system offer. */
unsigned imk_cpu_flags(void);

/* The fastest functions that need no more than `cpu_flags`; 0 gives the reference. */
void imk_image_ops_init(struct imk_image_ops *ops, unsigned cpu_flags);

#endif
