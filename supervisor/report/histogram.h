/* How the values of each tensor of a checkpoint are spread. */
#ifndef SUPERVISOR_REPORT_HISTOGRAM_H
#define SUPERVISOR_REPORT_HISTOGRAM_H

#include <stdint.h>

#include "ipc/base/err.h"
#include "supervisor/report/tfrecord.h"

/* Appends an event for each float tensor of a file of weights (weights/NAME), of the step that the file is of. */
int sv_histograms(struct sv_records *r, const char *path, double time, int64_t *ret_step,
                  struct im_text *text);

#endif
