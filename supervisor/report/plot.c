/* Charts with cairo; the one file that includes it. Axes have round numbers (1, 2, 5 times a power of ten),
 * a logarithmic one its decades. The picture is made in memory and written by im_file_replace(), so that who
 * looks at it while it is replaced sees the old or the new one. */
#include "supervisor/report/plot.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cairo.h>

#include "ipc/base/aside.h"
#include "ipc/base/file.h"

/* Read by LeakSanitizer where there is one: fontconfig, below cairo, keeps the fonts that it has loaded. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfontconfig\n";
}

enum { WIDTH = 900, HEIGHT = 560, LEFT = 90, RIGHT = 30, TOP = 56, BOTTOM = 64, TICKS = 6 };

static const double colours[SV_PLOT_COLOURS][3] = {
    {0.12, 0.47, 0.71}, {1.00, 0.50, 0.05}, {0.17, 0.63, 0.17}, {0.84, 0.15, 0.16}, {0.45, 0.45, 0.45}};

struct canvas {
    cairo_t *c;
    const struct sv_plot *plot;
    double x0, x1, y0, y1; /* the axes' ends; x in decades when logarithmic */
};

static double scale_x(const struct sv_plot *p, double x)
{
    return p->log_x ? log10(x) : x;
}

static double at_x(const struct canvas *v, double x)
{
    return LEFT + (scale_x(v->plot, x) - v->x0) / (v->x1 - v->x0) * (WIDTH - LEFT - RIGHT);
}

static double at_y(const struct canvas *v, double y)
{
    return HEIGHT - BOTTOM - (y - v->y0) / (v->y1 - v->y0) * (HEIGHT - TOP - BOTTOM);
}

static void widen(double *low, double *high)
{
    double room = (*high - *low) * 0.04;

    if (!(*high > *low))
        room = fabs(*low) > 0 ? fabs(*low) * 0.1 : 1;
    *low -= room;
    *high += room;
}

static bool is_point(const struct sv_plot *p, double x, double y)
{
    return isfinite(y) && isfinite(scale_x(p, x));
}

static void find_limits(struct canvas *v)
{
    const struct sv_plot *p = v->plot;

    v->x0 = v->y0 = INFINITY;
    v->x1 = v->y1 = -INFINITY;
    for (size_t i = 0; i < p->lines; i++)
        for (size_t k = 0; k < p->line[i].count; k++) {
            double x = scale_x(p, p->line[i].x[k]), y = p->line[i].y[k];

            if (!is_point(p, p->line[i].x[k], y))
                continue;
            v->x0 = fmin(v->x0, x);
            v->x1 = fmax(v->x1, x);
            v->y0 = fmin(v->y0, y);
            v->y1 = fmax(v->y1, y);
        }
    if (!(v->x0 <= v->x1)) /* no point at all */
        v->x0 = v->y0 = 0, v->x1 = v->y1 = 1;
    if (p->y_most > v->y0 && p->y_most < v->y1)
        v->y1 = p->y_most;
    widen(&v->x0, &v->x1);
    widen(&v->y0, &v->y1);
}

