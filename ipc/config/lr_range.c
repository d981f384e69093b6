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

int im_lr_range_suggest(const double *finder, const double *fastai, size_t count, size_t steps,
                        struct im_lr_range_suggestion *ret, struct im_text *text)
{
    size_t first = steps / 10, kept;
    int err;

    if (count < IM_LR_RANGE_POINTS_MIN || count < first + SKIP_END + 2)
        return im_fail(
            text, -EINVAL,
            "the loss diverged after %zu of %zu steps, too early to suggest a rate: begin with a lower "
            "--start-lr",
            count, steps);
    kept = count - first - SKIP_END;
    err = valley(fastai + first, kept, &ret->valley);
    if (err < 0)
        return err;
    ret->valley += first;
    ret->minimum = first + lowest(fastai + first, kept);
    ret->steepest =
        FINDER_SKIP_START + steepest(finder + FINDER_SKIP_START, count - FINDER_SKIP_START - SKIP_END);
    return 0;
}
