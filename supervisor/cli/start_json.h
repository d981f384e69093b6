/* `imsuper start --json`: what is known before the processes of the run are there, as an event on standard output
 * (report/event.h). The others are the supervisor's. */
#ifndef SUPERVISOR_CLI_START_JSON_H
#define SUPERVISOR_CLI_START_JSON_H

#include <stdint.h>

#include "ipc/config/conf.h"
#include "supervisor/cli/dataset.h"

/* run.prepared: data, network, step and processes; of a dry run the options, too. */
void sv_start_say_prepared(const struct im_conf *conf, const struct sv_dataset *data, uint64_t shared_bytes,
                           const char *precision);

/* run.finished, of a run that had all its epochs already. */
void sv_start_say_done(const struct im_conf *conf);

#endif
