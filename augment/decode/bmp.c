/* BMP, by hand: no library of a distribution reads BMP alone, and those that read it among many formats
 * (FreeImage, ImageMagick, gdk-pixbuf) bring parsers that nobody here asked for. Headers, palettes, bit masks
 * and run lengths are taken as Pillow takes them; alpha is dropped, as by its convert("RGB"). */
#include "augment/decode/format.h"

#include <errno.h>
#include <string.h>

enum { FILE_HEADER = 14, CORE_HEADER = 12, INFO_HEADER = 40 };
enum compression { RAW = 0, RLE8 = 1, RLE4 = 2, BITFIELDS = 3 };

struct bmp {
    uint32_t header, width, height, bits, compression;
    bool top_down;
    uint32_t masks[3];      /* of red, green and blue */
    size_t pixels;          /* where they begin */
    unsigned char shift[3]; /* which byte of four is red, green, blue */
    unsigned char rgb[256][3];
};

/* ---- the header ---- */

static int read_info(const struct au_input *input, struct bmp *b, size_t *ret_end, struct im_text *text)
{
    const unsigned char *info = input->bytes + FILE_HEADER;
    uint32_t height;

    b->header = au_le32(info);
    if (b->header != 12 && b->header != 40 && b->header != 52 && b->header != 56 && b->header != 64 &&
        b->header != 108 && b->header != 124)
        return im_fail(text, IM_VERDICT_UNSUPPORTED, "BMP: a header of %u bytes", b->header);
    if (input->n < FILE_HEADER + (size_t)b->header)
        return im_fail(text, IM_VERDICT_TRUNCATED, "BMP: the file ends within its header");
    *ret_end = FILE_HEADER + (size_t)b->header;
    if (b->header == CORE_HEADER) {
        b->width = au_le16(info + 4);
        b->height = au_le16(info + 6);
        b->bits = au_le16(info + 10);
        return 0;
    }
    b->width = au_le32(info + 4);
    height = au_le32(info + 8);
    b->top_down = info[11] == 0xff;
    b->height = b->top_down ? 0 - height : height;
    b->bits = au_le16(info + 14);
    b->compression = au_le32(info + 16);
    if (b->compression == BITFIELDS) {
        /* Masks are part of later headers, and follow the first one. */
        if (b->header == INFO_HEADER)
            *ret_end += 12;
        if (input->n < FILE_HEADER + INFO_HEADER + 12)
            return im_fail(text, IM_VERDICT_TRUNCATED, "BMP: the file ends within its header");
        for (int i = 0; i < 3; i++)
            b->masks[i] = au_le32(info + INFO_HEADER + 4 * i);
    }
    return 0;
}

static int unsupported(const struct bmp *b, struct im_text *text)
{
    return im_fail(text, IM_VERDICT_UNSUPPORTED, "BMP: %u bits with compression %u", b->bits, b->compression);
}

/* Which bytes have the colours. The first of these is what there is without masks. */
static int choose_bytes(struct bmp *b, struct im_text *text)
{
    static const unsigned char usual[3] = {2, 1, 0};

    memcpy(b->shift, usual, sizeof usual);
    if (b->bits == 24 || b->compression != BITFIELDS || (!b->masks[0] && !b->masks[1] && !b->masks[2]))
        return 0;
    for (int i = 0; i < 3; i++) {
        unsigned byte = 0;

        while (byte < 4 && b->masks[i] != UINT32_C(0xff) << 8 * byte)
            byte++;
        if (byte == 4)
            return im_fail(text, IM_VERDICT_UNSUPPORTED, "BMP: bit masks %08x %08x %08x", b->masks[0],
                           b->masks[1], b->masks[2]);
        b->shift[i] = (unsigned char)byte;
    }
    return 0;
}

static int check_kind(struct bmp *b, struct im_text *text)
{
    static const uint32_t masks_565[3] = {0xf800, 0x7e0, 0x1f}, masks_555[3] = {0x7c00, 0x3e0, 0x1f};
    bool is_indexed = b->bits == 1 || b->bits == 4 || b->bits == 8;

    if (b->compression == RLE8 || b->compression == RLE4)
        return b->bits == (b->compression == RLE8 ? 8 : 4) ? 0 : unsupported(b, text);
    if (b->compression != RAW && b->compression != BITFIELDS)
        return unsupported(b, text);
    if (is_indexed)
        return b->compression == RAW ? 0 : unsupported(b, text);
    if (b->bits == 24 || b->bits == 32)
        return choose_bytes(b, text);
    if (b->bits != 16)
        return unsupported(b, text);
    if (b->compression == RAW)
        memcpy(b->masks, masks_555, sizeof masks_555);
    if (memcmp(b->masks, masks_565, sizeof masks_565) != 0 &&
        memcmp(b->masks, masks_555, sizeof masks_555) != 0)
        return im_fail(text, IM_VERDICT_UNSUPPORTED, "BMP: bit masks %08x %08x %08x", b->masks[0],
                       b->masks[1], b->masks[2]);
    return 0;
}