/* The distance of about TICKS round numbers in the range. */
static double step_of(double range)
{
    double raw = range / TICKS, power = pow(10, floor(log10(raw))), part = raw / power;

    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
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

static void draw_tick(const struct canvas *v, double value, bool is_x)
{
    double x = is_x ? LEFT + (value - v->x0) / (v->x1 - v->x0) * (WIDTH - LEFT - RIGHT) : LEFT;
    double y = is_x ? HEIGHT - BOTTOM : at_y(v, value);
    char s[32];

    cairo_set_source_rgb(v->c, 0.88, 0.88, 0.88);
    rule(v->c, x, y, is_x ? x : WIDTH - RIGHT, is_x ? TOP : y);
    cairo_set_source_rgb(v->c, 0.2, 0.2, 0.2);
    snprintf(s, sizeof s, "%.4g", is_x && v->plot->log_x ? pow(10, value) : fabs(value) < 1e-12 ? 0 : value);
    if (is_x)
        write_at(v->c, x, y + 20, 0.5, s);
    else
        write_at(v->c, x - 8, y + 4, 1, s);
}

static void draw_axes(const struct canvas *v)
{
    double least = v->plot->log_x || v->plot->whole_x ? 1 : 0, step_x = fmax(least, step_of(v->x1 - v->x0));
    double step_y = step_of(v->y1 - v->y0);

    cairo_set_line_width(v->c, 1);
    for (double x = ceil(v->x0 / step_x) * step_x; x <= v->x1; x += step_x)
        draw_tick(v, x, true);
    for (double y = ceil(v->y0 / step_y) * step_y; y <= v->y1; y += step_y)
        draw_tick(v, y, false);
    cairo_set_source_rgb(v->c, 0.3, 0.3, 0.3);
    cairo_rectangle(v->c, LEFT + 0.5, TOP + 0.5, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    cairo_stroke(v->c);
    write_at(v->c, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 18, 0.5, v->plot->x_label);
    cairo_save(v->c);
    cairo_move_to(v->c, 22, (TOP + HEIGHT - BOTTOM) / 2.0);
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

static void draw_line(const struct canvas *v, const struct sv_plot_line *l)
{
    bool is_down = false;

    set_colour(v->c, l->colour, l->faint ? 0.35 : 1);
    cairo_set_line_width(v->c, l->faint ? 1 : 2);
    for (size_t i = 0; i < l->count; i++) {
        if (!is_point(v->plot, l->x[i], l->y[i])) {
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
    for (size_t i = 0; i < l->count && l->dots; i++) {
        if (!is_point(v->plot, l->x[i], l->y[i]))
            continue;
        cairo_arc(v->c, at_x(v, l->x[i]), at_y(v, l->y[i]), 3, 0, 2 * M_PI);
        cairo_fill(v->c);
    }
}

static void draw_mark(const struct canvas *v, const struct sv_plot_mark *m, size_t row)
{
    const double dashes[] = {4, 4};

    if (!isfinite(scale_x(v->plot, m->x)))
        return;
    set_colour(v->c, m->colour, 1);
    cairo_set_line_width(v->c, 1);
    cairo_set_dash(v->c, dashes, 2, 0);
    rule(v->c, at_x(v, m->x), TOP, at_x(v, m->x), HEIGHT - BOTTOM);
    cairo_set_dash(v->c, NULL, 0, 0);
    write_at(v->c, at_x(v, m->x) - 6, TOP + 18 + 18 * (double)row, 1, m->label);
}

static void draw_legend(const struct canvas *v)
{
    double x = WIDTH - RIGHT;

    for (size_t i = v->plot->lines; i-- > 0;) {
        const struct sv_plot_line *l = &v->plot->line[i];
        cairo_text_extents_t e;

        if (!l->label)
            continue;
        cairo_text_extents(v->c, l->label, &e);
        x -= e.x_advance;
        cairo_set_source_rgb(v->c, 0.2, 0.2, 0.2);
        write_at(v->c, x, 46, 0, l->label);
        set_colour(v->c, l->colour, l->faint ? 0.35 : 1);
        cairo_set_line_width(v->c, 3);
        rule(v->c, x - 26, 42, x - 6, 42);
        x -= 44;
    }
}

static void draw(cairo_t *c, const struct sv_plot *plot)
{
    struct canvas v = {.c = c, .plot = plot};

    cairo_set_source_rgb(c, 1, 1, 1);
    cairo_paint(c);
    cairo_select_font_face(c, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(c, 12);
    find_limits(&v);
    draw_axes(&v);
    draw_legend(&v);
    cairo_rectangle(c, LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    cairo_clip(c);
    for (size_t i = 0; i < plot->lines; i++)
        draw_line(&v, &plot->line[i]);
    for (size_t i = 0; i < plot->marks; i++)
        draw_mark(&v, &plot->mark[i], i);
}

static cairo_status_t append(void *closure, const unsigned char *bytes, unsigned n)
{
    return fwrite(bytes, 1, n, closure) == n ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

int sv_plot_png(const struct sv_plot *plot, const char *path, struct im_text *text)
{
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, WIDTH, HEIGHT);
    cairo_t *c = cairo_create(surface);
    char *png = NULL;
    size_t n = 0;
    FILE *memory = open_memstream(&png, &n);
    cairo_status_t status = CAIRO_STATUS_NO_MEMORY;
    int err;

    draw(c, plot);
    if (memory && cairo_status(c) == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_write_to_png_stream(surface, append, memory);
    if (memory && fclose(memory) != 0)
        status = CAIRO_STATUS_WRITE_ERROR;
    if (status == CAIRO_STATUS_SUCCESS)
        err = im_file_replace_any(path, png, n, text);
    else
        err = im_fail(text, -EIO, "cannot draw %s: %s", path, cairo_status_to_string(status));
    free(png);
    cairo_destroy(c);
    cairo_surface_destroy(surface);
    return err;
}
