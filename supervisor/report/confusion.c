#include "supervisor/report/confusion.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <cairo.h>

#include "supervisor/report/png.h"

enum {
    COUNTS_MAX = 30, /* classes with counts in the cells */
    NAMES_MAX = 200, /* classes with names beside the cells */
    SIDE_MAX = 2000, /* pixels of the matrix; more classes share them */
    PAIRS = 25,
    PANEL = 460, /* width of the list of pairs */
    TOP = 64,
    MARGIN = 24,
    TICKS = 10
};

#define LABEL_WIDTH_MAX 220.0

struct pair {
    uint32_t from, to, count;
};

struct canvas {
    cairo_t *c;
    const struct sv_confusion *m;
    uint32_t block, cells; /* classes of a cell, cells of a side */
    double cell, left, top, font;
    uint64_t *support; /* [cells] of the rows */
    struct pair pair[PAIRS];
    int pairs;
};

static uint64_t count_at(const struct canvas *v, uint32_t row, uint32_t column)
{
    uint64_t sum = 0;

    for (uint32_t i = row * v->block; i < (row + 1) * v->block && i < v->m->classes; i++)
        for (uint32_t k = column * v->block; k < (column + 1) * v->block && k < v->m->classes; k++)
            sum += v->m->count[(size_t)i * v->m->classes + k];
    return sum;
}

static int find_support(struct canvas *v)
{
    v->support = calloc(v->cells, sizeof *v->support);
    if (!v->support)
        return -ENOMEM;
    for (uint32_t i = 0; i < v->m->classes; i++)
        for (uint32_t k = 0; k < v->m->classes; k++)
            v->support[i / v->block] += v->m->count[(size_t)i * v->m->classes + k];
    return 0;
}

/* The pairs that are confused most, the most first. */
static void find_pairs(struct canvas *v)
{
    const uint32_t n = v->m->classes;

    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < n; k++) {
            const uint32_t count = v->m->count[(size_t)i * n + k];
            int at = v->pairs;

            if (i == k || count == 0 || (at == PAIRS && count <= v->pair[PAIRS - 1].count))
                continue;
            if (at == PAIRS)
                at--;
            else
                v->pairs++;
            for (; at > 0 && v->pair[at - 1].count < count; at--)
                v->pair[at] = v->pair[at - 1];
            v->pair[at] = (struct pair){i, k, count};
        }
}

static void write_at(cairo_t *c, double x, double y, double align, const char *s)
{
    cairo_text_extents_t e;

    cairo_text_extents(c, s, &e);
    cairo_move_to(c, x - align * e.x_advance, y);
    cairo_show_text(c, s);
}

/* A name as wide as there is room, its end cut. */
static const char *fit(cairo_t *c, const char *name, double room, char *s, size_t size)
{
    cairo_text_extents_t e;
    size_t n = (size_t)snprintf(s, size - 4, "%s", name);

    n = n < size - 4 ? n : size - 5;
    for (;;) {
        cairo_text_extents(c, s, &e);
        if (e.x_advance <= room || n == 0)
            return s;
        while (n > 0 && ((unsigned char)s[n - 1] & 0xc0) == 0x80)
            n--;
        n -= n > 0;
        snprintf(s + n, 4, "…");
    }
}

static double label_width(const struct canvas *v)
{
    cairo_text_extents_t e;
    double most = 0;

    for (uint32_t i = 0; i < v->m->classes && v->m->classes <= NAMES_MAX; i++) {
        cairo_text_extents(v->c, v->m->class_name[i], &e);
        most = fmax(most, e.x_advance);
    }
    return v->m->classes > NAMES_MAX ? LABEL_WIDTH_MAX : fmin(most, LABEL_WIDTH_MAX);
}

