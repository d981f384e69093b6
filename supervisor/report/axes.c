/* Axes have round numbers (1, 2, 5 times a power of ten), a logarithmic one its decades. */
#include "supervisor/report/axes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MARGIN 0.04
#define VALUES_TO_CLIP 4  /* fewer have no usual range */
#define SPREADS_USUAL 3.0 /* so far above the third quartile a value is usual */
#define FLATTENED 6.0     /* the axis is cut where it would be so many times the usual range */

static double scaled(bool is_log, double v)
{
    return is_log ? log10(v) : v;
}

bool sv_axes_has(const struct sv_axes *a, double x, double y)
{
    return isfinite(scaled(a->plot->log_x, x)) && isfinite(scaled(a->plot->log_y, y));
}

double sv_axes_x(const struct sv_axes *a, double x)
{
    return (scaled(a->plot->log_x, x) - a->x0) / (a->x1 - a->x0);
}

double sv_axes_y(const struct sv_axes *a, double y)
{
    return (scaled(a->plot->log_y, y) - a->y0) / (a->y1 - a->y0);
}

static void widen(double *low, double *high)
{
    double room = (*high - *low) * MARGIN;

    if (!(*high > *low))
        room = fabs(*low) > 0 ? fabs(*low) * 0.1 : 1;
    *low -= room;
    *high += room;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* All y that are drawn, ascending; NULL when there are none, or no memory. */
static double *sorted_values(const struct sv_axes *a, size_t *ret_n)
{
    const struct sv_plot *p = a->plot;
    double *v;
    size_t n = 0;

    for (size_t i = 0; i < p->lines; i++)
        n += p->line[i].count;
    v = n > 0 ? malloc(n * sizeof *v) : NULL;
    *ret_n = 0;
    if (!v)
        return NULL;
    for (size_t i = 0; i < p->lines; i++)
        for (size_t k = 0; k < p->line[i].count; k++)
            if (sv_axes_has(a, p->line[i].x[k], p->line[i].y[k]))
                v[(*ret_n)++] = p->line[i].y[k];
    qsort(v, *ret_n, sizeof *v, compare);
    return v;
}

/* The largest usual value, where some are so far above it that they would flatten the rest. */
static double find_top(const struct sv_axes *a)
{
    size_t n, i;
    double *v = sorted_values(a, &n), quartile, spread, top = a->y1;

    if (v && n >= VALUES_TO_CLIP) {
        quartile = v[3 * (n - 1) / 4];
        spread = fmax(quartile - v[0], fabs(quartile) * 0.01);
        for (i = n; i > 1 && v[i - 1] > quartile + SPREADS_USUAL * spread;)
            i--;
        if (v[n - 1] - v[0] > FLATTENED * fmax(v[i - 1] - v[0], spread))
            top = fmax(v[i - 1], v[0] + spread);
    }
    free(v);
    return top;
}

void sv_axes_find(const struct sv_plot *p, struct sv_axes *a)
{
    *a = (struct sv_axes){p, INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (size_t i = 0; i < p->lines; i++)
        for (size_t k = 0; k < p->line[i].count; k++) {
            double x = scaled(p->log_x, p->line[i].x[k]), y = scaled(p->log_y, p->line[i].y[k]);

            if (!isfinite(x) || !isfinite(y))
                continue;
            a->x0 = fmin(a->x0, x);
            a->x1 = fmax(a->x1, x);
            a->y0 = fmin(a->y0, y);
            a->y1 = fmax(a->y1, y);
        }
    if (!(a->x0 <= a->x1)) /* no point at all */
        a->x0 = a->y0 = 0, a->x1 = a->y1 = 1;
    else if (p->clip_y && !p->log_y)
        a->y1 = find_top(a);
    if (p->y_most > a->y0 && p->y_most < a->y1)
        a->y1 = p->y_most;
    widen(&a->x0, &a->x1);
    widen(&a->y0, &a->y1);
}

/* The distance of about `wanted` round numbers in the range. */
static double step_of(double range, int wanted)
{
    double raw = range / wanted, power = pow(10, floor(log10(raw))), part = raw / power;

    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
}

size_t sv_axes_ticks(const struct sv_axes *a, bool is_x, int wanted, struct sv_tick ret[SV_TICKS_MAX])
{
    const double low = is_x ? a->x0 : a->y0, high = is_x ? a->x1 : a->y1;
    const bool is_log = is_x ? a->plot->log_x : a->plot->log_y;
    /* Less than a decade has no two of them: then the ticks are halves or fifths of one. */
    const double least = (is_log && high - low > 1) || (is_x && a->plot->whole_x) ? 1 : 0;
    const double step = fmax(least, step_of(high - low, wanted));
    size_t n = 0;

    for (double v = ceil(low / step) * step; v <= high && n < SV_TICKS_MAX; v += step) {
        struct sv_tick *t = &ret[n++];

        t->at = (v - low) / (high - low);
        snprintf(t->word, sizeof t->word, "%.4g", is_log ? pow(10, v) : fabs(v) < 1e-12 * step ? 0 : v);
    }
    return n;
}
