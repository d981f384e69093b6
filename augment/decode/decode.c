/* Tells the format by the first bytes, holds the limits and the memory, and hands the work to the format's
 * file.
 *
 * ImageNet has a PNG and two dozen CMYK files under .JPEG names, and scraped data sets have worse, so names
 * count for nothing. Formats that are common but not decoded are distinguished from garbage,
 * because the advice differs. A table of formats, and not a table of first bytes: what begins a PNM file or
 * one of the ISO formats is no fixed string. */
#include "augment/decode/decode.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "augment/decode/format.h"
#include "ipc/base/count.h"
#include "ipc/base/fault.h"

struct au_decoder {
    struct au_input input;
    struct au_jpeg *jpeg;
    struct au_image image;
    enum au_seek_mode seek_mode; /* of the next image */
    size_t seek_from, seek_to;   /* the part of it that is there; to == 0: it is whole */
    bool opened;                 /* an image is open and has not been decoded yet */
};

int au_decoder_new(struct au_decoder **ret, const struct au_limits *limits)
{
    struct au_decoder *decoder = calloc(1, sizeof *decoder);

    if (!decoder)
        return -ENOMEM;
    decoder->input.limits = *limits;
    if (au_jpeg_new(&decoder->jpeg) < 0) {
        free(decoder);
        return -ENOMEM;
    }
    *ret = decoder;
    return 0;
}

void au_decoder_free(struct au_decoder **decoder)
{
    if (*decoder) {
        au_jpeg_free(&(*decoder)->jpeg);
        au_buffer_fini(&(*decoder)->input.pixels);
        au_buffer_fini(&(*decoder)->input.row);
    }
    free(*decoder);
    *decoder = NULL;
}

void au_decoder_use_library(struct au_decoder *decoder, bool use_library)
{
    au_jpeg_use_library(decoder->jpeg, use_library);
}

void au_decoder_use_cpu(struct au_decoder *decoder, unsigned cpu_flags)
{
    au_jpeg_use_cpu(decoder->jpeg, cpu_flags);
}

bool au_decoder_used_library(const struct au_decoder *decoder)
{
    return au_jpeg_used_library(decoder->jpeg);
}

struct au_seek *au_decoder_seek(struct au_decoder *decoder)
{
    return au_jpeg_seek(decoder->jpeg);
}

void au_decoder_seek_mode(struct au_decoder *decoder, enum au_seek_mode mode)
{
    decoder->seek_mode = mode;
    decoder->seek_from = decoder->seek_to = 0;
}

void au_decoder_seek_parts(struct au_decoder *decoder, size_t from, size_t to)
{
    decoder->seek_mode = AU_SEEK_USE;
    decoder->seek_from = from;
    decoder->seek_to = to;
}

struct au_image au_decoder_image(const struct au_decoder *decoder)
{
    return decoder->image;
}

struct au_scan_shape au_decoder_scan(const struct au_decoder *decoder)
{
    return au_jpeg_scan(decoder->jpeg);
}

enum au_seek_result au_decoder_seek_result(const struct au_decoder *decoder)
{
    return au_jpeg_seek_result(decoder->jpeg);
}

bool au_decoder_seek_finish(struct au_decoder *decoder)
{
    return au_jpeg_seek_finish(decoder->jpeg);
}

bool au_decoder_seek_make(struct au_decoder *decoder)
{
    im_assert(decoder->opened);
    decoder->opened = false;
    return decoder->image.type == IM_IMAGE_JPEG && au_jpeg_seek_make(decoder->jpeg);
}

size_t au_decoder_bytes(const struct au_decoder *decoder)
{
    return decoder->input.pixels.size + decoder->input.row.size +
           au_jpeg_seek(decoder->jpeg)->room * sizeof(struct au_seek_point);
}

int au_input_check_size(const struct au_input *input, uint32_t width, uint32_t height, struct im_text *text)
{
    const struct au_limits *limits = &input->limits;

    if (width == 0 || height == 0)
        return im_fail(text, IM_VERDICT_CORRUPT, "%u x %u pixels", width, height);
    if (width > limits->side_max || height > limits->side_max)
        return im_fail(text, IM_VERDICT_TOO_LARGE, "%u x %u pixels; a side may have %u", width, height,
                       limits->side_max);
    if ((uint64_t)width * height > limits->pixels_max)
        return im_fail(text, IM_VERDICT_TOO_LARGE, "%u x %u pixels; an image may have %llu", width, height,
                       (unsigned long long)limits->pixels_max);
    return 0;
}

int au_input_check_memory(const struct au_input *input, const struct au_image *image, struct im_text *text)
{
    if (image->memory <= input->limits.memory_max)
        return 0;
    return im_fail(text, IM_VERDICT_MEMORY_LIMIT,
                   "%u x %u pixels take %llu MiB to decode; an image may take %zu", image->width,
                   image->height, (unsigned long long)(image->memory >> 20), input->limits.memory_max >> 20);
}

int au_input_check(const struct au_input *input, const struct au_image *image, struct im_text *text)
{
    int result = au_input_check_size(input, image->width, image->height, text);

    return result ? result : au_input_check_memory(input, image, text);
}

/* JPEG, which most files are, has a decoder that is kept. */
static const struct au_format *const formats[IM_IMAGE_TYPE_COUNT] = {
    [IM_IMAGE_PNG] = &au_png,           [IM_IMAGE_WEBP] = &au_webp, [IM_IMAGE_GIF] = &au_gif,
    [IM_IMAGE_BMP] = &au_bmp,           [IM_IMAGE_TIFF] = &au_tiff, [IM_IMAGE_PNM] = &au_pnm,
#ifdef IMSUPER_JPEG2000
    [IM_IMAGE_JPEG2000] = &au_jpeg2000,
#endif
#ifdef IMSUPER_AVIF
    [IM_IMAGE_AVIF] = &au_avif,
#endif
};

