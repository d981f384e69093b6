/* Where the axes of a chart end and where their ticks stand. Pure. */
#ifndef SUPERVISOR_REPORT_AXES_H
#define SUPERVISOR_REPORT_AXES_H

#include <stdbool.h>
#include <stddef.h>

#include "supervisor/report/plot.h"

struct sv_axes {
    const struct sv_plot *plot; /* borrowed */
    double x0, x1, y0, y1;      /* the ends; in decades where an axis is logarithmic */
};

void sv_axes_find(const struct sv_plot *plot, struct sv_axes *ret);

/* Can the point be drawn? And its place: 0 at the left or lower end, 1 at the other. */
bool sv_axes_has(const struct sv_axes *a, double x, double y);
double sv_axes_x(const struct sv_axes *a, double x);
double sv_axes_y(const struct sv_axes *a, double y);

/* Places (0 .. 1) and words of an axis' ticks; about `wanted` of them, at most SV_TICKS_MAX. */
enum { SV_TICKS_MAX = 32 };
struct sv_tick {
    double at;
    char word[24];
};
size_t sv_axes_ticks(const struct sv_axes *a, bool is_x, int wanted, struct sv_tick ret[SV_TICKS_MAX]);

#endif
