/* The first page of TIFF files through libtiff: strips or tiles, in one plane or one for each sample, of 1 to
 * 32 bits. Which samples become which colours follows the table of Pillow's TiffImagePlugin and its
 * convert("RGB"): grey of more than eight bits is clipped (not scaled), other samples are cut to their high
 * byte, extra samples are dropped, colours that were multiplied by their alpha are divided by it. The
 * orientation tag is obeyed, as it is there when a TIFF file is loaded.
 *
 * The page is decoded whole, as one strip may be all of it. Old-style JPEG, which no writer has made for
 * decades, Lab colours and compressions unknown to Pillow are not supported. */
#include "augment/decode/format.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tiffio.h>

#include "ipc/base/msan.h"

#define SAMPLES_MAX 6
#define DIRECTORY_AT 4 /* the offset of the first one stands there */
#define ENTRY_BYTES 12
#define CHUNK_MEMORY_MIN ((size_t)16 << 20) /* of libtiff's own: directories, tables */

/* How samples become colours. */
enum kind { GREY, PALETTE, RGB, CMYK, YCBCR };

struct page {
    TIFF *tiff;
    const struct au_input *input;
    struct im_text *text;
    bool failed; /* text says how */
    uint64_t at; /* of libtiff's reads */
    uint32_t width, height, chunk_w, chunk_h;
    uint16_t bits, samples, format, photometric, planar, compression, orientation;
    enum kind kind;
    bool inverted, premultiplied, tiled;
    size_t chunk_bytes, row_bytes; /* of one plane */
    unsigned planes;
    unsigned char palette[256][3];
};

/* ---- what libtiff calls back ---- */

static int on_error(TIFF *tiff, void *context, const char *module, const char *format, va_list args)
{
    struct page *p = context;
    char message[256];

    (void)tiff;
    (void)module;
    vsnprintf(message, sizeof message, format, args);
    if (!p->failed)
        im_fail(p->text, 0, "TIFF: %s", message);
    p->failed = true;
    return 1;
}

static int on_warning(TIFF *tiff, void *context, const char *module, const char *format, va_list args)
{
    (void)tiff;
    (void)context;
    (void)module;
    (void)format;
    (void)args;
    return 1;
}

static tmsize_t on_read(thandle_t handle, void *to, tmsize_t n)
{
    struct page *p = handle;
    uint64_t left = p->at < p->input->n ? p->input->n - p->at : 0;
    size_t count = (uint64_t)n < left ? (size_t)n : (size_t)left;

    if (n <= 0 || count == 0)
        return 0;
    memcpy(to, p->input->bytes + p->at, count);
    p->at += count;
    return (tmsize_t)count;
}

static tmsize_t on_write(thandle_t handle, void *from, tmsize_t n)
{
    (void)handle;
    (void)from;
    (void)n;
    return 0;
}

static toff_t on_seek(thandle_t handle, toff_t offset, int whence)
{
    struct page *p = handle;

    p->at = offset + (whence == SEEK_CUR ? p->at : whence == SEEK_END ? p->input->n : 0);
    return p->at;
}

static int on_close(thandle_t handle)
{
    (void)handle;
    return 0;
}

static toff_t on_size(thandle_t handle)
{
    const struct page *p = handle;

    return p->input->n;
}

/* ---- the header ---- */

static int failed(struct page *p, int result, const char *what)
{
    return p->failed ? result : im_fail(p->text, result, "TIFF: %s", what);
}

static int unsupported(struct page *p)
{
    return im_fail(p->text, IM_VERDICT_UNSUPPORTED,
                   "TIFF: %u samples of %u bits, photometric %u, format %u, compression %u, planes %u",
                   p->samples, p->bits, p->photometric, p->format, p->compression, p->planar);
}

static bool compression_is_known(uint16_t compression)
{
    switch (compression) {
    case COMPRESSION_NONE:
    case COMPRESSION_CCITTRLE:
    case COMPRESSION_CCITTFAX3:
    case COMPRESSION_CCITTFAX4:
    case COMPRESSION_LZW:
    case COMPRESSION_JPEG:
    case COMPRESSION_ADOBE_DEFLATE:
    case COMPRESSION_DEFLATE:
    case COMPRESSION_PACKBITS:
    case COMPRESSION_THUNDERSCAN:
    case COMPRESSION_LZMA:
    case COMPRESSION_ZSTD:
    case COMPRESSION_WEBP:
        return TIFFIsCODECConfigured(compression);
    default:
        return false;
    }
}

