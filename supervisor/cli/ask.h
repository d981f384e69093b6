/* A request to a run that goes on, and its answer. */
#ifndef SUPERVISOR_CLI_ASK_H
#define SUPERVISOR_CLI_ASK_H

#include <stdbool.h>

#include "ipc/base/err.h"
#include "ipc/base/json.h"
#include "ipc/config/conf.h"

/* Finds the run that workspace and run-name mean (the newest without a name), and asks its supervisor. Takes
 * `request`. 0: *ret is the caller's. Otherwise an exit status, and why has been said: unknown run, not
 * running, no answer, or what the supervisor refused. */
int sv_ask(struct im_conf *conf, struct im_json *request, struct im_json **ret);

/* Has somebody stopped the process of `imsuper start`? Then *text says so, and what to do. */
bool sv_ask_is_stopped(const char *run_dir, struct im_text *text);

#endif
