#include "supervisor/top/canvas.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/printable.h"
#include "ipc/base/utf8.h"
#include "supervisor/report/fold.h"

int sv_canvas_resize(struct sv_canvas *c, int columns, int rows)
{
    const size_t count = (size_t)columns * (size_t)rows;
    struct sv_cell *cells = calloc(count > 0 ? count : 1, sizeof *cells);

    if (!cells)
        return -ENOMEM;
    free(c->cells);
    *c = (struct sv_canvas){columns, rows, cells};
    for (size_t i = 0; i < count; i++)
        memcpy(cells[i].s, " ", 2);
    return 0;
}

void sv_canvas_free(struct sv_canvas *c)
{
    free(c->cells);
    *c = (struct sv_canvas){0};
}

static struct sv_cell *cell_at(struct sv_canvas *c, int row, int column)
{
    return &c->cells[row * c->columns + column];
}

int sv_canvas_put(struct sv_canvas *c, int row, int column, int width, enum sv_style style, const char *text)
{
    char shown[2048];
    const char *at = im_printable(text, shown, sizeof shown);
    const int end = column + width < c->columns ? column + width : c->columns;

    if (row < 0 || row >= c->rows || column < 0)
        return column;
    while (*at) {
        const size_t n = im_utf8_length(at) > 0 ? im_utf8_length(at) : 1;
        char one[SV_CHARACTER_BYTES] = "";
        struct sv_cell *cell;
        int columns;

        memcpy(one, at, n);
        columns = sv_text_width(one);
        if (column + columns > end)
            break;
        if (columns > 0) {
            cell = cell_at(c, row, column);
            memcpy(cell->s, one, sizeof one);
            cell->style = (unsigned char)style;
        }
        if (columns == 2)
            *cell_at(c, row, column + 1) = (struct sv_cell){.style = (unsigned char)style};
        column += columns;
        at += n;
    }
    return column;
}

int sv_canvas_print(struct sv_canvas *c, int row, int column, enum sv_style style, const char *format, ...)
{
    char text[2048];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return sv_canvas_put(c, row, column, c->columns - column, style, text);
}

void sv_canvas_style(struct sv_canvas *c, int row, enum sv_style style)
{
    for (int column = 0; row >= 0 && row < c->rows && column < c->columns; column++)
        cell_at(c, row, column)->style = (unsigned char)style;
}
