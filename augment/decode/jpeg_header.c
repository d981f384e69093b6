#include "augment/decode/jpeg_header.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include "augment/decode/format.h"
#include "augment/decode/huffman.h"

bool au_jpeg_is_plain(const struct jpeg_decompress_struct *d)
{
    JDIMENSION mcu = DCTSIZE * (d->comps_in_scan == 1 ? 1 : (JDIMENSION)d->max_h_samp_factor);

    return d->MCUs_per_row > 1 && d->MCUs_per_row == (d->image_width + mcu - 1) / mcu &&
           !jpeg_has_multiple_scans((j_decompress_ptr)d) && !d->progressive_mode && !d->arith_code &&
           d->data_precision == 8 && d->comps_in_scan == d->num_components &&
           d->blocks_in_MCU <= AU_HUFFMAN_BLOCKS_MAX && d->unread_marker == 0;
}

bool au_jpeg_looks_aside(const struct jpeg_decompress_struct *d, bool is_upright)
{
    for (int i = 0; i < d->num_components; i++) {
        const jpeg_component_info *c = &d->comp_info[i];
        const int factor = is_upright ? c->v_samp_factor : c->h_samp_factor;
        const int most = is_upright ? d->max_v_samp_factor : d->max_h_samp_factor;

        if (factor * c->DCT_scaled_size != most * d->min_DCT_scaled_size)
            return true;
    }
    return false;
}

bool au_jpeg_is_smoothed(const struct jpeg_decompress_struct *d)
{
    if (!d->progressive_mode || !d->coef_bits)
        return false;
    for (int c = 0; c < d->num_components; c++)
        for (int k = 0; k < DCTSIZE2; k++)
            if (d->coef_bits[c][k] != 0)
                return true;
    return false;
}

uint64_t au_jpeg_memory(const struct jpeg_decompress_struct *d)
{
    uint64_t bytes = au_strip_bytes(d->image_width, d->image_height);

    if (!jpeg_has_multiple_scans((j_decompress_ptr)d))
        return bytes;
    for (int i = 0; i < d->num_components; i++) {
        const jpeg_component_info *c = &d->comp_info[i];
        uint64_t h = (uint64_t)c->h_samp_factor, v = (uint64_t)c->v_samp_factor;

        bytes +=
            (c->width_in_blocks + h - 1) / h * h * ((c->height_in_blocks + v - 1) / v * v) * sizeof(JBLOCK);
    }
    return bytes;
}

/* A marker is a byte 0xff and a code; within the codes of a scan 0xff is followed by 0 or a restart marker. */
uint64_t au_jpeg_count_scans(const unsigned char *at, size_t n, uint64_t most)
{
    const unsigned char *const end = at + n;
    uint64_t scans = 1;

    while (scans <= most && at < end && (at = memchr(at, 0xff, (size_t)(end - at))) && end - at >= 2) {
        unsigned code = at[1];
        bool has_length = code != 0 && code != 0xff && code != 0x01 && (code & 0xf8) != 0xd0;

        if (code == JPEG_EOI)
            break;
        scans += code == 0xda; /* start of scan */
        at += code == 0xff ? 1 : 2;
        if (has_length && end - at >= 2 && (at[0] << 8 | at[1]) >= 2)
            at += (at[0] << 8 | at[1]) < end - at ? at[0] << 8 | at[1] : end - at;
    }
    return scans;
}
