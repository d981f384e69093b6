/* Repeated measurements: their middle and spread, and whether two sets of them differ by more than chance. */
#ifndef IPC_BASE_SERIES_H
#define IPC_BASE_SERIES_H

#include <stddef.h>

struct im_summary {
    size_t n;
    double mean, sigma; /* sigma: of the population that these are drawn from (n - 1); 0 for n < 2 */
    double least, median, most;
};

/* Sorts the values, smallest first. */
void im_series_sort(double *values, size_t n);

/* Of sorted values: the smallest that `share` of all values do not exceed. 0 where there are none. */
double im_series_quantile(const double *sorted, size_t n, double share);

/* Leaves the values sorted. */
struct im_summary im_series_summary(double *values, size_t n);

/* Welch's t-test, two-sided: how probable means as far apart as these are if both were measured of the same thing.
 * It takes no equal spread for granted. 1 where either has fewer than two values, or both have no spread and the
 * same mean; 0 where they have no spread and differ. */
double im_series_welch(const struct im_summary *a, const struct im_summary *b);

#endif
