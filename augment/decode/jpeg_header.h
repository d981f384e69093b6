/* What a JPEG file's header says, once libjpeg has read it, and what follows for decoding it. */
#ifndef AUGMENT_DECODE_JPEG_HEADER_H
#define AUGMENT_DECODE_JPEG_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct jpeg_decompress_struct;

/* Is this one baseline scan of all components, read as it is decoded? The width rules out the lossless
 * process of libjpeg-turbo 3, whose MCUs are single pixels. After jpeg_start_decompress(). */
bool au_jpeg_is_plain(const struct jpeg_decompress_struct *d);

/* Does upsampling look at neighbouring samples of an axis? What is not twice as wide, or high, is copied. */
bool au_jpeg_looks_aside(const struct jpeg_decompress_struct *d, bool is_upright);

/* Are there scans missing from a progressive file that parsed to its end? Then blocks are smoothed. */
bool au_jpeg_is_smoothed(const struct jpeg_decompress_struct *d);

/* Bytes that decoding takes: a strip of pixels. With several scans (progressive, or one for each component)
 * libjpeg keeps the coefficients of all blocks, 64 of two bytes, blocks filled up to whole MCUs. */
uint64_t au_jpeg_memory(const struct jpeg_decompress_struct *d);

/* Scans in n bytes from behind the marker of the first one on; counting ends above `most`. */
uint64_t au_jpeg_count_scans(const unsigned char *at, size_t n, uint64_t most);

#endif