static bool has_grey_bits(const struct page *p)
{
    if (p->samples > 2 || (p->samples == 2 && p->bits != 8))
        return false;
    switch (p->bits) {
    case 1:
    case 2:
    case 4:
    case 8:
    case 12:
        return p->format == SAMPLEFORMAT_UINT || (p->bits == 8 && p->format == SAMPLEFORMAT_INT);
    case 16:
        return p->format == SAMPLEFORMAT_UINT || p->format == SAMPLEFORMAT_INT;
    case 32:
        return p->format == SAMPLEFORMAT_UINT || p->format == SAMPLEFORMAT_INT ||
               p->format == SAMPLEFORMAT_IEEEFP;
    default:
        return false;
    }
}

static bool has_colour_bits(const struct page *p, unsigned colours)
{
    return p->samples >= colours && p->samples <= SAMPLES_MAX && (p->bits == 8 || p->bits == 16) &&
           p->format == SAMPLEFORMAT_UINT;
}

static int read_palette(struct page *p)
{
    uint16_t *map[3] = {NULL};

    if (!TIFFGetField(p->tiff, TIFFTAG_COLORMAP, &map[0], &map[1], &map[2]))
        return failed(p, IM_VERDICT_CORRUPT, "there is no palette");
    for (unsigned i = 0; i < 1u << p->bits; i++)
        for (int c = 0; c < 3; c++)
            p->palette[i][c] = (unsigned char)(map[c][i] >> 8);
    return 0;
}

