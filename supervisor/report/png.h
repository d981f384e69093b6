/* What cairo has drawn as a PNG file. */
#ifndef SUPERVISOR_REPORT_PNG_H
#define SUPERVISOR_REPORT_PNG_H

#include "ipc/base/err.h"

/* `surface` is a cairo_surface_t, `drawn` the cairo_status_t of the drawing on it. The file is replaced whole or not at all. */
int sv_png_write(void *surface, int drawn, const char *path, struct im_text *text);

#endif
