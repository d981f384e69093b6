/* Charts with cairo. The picture is made in memory and written by im_output_write(), so that who looks at it while it is replaced sees the old or the new one. */
#include "supervisor/report/plot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cairo.h>

#include "supervisor/report/axes.h"
#include "supervisor/report/png.h"

/* Read by LeakSanitizer where there is one: fontconfig, below cairo, keeps the fonts that it has loaded. A list of what was
 * suppressed would be written to a standard error that may take no bytes. */
const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfontconfig\n";
}

enum { WIDTH = 900, HEIGHT = 560, LEFT = 90, RIGHT = 30, TOP = 38, ROW = 18, BOTTOM = 64, TICKS = 6 };
enum { SWATCH = 26, GAP = 18 }; /* of the legend */

static const double colours[SV_PLOT_COLOURS][3] = {
    {0.12, 0.47, 0.71}, {1.00, 0.50, 0.05}, {0.17, 0.63, 0.17}, {0.84, 0.15, 0.16}, {0.58, 0.40, 0.74},
    {0.55, 0.34, 0.29}, {0.89, 0.47, 0.76}, {0.09, 0.75, 0.81}, {0.45, 0.45, 0.45}};

struct canvas {
    cairo_t *c;
    const struct sv_plot *plot;
    struct sv_axes axes;
    double top; /* of the axes, below title and legend */
};

static double at_x(const struct canvas *v, double x)
{
    return LEFT + sv_axes_x(&v->axes, x) * (WIDTH - LEFT - RIGHT);
}

static double at_y(const struct canvas *v, double y)
{
    return HEIGHT - BOTTOM - sv_axes_y(&v->axes, y) * (HEIGHT - v->top - BOTTOM);
}

static void write_at(cairo_t *c, double x, double y, double align, const char *s)
{
    cairo_text_extents_t e;

    cairo_text_extents(c, s, &e);
    cairo_move_to(c, x - align * e.x_advance, y);
    cairo_show_text(c, s);
}

static void rule(cairo_t *c, double x0, double y0, double x1, double y1)
{
    cairo_move_to(c, floor(x0) + 0.5, floor(y0) + 0.5);
    cairo_line_to(c, floor(x1) + 0.5, floor(y1) + 0.5);
    cairo_stroke(c);
}

static void draw_ticks(const struct canvas *v, bool is_x)
{
    struct sv_tick tick[SV_TICKS_MAX];
    const size_t n = sv_axes_ticks(&v->axes, is_x, TICKS, tick);

    for (size_t i = 0; i < n; i++) {
        double x = is_x ? LEFT + tick[i].at * (WIDTH - LEFT - RIGHT) : LEFT;
        double y = is_x ? HEIGHT - BOTTOM : HEIGHT - BOTTOM - tick[i].at * (HEIGHT - v->top - BOTTOM);

        cairo_set_source_rgb(v->c, 0.88, 0.88, 0.88);
        rule(v->c, x, y, is_x ? x : WIDTH - RIGHT, is_x ? v->top : y);
        cairo_set_source_rgb(v->c, 0.2, 0.2, 0.2);
        if (is_x)
            write_at(v->c, x, y + 20, 0.5, tick[i].word);
        else
            write_at(v->c, x - 8, y + 4, 1, tick[i].word);
    }
}

static void draw_axes(const struct canvas *v)
{
    cairo_set_line_width(v->c, 1);
    draw_ticks(v, true);
    draw_ticks(v, false);
    cairo_set_source_rgb(v->c, 0.3, 0.3, 0.3);
    cairo_rectangle(v->c, LEFT + 0.5, v->top + 0.5, WIDTH - LEFT - RIGHT, HEIGHT - v->top - BOTTOM);
    cairo_stroke(v->c);
    write_at(v->c, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 18, 0.5, v->plot->x_label);
    cairo_save(v->c);
    cairo_move_to(v->c, 22, (v->top + HEIGHT - BOTTOM) / 2.0);
    cairo_rotate(v->c, -M_PI / 2);
    cairo_show_text(v->c, v->plot->y_label);
    cairo_restore(v->c);
    cairo_set_font_size(v->c, 16);
    write_at(v->c, LEFT, 28, 0, v->plot->title);
    cairo_set_font_size(v->c, 12);
}

static void set_colour(cairo_t *c, enum sv_plot_colour colour, double alpha)
{
    cairo_set_source_rgba(c, colours[colour][0], colours[colour][1], colours[colour][2], alpha);
}

static void set_dashes(cairo_t *c, bool dashed)
{
    const double dashes[] = {4, 4};

    cairo_set_dash(c, dashes, dashed ? 2 : 0, 0);
}

/* A triangle at the upper edge: the value is beyond it. */
static void draw_beyond(const struct canvas *v, double x)
{
    cairo_move_to(v->c, x, v->top + 3);
    cairo_line_to(v->c, x - 5, v->top + 12);
    cairo_line_to(v->c, x + 5, v->top + 12);
    cairo_close_path(v->c);
    cairo_fill(v->c);
}

static void draw_points(const struct canvas *v, const struct sv_plot_line *l)
{
    for (size_t i = 0; i < l->count; i++) {
        if (!sv_axes_has(&v->axes, l->x[i], l->y[i]))
            continue;
        if (v->plot->clip_y && sv_axes_y(&v->axes, l->y[i]) > 1) {
            draw_beyond(v, at_x(v, l->x[i]));
        } else if (l->dots) {
            cairo_arc(v->c, at_x(v, l->x[i]), at_y(v, l->y[i]), 3, 0, 2 * M_PI);
            cairo_fill(v->c);
        }
    }
}

