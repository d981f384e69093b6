/* The way of decoded rows to whoever takes them. */
#include <errno.h>

#include "augment/decode/format.h"

/* A strip is about as large as what a core's second cache keeps while the rows are resized, and has rows
 * enough for what libjpeg makes in one go. */
#define STRIP_BYTES ((size_t)128 * 1024)
#define STRIP_ROWS_MIN 16

static uint32_t strip_rows(size_t row_bytes, uint32_t rows)
{
    size_t fit = STRIP_BYTES / row_bytes;

    if (fit < STRIP_ROWS_MIN)
        fit = STRIP_ROWS_MIN;
    return fit < rows ? (uint32_t)fit : rows;
}

uint64_t au_strip_bytes(uint32_t width, uint32_t height)
{
    return width == 0 ? 0 : (uint64_t)3 * width * strip_rows((size_t)3 * width, height);
}

int au_strip_begin(struct au_strip *strip, struct au_input *input, size_t row_bytes, size_t offset,
                   uint32_t rows, struct im_text *text)
{
    *strip = (struct au_strip){
        .input = input,
        .row_bytes = row_bytes,
        .offset = offset,
        .rows = rows,
        .room = input->whole ? rows : strip_rows(row_bytes, rows),
    };
    return au_input_reserve(input, &input->pixels, row_bytes, strip->room, text);
}

unsigned char *au_strip_at(const struct au_strip *strip, uint32_t *ret_room)
{
    if (ret_room)
        *ret_room = strip->room - strip->count;
    return strip->input->pixels.data + strip->count * strip->row_bytes;
}

void au_strip_add(struct au_strip *strip, uint32_t n)
{
    const struct au_sink *sink = strip->input->sink;

    strip->count += n;
    im_assert(strip->count <= strip->room && strip->first + strip->count <= strip->rows);
    if (strip->count < strip->room && strip->first + strip->count < strip->rows)
        return;
    sink->take(sink->context, strip->first, strip->count,
               &(struct au_pixels){strip->input->pixels.data + strip->offset, strip->row_bytes});
    strip->first += strip->count;
    strip->count = 0;
    if (strip->room > strip->rows - strip->first)
        strip->room = strip->rows - strip->first;
}

int au_input_reserve(struct au_input *input, struct au_buffer *buffer, size_t row_bytes, uint32_t rows,
                     struct im_text *text)
{
    size_t size;

    if (__builtin_mul_overflow(row_bytes, rows, &size) || size > input->limits.memory_max)
        return im_fail(text, IM_VERDICT_MEMORY_LIMIT,
                       "%u rows of %zu bytes are decoded at once; an image may take %zu bytes", rows,
                       row_bytes, input->limits.memory_max);
    if (au_buffer_reserve(buffer, size + IMK_SLACK) < 0)
        return im_fail(text, -ENOMEM, "no memory for %zu bytes of pixels", size);
    return 0;
}

void au_input_give(const struct au_input *input, const unsigned char *pixels, size_t stride,
                   const struct imk_box *box)
{
    input->sink->take(input->sink->context, 0, box->h,
                      &(struct au_pixels){pixels + box->y * stride + (size_t)3 * box->x, stride});
}
