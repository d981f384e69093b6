/* From Huffman codes to samples: what takes the place of libjpeg's coefficient controller for one baseline scan. libjpeg's own clears
 * the blocks of each MCU, has them filled, and calls a function for each inverse DCT; here the block stays where it is and the kernel
 * (kernels/image.h) clears it. Samples, rows and columns are the same. */
#ifndef AUGMENT_DECODE_BLOCKS_H
#define AUGMENT_DECODE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "augment/decode/huffman.h"
#include "kernels/image.h"

/* A component of a scan, and how its blocks lie in an MCU. */
struct au_blocks_component {
    const uint16_t *quant;   /* 64 multipliers, rows of columns */
    uint32_t index;          /* of the component in the frame */
    uint32_t width, height;  /* in blocks */
    uint32_t last_w, last_h; /* of the last column's MCUs and of the last row's: what lies in the image */
};

/* Makes a block of numbers that are too large for the kernel: 8 x 8 samples of a component from column x on of `rows`. The block has rows
 * of columns, and is aligned to 32 bytes. */
typedef void (*au_blocks_large)(void *context, uint32_t component, int16_t block[64], unsigned char **rows,
                                uint32_t x);

/* One for each decoder; begun for each scan. */
struct au_blocks {
    struct imk_image_ops ops;
    bool is_fast; /* the kernel is faster than libjpeg's */
    au_blocks_large large;
    void *context;
    uint8_t order[AU_HUFFMAN_ORDER]; /* of the kernel's blocks */
    int16_t block[AU_HUFFMAN_BLOCKS_MAX][64];
    int16_t (*pointers[AU_HUFFMAN_BLOCKS_MAX])[64];
    uint16_t quant[AU_HUFFMAN_COMPONENTS][64]; /* in `order` */
    uint32_t count, mcus_per_row;
    struct au_block_place {
        const uint16_t *quant;
        uint32_t component, x, y, width; /* of the block in the MCU, and of the MCU, in samples */
        bool in_last_w, in_last_h;
    } places[AU_HUFFMAN_BLOCKS_MAX];
};

void au_blocks_init(struct au_blocks *blocks, unsigned cpu_flags /* enum imk_cpu */, au_blocks_large large,
                    void *context);

/* A scan of n <= AU_HUFFMAN_COMPONENTS components with at most AU_HUFFMAN_BLOCKS_MAX blocks. False: libjpeg's own is as fast.
 * True: its codes are to be decoded in blocks->order. */
bool au_blocks_begin(struct au_blocks *blocks, const struct au_blocks_component *components, int n,
                     uint32_t mcus_per_row);

/* A row of MCUs: samples of columns first ... last are wanted. */
struct au_blocks_row {
    uint32_t first, last;
    bool is_last;         /* of the image's */
    unsigned char ***out; /* for each component in the frame its rows, from the samples of MCU `first` on */
};

/* False: as au_huffman_mcu(). */
bool au_blocks_make(struct au_blocks *blocks, struct au_huffman *huffman, const struct au_blocks_row *row);

#endif
