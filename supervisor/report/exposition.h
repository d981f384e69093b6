/* A run's numbers in the text format of Prometheus. */
#ifndef SUPERVISOR_REPORT_EXPOSITION_H
#define SUPERVISOR_REPORT_EXPOSITION_H

#include "ipc/base/json.h"

/* From what `imsuper status --json` shows of the run, and val_loss, val_top1 and val_top5 where they are known; malloc'ed.
 * NULL: no memory. */
char *sv_exposition(const struct im_json *status);

#endif
