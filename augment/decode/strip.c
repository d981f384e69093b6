/* The way of decoded rows to whoever takes them. */
#include <errno.h>

#include "augment/decode/format.h"

/* A strip is about as large as what a core's second cache keeps while the rows are resized, and has rows
 * enough for what libjpeg makes in one go. */
#define STRIP_BYTES ((size_t)128 * 1024)
#define STRIP_ROWS_MIN 16

/* libjpeg-turbo writes the colours of rows that begin at a multiple of 16 (SSE2) or 32 bytes (AVX2) past the caches, and the
 * resize would wait for memory: a tenth of all the time that an image takes. So rows begin ROW_START bytes behind a multiple of
 * ROW_ALIGN, which is what buffers are aligned to. */
enum { ROW_ALIGN = 64, ROW_START = 8 };

static size_t row_stride(size_t row_bytes)
{
    return (row_bytes + ROW_ALIGN - 1) / ROW_ALIGN * ROW_ALIGN;
}

static uint32_t strip_rows(size_t row_bytes, uint32_t rows)
{
    size_t fit = STRIP_BYTES / row_bytes;

    if (fit < STRIP_ROWS_MIN)
        fit = STRIP_ROWS_MIN;
    return fit < rows ? (uint32_t)fit : rows;
}

uint64_t au_strip_bytes(uint32_t width, uint32_t height)
{
    size_t stride = row_stride((size_t)3 * width);

    return width == 0 ? 0 : (uint64_t)stride * (strip_rows(stride, height) + 1);
}

int au_strip_begin(struct au_strip *strip, struct au_input *input, size_t row_bytes, size_t offset,
                   uint32_t rows, struct im_text *text)
{
    size_t stride = row_stride(row_bytes);
    uint32_t room = input->whole ? rows : strip_rows(stride, rows);
    int result = au_input_reserve(input, &input->pixels, stride, room + 1, text);

    if (result)
        return result;
    *strip = (struct au_strip){
        .input = input,
        .first_row = input->pixels.data + ROW_START,
        .stride = stride,
        .offset = offset,
        .rows = rows,
        .room = room,
    };
    return 0;
}

unsigned char *au_strip_at(const struct au_strip *strip, uint32_t *ret_room)
{
    if (ret_room)
        *ret_room = strip->room - strip->count;
    return strip->first_row + strip->count * strip->stride;
}

void au_strip_add(struct au_strip *strip, uint32_t n)
{
    const struct au_sink *sink = strip->input->sink;

    strip->count += n;
    im_assert(strip->count <= strip->room && strip->first + strip->count <= strip->rows);
    if (strip->count < strip->room && strip->first + strip->count < strip->rows)
        return;
    sink->take(sink->context, strip->first, strip->count,
               &(struct au_pixels){strip->first_row + strip->offset, strip->stride});
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
