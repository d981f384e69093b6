/* PNG through libpng. Rows before the box are decoded and dropped, an interlaced image is decoded whole.
 *
 * Colours come out as from Pillow's convert("RGB"): palettes looked up, grey repeated, alpha and tRNS dropped
 * (not blended), 16-bit colours cut to their high byte, gamma ignored. 16-bit grey is clipped to 255 and not
 * scaled, because Pillow does that too. Ancillary chunks but tRNS are skipped unread, so no compressed text
 * or profile is ever unpacked. The checksum of an IDAT chunk is not looked at, as by Pillow: zlib has its own. */
#include "augment/decode/format.h"

#include <errno.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "ipc/base/msan.h"

/* Where the fields of IHDR lie, which must be the first chunk. */
#define IHDR_NAME 12
#define IHDR_WIDTH 16
#define IHDR_HEIGHT 20
#define IHDR_DEPTH 24
#define IHDR_COLOUR 25
#define IHDR_INTERLACE 28
#define IHDR_END 33

struct reader {
    jmp_buf escape;
    png_structp png;
    png_infop info;
    struct au_input *input;
    struct im_text *text;
    const struct au_image *image;
    const struct imk_box *box;
    size_t used; /* of the input's bytes */
    bool exhausted, out_of_memory;
};

static void on_read(png_structp png, png_bytep to, size_t n)
{
    struct reader *r = png_get_io_ptr(png);

    if (n > r->input->n - r->used) {
        r->exhausted = true;
        png_error(png, "the file ends too early");
    }
    memcpy(to, r->input->bytes + r->used, n);
    r->used += n;
}

_Noreturn static void on_error(png_structp png, png_const_charp message)
{
    struct reader *r = png_get_error_ptr(png);

    im_fail(r->text, 0, "PNG: %s", message);
    longjmp(r->escape, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t size)
{
    struct reader *r = png_get_mem_ptr(png);
    void *memory = malloc(size);

    if (!memory)
        r->out_of_memory = true;
    return memory;
}

static void on_free(png_structp png, png_voidp memory)
{
    (void)png;
    free(memory);
}

static void set_colours(struct reader *r)
{
    unsigned colour = png_get_color_type(r->png, r->info), depth = png_get_bit_depth(r->png, r->info);

    if (colour == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(r->png);
    if (colour == PNG_COLOR_TYPE_GRAY && depth < 8)
        png_set_expand_gray_1_2_4_to_8(r->png);
    if (depth == 16 && colour != PNG_COLOR_TYPE_GRAY)
        png_set_strip_16(r->png);
    png_set_strip_alpha(r->png);
    if (!(colour & PNG_COLOR_MASK_COLOR))
        png_set_gray_to_rgb(r->png);
}

/* 16-bit RGB (from grey) to 8 bits in place, clipped. */
static void clip_row(unsigned char *row, size_t values)
{
    for (size_t i = 0; i < values; i++)
        row[i] = row[2 * i] ? 255 : row[2 * i + 1];
}

static void clip_rows(const struct reader *r, unsigned char *pixels, uint32_t rows, size_t row_bytes)
{
    im_msan_written(pixels, rows * row_bytes);
    for (uint32_t y = 0; png_get_bit_depth(r->png, r->info) == 16 && y < rows; y++)
        clip_row(pixels + y * row_bytes, row_bytes / 2);
}

static int read_interlaced(struct reader *r, int passes, size_t row_bytes)
{
    uint32_t height = r->image->height;
    unsigned char *pixels;
    int result = au_input_reserve(r->input, &r->input->pixels, row_bytes, height, r->text);

    if (result)
        return result;
    pixels = r->input->pixels.data;
    for (int pass = 0; pass < passes; pass++)
        for (uint32_t y = 0; y < height; y++)
            png_read_row(r->png, pixels + y * row_bytes, NULL);
    clip_rows(r, pixels, height, row_bytes);
    au_input_give(r->input, pixels, row_bytes, r->box);
    return 0;
}

static int read_strips(struct reader *r, size_t row_bytes)
{
    struct au_strip strip;
    int result = au_strip_begin(&strip, r->input, row_bytes, (size_t)3 * r->box->x, r->box->h, r->text);

    if (result)
        return result;
    for (uint32_t y = 0; y < r->box->y + r->box->h; y++) {
        unsigned char *row = au_strip_at(&strip, NULL);

        png_read_row(r->png, row, NULL);
        if (y < r->box->y)
            continue;
        clip_rows(r, row, 1, row_bytes);
        au_strip_add(&strip, 1);
    }
    return 0;
}

static int read_rows(struct reader *r)
{
    int passes = png_set_interlace_handling(r->png);
    size_t row_bytes;

    png_read_update_info(r->png, r->info);
    row_bytes = png_get_rowbytes(r->png, r->info);
    if (png_get_image_width(r->png, r->info) != r->image->width ||
        png_get_image_height(r->png, r->info) != r->image->height)
        return im_fail(r->text, IM_VERDICT_CORRUPT, "PNG: the header changed while it was read");
    return passes > 1 ? read_interlaced(r, passes, row_bytes) : read_strips(r, row_bytes);
}

static int read_png(struct reader *r)
{
    if (setjmp(r->escape) != 0)
        return r->out_of_memory ? -ENOMEM : r->exhausted ? IM_VERDICT_TRUNCATED : IM_VERDICT_CORRUPT;
    r->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, r, on_error, on_warning, r, on_malloc, on_free);
    r->info = r->png ? png_create_info_struct(r->png) : NULL;
    if (!r->info)
        return im_fail(r->text, -ENOMEM, "no memory for the PNG decoder");

    png_set_read_fn(r->png, r, on_read);
    png_set_user_limits(r->png, r->input->limits.side_max, r->input->limits.side_max);
    png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(r->png, r->info);
    png_set_crc_action(r->png, PNG_CRC_QUIET_USE, PNG_CRC_NO_CHANGE); /* from here on there is IDAT alone */
    set_colours(r);
    return read_rows(r);
}

static bool png_begins(const unsigned char *bytes, size_t n)
{
    return n >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0;
}

static int open_header(struct au_input *input, struct au_image *ret, struct im_text *text)
{
    bool is_clipped;

    if (input->n < IHDR_END)
        return im_fail(text, IM_VERDICT_TRUNCATED, "PNG: the file ends within its header");
    if (memcmp(input->bytes + IHDR_NAME, "IHDR", 4) != 0)
        return im_fail(text, IM_VERDICT_CORRUPT, "PNG: the header is missing");
    ret->width = au_be32(input->bytes + IHDR_WIDTH);
    ret->height = au_be32(input->bytes + IHDR_HEIGHT);
    is_clipped = input->bytes[IHDR_DEPTH] == 16 && input->bytes[IHDR_COLOUR] == PNG_COLOR_TYPE_GRAY;
    if (input->bytes[IHDR_INTERLACE])
        ret->memory = (uint64_t)3 * ret->width * ret->height;
    else
        ret->memory = au_strip_bytes(ret->width, ret->height);
    ret->memory *= is_clipped ? 2 : 1;
    return au_input_check(input, ret, text);
}

static int decode_region(struct au_input *input, const struct au_image *image, const struct imk_box *box,
                         struct im_text *text)
{
    struct reader reader = {.input = input, .text = text, .image = image, .box = box};
    int result = read_png(&reader);

    if (reader.png)
        png_destroy_read_struct(&reader.png, &reader.info, NULL);
    return result;
}

const struct au_format au_png = {png_begins, open_header, decode_region};
