#include "ipc/base/series.h"

#include <math.h>
#include <stdlib.h>

enum { FRACTION_TERMS = 300 };

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void im_series_sort(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_size);
}

double im_series_quantile(const double *sorted, size_t n, double share)
{
    const size_t i = (size_t)ceil(share * (double)n);

    return n == 0 ? 0 : sorted[i == 0 ? 0 : i > n ? n - 1 : i - 1];
}

struct im_summary im_series_summary(double *values, size_t n)
{
    struct im_summary s = {.n = n};
    double sum = 0, squares = 0;

    if (n == 0)
        return s;
    im_series_sort(values, n);
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    s.mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - s.mean) * (values[i] - s.mean);
    s.sigma = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
    s.least = values[0];
    s.most = values[n - 1];
    s.median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    return s;
}

/* The continued fraction of the incomplete beta function, by Lentz's method. */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), h;

    d = 1 / (fabs(d) < tiny ? tiny : d);
    h = d;
    for (int m = 1; m <= FRACTION_TERMS; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double step = 0;

        for (int half = 0; half < 2; half++) {
            const double term = half ? odd : even;

            d = 1 + term * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + term / c;
            c = fabs(c) < tiny ? tiny : c;
            step = d * c;
            h *= step;
        }
        if (fabs(step - 1) < 1e-15)
            break;
    }
    return h;
}

/* The regularized incomplete beta function. */
static double incomplete_beta(double a, double b, double x)
{
    double front;

    if (x <= 0 || x >= 1)
        return x <= 0 ? 0 : 1;
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a
                                     : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double im_series_welch(const struct im_summary *a, const struct im_summary *b)
{
    double va, vb, t, df;

    if (a->n < 2 || b->n < 2)
        return 1;
    va = a->sigma * a->sigma / (double)a->n;
    vb = b->sigma * b->sigma / (double)b->n;
    if (va + vb == 0)
        return a->mean == b->mean ? 1 : 0;
    t = (a->mean - b->mean) / sqrt(va + vb);
    df = (va + vb) * (va + vb) / (va * va / (double)(a->n - 1) + vb * vb / (double)(b->n - 1));
    return incomplete_beta(df / 2, 0.5, df / (df + t * t));
}
