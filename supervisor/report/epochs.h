/* The table of epochs on the screen: a heading, and a row for each epoch, with the columns that there is room for. */
#ifndef SUPERVISOR_REPORT_EPOCHS_H
#define SUPERVISOR_REPORT_EPOCHS_H

#include <stdbool.h>
#include <stddef.h>

#include "ipc/base/json.h"

struct sv_epochs {
    int columns;       /* of the terminal; 0: any number */
    bool has_averages; /* validation is made of them too */
    bool few_classes;  /* five or fewer: top-5 says nothing */
    bool multi_label;  /* mAP and F1 in place of accuracies */
};

/* Both return the buffer. `epoch`: the event of metrics.jsonl; null where something was not measured. The row of an
 * epoch that is the best so far has a star behind its accuracy. */
const char *sv_epochs_heading(const struct sv_epochs *e, char *buffer, size_t n);
const char *sv_epochs_row(const struct sv_epochs *e, const struct im_json *epoch, char *buffer, size_t n);

#endif
