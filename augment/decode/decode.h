/* Encoded image bytes to RGB pixels, or to a verdict on why not.
 *
 * A decoder handles one image at a time: open it, look at its size, decode the part that is wanted. The
 * format is recognised by the first bytes, whatever the file is called; ipc/base/image_type.h lists them. Of several
 * images in a file (animation, pages) the first counts. Pixels are what Pillow's open().convert("RGB") gives,
 * so that EXIF orientation is not looked at but in TIFF, whose tag it is. Bytes come from strangers: every
 * limit is checked before memory is spent, and nothing but a verdict comes of a bad file.
 *
 * Results of both calls: 0, a verdict > 0 (enum im_verdict: about the image), or a negative errno (about us:
 * -ENOMEM). With anything but 0, `text` (may be NULL) says more.
 *
 * In this folder: one file per format behind format.h, and our Huffman decoder for JPEG. This is the code
 * that parses untrusted bytes: it runs in a sandbox, is fuzzed (tests/fuzz), and returns a verdict for every
 * bad file instead of an error. Results equal Pillow's byte for byte, AVIF's nearly; tests/golden has the
 * references. Nothing here is random. */
#ifndef AUGMENT_DECODE_DECODE_H
#define AUGMENT_DECODE_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "augment/decode/seek.h"
#include "ipc/base/err.h"
#include "ipc/base/image_type.h"
#include "ipc/base/verdict.h"
#include "kernels/image.h"

/* What an image may ask for. */
struct au_limits {
    uint32_t side_max;   /* pixels of width or height */
    uint64_t pixels_max; /* width * height */
    uint32_t scans_max;  /* of a progressive JPEG; an image near pixels_max may have 16 */
    size_t memory_max;   /* bytes: what au_image.memory may be */
};

#define AU_LIMITS_DEFAULT                                                                                    \
    {                                                                                                        \
        .side_max = 65500, .pixels_max = 178956970, .scans_max = 64, .memory_max = (size_t)512 << 20         \
    }

struct au_image {
    enum im_image_type type;
    uint32_t width, height;
    uint64_t memory; /* bytes that decoding all of it takes: what the library keeps, and pixels where they are
                        not given away in strips. By the header alone, so that whether a file is decoded depends
                        on nothing else: not on the crop, nor on what else the machine does */
};

/* Decoded pixels: rows of interleaved RGB, `stride` bytes apart, followed by IMK_SLACK readable bytes. */
struct au_pixels {
    const unsigned char *data;
    size_t stride;
};

/* Whoever takes the rows of a box: gets them from its top to its bottom, some at a time, the first being row
 * `first` of the box. They are the decoder's again when the call returns. It may be given all rows again from
 * the top: those of the last time count, those before may have come of a wrong seek index. It has them all only
 * when the decoder returns 0. */
struct au_sink {
    void (*take)(void *context, uint32_t first, uint32_t count, const struct au_pixels *rows);
    void *context;
};

/* The library for AVIF brings thirty others with it, and loading them takes longer than all else at a start. It is loaded
 * by au_avif_load(), or when the first such image comes; after au_avif_seal() no more: then opening one is -ELIBACC. */
void au_avif_load(void);
void au_avif_seal(void);

struct au_decoder;

/* What a side of `pixels` has at 1/scale. */
static inline uint32_t au_scaled_side(uint32_t pixels, uint32_t scale)
{
    return (pixels + scale - 1) / scale;
}

/* 0 or -ENOMEM. */
int au_decoder_new(struct au_decoder **ret, const struct au_limits *limits);
void au_decoder_free(struct au_decoder **decoder);

/* Reads the header. `bytes` must stay unchanged until the last decode of this image. */
int au_decoder_open(struct au_decoder *decoder, const void *bytes, size_t n, struct au_image *ret,
                    struct im_text *text);

/* Decodes the pixels of `box`, which must lie within the image just opened, once for each open, and gives
 * them to the sink. They equal those of a decode of the whole image, bit for bit.
 *
 * A JPEG file may be decoded at 1/scale, scale being 1, 2, 4 or 8: libjpeg's inverse DCT makes one pixel of
 * scale x scale, nearly their mean, and saves most of its own work. The box is then in those pixels, of which
 * there are au_scaled_side() on each side. */
