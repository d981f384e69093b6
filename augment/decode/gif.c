/* GIF through giflib: the first frame, on a canvas as large as the screen or, if it sticks out of that, as the
 * frame needs, as by Pillow. Around the frame is the transparent colour, or colour 0. Transparent pixels have the
 * colour that the palette gives them, as by convert("RGB"). */
#include "augment/decode/format.h"

#include <errno.h>
#include <string.h>

#include <gif_lib.h>

#include "ipc/base/msan.h"

#define CONTROL_BYTES 4 /* of a graphic control extension */

struct reader {
    struct au_input *input;
    struct im_text *text;
    GifFileType *gif;
    size_t used; /* of the input's bytes */
    bool exhausted;
    int transparent; /* colour, or -1 */
};

/* Behind the end there is a terminator of blocks, so that what is missing after the last pixel is not missed;
 * where codes are needed, giflib takes it for a defect. */
static int on_read(GifFileType *gif, GifByteType *to, int n)
{
    struct reader *r = gif->UserData;
    size_t left = r->input->n - r->used, count = (size_t)n < left ? (size_t)n : left;

    if (n <= 0)
        return 0;
    memcpy(to, r->input->bytes + r->used, count);
    memset(to + count, 0, (size_t)n - count);
    r->used += count;
    r->exhausted = r->exhausted || count < (size_t)n;
    return n;
}

static int failed(const struct reader *r, int error)
{
    const char *what = GifErrorString(error);

    if (error == D_GIF_ERR_NOT_ENOUGH_MEM)
        return im_fail(r->text, -ENOMEM, "no memory for the GIF decoder");
    if (r->exhausted)
        return im_fail(r->text, IM_VERDICT_TRUNCATED, "GIF: the file ends too early");
    return im_fail(r->text, IM_VERDICT_CORRUPT, "GIF: %s", what ? what : "the data is damaged");
}

static int read_extension(struct reader *r)
{
    GifByteType *block = NULL;
    int code = 0, result = DGifGetExtension(r->gif, &code, &block);

    if (result == GIF_OK && code == GRAPHICS_EXT_FUNC_CODE && block && block[0] >= CONTROL_BYTES &&
        (block[1] & 1))
        r->transparent = block[4];
    while (result == GIF_OK && block)
        result = DGifGetExtensionNext(r->gif, &block);
    return result == GIF_OK ? 0 : failed(r, r->gif->Error);
}

/* Up to the pixels of the first frame. */
static int open_frame(struct reader *r)
{
    int error = 0, result = 0;

    r->transparent = -1;
    r->gif = DGifOpen(r, on_read, &error);
    if (!r->gif)
        return failed(r, error);
    while (result == 0) {
        GifRecordType type = UNDEFINED_RECORD_TYPE;

        if (DGifGetRecordType(r->gif, &type) != GIF_OK)
            return failed(r, r->gif->Error);
        if (type == IMAGE_DESC_RECORD_TYPE)
            return DGifGetImageDesc(r->gif) == GIF_OK ? 0 : failed(r, r->gif->Error);
        if (type != EXTENSION_RECORD_TYPE)
            return im_fail(r->text, IM_VERDICT_CORRUPT, "GIF: there is no image in it");
        result = read_extension(r);
    }
    return result;
}

static void close_frame(struct reader *r)
{
    if (r->gif)
        DGifCloseFile(r->gif, NULL);
}

static uint32_t larger(int screen, int from, int size)
{
    return (uint32_t)(screen > from + size ? screen : from + size);
}

/* Grey where the palette says no more than that; what a palette does not have is black. */
static void take_palette(const struct reader *r, unsigned char rgb[256][3])
{
    const ColorMapObject *map = r->gif->Image.ColorMap ? r->gif->Image.ColorMap : r->gif->SColorMap;
    bool is_needed = false;

    for (int i = 0; map && i < map->ColorCount; i++)
        is_needed =
            is_needed || map->Colors[i].Red != i || map->Colors[i].Green != i || map->Colors[i].Blue != i;
    memset(rgb, 0, 256 * sizeof rgb[0]);
    for (int i = 0; i < 256; i++) {
        if (!is_needed)
            memset(rgb[i], i, sizeof rgb[i]);
        else if (i < map->ColorCount)
            memcpy(rgb[i], (unsigned char[]){map->Colors[i].Red, map->Colors[i].Green, map->Colors[i].Blue},
                   sizeof rgb[i]);
    }
}

