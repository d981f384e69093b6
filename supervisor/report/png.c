#include "supervisor/report/png.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <cairo.h>

#include "ipc/base/output.h"

static cairo_status_t append(void *closure, const unsigned char *bytes, unsigned n)
{
    return fwrite(bytes, 1, n, closure) == n ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

int sv_png_write(void *surface, int drawn, const char *path, struct im_text *text)
{
    char *png = NULL;
    size_t n = 0;
    FILE *memory = open_memstream(&png, &n);
    cairo_status_t status = memory ? (cairo_status_t)drawn : CAIRO_STATUS_NO_MEMORY;
    int err;

    if (status == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_write_to_png_stream(surface, append, memory);
    if (memory && fclose(memory) != 0)
        status = CAIRO_STATUS_WRITE_ERROR;
    err = status == CAIRO_STATUS_SUCCESS
              ? im_output_write(path, png, n, text)
              : im_fail(text, -EIO, "cannot draw %s: %s", path, cairo_status_to_string(status));
    free(png);
    return err;
}
