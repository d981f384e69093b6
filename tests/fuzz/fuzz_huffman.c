/* Our Huffman decoder and inverse DCT against libjpeg-turbo's: any bytes, and any box of them, give the same verdict and the
 * same pixels with both, and on a CPU without extensions. The first four bytes choose the box, the rest is the file. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "augment/decode/decode.h"
#include "ipc/base/err.h"

enum { BOX_BYTES = 4 };

static struct au_decoder *new_decoder(bool use_library)
{
    const struct au_limits limits = {
        .side_max = 4096, .pixels_max = 1 << 18, .scans_max = 16, .memory_max = (size_t)32 << 20};
    struct au_decoder *decoder;

    if (au_decoder_new(&decoder, &limits) < 0)
        abort();
    au_decoder_use_library(decoder, use_library);
    return decoder;
}

/* Part of one axis: from `from` 256ths on, `share` 256ths of what is left. */
static void cut(uint32_t size, uint8_t from, uint8_t share, uint32_t *ret_at, uint32_t *ret_size)
{
    *ret_at = size * from / 256;
    *ret_size = 1 + (size - *ret_at - 1) * share / 255;
}

static int decode(struct au_decoder *decoder, const uint8_t *data, size_t n, struct imk_box *box,
                  struct au_pixels *pixels)
{
    struct im_text text = {""};
    struct au_image image;
    int result = au_decoder_open(decoder, data + BOX_BYTES, n - BOX_BYTES, &image, &text);

    if (result == 0) {
        cut(image.width, data[0], data[1], &box->x, &box->w);
        cut(image.height, data[2], data[3], &box->y, &box->h);
        result = au_decoder_region(decoder, box, pixels, &text);
    }
    im_assert(result >= 0 && result < IM_VERDICT_COUNT);
    im_assert(result == 0 || text.s[0] != '\0');
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct au_decoder *own = new_decoder(false), *library = new_decoder(true), *plain = new_decoder(false);
    struct au_pixels a, b, c;
    struct imk_box box = {0};
    uint32_t rows;
    int result;

    au_decoder_use_cpu(plain, 0);
    /* Other formats have targets of their own. */
    if (n >= BOX_BYTES + 2 && data[BOX_BYTES] == 0xff && data[BOX_BYTES + 1] == 0xd8) {
        struct au_image image;

        result = decode(own, data, n, &box, &a);
        im_assert(decode(library, data, n, &box, &b) == result);
        im_assert(decode(plain, data, n, &box, &c) == result);
        for (uint32_t y = 0; result == 0 && y < box.h; y++) {
            im_assert(memcmp(a.data + y * a.stride, b.data + y * b.stride, (size_t)3 * box.w) == 0);
            im_assert(memcmp(c.data + y * c.stride, b.data + y * b.stride, (size_t)3 * box.w) == 0);
        }
        if (au_decoder_open(own, data + BOX_BYTES, n - BOX_BYTES, &image, NULL) == 0)
            im_assert(au_decoder_parse(own, &box, &rows, NULL) >= 0);
    }
    au_decoder_free(&own);
    au_decoder_free(&library);
    au_decoder_free(&plain);
    return 0;
}
