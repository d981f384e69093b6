/* JPEG 2000 through OpenJPEG: JP2 files and bare codestreams, one to four components of any precision, decoded
 * whole. Which components become which colours follows Pillow's Jpeg2KDecode.c: grey of more than eight bits is
 * widened to 16 and clipped, as in PNG; other samples are rounded to eight bits (what that rounds up to
 * 256 stays white, where Pillow makes it black); alpha is dropped. */
#include "augment/decode/format.h"

#include <errno.h>
#include <string.h>

#include <openjpeg.h>

#define SIGNATURE "\0\0\0\x0cjP  \r\n\x87\n"
#define CODESTREAM "\xff\x4f\xff\x51"
#define STREAM_BYTES ((OPJ_SIZE_T)1 << 16)
#define COMPONENTS_MAX 4
#define PRECISION_MAX 31

struct reader {
    const struct au_input *input;
    struct im_text *text;
    opj_codec_t *codec;
    opj_stream_t *stream;
    opj_image_t *image;
    uint64_t at;
    bool failed, exhausted;
};

/* ---- what OpenJPEG calls back ---- */

static void on_message(const char *message, void *context)
{
    struct reader *r = context;

    if (!r->failed)
        im_fail(r->text, 0, "JPEG 2000: %.*s", (int)strcspn(message, "\n"), message);
    r->failed = true;
}

static void on_warning(const char *message, void *context)
{
    (void)message;
    (void)context;
}

static OPJ_SIZE_T on_read(void *to, OPJ_SIZE_T n, void *context)
{
    struct reader *r = context;
    uint64_t left = r->at < r->input->n ? r->input->n - r->at : 0;
    size_t count = n < left ? n : (size_t)left;

    r->exhausted = r->exhausted || count < n;
    if (count == 0)
        return (OPJ_SIZE_T)-1;
    memcpy(to, r->input->bytes + r->at, count);
    r->at += count;
    return count;
}

static OPJ_OFF_T on_skip(OPJ_OFF_T n, void *context)
{
    struct reader *r = context;

    if (n < 0)
        return -1;
    r->at += (uint64_t)n;
    if (r->at <= r->input->n)
        return n;
    r->at = r->input->n;
    r->exhausted = true;
    return -1;
}

static OPJ_BOOL on_seek(OPJ_OFF_T to, void *context)
{
    struct reader *r = context;

    if (to < 0 || (uint64_t)to > r->input->n)
        return OPJ_FALSE;
    r->at = (uint64_t)to;
    return OPJ_TRUE;
}

/* ---- the header ---- */

static int failed(struct reader *r, const char *what)
{
    int result = r->exhausted ? IM_VERDICT_TRUNCATED : IM_VERDICT_CORRUPT;

    return r->failed ? result : im_fail(r->text, result, "JPEG 2000: %s", what);
}

static bool is_jp2(const unsigned char *bytes, size_t n)
{
    return n >= sizeof SIGNATURE - 1 && memcmp(bytes, SIGNATURE, sizeof SIGNATURE - 1) == 0;
}

static int open_codec(struct reader *r)
{
    opj_dparameters_t parameters;

    r->codec = opj_create_decompress(is_jp2(r->input->bytes, r->input->n) ? OPJ_CODEC_JP2 : OPJ_CODEC_J2K);
    r->stream = opj_stream_create(STREAM_BYTES, OPJ_TRUE);
    if (!r->codec || !r->stream)
        return im_fail(r->text, -ENOMEM, "no memory for the JPEG 2000 decoder");
    opj_stream_set_read_function(r->stream, on_read);
    opj_stream_set_skip_function(r->stream, on_skip);
    opj_stream_set_seek_function(r->stream, on_seek);
    opj_stream_set_user_data(r->stream, r, NULL);
    opj_stream_set_user_data_length(r->stream, r->input->n);
    opj_set_error_handler(r->codec, on_message, r);
    opj_set_warning_handler(r->codec, on_warning, NULL);
    opj_set_default_decoder_parameters(&parameters);
    return opj_setup_decoder(r->codec, &parameters) ? 0 : failed(r, "the decoder refuses its parameters");
}