#ifndef IMSUPER_AVIF
void au_avif_load(void)
{
}

void au_avif_seal(void)
{
}
#endif

static bool decode_begins(const struct au_input *input, const char *magic, size_t n)
{
    return input->n >= n && memcmp(input->bytes, magic, n) == 0;
}

/* The type of a file that no decoder takes, or IM_IMAGE_TYPE_COUNT. */
static enum im_image_type foreign_type(const struct au_input *input)
{
    static const struct {
        const char *magic;
        size_t n;
        enum im_image_type type;
    } foreign[] = {
        {"\0\0\0\fjP  ", 8, IM_IMAGE_JPEG2000},
        {"\xff\x4f\xff\x51", 4, IM_IMAGE_JPEG2000},
        {"\xff\x0a", 2, IM_IMAGE_JPEGXL},
        {"\0\0\0\fJXL ", 8, IM_IMAGE_JPEGXL},
    };

    for (size_t i = 0; i < IM_COUNT(foreign); i++)
        if (decode_begins(input, foreign[i].magic, foreign[i].n))
            return foreign[i].type;
    if (input->n >= 12 && memcmp(input->bytes + 4, "ftyp", 4) == 0)
        return memcmp(input->bytes + 8, "avi", 3) == 0 ? IM_IMAGE_AVIF : IM_IMAGE_HEIF;
    return IM_IMAGE_TYPE_COUNT;
}

static int open_by_magic(struct au_decoder *d, struct au_image *ret, struct im_text *text)
{
    struct au_input *input = &d->input;
    enum im_image_type foreign;

    if (input->n == 0)
        return im_fail(text, IM_VERDICT_EMPTY, "%s", im_verdict_sentence(IM_VERDICT_EMPTY));
    ret->type = IM_IMAGE_JPEG;
    if (decode_begins(input, "\xff\xd8", 2))
        return au_jpeg_open(d->jpeg, input, ret, text);
    for (int type = 0; type < IM_IMAGE_TYPE_COUNT; type++) {
        ret->type = (enum im_image_type)type;
        if (formats[type] && formats[type]->begins(input->bytes, input->n))
            return formats[type]->open(input, ret, text);
    }

    foreign = foreign_type(input);
    if (foreign < IM_IMAGE_TYPE_COUNT)
        return im_fail(text, IM_VERDICT_UNSUPPORTED, "%s images are not supported: %s",
                       im_image_type_name(foreign), im_image_type_missing(foreign));
    return im_fail(text, IM_VERDICT_NOT_IMAGE, "%s", im_verdict_sentence(IM_VERDICT_NOT_IMAGE));
}

int au_decoder_open(struct au_decoder *d, const void *bytes, size_t n, struct au_image *ret,
                    struct im_text *text)
{
    struct au_image image = {0};
    int result;

    d->opened = false;
    d->input.bytes = bytes;
    d->input.n = n;
    au_jpeg_seek_begin(d->jpeg, d->seek_mode, d->seek_from, d->seek_to);
    au_decoder_seek_mode(d, AU_SEEK_OFF);
    IM_FAULT("decode.before");
    result = open_by_magic(d, &image, text);
    if (result == 0) {
        d->image = image;
        d->opened = true;
        *ret = image;
    }
    return result;
}

/* Each open is good for one decode of a box within the image. */
static void close_for(struct au_decoder *d, const struct imk_box *box, uint32_t scale)
{
    uint32_t width = au_scaled_side(d->image.width, scale), height = au_scaled_side(d->image.height, scale);

    im_assert(d->opened && box->w > 0 && box->h > 0);
    im_assert(box->x < width && box->w <= width - box->x);
    im_assert(box->y < height && box->h <= height - box->y);
    d->opened = false;
}

int au_decoder_rows(struct au_decoder *d, uint32_t scale, const struct imk_box *box,
                    const struct au_sink *sink, struct im_text *text)
{
    int result;

    im_assert(scale == 1 || (d->image.type == IM_IMAGE_JPEG && (scale == 2 || scale == 4 || scale == 8)));
    close_for(d, box, scale);
    d->input.sink = sink;
    if (d->image.type == IM_IMAGE_JPEG)
        result = au_jpeg_region(d->jpeg, scale, box, text);
    else
        result = formats[d->image.type]->region(&d->input, &d->image, box, text);
    d->input.sink = NULL;
    IM_FAULT("decode.after");
    return result;
}

static void keep_pixels(void *context, uint32_t first, uint32_t count, const struct au_pixels *rows)
{
    struct au_pixels *kept = context;

    (void)count;
    im_assert(first == 0);
    *kept = *rows;
}

int au_decoder_region_scaled(struct au_decoder *d, uint32_t scale, const struct imk_box *box,
                             struct au_pixels *ret, struct im_text *text)
{
    const struct au_sink sink = {keep_pixels, ret};
    int result;

    d->input.whole = true;
    result = au_decoder_rows(d, scale, box, &sink, text);
    d->input.whole = false;
    return result;
}

int au_decoder_region(struct au_decoder *d, const struct imk_box *box, struct au_pixels *ret,
                      struct im_text *text)
{
    return au_decoder_region_scaled(d, 1, box, ret, text);
}

int au_decoder_parse(struct au_decoder *d, const struct imk_box *box, uint32_t *ret_rows,
                     struct im_text *text)
{
    close_for(d, box, 1);
    if (d->image.type != IM_IMAGE_JPEG)
        return im_fail(text, IM_VERDICT_UNSUPPORTED, "only JPEG files have Huffman codes");
    return au_jpeg_parse(d->jpeg, box, ret_rows, text);
}
