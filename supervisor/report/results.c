#include "supervisor/report/results.h"

#include <math.h>
#include <stdlib.h>

#include "ipc/base/count.h"

static const struct sv_result results[] = {
    {"epochs", "epochs", "epoch", "%.0f", 1, SV_COUNT},
    {"best_val_top1", "best val top-1 (%)", "val_top1", "%.2f", 100, SV_HIGHEST},
    {"best_val_top5", "best val top-5 (%)", "val_top5", "%.2f", 100, SV_HIGHEST},
    {"best_ema_val_top1", "best val top-1 of averages (%)", "ema_val_top1", "%.2f", 100, SV_HIGHEST},
    {"best_val_map", "best val mAP (%)", "val_map", "%.2f", 100, SV_HIGHEST},
    {"best_val_f1", "best val F1 (%)", "val_f1", "%.2f", 100, SV_HIGHEST},
    {"best_ema_val_map", "best val mAP of averages (%)", "ema_val_map", "%.2f", 100, SV_HIGHEST},
    {"best_val_loss", "lowest val loss", "val_loss", "%.4f", 1, SV_LOWEST},
    {"last_train_loss", "last train loss", "train_loss", "%.4f", 1, SV_LAST},
    {"median_images_per_second", "median images/s", "images_per_second", "%.1f", 1, SV_MIDDLE},
    {"seconds", "time of the epochs (s)", "seconds", "%.1f", 1, SV_SUM},
};

size_t sv_result_count(void)
{
    return IM_COUNT(results);
}

const struct sv_result *sv_result_at(size_t i)
{
    return &results[i];
}

bool sv_result_is_best(const struct sv_result *r)
{
    return r->pick == SV_HIGHEST || r->pick == SV_LOWEST;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double middle(const double *v, size_t n)
{
    double *sorted = malloc((n + 1) * sizeof *sorted), m = (double)NAN;
    size_t kept = 0;

    for (size_t i = 0; sorted && i < n; i++)
        if (isfinite(v[i]))
            sorted[kept++] = v[i];
    if (kept > 0) {
        qsort(sorted, kept, sizeof *sorted, ascending);
        m = (sorted[(kept - 1) / 2] + sorted[kept / 2]) / 2;
    }
    free(sorted);
    return m;
}

double sv_result_pick(const struct sv_history *h, const struct sv_result *r, int64_t *ret_epoch)
{
    const double *v = sv_history_column(h, r->column), *epoch = sv_history_column(h, "epoch");
    double best = (double)NAN;

    *ret_epoch = 0;
    if (r->pick == SV_COUNT)
        return (double)h->epochs;
    if (v && r->pick == SV_MIDDLE)
        return middle(v, h->epochs);
    for (size_t i = 0; v && i < h->epochs; i++) {
        const bool is_first = isnan(best);

        if (!isfinite(v[i]))
            continue;
        if (r->pick == SV_SUM)
            best = is_first ? v[i] : best + v[i];
        else if (is_first || r->pick == SV_LAST || (r->pick == SV_HIGHEST ? v[i] > best : v[i] < best)) {
            best = v[i];
            *ret_epoch = epoch ? (int64_t)epoch[i] : 0;
        }
    }
    return best;
}