static void place(struct canvas *v)
{
    const uint32_t n = v->m->classes;

    v->block = (n + SIDE_MAX - 1) / SIDE_MAX;
    v->cells = (n + v->block - 1) / v->block;
    v->cell = n <= 12           ? 60
              : n <= COUNTS_MAX ? 44
              : n <= NAMES_MAX  ? fmax(12, floor(1500.0 / n))
                                : fmax(1, floor(SIDE_MAX / (double)v->cells));
    v->font = n > NAMES_MAX ? 13 : fmin(13, v->cell - 1);
    cairo_set_font_size(v->c, v->font);
    v->left = MARGIN + 20 + label_width(v) + 8;
    v->top = TOP + 20 + label_width(v) + 8;
}

/* Of a share of a row: small ones are to be seen, too. */
static void set_colour(cairo_t *c, double share, bool is_diagonal)
{
    const double depth = share > 0 ? 0.15 + 0.85 * sqrt(share) : 0;

    if (is_diagonal)
        cairo_set_source_rgb(c, 1 - 0.88 * depth, 1 - 0.60 * depth, 1 - 0.30 * depth);
    else
        cairo_set_source_rgb(c, 1 - 0.16 * depth, 1 - 0.85 * depth, 1 - 0.84 * depth);
}

static void draw_cells(const struct canvas *v)
{
    char s[32];

    cairo_set_antialias(v->c, CAIRO_ANTIALIAS_NONE);
    for (uint32_t i = 0; i < v->cells; i++)
        for (uint32_t k = 0; k < v->cells; k++) {
            const uint64_t count = count_at(v, i, k);
            const double share = v->support[i] ? (double)count / (double)v->support[i] : 0;
            const double x = v->left + k * v->cell, y = v->top + i * v->cell;

            if (count == 0)
                continue;
            set_colour(v->c, share, i == k);
            cairo_rectangle(v->c, x, y, v->cell, v->cell);
            cairo_fill(v->c);
            if (v->m->classes > COUNTS_MAX)
                continue;
            cairo_set_source_rgb(v->c, share > 0.5 ? 1 : 0.1, share > 0.5 ? 1 : 0.1, share > 0.5 ? 1 : 0.1);
            snprintf(s, sizeof s, "%llu", (unsigned long long)count);
            write_at(v->c, x + v->cell / 2, y + v->cell / 2 + 4, 0.5, s);
        }
    cairo_set_antialias(v->c, CAIRO_ANTIALIAS_DEFAULT);
    cairo_set_source_rgb(v->c, 0.3, 0.3, 0.3);
    cairo_set_line_width(v->c, 1);
    cairo_rectangle(v->c, v->left - 0.5, v->top - 0.5, v->cells * v->cell + 1, v->cells * v->cell + 1);
    cairo_stroke(v->c);
}

static void draw_label(const struct canvas *v, uint32_t class, const char *name)
{
    const double at = (class + 0.5) * v->cell / v->block;
    const double low = v->font * 0.35;
    char s[256];

    fit(v->c, name, LABEL_WIDTH_MAX, s, sizeof s);
    write_at(v->c, v->left - 6, v->top + at + low, 1, s);
    cairo_save(v->c);
    cairo_translate(v->c, v->left + at + low, v->top - 6);
    cairo_rotate(v->c, -M_PI / 2);
    write_at(v->c, 0, 0, 0, s);
    cairo_restore(v->c);
}

/* Every tick has the class's number, from 0, and its name; a line leads across the matrix. */
static void draw_ticks(const struct canvas *v)
{
    const double raw = v->m->classes / (double)TICKS, power = pow(10, floor(log10(raw))), part = raw / power;
    const uint32_t step = (uint32_t)(power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10));
    const double side = v->cells * v->cell;
    char s[300];

    for (uint32_t i = 0; i < v->m->classes; i += step) {
        const double at = (i + 0.5) * v->cell / v->block;

        snprintf(s, sizeof s, "%u  %s", i, v->m->class_name[i]);
        cairo_set_source_rgba(v->c, 0, 0, 0, 0.12);
        cairo_set_line_width(v->c, 1);
        cairo_move_to(v->c, v->left, floor(v->top + at) + 0.5);
        cairo_rel_line_to(v->c, side, 0);
        cairo_move_to(v->c, floor(v->left + at) + 0.5, v->top);
        cairo_rel_line_to(v->c, 0, side);
        cairo_stroke(v->c);
        cairo_set_source_rgb(v->c, 0.15, 0.15, 0.15);
        draw_label(v, i, s);
    }
}

