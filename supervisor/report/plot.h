/* Line charts as PNG files, and as SVG in a page (plot_svg.c). */
#ifndef SUPERVISOR_REPORT_PLOT_H
#define SUPERVISOR_REPORT_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "ipc/base/err.h"

enum sv_plot_colour {
    SV_PLOT_BLUE,
    SV_PLOT_ORANGE,
    SV_PLOT_GREEN,
    SV_PLOT_RED,
    SV_PLOT_PURPLE,
    SV_PLOT_BROWN,
    SV_PLOT_PINK,
    SV_PLOT_CYAN,
    SV_PLOT_RUNS, /* so many colours tell runs from each other */
    SV_PLOT_GREY = SV_PLOT_RUNS,
    SV_PLOT_COLOURS
};

struct sv_plot_line {
    const char *label; /* in the legend, UTF-8; NULL: not there */
    const double *x, *y;
    size_t count;
    enum sv_plot_colour colour;
    bool faint, dots; /* dots: a mark at each point too */
    bool dashed;
};

/* A vertical line with a word at its top. */
struct sv_plot_mark {
    const char *label;
    double x;
    enum sv_plot_colour colour;
};

struct sv_plot {
    const char *title, *x_label, *y_label; /* UTF-8 */
    const struct sv_plot_line *line;
    size_t lines;
    const struct sv_plot_mark *mark;
    size_t marks;
    bool log_x, log_y; /* values above 0 */
    bool whole_x;      /* x are whole numbers, and so are its ticks */
    bool clip_y;       /* a few values far above the others lie beyond the axis; triangles show where */
    double y_most;     /* the axis goes no further up; 0: as far as the lines do */
};

/* Draws 900 x 560 pixels into `path`, which is replaced whole or not at all. Points that are not finite are
 * gaps. Negative errno with a sentence. */
int sv_plot_png(const struct sv_plot *plot, const char *path, struct im_text *text);

/* The same with several plots in one picture, two in a row; at most SV_PLOT_PANELS. */
enum { SV_PLOT_PANELS = 12 };
int sv_plot_panels(const struct sv_plot *plot, size_t count, const char *path, struct im_text *text);

/* Writes an <svg> element. Colours and fonts are those of the classes c0, c1, ... (enum sv_plot_colour), axis and
 * tick of its page; there is no legend and no title in it. */
void sv_plot_svg(const struct sv_plot *plot, FILE *out);

#endif
