/* A screen of characters in memory. Layouts draw on it, the window shows it, tests read it as text.
 *
 * In this folder: `imsuper top`: what is known of a run (run), its control socket as a client (client), its events
 * (events), the layout (draw) on a canvas, and the terminal (window). Layouts are pure; only window uses a terminal. */
#ifndef SUPERVISOR_TOP_CANVAS_H
#define SUPERVISOR_TOP_CANVAS_H

#include <stdbool.h>

enum sv_style {
    SV_PLAIN,
    SV_BOLD,
    SV_FAINT,
    SV_GOOD,
    SV_BUSY,
    SV_BAD,
    SV_ACCENT,
    SV_HEADING, /* of a table, over the whole width */
    SV_CHOSEN,  /* a line of a list */
    SV_STYLES
};

enum { SV_CHARACTER_BYTES = 5 };

struct sv_cell {
    char s[SV_CHARACTER_BYTES]; /* one character; "" behind one of two columns */
    unsigned char style;
};

struct sv_canvas {
    int columns, rows;
    struct sv_cell *cells; /* [rows][columns]; owned */
};

/* All blanks. -ENOMEM; the canvas is then as before. */
int sv_canvas_resize(struct sv_canvas *c, int columns, int rows);
void sv_canvas_free(struct sv_canvas *c); /* zeroed is fine */

/* Draws what fits of a text into `width` columns from (row, column) on, with harmful characters escaped
 * (ipc/base/printable.h). Places outside of the canvas are nowhere. Returns the column behind the text. */
int sv_canvas_put(struct sv_canvas *c, int row, int column, int width, enum sv_style style, const char *text);

/* The same from printf's arguments, to the end of the row. */
int sv_canvas_print(struct sv_canvas *c, int row, int column, enum sv_style style, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Gives the whole row a style. */
void sv_canvas_style(struct sv_canvas *c, int row, enum sv_style style);

#endif
