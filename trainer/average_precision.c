#include "trainer/average_precision.h"

#include <math.h>
#include <stdlib.h>

static int by_falling_score(const void *a, const void *b)
{
    const struct tr_scored *x = a, *y = b;

    return (x->score < y->score) - (x->score > y->score);
}

double tr_average_precision(struct tr_scored *s, size_t n)
{
    size_t positive = 0, hits = 0;
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        positive += s[i].truth;
    if (positive == 0)
        return (double)NAN;
    qsort(s, n, sizeof *s, by_falling_score);
    for (size_t i = 0, end; i < n; i = end) {
        size_t gained = 0;

        for (end = i; end < n && !(s[end].score < s[i].score); end++) /* equal scores are one threshold */
            gained += s[end].truth;
        hits += gained;
        sum += (double)gained * (double)hits / (double)end;
    }
    return sum / (double)positive;
}

double tr_f1(const struct tr_decided *d)
{
    const uint64_t whole = d->predicted + d->positive;

    return whole > 0 ? 2 * (double)d->hits / (double)whole : 0;
}
