/* What decode.c and the files of the formats, decode_*.c, have between them. Each of those hides one library.
 * Results as in decode.h. */
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
    struct au_buffer row; /* one row before conversion */
};

/* Checks a header's width and height against the limits: 0 or IM_VERDICT_TOO_LARGE. */
int au_input_check_size(const struct au_input *input, uint32_t width, uint32_t height, struct im_text *text);

/* Holds ret->memory, which the caller has set, against the limit: 0 or IM_VERDICT_MEMORY_LIMIT. */
int au_input_check_memory(const struct au_input *input, const struct au_image *image, struct im_text *text);

/* Makes room for rows of `row_bytes` bytes and the slack after them: 0,
 * IM_VERDICT_MEMORY_LIMIT or -ENOMEM. */
int au_input_reserve(struct au_input *input, size_t row_bytes, uint32_t rows, struct im_text *text);

struct au_jpeg;
int au_jpeg_new(struct au_jpeg **ret);
void au_jpeg_free(struct au_jpeg **jpeg);
void au_jpeg_use_library(struct au_jpeg *jpeg, bool use_library);
bool au_jpeg_used_library(const struct au_jpeg *jpeg);
/* As au_decoder_seek() and what follows it; begun before each image. */
struct au_seek *au_jpeg_seek(struct au_jpeg *jpeg);
void au_jpeg_seek_begin(struct au_jpeg *jpeg, enum au_seek_mode mode);
enum au_seek_result au_jpeg_seek_result(const struct au_jpeg *jpeg);
bool au_jpeg_seek_finish(struct au_jpeg *jpeg);
int au_jpeg_open(struct au_jpeg *jpeg, struct au_input *input, struct au_image *ret, struct im_text *text);
int au_jpeg_parse(struct au_jpeg *jpeg, const struct imk_box *box, uint32_t *ret_rows, struct im_text *text);
int au_jpeg_region(struct au_jpeg *jpeg, uint32_t scale, const struct imk_box *box, struct au_pixels *ret,
                   struct im_text *text);

int au_png_open(struct au_input *input, struct au_image *ret, struct im_text *text);
int au_png_region(struct au_input *input, const struct imk_box *box, struct au_pixels *ret,
                  struct im_text *text);

int au_webp_open(struct au_input *input, struct au_image *ret, struct im_text *text);
int au_webp_region(struct au_input *input, const struct au_image *image, const struct imk_box *box,
                   struct au_pixels *ret, struct im_text *text);

#endif
