/* How far a run is and how good, from the files in its folder: for a run that nobody can be asked of. */
#ifndef SUPERVISOR_REPORT_RUN_EPOCHS_H
#define SUPERVISOR_REPORT_RUN_EPOCHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base/json.h"

struct sv_run_epochs {
    int64_t epoch, epochs; /* finished, and of the configuration; -1: unknown */
    bool multi_label;      /* top1 is mAP */
    double top1;           /* of validation, the best; NAN: none */
};

void sv_run_epochs(const char *run_dir, struct sv_run_epochs *ret);
void sv_run_epochs_add_json(const struct sv_run_epochs *e, struct im_json *j);

/* "3/5", "3" */
const char *sv_run_epochs_format(const struct sv_run_epochs *e, char *s, size_t n);
/* "47.30%", "mAP 12.00%", "-" */
const char *sv_run_best_format(const struct sv_run_epochs *e, char *s, size_t n);

#endif
