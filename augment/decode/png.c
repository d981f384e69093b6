/* PNG through libpng. There are few of them (ImageNet has one), so this is short rather than fast: rows
 * before the box are decoded and dropped, an interlaced image is decoded whole.
 *
 * Colours come out as from Pillow's convert("RGB"): palettes looked up, grey repeated, alpha and tRNS dropped
 * (not blended), 16-bit colours cut to their high byte, gamma ignored. 16-bit grey is clipped to 255 and not
 * scaled, because Pillow does that too. Ancillary chunks but tRNS are skipped unread, so no compressed text
 * or profile is ever unpacked. */
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
#define IHDR_END 33

struct reader {
    jmp_buf escape;
    png_structp png;
    png_infop info;
    struct au_input *input;
    struct im_text *text;
    const struct imk_box *box;
    struct au_pixels pixels;
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

static int read_rows(struct reader *r)
{
    const struct imk_box *box = r->box;
    int passes = png_set_interlace_handling(r->png);
    unsigned char *pixels;
    uint32_t first, height = png_get_image_height(r->png, r->info);
    size_t row_bytes;
    int result;

    png_read_update_info(r->png, r->info);
    row_bytes = png_get_rowbytes(r->png, r->info);
    first = passes > 1 ? 0 : box->y; /* the row that comes to lie at the start of the memory */
    result = au_input_reserve(r->input, row_bytes, passes > 1 ? height : box->h, r->text);
    if (result)
        return result;
    pixels = r->input->pixels.data;

    for (uint32_t y = 0; y < first; y++)
        png_read_row(r->png, pixels, NULL);
    for (int pass = 0; pass < passes; pass++)
        for (uint32_t y = first; y < (passes > 1 ? height : box->y + box->h); y++)
            png_read_row(r->png, pixels + (y - first) * row_bytes, NULL);
    im_msan_written(pixels, (passes > 1 ? height : box->h) * row_bytes);

    if (png_get_bit_depth(r->png, r->info) == 16)
        for (uint32_t y = box->y; y < box->y + box->h; y++)
            clip_row(pixels + (y - first) * row_bytes, row_bytes / 2);
    r->pixels.data = pixels + (box->y - first) * row_bytes + (size_t)3 * box->x;
    r->pixels.stride = row_bytes;
    return 0;
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
    set_colours(r);
    return read_rows(r);
}

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int au_png_open(struct au_input *input, struct au_image *ret, struct im_text *text)
{
    uint64_t pixel_bytes = 3;
    int result;

    if (input->n < IHDR_END)
        return im_fail(text, IM_VERDICT_TRUNCATED, "PNG: the file ends within its header");
    if (memcmp(input->bytes + IHDR_NAME, "IHDR", 4) != 0)
        return im_fail(text, IM_VERDICT_CORRUPT, "PNG: the header is missing");
    *ret = (struct au_image){AU_FORMAT_PNG, big_endian(input->bytes + IHDR_WIDTH),
                             big_endian(input->bytes + IHDR_HEIGHT), 0};
    if (ret->width == 0 || ret->height == 0)
        return im_fail(text, IM_VERDICT_CORRUPT, "PNG: %u x %u pixels", ret->width, ret->height);
    result = au_input_check_size(input, ret->width, ret->height, text);
    if (result)
        return result;
    if (input->bytes[IHDR_DEPTH] == 16 && input->bytes[IHDR_COLOUR] == PNG_COLOR_TYPE_GRAY)
        pixel_bytes = 6; /* until it is clipped */
    ret->memory = pixel_bytes * ret->width * ret->height;
    return au_input_check_memory(input, ret, text);
}

int au_png_region(struct au_input *input, const struct imk_box *box, struct au_pixels *ret,
                  struct im_text *text)
{
    struct reader reader = {.input = input, .text = text, .box = box};
    int result = read_png(&reader);

    if (reader.png)
        png_destroy_read_struct(&reader.png, &reader.info, NULL);
    if (result == 0)
        *ret = reader.pixels;
    return result;
}
