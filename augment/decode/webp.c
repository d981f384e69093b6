/* WebP through libwebp. Decodes whole images: its own cropping changes the chroma at the edges of the
 * crop, and WebP files under .JPEG names are too few to win anything. Alpha is dropped, not blended, as
 * by Pillow's convert("RGB"). */
#include "augment/decode/format.h"

#include <errno.h>

#include <webp/decode.h>

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

int au_webp_open(struct au_input *input, struct au_image *ret, struct im_text *text)
{
    WebPBitstreamFeatures features;
    uint64_t bytes;
    int result = verdict_of(WebPGetFeatures(input->bytes, input->n, &features), text);

    im_msan_written(&features, sizeof features);
    if (result)
        return result;
    if (features.has_animation)
        return im_fail(text, IM_VERDICT_UNSUPPORTED, "WebP: animations are not supported");
    if (features.width <= 0 || features.height <= 0)
        return im_fail(text, IM_VERDICT_CORRUPT, "WebP: %d x %d pixels", features.width, features.height);
    /* Beside the pixels libwebp keeps those of the lossless format, four bytes each, or a plane of alpha. */
    bytes = features.format == 1 ? 3 + 2 * (uint64_t)(features.has_alpha != 0) : 7;
    *ret = (struct au_image){AU_FORMAT_WEBP, (uint32_t)features.width, (uint32_t)features.height,
                             bytes * (uint64_t)features.width * (uint64_t)features.height};
    result = au_input_check_size(input, ret->width, ret->height, text);
    return result ? result : au_input_check_memory(input, ret, text);
}

int au_webp_region(struct au_input *input, const struct au_image *image, const struct imk_box *box,
                   struct au_pixels *ret, struct im_text *text)
{
    size_t row_bytes = (size_t)3 * image->width;
    WebPDecoderConfig config;
    int result = au_input_reserve(input, row_bytes, image->height, text);

    if (result)
        return result;
    if (!WebPInitDecoderConfig(&config))
        return im_fail(text, -ELIBBAD, "the WebP library has another version than the one built against");
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA = (WebPRGBABuffer){
        .rgba = input->pixels.data,
        .stride = (int)row_bytes,
        .size = row_bytes * image->height,
    };
    result = verdict_of(WebPDecode(input->bytes, input->n, &config), text);
    WebPFreeDecBuffer(&config.output);
    im_msan_written(input->pixels.data, row_bytes * image->height);
    if (result)
        return result;
    *ret = (struct au_pixels){input->pixels.data + box->y * row_bytes + (size_t)3 * box->x, row_bytes};
    return 0;
}
