/* The inverse DCT of JPEG: columns, then rows, each as one sum of products for an output. jidctint.c comes to the same sums by
 * fewer multiplications and rounds nowhere in between; so does libjpeg-turbo's SIMD, whose sums of two coefficients have 16
 * bits. Where those overflow, a result of pass 1 is outside of what pass 2 may get: the four outputs that a sum of 0 and 4, or
 * a difference, is part of have its double as their mean; and the odd part's matrix is orthogonal, so one of its
 * outputs is as large as the coefficients 1, 3, 5, 7 are together. */
#include <string.h>

#include "kernels/image_versions.h"

struct even_odd {
    int64_t even, odd;
};

/* x: the eight inputs in the order 0, 4, 2, 6, 1, 3, 5, 7. */
static struct even_odd parts_of(const int64_t x[8], int k)
{
    static const int16_t c04[4][2] = IMK_DCT_04, c26[4][2] = IMK_DCT_26, c13[4][2] = IMK_DCT_13,
                         c57[4][2] = IMK_DCT_57;

    return (struct even_odd){
        x[0] * c04[k][0] + x[1] * c04[k][1] + x[2] * c26[k][0] + x[3] * c26[k][1],
        x[4] * c13[k][0] + x[5] * c13[k][1] + x[6] * c57[k][0] + x[7] * c57[k][1],
    };
}

/* Outputs 0 ... 7 with all but `bits` of their bits after the point rounded away. */
static void transform(const int64_t x[8], int bits, int64_t out[8])
{
    for (int k = 0; k < 4; k++) {
        struct even_odd p = parts_of(x, k);
        int64_t half = INT64_C(1) << (bits - 1);

        out[k] = (p.even + p.odd + half) >> bits;
        out[7 - k] = (p.even - p.odd + half) >> bits;
    }
}

/* Inputs in the order of transform(). */
static const uint8_t order[8] = {0, 4, 2, 6, 1, 3, 5, 7};

static bool transform_columns(const int16_t block[64], const uint16_t quant[64], int64_t out[8][8])
{
    for (uint32_t column = 0; column < 8; column++) {
        int64_t x[8], y[8];

        for (uint32_t i = 0; i < 8; i++) {
            uint32_t place = imk_dct_place(order[i], column);

            x[i] = (int16_t)(uint16_t)((uint32_t)(uint16_t)block[place] * quant[place]);
        }
        transform(x, IMK_DCT_BITS - IMK_DCT_PASS1_BITS, y);
        for (int row = 0; row < 8; row++) {
            if (y[row] < -IMK_DCT_LIMIT || y[row] >= IMK_DCT_LIMIT)
                return false;
            out[row][column] = y[row];
        }
    }
    return true;
}

bool imk_idct_ref(unsigned char *const rows[8], size_t x, int16_t block[64], const uint16_t quant[64])
{
    int64_t columns[8][8];

    if (!transform_columns(block, quant, columns))
        return false;
    for (int row = 0; row < 8; row++) {
        int64_t in[8], out[8];

        for (int i = 0; i < 8; i++)
            in[i] = columns[row][order[i]];
        transform(in, IMK_DCT_BITS + IMK_DCT_PASS1_BITS + 3, out);
        for (int i = 0; i < 8; i++) {
            int64_t sample = out[i] + 128;

            rows[row][x + (size_t)i] = (unsigned char)(sample < 0 ? 0 : sample > 255 ? 255 : sample);
        }
    }
    memset(block, 0, 64 * sizeof *block);
    return true;
}
