/* Serves one text over HTTP, by a thread of libmicrohttpd: whoever reads it, slowly or not at all, holds nobody up. At
 * most a few connections at once, each for a few seconds. */
#ifndef SUPERVISOR_REPORT_LISTEN_H
#define SUPERVISOR_REPORT_LISTEN_H

#include "ipc/config/conf.h"

struct sv_listener;

/* Negative errno with a sentence. A socket that a dead process left at a path is replaced. */
int sv_listen_open(const struct im_conf_listen *where, struct sv_listener **ret, struct im_text *text);

/* What GET /metrics answers from now on; takes `body` (malloc'ed; NULL is fine). */
void sv_listen_set(struct sv_listener *l, char *body);

void sv_listen_close(struct sv_listener **l); /* NULL is fine; nulls */

#endif
