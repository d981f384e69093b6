/* Folders for runs that leave nothing behind: range tests, evaluations, measurements. */
#ifndef SUPERVISOR_CLI_TEMPORARY_H
#define SUPERVISOR_CLI_TEMPORARY_H

#include <limits.h>

#include "ipc/base/err.h"
#include "ipc/config/conf.h"

/* A folder that was made. Zeroed: none. */
struct sv_temporary {
    char path[IM_CONF_TEXT_BYTES]; /* "": none */
    int lock;                      /* + 1; held from before the run until after its results were read */
};

/* Makes TMPDIR/imsuper-NAME-XXXXXX, after removing those of earlier calls whose process, and whose run NAME, are gone. */
int sv_temporary_make(const char *name, struct sv_temporary *ret, struct im_text *text);

/* Removes it, and all in it; zeroes. */
void sv_temporary_drop(struct sv_temporary *t);

/* Removes a folder and all in it. */
void sv_temporary_remove(const char *folder);

#endif
