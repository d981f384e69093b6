/* How much two images look alike: a difference hash (dHash) of their brightness, whatever their size, format and quality. */
#ifndef AUGMENT_TOOLS_LIKENESS_H
#define AUGMENT_TOOLS_LIKENESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "augment/decode/decode.h"

enum { AU_LIKENESS_COLUMNS = 9, AU_LIKENESS_ROWS = 8 };

/* The mean brightness of 9 x 8 parts of an image, from its rows. */
struct au_likeness {
    uint32_t width, height;
    uint64_t sum[AU_LIKENESS_ROWS][AU_LIKENESS_COLUMNS];
};
void au_likeness_begin(struct au_likeness *l, uint32_t width, uint32_t height);
void au_likeness_rows(struct au_likeness *l, uint32_t first, uint32_t count, const struct au_pixels *rows);

/* A bit for each part that is brighter than the one to its right. False: the image is too flat or too small for its hash to say
 * anything. */
bool au_likeness_hash(const struct au_likeness *l, uint64_t *ret);

struct au_alike {
    size_t item, like; /* the image, and the one before it that it is most like */
    int bits;          /* that differ */
};

/* Of each hash (`known` says of which there is one) the nearest before it, where at most `most` bits differ (0 to
 * AU_LIKENESS_BITS_MAX). *ret is the caller's, in the order of items. Negative errno. */
enum { AU_LIKENESS_BITS_MAX = 7 };
int au_likeness_find(const uint64_t *hash, const bool *known, size_t n, int most, struct au_alike **ret,
                     size_t *ret_count);

#endif
