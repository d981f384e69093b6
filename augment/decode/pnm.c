/* PBM, PGM and PPM, plain and raw, by hand: netpbm's library ends the process that it cannot please. Numbers
 * are scaled and rounded as by Pillow; what has more than eight bits a grey value is clipped, as by its
 * convert("RGB") and as in PNG. */
#include "augment/decode/format.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { TOKEN_MAX = 10, VALUE_MAX = 65535 };
enum kind { PLAIN_BITS = '1', PLAIN_GREY, PLAIN_RGB, BITS, GREY, RGB };

struct pnm {
    const unsigned char *bytes;
    size_t n, at; /* `at` is the first byte of the pixels once the header has been read */
    int kind;
    uint32_t width, height, most; /* the largest value */
};

static bool is_space(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_plain(int kind)
{
    return kind <= PLAIN_RGB;
}

static void skip_comment(struct pnm *p)
{
    while (p->at < p->n && p->bytes[p->at] != '\n' && p->bytes[p->at] != '\r')
        p->at++;
    p->at += p->at < p->n;
}

static int bad_token(struct im_text *text)
{
    return im_fail(text, IM_VERDICT_CORRUPT, "PNM: something else where a number should be");
}

/* A number, and the white space that ends it. */
static int read_number(struct pnm *p, uint32_t *ret, struct im_text *text)
{
    uint64_t value = 0;
    int digits = 0;

    while (p->at < p->n) {
        unsigned char c = p->bytes[p->at++];

        if (c == '#') {
            skip_comment(p);
        } else if (is_space(c)) {
            if (digits > 0)
                break;
        } else if (c < '0' || c > '9' || ++digits > TOKEN_MAX) {
            return bad_token(text);
        } else {
            value = 10 * value + (c - '0');
        }
    }
    if (digits == 0)
        return im_fail(text, IM_VERDICT_TRUNCATED, "PNM: the file ends where a number should be");
    *ret = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    return 0;
}

static size_t raw_row_bytes(const struct pnm *p)
{
    if (p->kind == BITS)
        return ((size_t)p->width + 7) / 8;
    return (size_t)p->width * (p->kind == RGB ? 3 : 1) * (p->most > 255 ? 2 : 1);
}

static int read_header(const struct au_input *input, struct pnm *p, struct im_text *text)
{
    int result;

    *p = (struct pnm){.bytes = input->bytes, .n = input->n, .at = 3, .kind = input->bytes[1], .most = 1};
    result = read_number(p, &p->width, text);
    if (result == 0)
        result = read_number(p, &p->height, text);
    if (result == 0 && p->kind != PLAIN_BITS && p->kind != BITS)
        result = read_number(p, &p->most, text);
    if (result)
        return result;
    if (p->most < 1 || p->most > VALUE_MAX)
        return im_fail(text, IM_VERDICT_CORRUPT, "PNM: the largest value is %u", p->most);
    result = au_input_check_size(input, p->width, p->height, text);
    if (result == 0 && !is_plain(p->kind) && (p->n - p->at) / p->height < raw_row_bytes(p))
        result = im_fail(text, IM_VERDICT_TRUNCATED, "PNM: the file ends before its last row");
    return result;
}

/* Python's round() of the quotient: a half goes to the even number. */
static unsigned char scaled(const struct pnm *p, uint32_t value)
{
    double most = p->kind == RGB || p->kind == PLAIN_RGB || p->most <= 255 ? 255 : VALUE_MAX;
    double scaled = nearbyint((double)value / p->most * most);

    return (unsigned char)(scaled > 255 ? 255 : scaled);
}

static void pnm_put(unsigned char *rgb, unsigned char value)
{
    rgb[0] = rgb[1] = rgb[2] = value;
}

static void convert_raw(const struct pnm *p, const unsigned char *row, uint32_t x, unsigned char *rgb)
{
    const uint32_t bytes = p->most > 255 ? 2 : 1, samples = p->kind == RGB ? 3 : 1;

    if (p->kind == BITS) {
        pnm_put(rgb, row[x / 8] >> (7 - x % 8) & 1 ? 0 : 255);
        return;
    }
    row += (size_t)x * samples * bytes;
    for (uint32_t i = 0; i < samples; i++) {
        uint32_t value = bytes == 2 ? (uint32_t)row[2 * i] << 8 | row[2 * i + 1] : row[i];

        rgb[i] = p->most == 255 ? (unsigned char)value : scaled(p, value);
    }
    if (samples == 1)
        pnm_put(rgb, rgb[0]);
}

static int read_bit(struct pnm *p, unsigned char *ret, struct im_text *text)
{
    while (p->at < p->n) {
        unsigned char c = p->bytes[p->at++];

        if (c == '0' || c == '1') {
            *ret = c == '1' ? 0 : 255;
            return 0;
        }
        if (c == '#')
            skip_comment(p);
        else if (!is_space(c))
            return bad_token(text);
    }
    return im_fail(text, IM_VERDICT_TRUNCATED, "PNM: the file ends before its last row");
}

static int convert_plain(struct pnm *p, unsigned char *rgb, struct im_text *text)
{
    const int samples = p->kind == PLAIN_RGB ? 3 : 1;

    if (p->kind == PLAIN_BITS) {
        int result = read_bit(p, rgb, text);

        pnm_put(rgb, rgb[0]);
        return result;
    }
    for (int i = 0; i < samples; i++) {
        uint32_t value = 0;
        int result = read_number(p, &value, text);

        if (result)
            return result;
        if (value > p->most)
            return im_fail(text, IM_VERDICT_CORRUPT, "PNM: a value of %u, above %u", value, p->most);
        rgb[i] = scaled(p, value);
    }
    if (samples == 1)
        pnm_put(rgb, rgb[0]);
    return 0;
}

static int give_raw(struct au_input *input, const struct pnm *p, const struct imk_box *box,
                    struct im_text *text)
{
    struct au_strip strip;
    int result = au_strip_begin(&strip, input, (size_t)3 * box->w, 0, box->h, text);

    for (uint32_t y = box->y; result == 0 && y < box->y + box->h; y++) {
        const unsigned char *row = p->bytes + p->at + y * raw_row_bytes(p);
        unsigned char *to = au_strip_at(&strip, NULL);

        for (uint32_t x = 0; x < box->w; x++)
            convert_raw(p, row, box->x + x, to + (size_t)3 * x);
        au_strip_add(&strip, 1);
    }
    return result;
}

/* All rows are read, for the file is good or not whatever the box is. */
static int give_plain(struct au_input *input, struct pnm *p, const struct imk_box *box, struct im_text *text)
{
    struct au_strip strip;
    int result = au_strip_begin(&strip, input, (size_t)3 * p->width, (size_t)3 * box->x, box->h, text);

    if (result == 0 && au_buffer_reserve(&input->row, (size_t)3 * p->width) < 0)
        result = im_fail(text, -ENOMEM, "no memory for a row of pixels");
    for (uint32_t y = 0; result == 0 && y < p->height; y++) {
        bool is_wanted = y >= box->y && y < box->y + box->h;
        unsigned char *to = is_wanted ? au_strip_at(&strip, NULL) : input->row.data;

        for (uint32_t x = 0; result == 0 && x < p->width; x++)
            result = convert_plain(p, to + (size_t)3 * x, text);
        if (result == 0 && is_wanted)
            au_strip_add(&strip, 1);
    }
    return result;
}

static bool pnm_begins(const unsigned char *bytes, size_t n)
{
    return n >= 3 && bytes[0] == 'P' && bytes[1] >= PLAIN_BITS && bytes[1] <= RGB && is_space(bytes[2]);
}

static int open_header(struct au_input *input, struct au_image *ret, struct im_text *text)
{
    struct pnm pnm;
    int result = read_header(input, &pnm, text);

    if (result)
        return result;
    ret->width = pnm.width;
    ret->height = pnm.height;
    ret->memory = au_strip_bytes(pnm.width, pnm.height);
    return au_input_check_memory(input, ret, text);
}

static int decode_region(struct au_input *input, const struct au_image *image, const struct imk_box *box,
                         struct im_text *text)
{
    struct pnm pnm;
    int result = read_header(input, &pnm, text);

    if (result == 0 && (pnm.width != image->width || pnm.height != image->height))
        result = im_fail(text, IM_VERDICT_CORRUPT, "PNM: the header changed while it was read");
    if (result)
        return result;
    return is_plain(pnm.kind) ? give_plain(input, &pnm, box, text) : give_raw(input, &pnm, box, text);
}

const struct au_format au_pnm = {pnm_begins, open_header, decode_region};
