/* The loops are those of decompress_onepass() in libjpeg's jdcoefct.c: MCUs of the wanted columns, blocks that lie inside of
 * the image. */
#include "augment/decode/blocks.h"

#include <string.h>

#include <jpegint.h>

void au_blocks_init(struct au_blocks *b, unsigned cpu_flags)
{
    imk_image_ops_init(&b->ops, cpu_flags);
    b->is_fast = (cpu_flags & IMK_CPU_AVX2) != 0;
    for (uint32_t k = 0; k < AU_HUFFMAN_ORDER; k++)
        b->order[k] =
            (uint8_t)imk_dct_place(au_huffman_natural_order[k] / 8, au_huffman_natural_order[k] % 8);
    for (int i = 0; i < AU_HUFFMAN_BLOCKS_MAX; i++)
        b->pointers[i] = &b->block[i];
}

/* A scan of one component has as many MCU rows in an iMCU row as it has blocks there: left to libjpeg where that is not one. */
static bool is_usual(const struct jpeg_decompress_struct *d)
{
    if (d->dct_method != JDCT_ISLOW || (d->comps_in_scan == 1 && d->cur_comp_info[0]->v_samp_factor != 1))
        return false;
    for (int i = 0; i < d->comps_in_scan; i++)
        if (d->cur_comp_info[i]->DCT_scaled_size != DCTSIZE || !d->cur_comp_info[i]->component_needed ||
            !d->cur_comp_info[i]->quant_table)
            return false;
    return true;
}

static void place_component(struct au_blocks *b, int component, const jpeg_component_info *c, int first)
{
    for (uint32_t k = 0; k < DCTSIZE2; k++)
        b->quant[component][imk_dct_place(k / 8, k % 8)] = c->quant_table->quantval[k];
    for (int i = 0; i < c->MCU_blocks; i++)
        b->places[first + i] = (struct au_block_place){
            c,
            b->quant[component],
            (uint8_t)c->component_index,
            (uint8_t)(i % c->MCU_width),
            (uint8_t)(i / c->MCU_width),
            (uint8_t)c->MCU_sample_width,
        };
}

bool au_blocks_begin(struct au_blocks *b, const struct jpeg_decompress_struct *d)
{
    int first = 0;

    if (!b->is_fast || !is_usual(d))
        return false;
    for (int i = 0; i < d->comps_in_scan; first += d->cur_comp_info[i++]->MCU_blocks)
        place_component(b, i, d->cur_comp_info[i], first);
    memset(b->block, 0, sizeof b->block);
    return true;
}

/* Numbers of a size that no encoder makes: libjpeg's answer counts. */
static void transform_by_library(j_decompress_ptr d, const struct au_block_place *place, int16_t block[64],
                                 JSAMPARRAY rows, JDIMENSION x)
{
    /* As it has them itself; libjpeg-turbo's kernels do aligned loads. */
    _Alignas(32) JCOEF natural[DCTSIZE2];

    for (uint32_t k = 0; k < DCTSIZE2; k++)
        natural[k] = block[imk_dct_place(k / 8, k % 8)];
    d->idct->inverse_DCT[place->index](d, (jpeg_component_info *)place->component, natural, rows, x);
    memset(block, 0, DCTSIZE2 * sizeof *block);
}

/* Blocks of the last column and the last row may lie outside of the image. */
static bool is_outside(const struct jpeg_decompress_struct *d, const struct au_block_place *place,
                       JDIMENSION column)
{
    return (column == d->MCUs_per_row - 1 && place->x >= place->component->last_col_width) ||
           (d->input_iMCU_row == d->total_iMCU_rows - 1 && place->y >= place->component->last_row_height);
}

static void put_mcu(struct au_blocks *b, j_decompress_ptr d, JSAMPIMAGE out, JDIMENSION column)
{
    const JDIMENSION mcu = column - d->master->first_iMCU_col;

    for (int i = 0; i < d->blocks_in_MCU; i++) {
        const struct au_block_place *place = &b->places[i];
        JSAMPARRAY rows = out[place->index] + (size_t)DCTSIZE * place->y;
        JDIMENSION x = mcu * place->mcu_width + (JDIMENSION)DCTSIZE * place->x;

        if (is_outside(d, place, column))
            memset(b->block[i], 0, sizeof b->block[i]);
        else if (!b->ops.idct(rows, x, b->block[i], place->quant))
            transform_by_library(d, place, b->block[i], rows, x);
    }
}

bool au_blocks_row(struct au_blocks *b, j_decompress_ptr d, struct au_huffman *huffman, JSAMPIMAGE out)
{
    const JDIMENSION first = d->master->first_iMCU_col, last = d->master->last_iMCU_col;

    for (JDIMENSION column = 0; column < d->MCUs_per_row; column++) {
        if (!au_huffman_mcu(huffman, b->pointers))
            return false;
        if (column >= first && column <= last)
            put_mcu(b, d, out, column);
    }
    return true;
}