/* Eight bits of grey in a palette of fewer colours are grey all the same; other colours that it does not have
 * are black. */
static void read_palette(const struct au_input *input, struct bmp *b, size_t at, uint32_t colours)
{
    const size_t entry = b->header == CORE_HEADER ? 3 : 4, left = (input->n - at) / entry;
    bool is_grey = colours > 2 && colours <= 256 && left >= colours;

    memset(b->rgb, 0, sizeof b->rgb);
    for (uint32_t i = 0; i < colours && i < 256 && i < left; i++) {
        const unsigned char *bgr = input->bytes + at + i * entry;

        for (int c = 0; c < 3; c++)
            b->rgb[i][c] = bgr[2 - c];
        is_grey = is_grey && bgr[0] == i && bgr[1] == i && bgr[2] == i;
    }
    for (int i = 0; is_grey && i < 256; i++)
        memset(b->rgb[i], i, sizeof b->rgb[i]);
}

static size_t row_bytes_of(const struct bmp *b)
{
    return (((size_t)b->width * b->bits + 31) >> 3) & ~(size_t)3;
}

static int read_header(const struct au_input *input, struct bmp *b, struct im_text *text)
{
    size_t end = 0, entry;
    uint32_t colours = 0;
    int result;

    *b = (struct bmp){0};
    if (input->n < FILE_HEADER + CORE_HEADER)
        return im_fail(text, IM_VERDICT_TRUNCATED, "BMP: the file ends within its header");
    result = read_info(input, b, &end, text);
    if (result == 0)
        result = check_kind(b, text);
    if (result == 0)
        result = au_input_check_size(input, b->width, b->height, text);
    if (result)
        return result;
    b->pixels = au_le32(input->bytes + 10);
    if (b->bits <= 8) {
        if (b->header != CORE_HEADER)
            colours = au_le32(input->bytes + FILE_HEADER + 32);
        if (colours == 0)
            colours = 1u << b->bits;
        if (colours > 65536)
            return im_fail(text, IM_VERDICT_UNSUPPORTED, "BMP: a palette of %u colours", colours);
        read_palette(input, b, end, colours);
        entry = b->header == CORE_HEADER ? 3 : 4;
        if (b->pixels == FILE_HEADER + b->header)
            b->pixels += entry * colours;
        end += entry * colours;
    }
    if (b->pixels == 0)
        b->pixels = end;
    if (b->pixels > input->n)
        return im_fail(text, IM_VERDICT_TRUNCATED, "BMP: the file ends before its pixels");
    if ((b->compression == RAW || b->compression == BITFIELDS) &&
        (input->n - b->pixels) < row_bytes_of(b) * (b->height - 1) + ((size_t)b->width * b->bits + 7) / 8)
        return im_fail(text, IM_VERDICT_TRUNCATED, "BMP: the file ends before its last row");
    return 0;
}

/* ---- run lengths ---- */

struct runs {
    const unsigned char *bytes;
    size_t n, at;
    unsigned char *out; /* indices of colours, row after row */
    size_t have, wanted;
    uint32_t width, x;
    bool nibbles;
};

static void bmp_put(struct runs *r, unsigned value)
{
    if (r->have < r->wanted)
        r->out[r->have++] = (unsigned char)value;
}

static void put_run(struct runs *r, uint32_t count, unsigned value)
{
    if (count > r->width - r->x)
        count = r->width - r->x;
    for (uint32_t i = 0; i < count; i++)
        bmp_put(r, !r->nibbles ? value : i % 2 ? value & 15 : value >> 4);
    r->x += count;
}

/* Pixels as they are, up to a whole number of 16-bit words of the file. False: there are no more. */
static bool put_absolute(struct runs *r, uint32_t count)
{
    size_t left = r->wanted - r->have, bytes;

    if (count > left)
        count = (uint32_t)left;
    bytes = r->nibbles ? (count + 1) / 2 : count;
    if (bytes > r->n - r->at)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        unsigned byte = r->bytes[r->at + (r->nibbles ? i / 2 : i)];

        bmp_put(r, !r->nibbles ? byte : i % 2 ? byte & 15 : byte >> 4);
    }
    r->at += bytes;
    r->at += r->at % 2;
    r->x = count > r->width - r->x ? r->width : r->x + count;
    return r->at <= r->n;
}

/* The pixels that are passed over are of colour 0. */
static bool pass_over(struct runs *r)
{
    size_t count;

    if (r->n - r->at < 2)
        return false;
    count = r->bytes[r->at] + (size_t)r->bytes[r->at + 1] * r->width;
    r->at += 2;
    while (count-- > 0 && r->have < r->wanted)
        bmp_put(r, 0);
    r->x = (uint32_t)(r->have % r->width);
    return true;
}

