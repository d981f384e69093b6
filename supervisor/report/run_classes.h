/* Names of a run's classes, and its tables of each class. */
#ifndef SUPERVISOR_REPORT_RUN_CLASSES_H
#define SUPERVISOR_REPORT_RUN_CLASSES_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"
#include "ipc/class_counts.h"

/* The lines of classes.txt. */
struct sv_run_classes {
    char *bytes;
    const char **name; /* [count] */
    uint32_t count;
};
int sv_run_classes_read(const char *run_dir, struct sv_run_classes *ret, struct im_text *text);
void sv_run_classes_free(struct sv_run_classes *c); /* zeroed is fine */

enum {
    SV_TABLE_COLUMNS = 6
}; /* beside the name: support, predicted, precision, recall, f1, average_precision */

/* A table that im_class_table() wrote. */
struct sv_class_line {
    char *name;
    char *cell[SV_TABLE_COLUMNS]; /* "" where it has no such column */
    double f1;
};
struct sv_class_table {
    char *bytes;
    struct sv_class_line *line;
    uint32_t count, epoch;
    bool has_average_precision;
};

/* The last one of the run up to that epoch, of the weights or of their averages. -ENOENT, without a sentence: there is none. */
int sv_class_table_read_last(const char *run_dir, uint32_t epoch, bool averaged, struct sv_class_table *ret,
                             struct im_text *text);
void sv_class_table_free(struct sv_class_table *t); /* zeroed is fine */

#endif