static int choose_kind(struct page *p)
{
    bool good = false;

    p->kind = GREY;
    p->inverted = p->photometric == PHOTOMETRIC_MINISWHITE && p->bits <= 8;
    if (p->photometric == PHOTOMETRIC_MINISWHITE || p->photometric == PHOTOMETRIC_MINISBLACK) {
        good = has_grey_bits(p);
    } else if (p->photometric == PHOTOMETRIC_PALETTE) {
        p->kind = PALETTE;
        good = p->bits <= 8 && has_grey_bits(p) && p->format == SAMPLEFORMAT_UINT;
    } else if (p->photometric == PHOTOMETRIC_RGB) {
        p->kind = RGB;
        good = has_colour_bits(p, 3);
    } else if (p->photometric == PHOTOMETRIC_SEPARATED) {
        p->kind = CMYK;
        good = has_colour_bits(p, 4);
    } else if (p->photometric == PHOTOMETRIC_YCBCR && p->bits == 8) {
        p->kind = p->samples == 1 ? GREY : p->compression == COMPRESSION_JPEG && p->planar == 1 ? RGB : YCBCR;
        good = p->samples == 1 || p->samples == 3;
    }
    if (!good || !compression_is_known(p->compression))
        return unsupported(p);
    return p->kind == PALETTE ? read_palette(p) : 0;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static int read_chunks(struct page *p)
{
    uint64_t bytes, row_bytes;
    unsigned in_row = p->planar == PLANARCONFIG_SEPARATE ? 1 : p->samples;

    p->tiled = TIFFIsTiled(p->tiff);
    if (p->tiled) {
        TIFFGetField(p->tiff, TIFFTAG_TILEWIDTH, &p->chunk_w);
        TIFFGetField(p->tiff, TIFFTAG_TILELENGTH, &p->chunk_h);
    } else {
        p->chunk_w = p->width;
        TIFFGetFieldDefaulted(p->tiff, TIFFTAG_ROWSPERSTRIP, &p->chunk_h);
        p->chunk_h = smaller(p->chunk_h, p->height);
    }
    if (p->chunk_w == 0 || p->chunk_h == 0)
        return failed(p, IM_VERDICT_CORRUPT, "strips or tiles without pixels");
    if (p->kind == YCBCR) {
        /* Four bytes a pixel, made by libtiff itself. */
        p->chunk_h = smaller(p->chunk_h, p->height);
        p->row_bytes = (size_t)4 * p->width;
        bytes = (uint64_t)p->row_bytes * p->chunk_h;
    } else {
        bytes = p->tiled ? TIFFTileSize64(p->tiff) : TIFFStripSize64(p->tiff);
        row_bytes = p->tiled ? TIFFTileRowSize64(p->tiff) : TIFFScanlineSize64(p->tiff);
        if (bytes == 0 || row_bytes == 0 || row_bytes > bytes || bytes / row_bytes < p->chunk_h ||
            row_bytes < ((uint64_t)p->chunk_w * p->bits * in_row + 7) / 8)
            return failed(p, IM_VERDICT_CORRUPT, "the size of strips or tiles does not fit");
        p->row_bytes = (size_t)row_bytes;
    }
    p->planes = p->kind != YCBCR && p->planar == PLANARCONFIG_SEPARATE ? p->samples : 1;
    if (bytes > SIZE_MAX / SAMPLES_MAX)
        return failed(p, IM_VERDICT_MEMORY_LIMIT, "the size of strips or tiles is beyond the limit");
    p->chunk_bytes = (size_t)bytes;
    return 0;
}

static int read_fields(struct page *p)
{
    uint16_t extras = 0, *types = NULL;
    int result;

    p->format = SAMPLEFORMAT_UINT;
    if (!TIFFGetField(p->tiff, TIFFTAG_IMAGEWIDTH, &p->width) ||
        !TIFFGetField(p->tiff, TIFFTAG_IMAGELENGTH, &p->height))
        return failed(p, IM_VERDICT_CORRUPT, "width or height is missing");
    result = au_input_check_size(p->input, p->width, p->height, p->text);
    if (result)
        return result;
    TIFFGetFieldDefaulted(p->tiff, TIFFTAG_BITSPERSAMPLE, &p->bits);
    TIFFGetFieldDefaulted(p->tiff, TIFFTAG_SAMPLESPERPIXEL, &p->samples);
    TIFFGetFieldDefaulted(p->tiff, TIFFTAG_PLANARCONFIG, &p->planar);
    TIFFGetFieldDefaulted(p->tiff, TIFFTAG_COMPRESSION, &p->compression);
    TIFFGetFieldDefaulted(p->tiff, TIFFTAG_ORIENTATION, &p->orientation);
    TIFFGetField(p->tiff, TIFFTAG_SAMPLEFORMAT, &p->format);
    TIFFGetField(p->tiff, TIFFTAG_PHOTOMETRIC, &p->photometric); /* 0 where it is missing */
    if (TIFFGetField(p->tiff, TIFFTAG_EXTRASAMPLES, &extras, &types) && extras > 0)
        p->premultiplied = types[0] == EXTRASAMPLE_ASSOCALPHA && p->photometric == PHOTOMETRIC_RGB;
    if (p->samples == 1)
        p->planar = PLANARCONFIG_CONTIG;
    result = choose_kind(p);
    if (result == 0 && p->photometric == PHOTOMETRIC_YCBCR && p->kind == RGB)
        TIFFSetField(p->tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    return result ? result : read_chunks(p);
}

static TIFF *open_tiff(struct page *p)
{
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    const size_t memory_max = p->input->limits.memory_max;
    TIFF *tiff = NULL;

    if (options) {
        TIFFOpenOptionsSetMaxSingleMemAlloc(
            options, (tmsize_t)(memory_max > CHUNK_MEMORY_MIN ? memory_max : CHUNK_MEMORY_MIN));
        TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, p);
        TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, p);
        tiff = TIFFClientOpenExt("image", "rm", p, on_read, on_write, on_seek, on_close, on_size, NULL, NULL,
                                 options);
        TIFFOpenOptionsFree(options);
    }
    return tiff;
}

/* Does the file end before its directory does? (That of a BigTIFF file is not looked for.) */
static bool is_cut(const struct au_input *input)
{
    const unsigned char *b = input->bytes;
    bool is_little = b[0] == 'I';
    uint64_t at, entries;

    if (input->n < DIRECTORY_AT + 4)
        return true;
    at = is_little ? au_le32(b + DIRECTORY_AT) : au_be32(b + DIRECTORY_AT);
    if (at + 2 > input->n)
        return true;
    entries = is_little ? au_le16(b + at) : (uint64_t)b[at] << 8 | b[at + 1];
    return at + 2 + ENTRY_BYTES * entries > input->n;
}

