/* The seek index of one image: where its Huffman decoder stood, bit position and DC predictions, at some MCUs
 * of each MCU row. With it a crop is decoded without what lies above, left and right of it.
 *
 * It is made by a decode of the whole scan that met nothing unusual, and belongs to those very bytes. Packed
 * it takes less than 1 % of them. Packed bytes may be a stranger's; what they say is not believed either: the
 * decoder compares it with the codes (huffman.h). */
#ifndef AUGMENT_DECODE_SEEK_H
#define AUGMENT_DECODE_SEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/image.h"

enum { AU_SEEK_COMPONENTS = 4, AU_SEEK_POINTS_MAX = 4096, AU_SEEK_BYTES_MAX = 32768 };

/* Between two MCUs. */
struct au_seek_point {
    uint64_t bit; /* of the scan's bytes, stuffing included: the next code's first */
    int32_t dc[AU_SEEK_COMPONENTS];
};

struct au_seek {
    uint32_t mcus_per_row, mcu_rows;
    uint32_t stride;              /* MCUs of a row between two points */
    uint32_t per_row;             /* points of a row, the first before its first MCU */
    uint32_t count;               /* points that are there: all, or none */
    struct au_seek_point *points; /* row by row, and one behind the last MCU */
    uint32_t room;                /* for as many there is memory */
};

/* What of a file's only scan says which of its bytes a box needs. */
struct au_scan_shape {
    size_t at;                      /* its first code in the file */
    uint32_t mcu_width, mcu_height; /* pixels */
    bool looks_sideways, looks_up;  /* upsampling looks at chroma samples of neighbouring columns, rows */
};

void au_seek_fini(struct au_seek *seek);

/* Chooses the stride for a scan of so many MCUs in n bytes and makes room for its points; count becomes 0.
 * false: it is not worth an index (or there is no memory). */
bool au_seek_plan(struct au_seek *seek, uint32_t mcus_per_row, uint32_t mcu_rows, size_t n);

/* How many points a complete index of this shape has. */
static inline uint64_t au_seek_total(const struct au_seek *seek)
{
    return (uint64_t)seek->per_row * seek->mcu_rows + 1;
}

/* Which bytes [*ret_from, *ret_to) of the file are read when the box (of the image's pixels, and not empty) is decoded with
 * this complete index, beside those before the scan: from the point before the box's first MCU to the one after its
 * last, with the MCUs around it that libjpeg's upsampling asks for. *ret_to may be a byte behind the file. false: the box is not the image's. */
bool au_seek_extent(const struct au_seek *seek, const struct au_scan_shape *shape, const struct imk_box *box,
                    uint64_t *ret_from, uint64_t *ret_to);

/* A complete index as bytes, at most AU_SEEK_BYTES_MAX. Returns how many; 0: it does not fit `size`, or its
 * numbers are too large. */
size_t au_seek_pack(const struct au_seek *seek, void *bytes, size_t size);

/* Any bytes may be given. false, with count 0: they are no index, or there is no memory. */
bool au_seek_unpack(struct au_seek *seek, const void *bytes, size_t n);

#endif
