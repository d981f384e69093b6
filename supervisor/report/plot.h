/* Line charts as PNG files. */
#ifndef SUPERVISOR_REPORT_PLOT_H
#define SUPERVISOR_REPORT_PLOT_H

#include <stdbool.h>
#include <stddef.h>

#include "ipc/base/err.h"

enum sv_plot_colour {
    SV_PLOT_BLUE,
    SV_PLOT_ORANGE,
    SV_PLOT_GREEN,
    SV_PLOT_RED,
    SV_PLOT_GREY,
    SV_PLOT_COLOURS
};

struct sv_plot_line {
    const char *label; /* in the legend; NULL: not there */
    const double *x, *y;
    size_t count;
    enum sv_plot_colour colour;
    bool faint, dots; /* dots: a mark at each point too */
};

/* A vertical line with a word at its top. */
struct sv_plot_mark {
    const char *label;
    double x;
    enum sv_plot_colour colour;
};

struct sv_plot {
    const char *title, *x_label, *y_label;
    const struct sv_plot_line *line;
    size_t lines;
    const struct sv_plot_mark *mark;
    size_t marks;
    bool log_x;    /* x above 0 */
    bool whole_x;  /* x are whole numbers, and so are its ticks */
    double y_most; /* the axis goes no further up; 0: as far as the lines do */
};

/* Draws 900 x 560 pixels into `path`, which is replaced whole or not at all. Points that are not finite are
 * gaps. Negative errno with a sentence. */
int sv_plot_png(const struct sv_plot *plot, const char *path, struct im_text *text);

#endif