static void unpack_runs(struct runs *r)
{
    bool goes_on = true;

    while (goes_on && r->have < r->wanted && r->n - r->at >= 2) {
        unsigned count = r->bytes[r->at], value = r->bytes[r->at + 1];

        r->at += 2;
        if (count > 0) {
            put_run(r, count, value);
        } else if (value == 0) {
            while (r->have % r->width != 0)
                bmp_put(r, 0);
            r->x = 0;
        } else if (value == 1) {
            goes_on = false;
        } else if (value == 2) {
            goes_on = pass_over(r);
        } else {
            goes_on = put_absolute(r, value);
        }
    }
}

static int read_runs(struct au_input *input, const struct bmp *b, struct im_text *text)
{
    struct runs runs = {
        .bytes = input->bytes,
        .n = input->n,
        .at = b->pixels,
        .wanted = (size_t)b->width * b->height,
        .width = b->width,
        .nibbles = b->compression == RLE4,
    };
    int result = au_input_reserve(input, &input->row, b->width, b->height, text);

    if (result)
        return result;
    runs.out = input->row.data;
    unpack_runs(&runs);
    if (runs.have < runs.wanted)
        return im_fail(text, IM_VERDICT_TRUNCATED, "BMP: %zu pixels of %zu", runs.have, runs.wanted);
    return 0;
}

/* ---- rows ---- */

static void put_16(unsigned char *rgb, unsigned pixel, bool is_565)
{
    unsigned green = is_565 ? (pixel >> 5 & 63) * 255 / 63 : (pixel >> 5 & 31) * 255 / 31;

    rgb[0] = (unsigned char)((pixel >> (is_565 ? 11 : 10) & 31) * 255 / 31);
    rgb[1] = (unsigned char)green;
    rgb[2] = (unsigned char)((pixel & 31) * 255 / 31);
}

static void convert(const struct bmp *b, const unsigned char *row, uint32_t x, unsigned char *rgb)
{
    const unsigned char *at;

    switch (b->bits) {
    case 1:
        memcpy(rgb, b->rgb[row[x / 8] >> (7 - x % 8) & 1], 3);
        break;
    case 4:
        memcpy(rgb, b->rgb[x % 2 ? row[x / 2] & 15 : row[x / 2] >> 4], 3);
        break;
    case 8:
        memcpy(rgb, b->rgb[row[x]], 3);
        break;
    case 16:
        put_16(rgb, au_le16(row + (size_t)2 * x), b->masks[0] == 0xf800);
        break;
    default:
        at = row + (size_t)(b->bits / 8) * x;
        for (int c = 0; c < 3; c++)
            rgb[c] = at[b->shift[c]];
        break;
    }
}

static const unsigned char *row_at(const struct au_input *input, const struct bmp *b, uint32_t y)
{
    size_t stored = b->top_down ? y : b->height - 1 - y;

    if (b->compression == RLE8 || b->compression == RLE4)
        return input->row.data + stored * b->width;
    return input->bytes + b->pixels + stored * row_bytes_of(b);
}

static int give_rows(struct au_input *input, struct bmp *b, const struct imk_box *box, struct im_text *text)
{
    struct au_strip strip;
    int result = au_strip_begin(&strip, input, (size_t)3 * box->w, 0, box->h, text);

    if (b->compression == RLE4)
        b->bits = 8; /* as they lie in memory now */
    for (uint32_t y = box->y; result == 0 && y < box->y + box->h; y++) {
        const unsigned char *row = row_at(input, b, y);
        unsigned char *to = au_strip_at(&strip, NULL);

        for (uint32_t x = 0; x < box->w; x++)
            convert(b, row, box->x + x, to + (size_t)3 * x);
        au_strip_add(&strip, 1);
    }
    return result;
}

static bool bmp_begins(const unsigned char *bytes, size_t n)
{
    return n >= 2 && memcmp(bytes, "BM", 2) == 0;
}

static int open_header(struct au_input *input, struct au_image *ret, struct im_text *text)
{
    struct bmp bmp;
    int result = read_header(input, &bmp, text);

    if (result)
        return result;
    ret->width = bmp.width;
    ret->height = bmp.height;
    ret->memory = au_strip_bytes(bmp.width, bmp.height);
    if (bmp.compression == RLE8 || bmp.compression == RLE4)
        ret->memory += (uint64_t)bmp.width * bmp.height;
    return au_input_check_memory(input, ret, text);
}

static int decode_region(struct au_input *input, const struct au_image *image, const struct imk_box *box,
                         struct im_text *text)
{
    struct bmp bmp;
    int result = read_header(input, &bmp, text);

    if (result == 0 && (bmp.width != image->width || bmp.height != image->height))
        result = im_fail(text, IM_VERDICT_CORRUPT, "BMP: the header changed while it was read");
    if (result == 0 && (bmp.compression == RLE8 || bmp.compression == RLE4))
        result = read_runs(input, &bmp, text);
    return result ? result : give_rows(input, &bmp, box, text);
}

const struct au_format au_bmp = {bmp_begins, open_header, decode_region};
