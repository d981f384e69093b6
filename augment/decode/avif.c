/* AVIF through libavif and dav1d, in one thread: the first image, decoded whole. Rotation and mirroring of the
 * container are not looked at and alpha is dropped, as by Pillow's convert("RGB"). */
#include "augment/decode/format.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <avif/avif.h>

#include "ipc/base/msan.h"

#define FUNCTIONS(X)                                                                                         \
    X(DecoderCreate)                                                                                         \
    X(DecoderDestroy)                                                                                        \
    X(DecoderSetIOMemory)                                                                                    \
    X(DecoderParse)                                                                                          \
    X(DecoderNextImage)                                                                                      \
    X(RGBImageSetDefaults)                                                                                   \
    X(ImageYUVToRGB)                                                                                         \
    X(ResultToString)

/* Loaded once a process; its threads share it. */
static struct {
    pthread_mutex_t mutex; /* of state, and of loading */
    enum { NOT_LOADED, SEALED, LOADED, ABSENT } state;
    struct im_text why; /* it is absent */
#define DECLARE(name) __typeof__(&avif##name) name;
    FUNCTIONS(DECLARE)
#undef DECLARE
} library = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int find_functions(void *handle)
{
    const char *missing = NULL;

#define FIND(name)                                                                                           \
    *(void **)&library.name = dlsym(handle, "avif" #name);                                                   \
    missing = library.name ? missing : "avif" #name;
    FUNCTIONS(FIND)
#undef FIND
    return missing ? im_fail(&library.why, -ELIBBAD, IMSUPER_AVIF_LIBRARY " has no %s", missing) : 0;
}

static void load(void)
{
    void *handle = dlopen(IMSUPER_AVIF_LIBRARY, RTLD_NOW | RTLD_LOCAL);

    library.state = ABSENT;
    if (!handle)
        im_fail(&library.why, -ELIBACC, "its library cannot be loaded: %s", dlerror());
    else if (find_functions(handle) == 0)
        library.state = LOADED;
}

void au_avif_load(void)
{
    pthread_mutex_lock(&library.mutex);
    if (library.state == NOT_LOADED)
        load();
    pthread_mutex_unlock(&library.mutex);
}

void au_avif_seal(void)
{
    pthread_mutex_lock(&library.mutex);
    if (library.state == NOT_LOADED)
        library.state = SEALED;
    pthread_mutex_unlock(&library.mutex);
}

/* 0, -ELIBACC where it may no longer be loaded, or a verdict: it is not installed. */
static int need_library(struct im_text *text)
{
    int result = 0;

    au_avif_load();
    pthread_mutex_lock(&library.mutex);
    if (library.state == SEALED)
        result = im_fail(text, -ELIBACC, "the library for AVIF is not loaded");
    else if (library.state == ABSENT)
        result = im_fail(text, IM_VERDICT_UNSUPPORTED, "AVIF: %s", library.why.s);
    pthread_mutex_unlock(&library.mutex);
    return result;
}

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
        return im_fail(text, IM_VERDICT_UNSUPPORTED, "AVIF: %s", library.ResultToString(result));
    default:
        return im_fail(text, IM_VERDICT_CORRUPT, "AVIF: %s", library.ResultToString(result));
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
    result = library.DecoderSetIOMemory(decoder, input->bytes, input->n);
    if (result == AVIF_RESULT_OK)
        result = library.DecoderParse(decoder);
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
        result = verdict_of(library.DecoderNextImage(decoder), text);
    if (result)
        return result;
    library.RGBImageSetDefaults(&rgb, image);
    rgb.depth = 8;
    rgb.format = decoder->alphaPresent ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
    rgb.pixels = buffer->data;
    rgb.rowBytes = bytes * image->width;
    result = verdict_of(library.ImageYUVToRGB(image, &rgb), text);
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

static bool is_brand(const unsigned char *four)
{
    return memcmp(four, "avif", 4) == 0 || memcmp(four, "avis", 4) == 0;
}

/* The brands of still images and sequences, as the first or among the others that the file says it is of. */
static bool avif_begins(const unsigned char *bytes, size_t n)
{
    size_t end = n >= 16 ? au_be32(bytes) : 0;
    bool found = n >= 12 && memcmp(bytes + 4, "ftyp", 4) == 0 && is_brand(bytes + 8);

    if (n < 16 || memcmp(bytes + 4, "ftyp", 4) != 0)
        return found;
    for (size_t at = 16; !found && at + 4 <= end && at + 4 <= n; at += 4)
        found = is_brand(bytes + at);
    return found;
}

/* A decoder that has read the header. */
static int open_decoder(struct au_input *input, avifDecoder **ret, struct im_text *text)
{
    int result = need_library(text);
    avifDecoder *decoder = result == 0 ? library.DecoderCreate() : NULL;

    if (result)
        return result;
    if (!decoder)
        return im_fail(text, -ENOMEM, "no memory for the AVIF decoder");
    result = parse(decoder, input, text);
    if (result)
        library.DecoderDestroy(decoder);
    else
        *ret = decoder;
    return result;
}

static int open_header(struct au_input *input, struct au_image *ret, struct im_text *text)
{
    avifDecoder *decoder;
    int result = open_decoder(input, &decoder, text);

    if (result)
        return result;
    ret->width = decoder->image->width;
    ret->height = decoder->image->height;
    ret->memory = memory_for(decoder);
    library.DecoderDestroy(decoder);
    return au_input_check(input, ret, text);
}

static int decode_region(struct au_input *input, const struct au_image *image, const struct imk_box *box,
                         struct im_text *text)
{
    avifDecoder *decoder;
    int result = open_decoder(input, &decoder, text);

    if (result)
        return result;
    if (decoder->image->width != image->width || decoder->image->height != image->height)
        result = im_fail(text, IM_VERDICT_CORRUPT, "AVIF: the header changed while it was read");
    else
        result = decode_to(decoder, input, box, text);
    library.DecoderDestroy(decoder);
    return result;
}

const struct au_format au_avif = {avif_begins, open_header, decode_region};
