#include "supervisor/report/picture_grid.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cairo.h>

#include "ipc/base/file.h"
#include "ipc/first_batch.h"
#include "supervisor/report/confusion.h"
#include "supervisor/report/png.h"
#include "supervisor/report/run_classes.h"

enum { GAP = 6, LABEL = 18, LEAST = 96, CLASSES_MAX = 2000 }; /* pixels; small images are drawn larger */
#define BYTES_MAX (((size_t)1 << 32) - 1)

/* ---- the first batch ---- */

struct grid {
    const struct im_first_batch *head;
    const int32_t *label;
    const uint8_t *pixels;
    const struct sv_run_classes *classes; /* none: images are not named */
    int columns, rows, cell;
};

static cairo_surface_t *image_of(const struct grid *g, uint32_t i)
{
    const int side = (int)g->head->side;
    cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, side, side);
    const uint8_t *from = g->pixels + (size_t)i * (size_t)side * (size_t)side * 3;
    unsigned char *to = cairo_image_surface_get_data(s);

    for (int y = 0; to && y < side; y++)
        for (int x = 0; x < side; x++, from += 3) {
            const uint32_t p = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];

            memcpy(to + (ptrdiff_t)y * cairo_image_surface_get_stride(s) + (ptrdiff_t)x * 4, &p, sizeof p);
        }
    cairo_surface_mark_dirty(s);
    return s;
}

static void draw_image(cairo_t *c, const struct grid *g, uint32_t i)
{
    const uint32_t row = i / (uint32_t)g->columns, column = i % (uint32_t)g->columns;
    const double x = GAP + (double)column * (g->cell + GAP), y = GAP + (double)row * (g->cell + LABEL + GAP);
    const double scale = (double)g->cell / g->head->side;
    cairo_surface_t *image = image_of(g, i);

    cairo_save(c);
    cairo_rectangle(c, x, y, g->cell, g->cell + LABEL);
    cairo_clip(c);
    cairo_set_source_rgb(c, 0.1, 0.1, 0.1);
    cairo_move_to(c, x, y + g->cell + LABEL - 5);
    if (g->label[i] < 0)
        cairo_show_text(c, "(cannot be used)");
    else if ((uint32_t)g->label[i] < g->classes->count)
        cairo_show_text(c, g->classes->name[g->label[i]]);
    cairo_translate(c, x, y);
    cairo_scale(c, scale, scale);
    cairo_set_source_surface(c, image, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(c), CAIRO_FILTER_NEAREST);
    cairo_rectangle(c, 0, 0, g->head->side, g->head->side);
    cairo_fill(c);
    cairo_restore(c);
    cairo_surface_destroy(image);
}

