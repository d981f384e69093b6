/* An earlier measurement, from the file that its --json wrote, beside this one: is the difference more than chance? */
#ifndef IPC_BASE_EARLIER_H
#define IPC_BASE_EARLIER_H

#include <stdbool.h>

#include "ipc/base/err.h"
#include "ipc/base/json.h"
#include "ipc/base/series.h"

struct im_earlier {
    bool given;
    int tests; /* this one, and those beside it; each must be so much surer (Bonferroni) */
    struct im_summary old;
};

/* Reads the file of --compare; "": there is none, and nothing is compared. Its `schema` must be this one and `list` of it an
 * array of one value a pass. Negative errno with a sentence. */
int im_earlier_load(const char *path, const char *schema, const char *list, struct im_earlier *ret,
                    struct im_text *text);

/* For measurements that hold several: the file (*ret is NULL where there is none), then the values of each. */
int im_earlier_open(const char *path, const char *schema, struct im_json **ret, struct im_text *text);
bool im_earlier_take(const struct im_json *list, int tests, struct im_earlier *ret);

/* Adds "compare", if there is one. `more_is_better`: rates; else durations. */
void im_earlier_add_json(const struct im_earlier *e, const struct im_summary *now, bool more_is_better,
                         struct im_json *j);

/* "1.034 of 812.3 +- 4.1 images/s: faster (Welch's t-test, p = 0.0012)"; "" where there is none. */
const char *im_earlier_sentence(const struct im_earlier *e, const struct im_summary *now, bool more_is_better,
                                const char *unit, struct im_text *ret);

/* The values of a measurement, in their order, for the file. */
struct im_json *im_earlier_list(const double *values, size_t n);

#endif
