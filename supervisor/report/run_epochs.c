#include "supervisor/report/run_epochs.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "supervisor/report/history.h"

#define CONFIG_BYTES_MAX ((size_t)1 << 20)

/* "epochs: 90  # flag" in config.yaml. */
static int64_t epochs_of(const char *run_dir)
{
    char path[PATH_MAX + 32], *bytes = NULL;
    const char *at;
    int64_t epochs = -1;
    size_t n;

    snprintf(path, sizeof path, "%s/config.yaml", run_dir);
    if (im_read_file(path, CONFIG_BYTES_MAX, &bytes, &n, NULL) == 0) {
        at = strstr(bytes, "\nepochs: ");
        epochs = at ? strtoll(at + strlen("\nepochs: "), NULL, 10) : -1;
    }
    free(bytes);
    return epochs > 0 ? epochs : -1;
}

void sv_run_epochs(const char *run_dir, struct sv_run_epochs *ret)
{
    static const char *const columns[] = {"val_top1", "ema_val_top1", "val_map", "ema_val_map"};
    struct sv_history h = {0};

    *ret = (struct sv_run_epochs){.epochs = epochs_of(run_dir), .top1 = (double)NAN};
    if (sv_history_load(&h, run_dir, NULL) < 0)
        return;
    ret->epoch = (int64_t)h.epochs;
    for (size_t c = 0; c < IM_COUNT(columns); c++) {
        const double *values = sv_history_column(&h, columns[c]);

        ret->multi_label |= values && strstr(columns[c], "map");
        for (size_t i = 0; values && i < h.epochs; i++)
            ret->top1 = fmax(ret->top1, values[i]); /* of a NAN and a number, the number */
    }
    sv_history_free(&h);
}

void sv_run_epochs_add_json(const struct sv_run_epochs *e, struct im_json *j)
{
    im_json_set_int(j, "epoch", e->epoch);
    if (e->epochs >= 0)
        im_json_set_int(j, "epochs", e->epochs);
    im_json_set_real(j, e->multi_label ? "best_val_map" : "best_val_top1", e->top1);
}

const char *sv_run_epochs_format(const struct sv_run_epochs *e, char *s, size_t n)
{
    if (e->epochs >= 0)
        snprintf(s, n, "%" PRId64 "/%" PRId64, e->epoch, e->epochs);
    else
        snprintf(s, n, "%" PRId64, e->epoch);
    return s;
}

const char *sv_run_best_format(const struct sv_run_epochs *e, char *s, size_t n)
{
    if (isfinite(e->top1))
        snprintf(s, n, "%s%.2f%%", e->multi_label ? "mAP " : "", 100 * e->top1);
    else
        snprintf(s, n, "-");
    return s;
}
