/* AVIF through libavif and dav1d, in one thread: the first image, decoded whole. Rotation and mirroring of the
 * container are not looked at and alpha is dropped, as by Pillow's convert("RGB"). */
#include "augment/decode/format.h"

#include <errno.h>
#include <string.h>

#include <avif/avif.h>

#include "ipc/base/msan.h"

static int verdict_of(avifResult result, struct im_text *text)
{
    switch (result) {
    case AVIF_RESULT_OK:
        return 0;
    case AVIF_RESULT_TRUNCATED_DATA:
    case AVIF_RESULT_WAITING_ON_IO:
        return im_fail(text, IM_VERDICT_TRUNCATED, "AVIF: the file ends too early");
    case AVIF_RESULT_NO_CODEC_AVAILABLE:
    case AVIF_RESULT_UNSUPPORTED_DEPTH:
    case AVIF_RESULT_REFORMAT_FAILED:
    case AVIF_RESULT_NOT_IMPLEMENTED:
        return im_fail(text, IM_VERDICT_UNSUPPORTED, "AVIF: %s", avifResultToString(result));
    default:
        return im_fail(text, IM_VERDICT_CORRUPT, "AVIF: %s", avifResultToString(result));
    }
}

static int parse(avifDecoder *decoder, const struct au_input *input, struct im_text *text)
{
    uint64_t pixels = input->limits.pixels_max;
    avifResult result;

    decoder->codecChoice = AVIF_CODEC_CHOICE_DAV1D;
    decoder->maxThreads = 1;
    decoder->ignoreExif = AVIF_TRUE;
    decoder->ignoreXMP = AVIF_TRUE;
    decoder->imageSizeLimit =
        pixels < AVIF_DEFAULT_IMAGE_SIZE_LIMIT ? (uint32_t)pixels : AVIF_DEFAULT_IMAGE_SIZE_LIMIT;
    decoder->strictFlags =
        AVIF_STRICT_ENABLED & ~(avifStrictFlags)(AVIF_STRICT_CLAP_VALID | AVIF_STRICT_PIXI_REQUIRED);
    result = avifDecoderSetIOMemory(decoder, input->bytes, input->n);
    if (result == AVIF_RESULT_OK)
        result = avifDecoderParse(decoder);
    return verdict_of(result, text);
}

/* Three planes of one or two bytes, once in dav1d and once in libavif, and alpha; and what is made of them. */
static uint64_t memory_for(const avifDecoder *decoder)
{
    uint64_t pixels = (uint64_t)decoder->image->width * decoder->image->height;
    uint64_t sample = decoder->image->depth > 8 ? 2 : 1;

    return pixels * (decoder->alphaPresent ? 4 + 8 * sample : 3 + 6 * sample);
}

static int decode_to(avifDecoder *decoder, struct au_input *input, const struct imk_box *box,
                     struct im_text *text)
{
    const unsigned bytes = decoder->alphaPresent ? 4 : 3;
    avifImage *image = decoder->image;
    struct au_buffer *buffer = decoder->alphaPresent ? &input->row : &input->pixels;
    avifRGBImage rgb = {0};
    struct au_strip strip;
    int result = au_input_reserve(input, buffer, (size_t)bytes * image->width, image->height, text);

    if (result == 0)
        result = verdict_of(avifDecoderNextImage(decoder), text);
    if (result)
        return result;
    avifRGBImageSetDefaults(&rgb, image);
    rgb.depth = 8;
    rgb.format = decoder->alphaPresent ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
    rgb.pixels = buffer->data;
    rgb.rowBytes = bytes * image->width;
    result = verdict_of(avifImageYUVToRGB(image, &rgb), text);
    im_msan_written(buffer->data, (size_t)rgb.rowBytes * image->height);
    if (result)
        return result;
    if (bytes == 3) {
        au_input_give(input, buffer->data, rgb.rowBytes, box);
        return 0;
    }
    result = au_strip_begin(&strip, input, (size_t)3 * box->w, 0, box->h, text);
    for (uint32_t y = box->y; result == 0 && y < box->y + box->h; y++) {
        const unsigned char *from = buffer->data + (size_t)y * rgb.rowBytes + (size_t)4 * box->x;
        unsigned char *to = au_strip_at(&strip, NULL);

        for (uint32_t x = 0; x < box->w; x++)
            memcpy(to + (size_t)3 * x, from + (size_t)4 * x, 3);
        au_strip_add(&strip, 1);
    }
    return result;
}

/* Any of the brands of still images and sequences; libavif looks at the others. */
static bool begins(const unsigned char *bytes, size_t n)
{
    return n >= 12 && memcmp(bytes + 4, "ftyp", 4) == 0 &&
           (memcmp(bytes + 8, "avif", 4) == 0 || memcmp(bytes + 8, "avis", 4) == 0 ||
            avifPeekCompatibleFileType(&(avifROData){bytes, n}));
}

static int open_header(struct au_input *input, struct au_image *ret, struct im_text *text)
{
    avifDecoder *decoder = avifDecoderCreate();
    int result;

    if (!decoder)
        return im_fail(text, -ENOMEM, "no memory for the AVIF decoder");
    result = parse(decoder, input, text);
    if (result == 0) {
        ret->width = decoder->image->width;
        ret->height = decoder->image->height;
        ret->memory = memory_for(decoder);
        result = au_input_check(input, ret, text);
    }
    avifDecoderDestroy(decoder);
    return result;
}

static int decode_region(struct au_input *input, const struct au_image *image, const struct imk_box *box,
                         struct im_text *text)
{
    avifDecoder *decoder = avifDecoderCreate();
    int result;

    if (!decoder)
        return im_fail(text, -ENOMEM, "no memory for the AVIF decoder");
    result = parse(decoder, input, text);
    if (result == 0 && (decoder->image->width != image->width || decoder->image->height != image->height))
        result = im_fail(text, IM_VERDICT_CORRUPT, "AVIF: the header changed while it was read");
    if (result == 0)
        result = decode_to(decoder, input, box, text);
    avifDecoderDestroy(decoder);
    return result;
}

const struct au_format au_avif = {begins, open_header, decode_region};