/* Bytes of the components of one tile and of the image: OpenJPEG has four for each sample in both. */
static uint64_t memory_for(struct reader *r, uint32_t width, uint32_t height)
{
    const opj_image_t *image = r->image;
    opj_codestream_info_v2_t *info = opj_get_cstr_info(r->codec);
    uint64_t pixels = (uint64_t)width * height, tile = pixels;

    if (info) {
        if ((uint64_t)info->tdx * info->tdy < tile)
            tile = (uint64_t)info->tdx * info->tdy;
        opj_destroy_cstr_info(&info);
    }
    return 3 * pixels + 4 * image->numcomps * (tile < pixels ? pixels + tile : pixels);
}

static int check_components(struct reader *r)
{
    const opj_image_t *image = r->image;

    if (image->numcomps < 1 || image->numcomps > COMPONENTS_MAX)
        return im_fail(r->text, IM_VERDICT_UNSUPPORTED, "JPEG 2000: %u components", image->numcomps);
    for (uint32_t i = 0; i < image->numcomps; i++) {
        const opj_image_comp_t *c = &image->comps[i];

        if (c->prec < 1 || c->prec > PRECISION_MAX)
            return im_fail(r->text, IM_VERDICT_UNSUPPORTED, "JPEG 2000: %u bits a sample", c->prec);
        if (c->dx < 1 || c->dy < 1 || (i == 0 && (c->dx != 1 || c->dy != 1)))
            return im_fail(r->text, IM_VERDICT_UNSUPPORTED, "JPEG 2000: component %u has 1/%u x 1/%u", i,
                           c->dx, c->dy);
    }
    return 0;
}

static int open_image(struct reader *r, struct au_image *ret)
{
    int result = open_codec(r);

    if (result)
        return result;
    if (!opj_read_header(r->stream, r->codec, &r->image))
        return failed(r, "the header is damaged");
    if (r->image->x1 <= r->image->x0 || r->image->y1 <= r->image->y0)
        return failed(r, "no pixels");
    ret->width = r->image->x1 - r->image->x0;
    ret->height = r->image->y1 - r->image->y0;
    result = check_components(r);
    if (result == 0)
        result = au_input_check_size(r->input, ret->width, ret->height, r->text);
    if (result)
        return result;
    ret->memory = memory_for(r, ret->width, ret->height);
    return au_input_check_memory(r->input, ret, r->text);
}

static void close_image(struct reader *r)
{
    if (r->stream)
        opj_stream_destroy(r->stream);
    if (r->codec)
        opj_destroy_codec(r->codec);
    if (r->image)
        opj_image_destroy(r->image);
}

/* ---- pixels ---- */

/* A component: where its samples are, and what makes eight bits of them. */
struct plane {
    const OPJ_INT32 *data;
    uint32_t width, dx, dy;
    int64_t offset;
    int shift; /* to the left, or negative to the right */
};

enum colours { GREY, RGB, YCC, CMYK };

static enum colours colours_of(const opj_image_t *image)
{
    if (image->numcomps < 3)
        return GREY;
    if (image->color_space == OPJ_CLRSPC_SYCC)
        return YCC;
    if (image->color_space == OPJ_CLRSPC_CMYK && image->numcomps == 4)
        return CMYK;
    if (image->color_space == OPJ_CLRSPC_UNKNOWN || image->color_space == OPJ_CLRSPC_UNSPECIFIED)
        for (uint32_t i = 1; i < 3; i++)
            if (image->comps[i].dx != 1 || image->comps[i].dy != 1)
                return YCC;
    return RGB;
}

