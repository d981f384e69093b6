/* WebP through libwebp. Decodes whole images: its own cropping changes the chroma at the edges of the
 * crop. Alpha is dropped, not blended, as by Pillow's convert("RGB"). Of an animation the first frame is
 * decoded, black around it where it does not fill the canvas, as there. */
#include "augment/decode/format.h"

#include <errno.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

#include "ipc/base/msan.h"

static int verdict_of(VP8StatusCode status, struct im_text *text)
{
    switch (status) {
    case VP8_STATUS_OK:
        return 0;
    case VP8_STATUS_OUT_OF_MEMORY:
        return im_fail(text, -ENOMEM, "no memory for the WebP decoder");
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
        return im_fail(text, IM_VERDICT_TRUNCATED, "WebP: the file ends too early");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return im_fail(text, IM_VERDICT_UNSUPPORTED, "WebP: the file uses an unsupported feature");
    default:
        return im_fail(text, IM_VERDICT_CORRUPT, "WebP: the data is damaged");
    }
}

static bool webp_begins(const unsigned char *bytes, size_t n)
{
    return n >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0;
}

static int read_features(const struct au_input *input, WebPBitstreamFeatures *features, struct im_text *text)
{
    int result = verdict_of(WebPGetFeatures(input->bytes, input->n, features), text);

    im_msan_written(features, sizeof *features);
    if (result)
        return result;
    if (features->width <= 0 || features->height <= 0)
        return im_fail(text, IM_VERDICT_CORRUPT, "WebP: %d x %d pixels", features->width, features->height);
    return 0;
}

static int open_header(struct au_input *input, struct au_image *ret, struct im_text *text)
{
    WebPBitstreamFeatures features;
    int result = read_features(input, &features, text);

    if (result)
        return result;
    ret->width = (uint32_t)features.width;
    ret->height = (uint32_t)features.height;
    /* Beside the pixels libwebp keeps those of the lossless format, four bytes each, or a plane of alpha. */
    ret->memory = features.format == 1 ? 3 + 2 * (uint64_t)(features.has_alpha != 0) : 7;
    ret->memory *= (uint64_t)ret->width * ret->height;
    return au_input_check(input, ret, text);
}

/* Decodes to the `size` bytes at `pixels`, in rows of `row_bytes`. */
static int decode_into(unsigned char *pixels, size_t size, size_t row_bytes, const unsigned char *bytes,
                       size_t n, struct im_text *text)
{
    WebPDecoderConfig config;
    int result;

    if (!WebPInitDecoderConfig(&config))
        return im_fail(text, -ELIBBAD, "the WebP library has another version than the one built against");
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA = (WebPRGBABuffer){.rgba = pixels, .stride = (int)row_bytes, .size = size};
    result = verdict_of(WebPDecode(bytes, n, &config), text);
    WebPFreeDecBuffer(&config.output);
    return result;
}

/* The first frame, on a canvas that is black. */
static int decode_frame(const struct au_image *image, const WebPIterator *frame, unsigned char *pixels,
                        struct im_text *text)
{
    size_t row_bytes = (size_t)3 * image->width, size = row_bytes * image->height, before;
    uint32_t x = (uint32_t)frame->x_offset, y = (uint32_t)frame->y_offset;
    uint32_t width = (uint32_t)frame->width, height = (uint32_t)frame->height;

    if (x >= image->width || width > image->width - x || y >= image->height || height > image->height - y)
        return im_fail(text, IM_VERDICT_CORRUPT, "WebP: the first frame lies outside of the image");
    memset(pixels, 0, size);
    before = y * row_bytes + (size_t)3 * x;
    return decode_into(pixels + before, size - before, row_bytes, frame->fragment.bytes, frame->fragment.size,
                       text);
}

static int decode_animation(struct au_input *input, const struct au_image *image, struct im_text *text)
{
    const WebPData data = {input->bytes, input->n};
    WebPDemuxState state = WEBP_DEMUX_PARSE_ERROR;
    WebPDemuxer *demuxer = WebPDemuxPartial(&data, &state);
    WebPIterator frame;
    int result;

    if (!demuxer || state == WEBP_DEMUX_PARSE_ERROR) {
        result = im_fail(text, IM_VERDICT_CORRUPT, "WebP: the animation is damaged");
    } else if (state != WEBP_DEMUX_DONE) {
        result = im_fail(text, IM_VERDICT_TRUNCATED, "WebP: the file ends before the animation does");
    } else if (WebPDemuxGetFrame(demuxer, 1, &frame)) {
        im_msan_written(&frame, sizeof frame);
        result = decode_frame(image, &frame, input->pixels.data, text);
        WebPDemuxReleaseIterator(&frame);
    } else {
        result = im_fail(text, IM_VERDICT_CORRUPT, "WebP: the animation has no frame");
    }
    WebPDemuxDelete(demuxer);
    return result;
}

static int decode_region(struct au_input *input, const struct au_image *image, const struct imk_box *box,
                         struct im_text *text)
{
    size_t row_bytes = (size_t)3 * image->width;
    WebPBitstreamFeatures features;
    int result = read_features(input, &features, text);

    if (result == 0)
        result = au_input_reserve(input, &input->pixels, row_bytes, image->height, text);
    if (result)
        return result;
    if (features.has_animation)
        result = decode_animation(input, image, text);
    else
        result = decode_into(input->pixels.data, row_bytes * image->height, row_bytes, input->bytes, input->n,
                             text);
    im_msan_written(input->pixels.data, row_bytes * image->height);
    if (result == 0)
        au_input_give(input, input->pixels.data, row_bytes, box);
    return result;
}

const struct au_format au_webp = {webp_begins, open_header, decode_region};