static int draw_grid(const struct grid *g, const char *path, struct im_text *text)
{
    const int width = GAP + g->columns * (g->cell + GAP), height = GAP + g->rows * (g->cell + LABEL + GAP);
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    cairo_t *c = cairo_create(surface);
    int err;

    cairo_select_font_face(c, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(c, 12);
    cairo_set_source_rgb(c, 1, 1, 1);
    cairo_paint(c);
    for (uint32_t i = 0; i < g->head->images; i++)
        draw_image(c, g, i);
    err = sv_png_write(surface, (int)cairo_status(c), path, text);
    cairo_destroy(c);
    cairo_surface_destroy(surface);
    return err;
}

/* Is it what the trainer writes? */
static bool lay_out(const char *bytes, size_t n, struct grid *g)
{
    const struct im_first_batch *head = (const void *)bytes;

    if (n < sizeof *head || head->magic != IM_FIRST_BATCH_MAGIC || head->images == 0 ||
        head->images > IM_FIRST_BATCH_IMAGES_MAX || head->side == 0 || head->side > IM_FIRST_BATCH_SIDE_MAX ||
        n != sizeof *head + head->images * (sizeof(int32_t) + (size_t)head->side * head->side * 3))
        return false;
    g->head = head;
    g->label = (const void *)(head + 1);
    g->pixels = (const uint8_t *)(g->label + head->images);
    g->columns = (int)ceil(sqrt(head->images));
    g->rows = ((int)head->images + g->columns - 1) / g->columns;
    g->cell =
        head->side < LEAST ? (int)(head->side * ((LEAST + head->side - 1) / head->side)) : (int)head->side;
    return true;
}

int sv_first_batch_draw(const char *run_dir, bool names, struct im_text *text)
{
    char from[PATH_MAX], to[PATH_MAX], *bytes = NULL;
    struct sv_run_classes classes = {0};
    struct grid g = {.classes = &classes};
    size_t n = 0;
    int err;

    if (snprintf(from, sizeof from, "%s/" IM_FIRST_BATCH_FILE, run_dir) >= (int)sizeof from ||
        snprintf(to, sizeof to, "%s/" IM_FIRST_BATCH_PICTURE, run_dir) >= (int)sizeof to ||
        access(from, F_OK) < 0)
        return 0;
    err = im_read_file(from, BYTES_MAX, &bytes, &n, text);
    if (err == 0 && names)
        sv_run_classes_read(run_dir, &classes, NULL);
    if (err == 0 && lay_out(bytes, n, &g))
        err = draw_grid(&g, to, text);
    if (err == 0)
        unlink(from);
    sv_run_classes_free(&classes);
    free(bytes);
    return err;
}

/* ---- who is taken for whom ---- */

/* False: they are no three numbers. */
static bool read_numbers(const char *line, uint64_t v[3])
{
    for (int i = 0; i < 3; i++) {
        char *end;

        v[i] = strtoull(line, &end, 10);
        if (end == line || *end != (i < 2 ? ',' : '\0'))
            return false;
        line = end + 1;
    }
    return true;
}

/* Lines "true,predicted,images". */
static void count_pairs(char *bytes, uint32_t classes, uint32_t *count, uint64_t *ret_images,
                        uint64_t *ret_right)
{
    char *rest = NULL;

    for (char *line = strtok_r(bytes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        uint64_t v[3];

        if (!read_numbers(line, v) || v[0] >= classes || v[1] >= classes || v[2] > UINT32_MAX)
            continue; /* the heading */
        count[v[0] * classes + v[1]] += (uint32_t)v[2];
        *ret_images += v[2];
        *ret_right += v[0] == v[1] ? v[2] : 0;
    }
}

static int draw_confusion(const struct sv_run_classes *classes, char *bytes, uint32_t epoch, bool averaged,
                          const char *path, struct im_text *text)
{
    uint32_t *count = calloc((size_t)classes->count * classes->count, sizeof *count);
    uint64_t images = 0, right = 0;
    char title[128];
    int err = 0;

    if (!count)
        return -ENOMEM;
    count_pairs(bytes, classes->count, count, &images, &right);
    snprintf(title, sizeof title, "epoch %" PRIu32 "%s, %" PRIu64 " images: top-1 %.2f %%", epoch,
             averaged ? ", averaged weights" : "", images, images ? 100 * (double)right / (double)images : 0);
    if (images > 0)
        err = sv_confusion_png(
            &(struct sv_confusion){
                .title = title, .class_name = classes->name, .classes = classes->count, .count = count},
            path, text);
    free(count);
    return err;
}

static bool is_newer(const char *path, const char *than)
{
    struct stat a, b;

    if (stat(path, &a) < 0 || stat(than, &b) < 0)
        return false;
    return a.st_mtim.tv_sec != b.st_mtim.tv_sec ? a.st_mtim.tv_sec > b.st_mtim.tv_sec
                                                : a.st_mtim.tv_nsec >= b.st_mtim.tv_nsec;
}

int sv_epoch_confusion_draw(const char *run_dir, uint32_t epoch, bool averaged, struct im_text *text)
{
    const char *of = im_per_class_of(averaged);
    char from[PATH_MAX], to[PATH_MAX], *bytes = NULL;
    struct sv_run_classes classes = {0};
    size_t n = 0;
    int err;

    if (snprintf(from, sizeof from, "%s/" IM_PER_CLASS_FOLDER "/" IM_PER_CLASS_CONFUSION, run_dir, epoch,
                 of) >= (int)sizeof from ||
        snprintf(to, sizeof to, "%s/" IM_PER_CLASS_FOLDER "/" SV_CONFUSION_PICTURE, run_dir, epoch, of) >=
            (int)sizeof to ||
        access(from, F_OK) < 0 || is_newer(to, from))
        return 0;
    err = sv_run_classes_read(run_dir, &classes, text);
    if (err == 0 && classes.count > 0 && classes.count <= CLASSES_MAX) {
        err = im_read_file(from, BYTES_MAX, &bytes, &n, text);
        if (err == 0)
            err = draw_confusion(&classes, bytes, epoch, averaged, to, text);
    }
    free(bytes);
    sv_run_classes_free(&classes);
    return err;
}
