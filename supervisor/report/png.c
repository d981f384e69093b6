/* libpng and not cairo's writer: that one tries five filters on each row and compresses hard, which takes four times the
 * time and saves a third of the bytes. Pictures are made beside a training that has a use for each core. */
#include "supervisor/report/png.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cairo.h>
#include <png.h>

#include "ipc/base/output.h"

#define LEVEL 3 /* of zlib's nine; the next ones take twice the time */

/* Where libpng's error ends. */
struct failure {
    jmp_buf back;
    char why[128];
};

static void on_error(png_structp png, png_const_charp why)
{
    struct failure *f = png_get_error_ptr(png);

    snprintf(f->why, sizeof f->why, "%s", *why ? why : "libpng failed");
    longjmp(f->back, 1);
}

static void on_warning(png_structp png, png_const_charp why)
{
    (void)png, (void)why;
}

/* Leaves by f->back where something fails. */
static void put_rows(png_structp png, png_infop info, cairo_surface_t *surface, FILE *to)
{
    const unsigned char *pixels = cairo_image_surface_get_data(surface);
    const int width = cairo_image_surface_get_width(surface);
    const int height = cairo_image_surface_get_height(surface);
    const int stride = cairo_image_surface_get_stride(surface);

    png_init_io(png, to);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_NONE);
    png_set_compression_level(png, LEVEL);
    png_write_info(png, info);
    png_set_filler(png, 0, PNG_FILLER_AFTER); /* cairo's pixel is a word: blue, green, red, nothing */
    png_set_bgr(png);
    for (int y = 0; y < height; y++)
        png_write_row(png, pixels + (ptrdiff_t)y * stride);
    png_write_end(png, NULL);
}

static int encode(cairo_surface_t *surface, FILE *to, struct failure *f)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, f, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    int err = -ENOMEM;

    if (info) {
        if (setjmp(f->back) == 0)
            put_rows(png, info, surface, to);
        err = f->why[0] ? -EIO : 0;
    }
    png_destroy_write_struct(&png, &info);
    return err;
}

int sv_png_write(void *surface, int drawn, const char *path, struct im_text *text)
{
    struct failure failure = {.why = ""};
    char *png = NULL;
    size_t n = 0;
    FILE *memory;
    int err;

    cairo_surface_flush(surface);
    if (drawn == CAIRO_STATUS_SUCCESS)
        drawn = (int)cairo_surface_status(surface);
    if (drawn != CAIRO_STATUS_SUCCESS)
        return im_fail(text, -EIO, "cannot draw %s: %s", path, cairo_status_to_string((cairo_status_t)drawn));
    memory = open_memstream(&png, &n);
    err = memory ? encode(surface, memory, &failure) : -ENOMEM;
    if (memory && (ferror(memory) | fclose(memory)) != 0)
        err = err < 0 ? err : -ENOMEM;
    err = err == 0
              ? im_output_write(path, png, n, text)
              : im_fail(text, err, "cannot draw %s: %s", path, failure.why[0] ? failure.why : strerror(-err));
    free(png);
    return err;
}