static int open_page(struct page *p, const struct au_input *input, struct im_text *text)
{
    *p = (struct page){.input = input, .text = text};
    p->tiff = open_tiff(p);
    if (!p->tiff)
        return failed(p, is_cut(input) ? IM_VERDICT_TRUNCATED : IM_VERDICT_CORRUPT, "no directory");
    return read_fields(p);
}

static void close_page(struct page *p)
{
    if (p->tiff)
        TIFFClose(p->tiff);
}

/* ---- pixels ---- */

/* Where the pixels of a row go: `step` bytes from one to the next, which the orientation decides. */
struct target {
    unsigned char *at;
    ptrdiff_t step;
};

static struct target target_of(const struct page *p, unsigned char *pixels, uint32_t x, uint32_t y)
{
    const ptrdiff_t right = 3, w = (ptrdiff_t)p->width, h = (ptrdiff_t)p->height;
    const bool turned = p->orientation >= ORIENTATION_LEFTTOP && p->orientation <= ORIENTATION_LEFTBOT;
    const ptrdiff_t down = right * (turned ? h : w);
    ptrdiff_t col = (ptrdiff_t)x, row = (ptrdiff_t)y;

    switch (p->orientation) {
    case ORIENTATION_TOPRIGHT:
        return (struct target){pixels + row * down + (w - 1 - col) * right, -right};
    case ORIENTATION_BOTRIGHT:
        return (struct target){pixels + (h - 1 - row) * down + (w - 1 - col) * right, -right};
    case ORIENTATION_BOTLEFT:
        return (struct target){pixels + (h - 1 - row) * down + col * right, right};
    case ORIENTATION_LEFTTOP:
        return (struct target){pixels + col * down + row * right, down};
    case ORIENTATION_RIGHTTOP:
        return (struct target){pixels + col * down + (h - 1 - row) * right, down};
    case ORIENTATION_RIGHTBOT:
        return (struct target){pixels + (w - 1 - col) * down + (h - 1 - row) * right, -down};
    case ORIENTATION_LEFTBOT:
        return (struct target){pixels + (w - 1 - col) * down + row * right, -down};
    default:
        return (struct target){pixels + row * down + col * right, right};
    }
}

/* Samples of a row: sample s of pixel x is at `plane[s] + x * step`. */
struct samples {
    const unsigned char *plane[SAMPLES_MAX];
    size_t step;
};

static unsigned packed(const unsigned char *row, uint32_t x, unsigned bits)
{
    const uint32_t at = x / 2 * 3;

    if (bits == 12)
        return x % 2 ? (row[at + 1] & 15u) << 8 | row[at + 2] : (unsigned)row[at] << 4 | row[at + 1] >> 4;
    return (unsigned)row[x * bits / 8] >> (8 - bits - x * bits % 8) & ((1u << bits) - 1);
}

static int64_t grey_of(const struct page *p, const unsigned char *at)
{
    uint16_t u16;
    int32_t i32;
    float f32;

    if (p->bits == 8)
        return *at;
    if (p->bits == 16) {
        memcpy(&u16, at, sizeof u16);
        return p->format == SAMPLEFORMAT_INT ? (int64_t)(int16_t)u16 : (int64_t)u16;
    }
    if (p->format == SAMPLEFORMAT_IEEEFP) {
        memcpy(&f32, at, sizeof f32);
        return f32 > 0 ? f32 < 255 ? (int64_t)f32 : 255 : 0;
    }
    memcpy(&i32, at, sizeof i32); /* Pillow takes unsigned numbers for signed ones, too */
    return i32;
}

static void convert_grey(const struct page *p, const struct samples *in, uint32_t n, struct target to)
{
    const unsigned most = p->bits <= 8 ? (1u << p->bits) - 1 : 0;

    for (uint32_t x = 0; x < n; x++, to.at += to.step) {
        bool is_packed = p->bits < 8 || p->bits == 12;
        int64_t value =
            is_packed ? packed(in->plane[0], x, p->bits) : grey_of(p, in->plane[0] + x * in->step);

        if (p->kind == PALETTE) {
            memcpy(to.at, p->palette[value], 3);
            continue;
        }
        if (p->bits < 8)
            value = value * 255 / most;
        au_put_grey(to.at, p->inverted ? 255 - value : value);
    }
}