static void draw_labels(const struct canvas *v)
{
    cairo_set_source_rgb(v->c, 0.15, 0.15, 0.15);
    cairo_set_font_size(v->c, v->font);
    if (v->m->classes > NAMES_MAX)
        draw_ticks(v);
    for (uint32_t i = 0; i < v->m->classes && v->m->classes <= NAMES_MAX; i++)
        draw_label(v, i, v->m->class_name[i]);
    cairo_set_source_rgb(v->c, 0.15, 0.15, 0.15);
    cairo_set_font_size(v->c, 18);
    write_at(v->c, MARGIN, 32, 0, v->m->title);
    cairo_set_font_size(v->c, 13);
    write_at(v->c, v->left, TOP, 0, "predicted class →");
    cairo_save(v->c);
    cairo_translate(v->c, MARGIN + 4, v->top + v->cells * v->cell);
    cairo_rotate(v->c, -M_PI / 2);
    write_at(v->c, 0, 0, 0, "← true class");
    cairo_restore(v->c);
}

static void draw_pairs(const struct canvas *v, double x)
{
    double y = TOP;
    char line[640], from[256], to[256];

    cairo_set_font_size(v->c, 13);
    cairo_set_source_rgb(v->c, 0.15, 0.15, 0.15);
    write_at(v->c, x, y, 0,
             v->pairs ? "confused most: true → predicted" : "no image was taken for another class");
    for (int i = 0; i < v->pairs; i++) {
        const struct pair *p = &v->pair[i];
        uint64_t support = 0;

        for (uint32_t k = 0; k < v->m->classes; k++)
            support += v->m->count[(size_t)p->from * v->m->classes + k];
        y += 19;
        fit(v->c, v->m->class_name[p->from], PANEL * 0.38, from, sizeof from);
        fit(v->c, v->m->class_name[p->to], PANEL * 0.38, to, sizeof to);
        snprintf(line, sizeof line, "%s → %s  %u of %llu", from, to, p->count, (unsigned long long)support);
        write_at(v->c, x, y, 0, line);
    }
}

static void use_font(cairo_t *c)
{
    cairo_select_font_face(c, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
}

/* Of the text; the picture's size depends on it. */
static void measure(struct canvas *v, double *ret_width, double *ret_height)
{
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, 8, 8);

    v->c = cairo_create(surface);
    use_font(v->c);
    place(v);
    *ret_width = v->left + v->cells * v->cell + MARGIN + PANEL + MARGIN;
    *ret_height = fmax(v->top + v->cells * v->cell, TOP + 19.0 * (v->pairs + 1)) + MARGIN;
    cairo_destroy(v->c);
    cairo_surface_destroy(surface);
}

int sv_confusion_png(const struct sv_confusion *confusion, const char *path, struct im_text *text)
{
    struct canvas v = {.m = confusion};
    cairo_surface_t *surface;
    double width, height;
    int err;

    find_pairs(&v);
    measure(&v, &width, &height);
    err = find_support(&v);
    if (err < 0)
        return err;
    surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)ceil(width), (int)ceil(height));
    v.c = cairo_create(surface);
    use_font(v.c);
    cairo_set_source_rgb(v.c, 1, 1, 1);
    cairo_paint(v.c);
    cairo_set_font_size(v.c, 13);
    draw_cells(&v);
    draw_labels(&v);
    draw_pairs(&v, v.left + v.cells * v.cell + MARGIN);
    err = sv_png_write(surface, cairo_status(v.c), path, text);
    cairo_destroy(v.c);
    cairo_surface_destroy(surface);
    free(v.support);
    return err;
}
