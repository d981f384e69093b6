/* See lr_range.h. Definitions: torch_lr_finder/lr_finder.py (range_test, plot) and fastai/callback/schedule.py
 * (LRFinder, valley, minimum, lr_find), with their rounding and their limits. */
#include "ipc/config/lr_range.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "ipc/base/err.h"

#define FINDER_SMOOTH 0.05
#define FINDER_DIVERGED 5
#define FINDER_SKIP_START 10
#define FASTAI_BETA 0.98
#define FASTAI_DIVERGED 4
#define SKIP_END 5

#define BEFORE_MIN 10 /* losses of which a level is made */
#define WINDOW_MIN 5  /* losses that are compared with it: as many, and half as many more again and again */
#define NORMAL_STEP 0.954 /* median distance of two independent standard normal numbers */
#define ERRORS 4          /* standard errors that are no chance: in noise alone one test of 60 has them */
#define RISE 0.1          /* of the level before it */
#define FALL 0.01

double im_lr_range_lr(double low, double high, uint64_t i, uint64_t steps)
{
    return low * pow(high / low, (double)i / (double)(steps - 1));
}

bool im_lr_range_add(struct im_lr_range_smooth *s, double loss)
{
    if (!isfinite(loss))
        return true;
    s->finder = s->count ? FINDER_SMOOTH * loss + (1 - FINDER_SMOOTH) * s->finder : loss;
    s->fastai_sum = loss + FASTAI_BETA * (s->fastai_sum - loss);
    s->count++;
    s->fastai = s->fastai_sum / (1 - pow(FASTAI_BETA, s->count));
    if (s->count == 1 || s->finder < s->finder_best)
        s->finder_best = s->finder;
    if (s->count == 1 || s->fastai < s->fastai_best)
        s->fastai_best = s->fastai;
    return s->finder > FINDER_DIVERGED * s->finder_best || s->fastai > FASTAI_DIVERGED * s->fastai_best;
}

/* numpy.gradient: central differences, one-sided at the ends. */
static double gradient(const double *loss, size_t i, size_t n)
{
    if (i == 0)
        return loss[1] - loss[0];
    return i + 1 < n ? (loss[i + 1] - loss[i - 1]) / 2 : loss[i] - loss[i - 1];
}

static size_t steepest(const double *loss, size_t n)
{
    size_t found = 0;

    for (size_t i = 1; i < n; i++)
        if (gradient(loss, i, n) < gradient(loss, found, n))
            found = i;
    return found;
}

/* The longest decreasing subsequence's end, and how far down it to go. */
static int valley(const double *loss, size_t n, size_t *ret)
{
    size_t *length = calloc(n, sizeof *length), end = 0;
    ptrdiff_t start = 0;
    double third;

    if (!length)
        return -ENOMEM;
    length[0] = 1;
    for (size_t i = 1; i < n; i++) {
        length[i] = 1;
        for (size_t j = 0; j < i; j++) {
            if (loss[i] < loss[j] && length[i] < length[j] + 1)
                length[i] = length[j] + 1;
            if (length[end] < length[i]) { /* once for each i, at the first length that is enough: as there */
                end = i;
                start = (ptrdiff_t)end - (ptrdiff_t)length[end];
            }
        }
    }
    free(length);
    third = (double)((ptrdiff_t)end - start) / 3;
    start += (ptrdiff_t)third + (ptrdiff_t)(third / 2);
    *ret = start > 0 ? (size_t)start : 0;
    return 0;
}