/* The high byte of a sample, in the machine's order as libtiff gives it. */
static unsigned high_byte(const struct page *p, const unsigned char *at)
{
    uint16_t value;

    if (p->bits == 8)
        return *at;
    memcpy(&value, at, sizeof value);
    return value >> 8;
}

static unsigned char divided(unsigned colour, unsigned alpha)
{
    if (alpha == 0)
        return 0;
    return (unsigned char)(colour * 255 / alpha > 255 ? 255 : colour * 255 / alpha);
}

static void convert_colours(const struct page *p, const struct samples *in, uint32_t n, struct target to)
{
    for (uint32_t x = 0; x < n; x++, to.at += to.step) {
        unsigned v[4] = {0};

        for (int s = 0; s < 4 && s < p->samples; s++)
            v[s] = high_byte(p, in->plane[s] + x * in->step);
        for (int c = 0; c < 3; c++)
            to.at[c] = p->kind == CMYK                      ? au_under_ink(v[c], 255 - v[3])
                       : p->premultiplied && p->samples > 3 ? divided(v[c], v[3])
                                                            : (unsigned char)v[c];
    }
}

/* Converts a row of the chunk that lies in the input's row buffer. */
static void convert_row(const struct page *p, const unsigned char *chunk, uint32_t y, uint32_t n,
                        struct target to)
{
    const size_t bytes = p->bits / 8;
    struct samples in = {.step = p->planes > 1 ? bytes : bytes * p->samples};

    for (unsigned s = 0; s < p->samples && s < SAMPLES_MAX; s++)
        in.plane[s] = chunk + y * p->row_bytes + (p->planes > 1 ? s * p->chunk_bytes : s * bytes);
    if (p->kind == GREY || p->kind == PALETTE)
        convert_grey(p, &in, n, to);
    else
        convert_colours(p, &in, n, to);
}

static int chunk_failed(struct page *p, uint32_t chunk)
{
    uint64_t end;
    bool is_cut = __builtin_add_overflow(TIFFGetStrileOffset(p->tiff, chunk),
                                         TIFFGetStrileByteCount(p->tiff, chunk), &end) ||
                  end > p->input->n;

    return failed(p, is_cut ? IM_VERDICT_TRUNCATED : IM_VERDICT_CORRUPT, "a strip or tile is damaged");
}

/* One strip or tile of all planes. What the file does not fill is 0. */
static int read_chunk(struct page *p, uint32_t x, uint32_t y, unsigned char *to)
{
    memset(to, 0, p->chunk_bytes * p->planes);
    for (unsigned plane = 0; plane < p->planes; plane++) {
        uint32_t chunk = p->tiled ? TIFFComputeTile(p->tiff, x, y, 0, (uint16_t)plane)
                                  : TIFFComputeStrip(p->tiff, y, (uint16_t)plane);
        unsigned char *at = to + plane * p->chunk_bytes;
        tmsize_t got = p->tiled ? TIFFReadEncodedTile(p->tiff, chunk, at, (tmsize_t)p->chunk_bytes)
                                : TIFFReadEncodedStrip(p->tiff, chunk, at, (tmsize_t)p->chunk_bytes);

        if (got < 0)
            return chunk_failed(p, chunk);
        im_msan_written(at, p->chunk_bytes);
    }
    return 0;
}

static int decode_chunks(struct page *p, unsigned char *chunk, unsigned char *pixels)
{
    int result = 0;

    for (uint64_t y = 0; result == 0 && y < p->height; y += p->chunk_h)
        for (uint64_t x = 0; result == 0 && x < p->width; x += p->chunk_w) {
            uint32_t left = (uint32_t)x, top = (uint32_t)y;
            uint32_t w = smaller(p->chunk_w, p->width - left), h = smaller(p->chunk_h, p->height - top);

            result = read_chunk(p, left, top, chunk);
            for (uint32_t row = 0; result == 0 && row < h; row++)
                convert_row(p, chunk, row, w, target_of(p, pixels, left, top + row));
        }
    return result;
}