static int read_lines(struct reader *r, unsigned char *canvas, uint32_t width)
{
    static const struct {
        int first, step;
    } passes[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}}, in_turn[] = {{0, 1}};
    const GifImageDesc *frame = &r->gif->Image;
    const int count = frame->Interlace ? 4 : 1;

    for (int pass = 0; pass < count; pass++) {
        int y = frame->Interlace ? passes[pass].first : in_turn[pass].first;
        const int step = frame->Interlace ? passes[pass].step : in_turn[pass].step;

        for (; y < frame->Height; y += step) {
            unsigned char *line = canvas + (size_t)(frame->Top + y) * width + frame->Left;

            if (DGifGetLine(r->gif, line, frame->Width) != GIF_OK)
                return failed(r, r->gif->Error);
            im_msan_written(line, (size_t)frame->Width);
        }
    }
    return 0;
}

static int give_rows(struct reader *r, const struct au_image *image, const struct imk_box *box)
{
    unsigned char rgb[256][3];
    struct au_strip strip;
    int result = au_strip_begin(&strip, r->input, (size_t)3 * box->w, 0, box->h, r->text);

    take_palette(r, rgb);
    for (uint32_t y = box->y; result == 0 && y < box->y + box->h; y++) {
        const unsigned char *from = r->input->row.data + (size_t)y * image->width + box->x;
        unsigned char *to = au_strip_at(&strip, NULL);

        for (uint32_t x = 0; x < box->w; x++)
            memcpy(to + (size_t)3 * x, rgb[from[x]], 3);
        au_strip_add(&strip, 1);
    }
    return result;
}

static int decode_frame(struct reader *r, const struct au_image *image, const struct imk_box *box)
{
    const GifImageDesc *frame = &r->gif->Image;
    size_t size = (size_t)image->width * image->height;
    int result;

    if (frame->Width < 1 || frame->Height < 1 || frame->Left < 0 || frame->Top < 0 ||
        (uint32_t)(frame->Left + frame->Width) > image->width ||
        (uint32_t)(frame->Top + frame->Height) > image->height)
        return im_fail(r->text, IM_VERDICT_CORRUPT, "GIF: a frame of %d x %d pixels", frame->Width,
                       frame->Height);
    result = au_input_reserve(r->input, &r->input->row, image->width, image->height, r->text);
    if (result)
        return result;
    memset(r->input->row.data, r->transparent < 0 ? 0 : r->transparent, size);
    result = read_lines(r, r->input->row.data, image->width);
    return result ? result : give_rows(r, image, box);
}

static bool gif_begins(const unsigned char *bytes, size_t n)
{
    return n >= 6 && (memcmp(bytes, "GIF87a", 6) == 0 || memcmp(bytes, "GIF89a", 6) == 0);
}

static int open_header(struct au_input *input, struct au_image *ret, struct im_text *text)
{
    struct reader reader = {.input = input, .text = text};
    int result = open_frame(&reader);

    if (result == 0) {
        const GifFileType *gif = reader.gif;

        ret->width = larger(gif->SWidth, gif->Image.Left, gif->Image.Width);
        ret->height = larger(gif->SHeight, gif->Image.Top, gif->Image.Height);
        ret->memory = (uint64_t)ret->width * ret->height + au_strip_bytes(ret->width, ret->height);
        result = au_input_check(input, ret, text);
    }
    close_frame(&reader);
    return result;
}

static int decode_region(struct au_input *input, const struct au_image *image, const struct imk_box *box,
                         struct im_text *text)
{
    struct reader reader = {.input = input, .text = text};
    int result = open_frame(&reader);

    if (result == 0)
        result = decode_frame(&reader, image, box);
    close_frame(&reader);
    return result;
}

const struct au_format au_gif = {gif_begins, open_header, decode_region};