static size_t lowest(const double *loss, size_t n)
{
    size_t found = 0;

    for (size_t i = 1; i < n; i++)
        if (loss[i] < loss[found])
            found = i;
    return found;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Standard deviation of one loss around a level that changes slowly. */
static int noise_of(const double *loss, size_t n, double *ret)
{
    double *steps = calloc(n, sizeof *steps);

    if (!steps)
        return -ENOMEM;
    for (size_t i = 1; i < n; i++)
        steps[i - 1] = fabs(loss[i] - loss[i - 1]);
    qsort(steps, n - 1, sizeof *steps, by_value);
    *ret = steps[(n - 1) / 2] / NORMAL_STEP;
    free(steps);
    return 0;
}

/* Compares the `length` losses before k with all before them: 1 a rise, -1 a fall, 0 neither. */
static int compare(const double *sums, size_t k, size_t length, double noise)
{
    const double n = (double)(k - length), before = sums[k - length] / n;
    const double change = (sums[k] - sums[k - length]) / (double)length - before;
    const double chance = ERRORS * noise * sqrt(1 / n + 1 / (double)length);

    if (change > chance && change > RISE * fabs(before))
        return 1;
    return -change > chance && -change > FALL * fabs(before) ? -1 : 0;
}

/* The first loss of a window that rose which is above the level before the window. */
static size_t begin_of_rise(const double *loss, const double *sums, size_t k, size_t length)
{
    const double before = sums[k - length] / (double)(k - length);
    size_t i = k - length;

    while (i + 1 < k && loss[i] <= before + RISE * fabs(before))
        i++;
    return i;
}

/* The first rise and, before it, a fall. sums[i]: of the first i losses. */
static void find_changes(const double *loss, const double *sums, size_t count, double noise,
                         size_t *ret_usable, bool *ret_fell)
{
    *ret_usable = count;
    *ret_fell = false;
    for (size_t k = BEFORE_MIN + WINDOW_MIN; k <= count; k++) {
        for (size_t length = WINDOW_MIN; length + BEFORE_MIN <= k; length += length / 2) {
            const int change = compare(sums, k, length, noise);

            if (change > 0) {
                *ret_usable = begin_of_rise(loss, sums, k, length);
                return;
            }
            *ret_fell |= change < 0;
        }
    }
}

static int judge(const struct im_lr_range_curve *c, size_t *ret_usable, bool *ret_fell)
{
    double *sums = calloc(c->count + 1, sizeof *sums), noise;
    int err = sums ? noise_of(c->loss, c->count, &noise) : -ENOMEM;

    if (err == 0) {
        for (size_t i = 0; i < c->count; i++)
            sums[i + 1] = sums[i] + c->loss[i];
        find_changes(c->loss, sums, c->count, noise, ret_usable, ret_fell);
    }
    free(sums);
    return err;
}

/* Where torch-lr-finder's loss is lowest, and where it falls most steeply before. Its first losses are not smoothed
 * yet. */
static void take_finder(const double *finder, size_t count, struct im_lr_range_suggestion *ret)
{
    const size_t n = count - FINDER_SKIP_START, last = lowest(finder + FINDER_SKIP_START, n);

    ret->lowest = FINDER_SKIP_START + last;
    ret->steepest = FINDER_SKIP_START + steepest(finder + FINDER_SKIP_START, last + 1 < n ? last + 2 : n);
}

int im_lr_range_suggest(const struct im_lr_range_curve *c, struct im_lr_range_suggestion *ret,
                        struct im_text *text)
{
    const size_t first = c->steps / 10;
    size_t kept;
    bool fell = false;
    int err;

    *ret = (struct im_lr_range_suggestion){.usable = c->count};
    if (c->count < IM_LR_RANGE_POINTS_MIN || c->count < first + SKIP_END + 2)
        return im_fail(
            text, -EINVAL,
            "the loss diverged after %zu of %zu steps, too early to suggest a rate: begin with a lower "
            "--start-lr",
            c->count, c->steps);
    err = judge(c, &ret->usable, &fell);
    if (err < 0)
        return err;
    if (!fell || ret->usable < first + SKIP_END + 2 || ret->usable < IM_LR_RANGE_POINTS_MIN)
        return im_fail(text, -EINVAL,
                       "the loss did not fall%s: no rate can be suggested; try other rates (--start-lr, "
                       "--end-lr), more steps (--num-iter) or larger batches",
                       ret->usable < c->count ? " before it rose" : "");
    /* After a rise the last points before it belong to the fall: there is no tail to skip. */
    kept = c->count - SKIP_END < ret->usable ? c->count - SKIP_END : ret->usable;
    err = valley(c->fastai + first, kept - first, &ret->valley);
    if (err < 0)
        return err;
    ret->valley += first;
    ret->minimum = first + lowest(c->fastai + first, kept - first);
    take_finder(c->finder, kept, ret);
    return 0;
}
