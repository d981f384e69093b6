/* What decode.c and the files of the formats have between them. Each of those hides one library. Results as
 * in decode.h. */
#ifndef AUGMENT_DECODE_FORMAT_H
#define AUGMENT_DECODE_FORMAT_H

#include "augment/decode/buffer.h"
#include "augment/decode/decode.h"

/* An image in memory, with what bounds it and where its pixels go. */
struct au_input {
    const unsigned char *bytes;
    size_t n;
    struct au_limits limits;
    struct au_buffer pixels;
    struct au_buffer row; /* what is not RGB yet: a row, or the library's strip, tile or frame */
    const struct au_sink *sink;
    bool whole; /* the sink takes all rows at once */
};

/* A format. `begins` looks at the first bytes; `open` fills in the image from its header and holds it against
 * the limits; `region` decodes the box and gives its rows to the input's sink. It parses the bytes anew. */
struct au_format {
    bool (*begins)(const unsigned char *bytes, size_t n);
    int (*open)(struct au_input *input, struct au_image *ret, struct im_text *text);
    int (*region)(struct au_input *input, const struct au_image *image, const struct imk_box *box,
                  struct im_text *text);
};

extern const struct au_format au_png, au_webp, au_gif, au_bmp, au_tiff, au_pnm, au_jpeg2000, au_avif;

/* Checks a header's width and height: 0, IM_VERDICT_CORRUPT without pixels, or IM_VERDICT_TOO_LARGE. */
int au_input_check_size(const struct au_input *input, uint32_t width, uint32_t height, struct im_text *text);

/* Holds ret->memory, which the caller has set, against the limit: 0 or IM_VERDICT_MEMORY_LIMIT. */
int au_input_check_memory(const struct au_input *input, const struct au_image *image, struct im_text *text);

/* Both. */
int au_input_check(const struct au_input *input, const struct au_image *image, struct im_text *text);

/* Makes room in `buffer` for rows of `row_bytes` bytes and the slack after them: 0,
 * IM_VERDICT_MEMORY_LIMIT or -ENOMEM. */
int au_input_reserve(struct au_input *input, struct au_buffer *buffer, size_t row_bytes, uint32_t rows,
                     struct im_text *text);

/* Gives the sink the rows of the box, all of the image being in memory. */
void au_input_give(const struct au_input *input, const unsigned char *pixels, size_t stride,
                   const struct imk_box *box);

/* Bytes of the strip in which an image of this size goes to the sink. */
uint64_t au_strip_bytes(uint32_t width, uint32_t height);

/* Rows of a box on their way to the sink, some at a time, so that no image need be in memory whole. */
struct au_strip {
    struct au_input *input;
    unsigned char *first_row; /* of the strip, in the input's pixels */
    size_t stride, offset;    /* from row to row, and how many bytes of each lie before the box */
    uint32_t rows, room;      /* of the box; and of the strip */
    uint32_t first, count;    /* the rows in the strip */
};

/* Takes rows of `row_bytes` bytes, whose part from `offset` on the sink gets: 0, IM_VERDICT_MEMORY_LIMIT or
 * -ENOMEM. */
int au_strip_begin(struct au_strip *strip, struct au_input *input, size_t row_bytes, size_t offset,
                   uint32_t rows, struct im_text *text);

/* Where the next row goes, and how many of them have room there. */
unsigned char *au_strip_at(const struct au_strip *strip, uint32_t *ret_room);

/* `n` more rows have been written there. */
void au_strip_add(struct au_strip *strip, uint32_t n);

/* Numbers in headers. */
static inline uint32_t au_le16(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static inline uint32_t au_le32(const unsigned char *p)
{
    return au_le16(p) | au_le16(p + 2) << 16;
}

static inline uint32_t au_be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* 8 bits of a pixel to RGB: grey, and what Pillow makes of numbers with more bits, which is clipped. */
static inline void au_put_grey(unsigned char *rgb, int64_t value)
{
    rgb[0] = rgb[1] = rgb[2] = (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Ink over what black leaves, by Pillow's cmyk2rgb: rest - ink * rest / 255, rounded. */
static inline unsigned char au_under_ink(unsigned ink, unsigned rest)
{
    unsigned product = ink * rest + 128;

    return (unsigned char)(rest - (((product >> 8) + product) >> 8));
}

struct au_jpeg;
int au_jpeg_new(struct au_jpeg **ret);
void au_jpeg_free(struct au_jpeg **jpeg);
void au_jpeg_use_library(struct au_jpeg *jpeg, bool use_library);
void au_jpeg_use_cpu(struct au_jpeg *jpeg, unsigned cpu_flags);
bool au_jpeg_used_library(const struct au_jpeg *jpeg);
/* As au_decoder_seek() and what follows it; begun before each image. */
struct au_seek *au_jpeg_seek(struct au_jpeg *jpeg);
void au_jpeg_seek_begin(struct au_jpeg *jpeg, enum au_seek_mode mode, size_t from, size_t to);
struct au_scan_shape au_jpeg_scan(const struct au_jpeg *jpeg);
enum au_seek_result au_jpeg_seek_result(const struct au_jpeg *jpeg);
bool au_jpeg_seek_finish(struct au_jpeg *jpeg);
bool au_jpeg_seek_make(struct au_jpeg *jpeg);
int au_jpeg_open(struct au_jpeg *jpeg, struct au_input *input, struct au_image *ret, struct im_text *text);
int au_jpeg_parse(struct au_jpeg *jpeg, const struct imk_box *box, uint32_t *ret_rows, struct im_text *text);
int au_jpeg_region(struct au_jpeg *jpeg, uint32_t scale, const struct imk_box *box, struct im_text *text);

#endif
