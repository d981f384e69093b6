/* Huffman codes of baseline JPEG scans: the entropy decoder that jpeg.c puts in the place of
 * libjpeg-turbo's. It has nothing of a file but what its caller says; it reads bytes and writes
 * coefficients.
 *
 * It does sound scans only. Whatever else it meets (an invalid code, a marker where none is due, the end of
 * the bytes before the end of the codes, a DC value beyond 32 bits) it reports, without having done anything
 * that matters; the caller then starts the image again with libjpeg's decoder, whose answer counts. So every
 * coefficient that comes out is one that libjpeg would have made: ITU-T T.81 leaves no choice. */
#ifndef AUGMENT_DECODE_HUFFMAN_H
#define AUGMENT_DECODE_HUFFMAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "augment/decode/seek.h"

enum { AU_HUFFMAN_DC, AU_HUFFMAN_AC, AU_HUFFMAN_CLASSES };
enum { AU_HUFFMAN_SLOTS = 4, AU_HUFFMAN_BLOCKS_MAX = 10, AU_HUFFMAN_COMPONENTS = AU_SEEK_COMPONENTS };

/* Places of a block's coefficients, in coded order; a code may run past the last, which is then meant. */
enum { AU_HUFFMAN_ORDER = 128 };
extern const uint8_t au_huffman_natural_order[AU_HUFFMAN_ORDER]; /* rows of columns, as libjpeg has them */

struct au_huffman;

/* One scan. `bytes` are n bytes from its first code on, stuffing included, and stay the caller's. */
struct au_huffman_scan {
    const unsigned char *bytes;
    size_t n;
    size_t first;              /* with an index: earlier bytes are not there, and no point leads to them */
    uint32_t restart_interval; /* MCUs between restart markers; 0: none */
    uint32_t mcus_per_row;
    const uint8_t *order; /* of blocks that come out; AU_HUFFMAN_ORDER places, the caller's */
    uint32_t blocks;      /* in an MCU, in coded order */
    struct {
        uint8_t component, dc_slot, ac_slot;
        bool only_dc; /* of its coefficients the first alone is wanted */
    } block[AU_HUFFMAN_BLOCKS_MAX];
};

int au_huffman_new(struct au_huffman **ret); /* 0 or -ENOMEM */
void au_huffman_use_cpu(struct au_huffman *huffman,
                        unsigned cpu_flags); /* enum imk_cpu; all that there is by default */
void au_huffman_free(struct au_huffman **huffman);

/* Defines the table of a class and slot: counts[l] codes of l = 1 ... 16 bits for `values` in order, which
 * must be a sound set of codes with DC values <= 15 (libjpeg has checked it). The table that is there already
 * costs a comparison. */
void au_huffman_table(struct au_huffman *huffman, int class, int slot, const uint8_t counts[17],
                      const uint8_t values[256]);

/* Begins a scan whose tables are defined; all columns are wanted. */
void au_huffman_begin(struct au_huffman *huffman, const struct au_huffman_scan *scan);

/* From now on only the MCUs of columns first ... last of each row are wanted; others keep their zeros. */
void au_huffman_keep(struct au_huffman *huffman, uint32_t first, uint32_t last);

/* Decodes the next MCU into zeroed blocks, in the scan's order; blocks == NULL skips it. false: something
 * unusual, and nothing may be made of this scan. */
bool au_huffman_mcu(struct au_huffman *huffman, int16_t (*const *blocks)[64]);

/* After au_huffman_begin(), of a scan without restart markers: writes down the points that are planned in
 * `seek`, which stays the caller's. They are complete after au_huffman_rest(). */
void au_huffman_record(struct au_huffman *huffman, struct au_seek *seek);

/* Takes the MCUs that nobody has asked for yet. true: all of the scan is sound, and the index is complete. */
bool au_huffman_rest(struct au_huffman *huffman);

/* After au_huffman_begin(), of a scan without restart markers that has this index: what is skipped, or is not
 * wanted, is from now on not decoded. A point that does not agree with the codes before it is unusual. */
void au_huffman_seek(struct au_huffman *huffman, const struct au_seek *seek);

/* With an index, after the last MCU that is asked for: do the codes that were decoded last lead to the next
 * point of the index? */
bool au_huffman_agrees(struct au_huffman *huffman);

#endif
