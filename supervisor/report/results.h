/* What came of a run: its best, last and middle values, from its summary.csv. */
#ifndef SUPERVISOR_REPORT_RESULTS_H
#define SUPERVISOR_REPORT_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "supervisor/report/history.h"

enum sv_pick { SV_HIGHEST, SV_LOWEST, SV_LAST, SV_MIDDLE, SV_SUM, SV_COUNT };
struct sv_result {
    const char *key, *label; /* for programs, for the terminal */
    const char *column, *format;
    double scale; /* for the terminal */
    enum sv_pick pick;
};

size_t sv_result_count(void);
const struct sv_result *sv_result_at(size_t i);

/* Is it the best of all epochs, so that one of them has it? */
bool sv_result_is_best(const struct sv_result *r);

/* The value, and the epoch that has it (0: that of none). NaN: the run has none. */
double sv_result_pick(const struct sv_history *h, const struct sv_result *r, int64_t *ret_epoch);

#endif