int au_decoder_rows(struct au_decoder *decoder, uint32_t scale, const struct imk_box *box,
                    const struct au_sink *sink, struct im_text *text);

/* The same for tests and measurements: all pixels at once. They stay the decoder's and valid until its next
 * call. */
int au_decoder_region(struct au_decoder *decoder, const struct imk_box *box, struct au_pixels *ret,
                      struct im_text *text);
int au_decoder_region_scaled(struct au_decoder *decoder, uint32_t scale, const struct imk_box *box,
                             struct au_pixels *ret, struct im_text *text);

/* The seek index (seek.h) of the image that is decoded next: its pixels are the same with one and without one.
 * They are so with a wrong one, too, where its points contradict the codes that are decoded: in a crop those of
 * a row up to the last point that it passes, and of the last row up to the next point. (To run on to the next point
 * in every row costs 3 to 4 % of a sample's time, and leaves those that agree with each other.) What is forged to agree
 * with itself is not noticed here: checksum and owner of the file (ipc/seek_file.h) are to see to that. */
enum au_seek_mode {
    AU_SEEK_OFF,
    AU_SEEK_USE,    /* au_decoder_seek() holds its index */
    AU_SEEK_RECORD, /* au_decoder_seek() is to hold it */
};
enum au_seek_result {
    AU_SEEK_NONE,  /* no index was used or begun */
    AU_SEEK_USED,  /* it saved work */
    AU_SEEK_WRONG, /* it is not this image's; the image was decoded without it */
    AU_SEEK_BEGUN, /* au_decoder_seek_finish() may complete it */
};
struct au_seek *au_decoder_seek(struct au_decoder *decoder); /* the decoder's, for the caller to fill */
void au_decoder_seek_mode(struct au_decoder *decoder, enum au_seek_mode mode); /* for one decode */
/* AU_SEEK_USE of a file of which only the header and the bytes [from, to) are there. Codes elsewhere are not read: where
 * the box needs them, or the index does not agree with the codes, decoding fails with -ENODATA, and the whole file
 * is needed. A verdict on the header says as little. */
void au_decoder_seek_parts(struct au_decoder *decoder, size_t from, size_t to);
/* The image opened last. */
struct au_image au_decoder_image(const struct au_decoder *decoder);
/* The scan of the last decode that used an index or began one. */
struct au_scan_shape au_decoder_scan(const struct au_decoder *decoder);
enum au_seek_result au_decoder_seek_result(const struct au_decoder *decoder); /* of the last decode */
/* Reads the rest of the image's codes; before the next open, its bytes unchanged. True: au_decoder_seek()
 * holds the index. */
bool au_decoder_seek_finish(struct au_decoder *decoder);
/* In place of a decode of the image just opened: makes its index, and no pixels. True: au_decoder_seek() holds
 * it. */
bool au_decoder_seek_make(struct au_decoder *decoder);

/* For measurements, in place of au_decoder_region(): reads the Huffman codes as they are read for `box` of
 * the JPEG file just opened, down to about its last row (*ret_rows of them from the top: whole iMCU rows, and
 * not the image's last), of a progressive file those of all rows, and makes no pixels. IM_VERDICT_UNSUPPORTED
 * for other formats. */
int au_decoder_parse(struct au_decoder *decoder, const struct imk_box *box, uint32_t *ret_rows,
                     struct im_text *text);

/* For tests and measurements: leaves the Huffman codes to libjpeg-turbo, as is done for what huffman.h does
 * not do. The pixels are the same. */
void au_decoder_use_library(struct au_decoder *decoder, bool use_library);
/* Whether it came to that with the last JPEG file that was decoded. */
bool au_decoder_used_library(const struct au_decoder *decoder);

/* For tests: JPEG files as on a CPU that has no more than cpu_flags (enum imk_cpu). The pixels are the same. */
void au_decoder_use_cpu(struct au_decoder *decoder, unsigned cpu_flags);

/* Bytes of memory that the decoder keeps between images. */
size_t au_decoder_bytes(const struct au_decoder *decoder);

#endif
