/* The loops are those of decompress_onepass() in libjpeg's jdcoefct.c: MCUs of the wanted columns, blocks that lie inside of
 * the image. */
#include "augment/decode/blocks.h"

#include <string.h>

enum { SIDE = 8, COEFFICIENTS = 64 };

void au_blocks_init(struct au_blocks *b, unsigned cpu_flags, au_blocks_large large, void *context)
{
    imk_image_ops_init(&b->ops, cpu_flags);
    b->is_fast = (cpu_flags & IMK_CPU_AVX2) != 0;
    b->large = large;
    b->context = context;
    for (uint32_t k = 0; k < AU_HUFFMAN_ORDER; k++)
        b->order[k] =
            (uint8_t)imk_dct_place(au_huffman_natural_order[k] / SIDE, au_huffman_natural_order[k] % SIDE);
    for (int i = 0; i < AU_HUFFMAN_BLOCKS_MAX; i++)
        b->pointers[i] = &b->block[i];
}

static void place_component(struct au_blocks *b, const struct au_blocks_component *c, uint16_t *quant)
{
    for (uint32_t k = 0; k < COEFFICIENTS; k++)
        quant[imk_dct_place(k / SIDE, k % SIDE)] = c->quant[k];
    for (uint32_t i = 0; i < c->width * c->height; i++) {
        const uint32_t x = i % c->width, y = i / c->width;

        b->places[b->count++] = (struct au_block_place){
            quant, c->index, x * SIDE, y * SIDE, c->width * SIDE, x < c->last_w, y < c->last_h};
    }
}

bool au_blocks_begin(struct au_blocks *b, const struct au_blocks_component *components, int n,
                     uint32_t mcus_per_row)
{
    if (!b->is_fast)
        return false;
    b->count = 0;
    b->mcus_per_row = mcus_per_row;
    for (int i = 0; i < n; i++)
        place_component(b, &components[i], b->quant[i]);
    memset(b->block, 0, sizeof b->block);
    return true;
}

/* Numbers of a size that no encoder makes. */
static void make_large(struct au_blocks *b, const struct au_block_place *place, int16_t *block,
                       unsigned char **rows, uint32_t x)
{
    _Alignas(32) int16_t natural[COEFFICIENTS];

    for (uint32_t k = 0; k < COEFFICIENTS; k++)
        natural[k] = block[imk_dct_place(k / SIDE, k % SIDE)];
    b->large(b->context, place->component, natural, rows, x);
    memset(block, 0, sizeof natural);
}

static void make_mcu(struct au_blocks *b, const struct au_blocks_row *row, uint32_t column)
{
    const bool is_last = column == b->mcus_per_row - 1;

    for (uint32_t i = 0; i < b->count; i++) {
        const struct au_block_place *place = &b->places[i];
        unsigned char **rows = row->out[place->component] + place->y;
        const uint32_t x = (column - row->first) * place->width + place->x;

        if ((is_last && !place->in_last_w) || (row->is_last && !place->in_last_h))
            memset(b->block[i], 0, sizeof b->block[i]);
        else if (!b->ops.idct(rows, x, b->block[i], place->quant))
            make_large(b, place, b->block[i], rows, x);
    }
}

bool au_blocks_make(struct au_blocks *b, struct au_huffman *huffman, const struct au_blocks_row *row)
{
    for (uint32_t column = 0; column < b->mcus_per_row; column++) {
        if (!au_huffman_mcu(huffman, b->pointers))
            return false;
        if (column >= row->first && column <= row->last)
            make_mcu(b, row, column);
    }
    return true;
}
