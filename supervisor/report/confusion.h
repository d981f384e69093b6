/* Confusion matrices as PNG files. */
#ifndef SUPERVISOR_REPORT_CONFUSION_H
#define SUPERVISOR_REPORT_CONFUSION_H

#include <stdint.h>

#include "ipc/base/err.h"

struct sv_confusion {
    const char *title;
    const char *const *class_name;
    uint32_t classes;      /* > 0 */
    const uint32_t *count; /* [classes][classes], true class first */
};

/* A row for each true class, a column for each predicted one, coloured by the share of the row: blue on the diagonal, red
 * beside it. Few classes have their counts in the cells, up to 200 their names beside them, more have ticks; beside all
 * stands a list of the pairs that are confused most. The file is replaced whole or not at all. */
int sv_confusion_png(const struct sv_confusion *confusion, const char *path, struct im_text *text);

#endif
