/* What a fetcher gives up once its cache is open, before it hears from a server: see ipc/sandbox.h. */
#ifndef FETCHER_SANDBOX_H
#define FETCHER_SANDBOX_H

#include <stdbool.h>

#include "ipc/sandbox.h"

/* Restricts the process for good. Files are written below `cache` only, and read there and where names of hosts,
 * certificates and keys are. As im_sandbox_enter(). */
int fe_sandbox_enter(const char *cache, bool tells, struct im_sandbox_state *ret, struct im_text *text);

#endif
