/* Folders for runs that leave nothing behind: range tests, evaluations. */
#ifndef SUPERVISOR_CLI_TEMPORARY_H
#define SUPERVISOR_CLI_TEMPORARY_H

#include <stddef.h>

#include "ipc/base/err.h"

/* Makes TMPDIR/imsuper-NAME-XXXXXX, after removing those of earlier calls whose run NAME was killed. */
int sv_temporary_make(const char *name, char *folder, size_t n, struct im_text *text);
void sv_temporary_remove(const char *folder); /* and all in it; "": nothing */

#endif
