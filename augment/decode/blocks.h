/* From Huffman codes to samples: what takes the place of libjpeg's coefficient controller for one baseline scan. libjpeg's own clears
 * the blocks of each MCU, has them filled, and calls a function for each inverse DCT; here the block stays where it is and the kernel
 * (kernels/image.h) clears it. Samples, rows and columns are the same. */
#ifndef AUGMENT_DECODE_BLOCKS_H
#define AUGMENT_DECODE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jpeglib.h>

#include "augment/decode/huffman.h"
#include "kernels/image.h"

/* One for each decoder; begun for each scan. */
struct au_blocks {
    struct imk_image_ops ops;
    uint8_t order[AU_HUFFMAN_ORDER]; /* of the kernel's blocks */
    int16_t block[AU_HUFFMAN_BLOCKS_MAX][64];
    int16_t (*pointers[AU_HUFFMAN_BLOCKS_MAX])[64];
    uint16_t quant[AU_HUFFMAN_COMPONENTS][64];
    struct au_block_place {
        const jpeg_component_info *component;
        const uint16_t *quant;
        uint8_t index;     /* of the component in the frame */
        uint8_t x, y;      /* block of its component in the MCU */
        uint8_t mcu_width; /* samples of its component */
    } places[AU_HUFFMAN_BLOCKS_MAX];
    bool is_fast; /* the kernel is faster than libjpeg's */
};

void au_blocks_init(struct au_blocks *blocks, unsigned cpu_flags); /* enum imk_cpu */

/* Can samples of this scan, which jpeg_start_decompress() has begun, be made here? Its codes are then to be decoded in
 * blocks->order. */
bool au_blocks_begin(struct au_blocks *blocks, const struct jpeg_decompress_struct *d);

/* The next row of iMCUs, in place of decompress_data(). False: as au_huffman_mcu(). */
bool au_blocks_row(struct au_blocks *blocks, j_decompress_ptr d, struct au_huffman *huffman, JSAMPIMAGE out);

#endif
