/* A run's epochs, from its summary.csv, and what people look at that is made from them: charts, a table, a
 * list for programs. Each file is replaced whole after each epoch, so that a crash leaves the old or the new
 * one, and all can be made anew at any time. */
#ifndef SUPERVISOR_REPORT_HISTORY_H
#define SUPERVISOR_REPORT_HISTORY_H

#include <stddef.h>

#include "ipc/base/err.h"

/* Columns by name, each with a value for each epoch; NaN where there is none. */
struct sv_history {
    char *text;    /* the file; owned */
    char **name;   /* [columns], in text; owned */
    double *value; /* [columns][epochs]; owned */
    size_t columns, epochs;
};

/* Reads DIRECTORY/summary.csv; a torn last line is left out. -ENOENT: there is none yet; -EBADMSG: it is not
 * of numbers. With a sentence. */
int sv_history_load(struct sv_history *h, const char *directory, struct im_text *text);
void sv_history_free(struct sv_history *h); /* zeroed is fine */

/* The column's values, or NULL when there is no such column. */
const double *sv_history_column(const struct sv_history *h, const char *name);

/* Writes plots/{loss,accuracy,lr,throughput}.png, training_log.md and training_log.json into the run's
 * directory from its summary.csv. */
int sv_history_write(const char *directory, struct im_text *text);

/* Removes what processes that were killed while they wrote have left in the directory; when none of the run
 * is left. */
void sv_history_tidy(const char *directory);

#endif
