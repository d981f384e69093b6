/* A run's steps, from its metrics.jsonl: columns of what each line of training says. */
#ifndef SUPERVISOR_REPORT_SERIES_H
#define SUPERVISOR_REPORT_SERIES_H

#include <stddef.h>

#include "ipc/base/err.h"
#include "ipc/base/json.h"

enum sv_series_column {
    SV_SERIES_STEP,
    SV_SERIES_LOSS,
    SV_SERIES_LR,
    SV_SERIES_TOP1,
    SV_SERIES_NORM,
    SV_SERIES_COLUMNS
};

/* Values of the lines in their order; NaN where a line has none. The line of an epoch counts for its rate alone, so
 * that a short run has one, too. */
struct sv_series {
    double *value[SV_SERIES_COLUMNS]; /* [count] each; owned */
    size_t count, room;
};

/* Reads DIRECTORY/metrics.jsonl; lines that cannot be read are passed over. -ENOENT: there is none. With a
 * sentence. */
int sv_series_load(struct sv_series *s, const char *directory, struct im_text *text);
void sv_series_free(struct sv_series *s); /* zeroed is fine */

/* Calls `take` for each whole line of a file of JSON objects from `offset` on; what is none is passed over. A line is
 * lent. Returns the offset behind the last whole line, or negative errno with a sentence. */
typedef int sv_take_line(void *context, const struct im_json *line);
int64_t sv_each_line(const char *path, int64_t offset, sv_take_line *take, void *context,
                     struct im_text *text);

#endif