static unsigned char value_at(const struct plane *p, uint32_t x, uint32_t y)
{
    int64_t value = p->offset + p->data[(size_t)(y / p->dy) * p->width + x / p->dx];

    value = p->shift < 0 ? value >> -p->shift : value << p->shift;
    return (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static struct plane plane_of(const opj_image_comp_t *c, int bits)
{
    struct plane plane = {
        .data = c->data, .width = c->w, .dx = c->dx, .dy = c->dy, .shift = bits - (int)c->prec};

    plane.offset = c->sgnd ? INT64_C(1) << (c->prec - 1) : 0;
    if (plane.shift < 0)
        plane.offset += INT64_C(1) << (-plane.shift - 1);
    return plane;
}

static unsigned char clip(int value)
{
    return (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Pillow's ConvertYCbCr.c: products in units of 2^-6, made whole as a cast does it. */
static void ycc_to_rgb(unsigned char *rgb)
{
    const int y = rgb[0], cb = rgb[1] - 128, cr = rgb[2] - 128;

    rgb[0] = clip(y + ((int)(1.402 * 64 * cr + 0.5) >> 6));
    rgb[1] = clip(y + (((int)(-0.34414 * 64 * cb + 0.5) + (int)(-0.71414 * 64 * cr + 0.5)) >> 6));
    rgb[2] = clip(y + ((int)(1.772 * 64 * cb + 0.5) >> 6));
}

static void cmyk_to_rgb(unsigned char *rgb, unsigned black)
{
    for (int c = 0; c < 3; c++)
        rgb[c] = au_under_ink(rgb[c], 255 - black);
}

static int check_planes(struct reader *r, const struct au_image *image)
{
    for (uint32_t i = 0; i < r->image->numcomps; i++) {
        const opj_image_comp_t *c = &r->image->comps[i];

        if (!c->data || c->dx < 1 || c->dy < 1 || c->w <= (image->width - 1) / c->dx ||
            c->h <= (image->height - 1) / c->dy)
            return failed(r, "a component is missing");
    }
    return 0;
}

static int give_rows(struct reader *r, struct au_input *input, const struct imk_box *box)
{
    const opj_image_t *image = r->image;
    const enum colours colours = colours_of(image);
    const int bits = image->numcomps == 1 && image->comps[0].prec > 8 ? 16 : 8;
    struct plane planes[COMPONENTS_MAX];
    struct au_strip strip;
    int result = au_strip_begin(&strip, input, (size_t)3 * box->w, 0, box->h, r->text);

    for (uint32_t i = 0; i < image->numcomps; i++)
        planes[i] = plane_of(&image->comps[i], bits);
    for (uint32_t y = box->y; result == 0 && y < box->y + box->h; y++) {
        unsigned char *to = au_strip_at(&strip, NULL);

        for (uint32_t x = box->x; x < box->x + box->w; x++, to += 3) {
            for (int c = 0; c < 3; c++)
                to[c] = value_at(&planes[colours == GREY ? 0 : c], x, y);
            if (colours == YCC)
                ycc_to_rgb(to);
            else if (colours == CMYK)
                cmyk_to_rgb(to, value_at(&planes[3], x, y));
        }
        au_strip_add(&strip, 1);
    }
    return result;
}

static int decode_box(struct reader *r, struct au_input *input, const struct au_image *image,
                      const struct imk_box *box)
{
    int result;

    if (!opj_decode(r->codec, r->stream, r->image) || !opj_end_decompress(r->codec, r->stream))
        return failed(r, "the codes are damaged");
    result = check_components(r); /* a palette makes other components */
    if (result == 0)
        result = check_planes(r, image);
    return result ? result : give_rows(r, input, box);
}

/* ---- what decode.c calls ---- */

static bool jpeg2000_begins(const unsigned char *bytes, size_t n)
{
    return is_jp2(bytes, n) || (n >= 4 && memcmp(bytes, CODESTREAM, 4) == 0);
}

static int open_header(struct au_input *input, struct au_image *ret, struct im_text *text)
{
    struct reader reader = {.input = input, .text = text};
    int result = open_image(&reader, ret);

    close_image(&reader);
    return result;
}

static int decode_region(struct au_input *input, const struct au_image *image, const struct imk_box *box,
                         struct im_text *text)
{
    struct reader reader = {.input = input, .text = text};
    struct au_image now = {0};
    int result = open_image(&reader, &now);

    if (result == 0 && (now.width != image->width || now.height != image->height))
        result = im_fail(text, IM_VERDICT_CORRUPT, "JPEG 2000: the header changed while it was read");
    if (result == 0)
        result = decode_box(&reader, input, image, box);
    close_image(&reader);
    return result;
}

const struct au_format au_jpeg2000 = {jpeg2000_begins, open_header, decode_region};