/* Chroma that is subsampled, or in planes of its own: libtiff makes RGBA of it. */
static int decode_ycbcr(struct page *p, unsigned char *chunk, unsigned char *pixels)
{
    TIFFRGBAImage image = {0};
    char why[1024] = "";
    int result = 0;

    if (!TIFFRGBAImageOK(p->tiff, why) || !TIFFRGBAImageBegin(&image, p->tiff, 1, why))
        return failed(p, IM_VERDICT_UNSUPPORTED, why);
    image.orientation = image.req_orientation = ORIENTATION_TOPLEFT;
    for (uint32_t y = 0; result == 0 && y < p->height; y += p->chunk_h) {
        uint32_t h = smaller(p->chunk_h, p->height - y);

        image.row_offset = (int)y;
        if (!TIFFRGBAImageGet(&image, (uint32_t *)(void *)chunk, p->width, h))
            result = failed(p, IM_VERDICT_CORRUPT, "the chroma is damaged");
        im_msan_written(chunk, p->row_bytes * h);
        for (uint32_t row = 0; result == 0 && row < h; row++) {
            const unsigned char *from = chunk + row * p->row_bytes;
            struct target to = target_of(p, pixels, 0, y + row);

            for (uint32_t x = 0; x < p->width; x++, to.at += to.step) {
                uint32_t abgr;

                memcpy(&abgr, from + (size_t)4 * x, sizeof abgr);
                to.at[0] = (unsigned char)TIFFGetR(abgr);
                to.at[1] = (unsigned char)TIFFGetG(abgr);
                to.at[2] = (unsigned char)TIFFGetB(abgr);
            }
        }
    }
    TIFFRGBAImageEnd(&image);
    return result;
}

/* ---- what decode.c calls ---- */

static bool tiff_begins(const unsigned char *bytes, size_t n)
{
    return n >= 4 && (memcmp(bytes, "II*\0", 4) == 0 || memcmp(bytes, "MM\0*", 4) == 0 ||
                      memcmp(bytes, "II+\0", 4) == 0 || memcmp(bytes, "MM\0+", 4) == 0);
}

static void describe(const struct page *p, struct au_image *ret)
{
    bool turned = p->orientation >= ORIENTATION_LEFTTOP && p->orientation <= ORIENTATION_LEFTBOT;

    ret->width = turned ? p->height : p->width;
    ret->height = turned ? p->width : p->height;
    ret->memory = (uint64_t)3 * p->width * p->height + (uint64_t)p->chunk_bytes * p->planes;
}

static int open_header(struct au_input *input, struct au_image *ret, struct im_text *text)
{
    struct page page;
    int result = open_page(&page, input, text);

    if (result == 0) {
        describe(&page, ret);
        result = au_input_check_memory(input, ret, text);
    }
    close_page(&page);
    return result;
}

static int decode_page(struct page *p, struct au_input *input, const struct au_image *image)
{
    struct au_image now = {0};
    int result;

    describe(p, &now);
    if (now.width != image->width || now.height != image->height || now.memory != image->memory)
        return im_fail(p->text, IM_VERDICT_CORRUPT, "TIFF: the header changed while it was read");
    result = au_input_reserve(input, &input->pixels, (size_t)3 * image->width, image->height, p->text);
    if (result == 0)
        result = au_input_reserve(input, &input->row, p->chunk_bytes, p->planes, p->text);
    if (result)
        return result;
    return p->kind == YCBCR ? decode_ycbcr(p, input->row.data, input->pixels.data)
                            : decode_chunks(p, input->row.data, input->pixels.data);
}

static int decode_region(struct au_input *input, const struct au_image *image, const struct imk_box *box,
                         struct im_text *text)
{
    struct page page;
    int result = open_page(&page, input, text);

    if (result == 0)
        result = decode_page(&page, input, image);
    close_page(&page);
    if (result == 0)
        au_input_give(input, input->pixels.data, (size_t)3 * image->width, box);
    return result;
}

const struct au_format au_tiff = {tiff_begins, open_header, decode_region};
