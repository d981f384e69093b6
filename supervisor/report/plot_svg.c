/* Charts as SVG elements. What a page gives as style is left to it: dark and light pages use the same element. Long
 * lines are thinned to the pixels that there are: of each group of points its lowest and highest are kept. */
#include <math.h>

#include "supervisor/report/axes.h"
#include "supervisor/report/plot.h"

enum { WIDTH = 640, HEIGHT = 300, LEFT = 60, RIGHT = 12, TOP = 10, BOTTOM = 42, TICKS = 5 };
enum { GROUPS = 300 }; /* of a line's points */

static double at_x(const struct sv_axes *a, double x)
{
    return LEFT + sv_axes_x(a, x) * (WIDTH - LEFT - RIGHT);
}

/* Beyond the upper end is drawn at it. */
static double at_y(const struct sv_axes *a, double y)
{
    return HEIGHT - BOTTOM - fmin(sv_axes_y(a, y), 1) * (HEIGHT - TOP - BOTTOM);
}

static void write_ticks(const struct sv_axes *a, FILE *out)
{
    struct sv_tick tick[SV_TICKS_MAX];
    size_t n = sv_axes_ticks(a, true, TICKS, tick);

    for (size_t i = 0; i < n; i++) {
        const double x = LEFT + tick[i].at * (WIDTH - LEFT - RIGHT);

        fprintf(out, "<path class=\"grid\" d=\"M%.1f %dV%d\"/>", x, TOP, HEIGHT - BOTTOM);
        fprintf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x,
                HEIGHT - BOTTOM + 16, tick[i].word);
    }
    n = sv_axes_ticks(a, false, TICKS, tick);
    for (size_t i = 0; i < n; i++) {
        const double y = HEIGHT - BOTTOM - tick[i].at * (HEIGHT - TOP - BOTTOM);

        fprintf(out, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>", LEFT, y, WIDTH - RIGHT);
        fprintf(out, "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT - 6,
                y + 4, tick[i].word);
    }
    fprintf(out, "<text class=\"tick\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, a->plot->x_label);
}

struct pen {
    const struct sv_axes *axes;
    FILE *out;
    bool is_down;
};

static void move(struct pen *p, double x, double y)
{
    fprintf(p->out, "%c%.1f %.1f", p->is_down ? 'L' : 'M', at_x(p->axes, x), at_y(p->axes, y));
    p->is_down = true;
}

/* The lowest and the highest point from `first` to `end`, in their order. A gap among them ends the line. */
static void draw_group(struct pen *p, const struct sv_plot_line *l, size_t first, size_t end)
{
    size_t low = end, high = end;

    for (size_t i = first; i < end; i++) {
        if (!sv_axes_has(p->axes, l->x[i], l->y[i])) {
            p->is_down = false;
            continue;
        }
        if (low == end || l->y[i] < l->y[low])
            low = i;
        if (high == end || l->y[i] > l->y[high])
            high = i;
    }
    if (low == end)
        return;
    move(p, l->x[low < high ? low : high], l->y[low < high ? low : high]);
    if (low != high)
        move(p, l->x[low < high ? high : low], l->y[low < high ? high : low]);
}

static void write_line(const struct sv_axes *a, const struct sv_plot_line *l, FILE *out)
{
    const size_t group = l->count > 2 * GROUPS ? l->count / GROUPS : 1;
    struct pen pen = {a, out, false};

    fprintf(out, "<path class=\"line c%d%s%s\" d=\"", l->colour, l->faint ? " faint" : "",
            l->dashed ? " dashed" : "");
    for (size_t i = 0; i < l->count; i += group)
        draw_group(&pen, l, i, i + group < l->count ? i + group : l->count);
    fputs("\"/>\n", out);
    for (size_t i = 0; i < l->count; i++) {
        double x, y;

        if (!sv_axes_has(a, l->x[i], l->y[i]))
            continue;
        x = at_x(a, l->x[i]), y = at_y(a, l->y[i]);
        if (a->plot->clip_y && sv_axes_y(a, l->y[i]) > 1)
            fprintf(out, "<path class=\"dot c%d\" d=\"M%.1f %.1fl-4 8h8z\"><title>%.6g</title></path>\n",
                    l->colour, x, y, l->y[i]);
        else if (l->dots)
            fprintf(out,
                    "<circle class=\"dot c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"><title>%.6g: "
                    "%.6g</title></circle>\n",
                    l->colour, x, y, l->x[i], l->y[i]);
    }
}

void sv_plot_svg(const struct sv_plot *plot, FILE *out)
{
    struct sv_axes axes;

    sv_axes_find(plot, &axes);
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT,
            plot->y_label);
    write_ticks(&axes, out);
    for (size_t i = 0; i < plot->lines; i++)
        write_line(&axes, &plot->line[i], out);
    fputs("</svg>\n", out);
}