static void draw_line(const struct canvas *v, const struct sv_plot_line *l)
{
    bool is_down = false;

    set_colour(v->c, l->colour, l->faint ? 0.35 : 1);
    cairo_set_line_width(v->c, l->faint ? 1 : 2);
    set_dashes(v->c, l->dashed);
    for (size_t i = 0; i < l->count; i++) {
        if (!sv_axes_has(&v->axes, l->x[i], l->y[i])) {
            is_down = false;
            continue;
        }
        if (is_down)
            cairo_line_to(v->c, at_x(v, l->x[i]), at_y(v, l->y[i]));
        else
            cairo_move_to(v->c, at_x(v, l->x[i]), at_y(v, l->y[i]));
        is_down = true;
    }
    cairo_stroke(v->c);
    set_dashes(v->c, false);
    draw_points(v, l);
}

static void draw_mark(const struct canvas *v, const struct sv_plot_mark *m, size_t row)
{
    const double x = at_x(v, m->x);

    if (!isfinite(x))
        return;
    set_colour(v->c, m->colour, 1);
    cairo_set_line_width(v->c, 1);
    set_dashes(v->c, true);
    rule(v->c, x, v->top, x, HEIGHT - BOTTOM);
    set_dashes(v->c, false);
    write_at(v->c, x - 6, v->top + ROW + ROW * (double)row, 1, m->label);
}

static double entry_width(const struct canvas *v, const struct sv_plot_line *l)
{
    cairo_text_extents_t e;

    if (!l->label)
        return 0;
    cairo_text_extents(v->c, l->label, &e);
    return SWATCH + e.x_advance + GAP;
}

static void draw_entry(const struct canvas *v, const struct sv_plot_line *l, double x, double y)
{
    set_colour(v->c, l->colour, l->faint ? 0.35 : 1);
    cairo_set_line_width(v->c, 3);
    set_dashes(v->c, l->dashed);
    rule(v->c, x, y - 4, x + SWATCH - 6, y - 4);
    set_dashes(v->c, false);
    cairo_set_source_rgb(v->c, 0.2, 0.2, 0.2);
    write_at(v->c, x + SWATCH, y, 0, l->label);
}

/* Rows of entries that end at the right; with `drawn` false they are only counted. */
static size_t lay_legend(const struct canvas *v, bool drawn)
{
    const size_t lines = v->plot->lines;
    size_t rows = 0, end;

    for (size_t first = 0; first < lines; first = end) {
        double width = 0, x;

        for (end = first; end < lines; end++) {
            double entry = entry_width(v, &v->plot->line[end]);

            if (end > first && width + entry > WIDTH - LEFT - RIGHT + GAP)
                break;
            width += entry;
        }
        x = WIDTH - RIGHT + GAP - width;
        for (size_t i = first; i < end && drawn; i++) {
            if (v->plot->line[i].label)
                draw_entry(v, &v->plot->line[i], x, TOP + 8 + ROW * (double)rows);
            x += entry_width(v, &v->plot->line[i]);
        }
        rows += width > 0;
    }
    return rows;
}

static void draw(cairo_t *c, const struct sv_plot *plot)
{
    struct canvas v = {.c = c, .plot = plot};
    size_t rows;

    cairo_select_font_face(c, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(c, 12);
    sv_axes_find(plot, &v.axes);
    rows = lay_legend(&v, false);
    v.top = fmin(TOP + ROW * (double)(rows > 0 ? rows : 1), HEIGHT / 2.0);
    draw_axes(&v);
    lay_legend(&v, true);
    cairo_rectangle(c, LEFT, v.top, WIDTH - LEFT - RIGHT, HEIGHT - v.top - BOTTOM);
    cairo_clip(c);
    for (size_t i = 0; i < plot->lines; i++)
        draw_line(&v, &plot->line[i]);
    for (size_t i = 0; i < plot->marks; i++)
        draw_mark(&v, &plot->mark[i], i);
}

int sv_plot_panels(const struct sv_plot *plot, size_t count, const char *path, struct im_text *text)
{
    const int columns = count > 1 ? 2 : 1, rows = count > 1 ? (int)(count + 1) / 2 : 1;
    cairo_surface_t *surface;
    cairo_t *c;
    int err;

    im_assert(count <= SV_PLOT_PANELS);
    surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, WIDTH * columns, HEIGHT * rows);
    c = cairo_create(surface);
    cairo_set_source_rgb(c, 1, 1, 1);
    cairo_paint(c);
    for (size_t i = 0; i < count; i++) {
        const size_t row = i / 2, column = i % 2;

        cairo_save(c);
        cairo_translate(c, (double)(WIDTH * column), (double)(HEIGHT * row));
        draw(c, &plot[i]);
        cairo_restore(c);
    }
    err = sv_png_write(surface, (int)cairo_status(c), path, text);
    cairo_destroy(c);
    cairo_surface_destroy(surface);
    return err;
}

int sv_plot_png(const struct sv_plot *plot, const char *path, struct im_text *text)
{
    return sv_plot_panels(plot, 1, path, text);
}
