#include "supervisor/report/epochs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "supervisor/report/screen.h"

enum kind { WHOLE, LOSS, SHARE, RATE, PER_SECOND, TIME };

struct column {
    const char *name, *key;
    int width; /* with the blanks before it */
    enum kind kind;
    int loses;        /* columns that get their room before it */
    const char *best; /* key that says that it is the best; it has a place for a star */
};

static const struct column columns[] = {
    {"epoch", "epoch", 5, WHOLE, 0, NULL},
    {"px", "image_size", 5, WHOLE, 10, NULL},
    {"loss", "train_loss", 9, LOSS, 1, NULL},
    {"top1", "train_top1", 9, SHARE, 6, NULL},
    {"val loss", "val_loss", 10, LOSS, 3, NULL},
    {"val top1", "val_top1", 10, SHARE, 2, "best"},
    {"top5", "val_top5", 8, SHARE, 9, NULL},
    {"ema top1", "ema_val_top1", 10, SHARE, 4, "ema_best"},
    {"val mAP", "val_map", 10, SHARE, 2, "best"},
    {"F1", "val_f1", 8, SHARE, 6, NULL},
    {"macro F1", "val_f1_macro", 10, SHARE, 9, NULL},
    {"ema mAP", "ema_val_map", 10, SHARE, 4, "ema_best"},
    {"lr", "lr", 10, RATE, 5, NULL},
    {"img/s", "images_per_second", 8, PER_SECOND, 7, NULL},
    {"time", "seconds", 8, TIME, 8, NULL},
};
enum { COLUMNS = IM_COUNT(columns) };

static bool is_wanted(const struct sv_epochs *e, const struct column *c)
{
    const bool several = strstr(c->key, "_map") || strstr(c->key, "_f1");

    if (several != e->multi_label && (several || strstr(c->key, "_top")))
        return false;
    if (c->best && strcmp(c->best, "ema_best") == 0)
        return e->has_averages;
    return !(strcmp(c->name, "top5") == 0 && e->few_classes);
}

/* Which columns there is room for. */
static void choose(const struct sv_epochs *e, bool ret_shown[COLUMNS])
{
    int room = e->columns > 0 ? e->columns - 1 : 1000;

    memset(ret_shown, 0, COLUMNS * sizeof *ret_shown);
    for (int turn = 0; turn < COLUMNS; turn++)
        for (size_t i = 0; i < COLUMNS; i++) {
            const int width = columns[i].width + (columns[i].best ? 1 : 0);

            if (columns[i].loses != turn || !is_wanted(e, &columns[i]) || width > room)
                continue;
            ret_shown[i] = true;
            room -= width;
        }
}

static void format_cell(const struct column *c, const struct im_json *epoch, char *s, size_t n)
{
    const double value = im_json_real_or(epoch, c->key, (double)NAN);

    snprintf(s, n, "-");
    if (isnan(value))
        return;
    switch (c->kind) {
    case WHOLE:
        snprintf(s, n, "%.0f", value);
        break;
    case LOSS:
        snprintf(s, n, fabs(value) < 1000 ? "%.4f" : "%.3g", value);
        break;
    case SHARE:
        snprintf(s, n, "%.2f%%", 100 * value);
        break;
    case RATE:
        snprintf(s, n, "%.3g", value);
        break;
    case PER_SECOND:
        sv_format_rate(value, s, (int)n);
        break;
    case TIME:
        sv_format_seconds(value, s, (int)n);
        break;
    }
}

/* A row, or with NULL the heading. */
static const char *format_row(const struct sv_epochs *e, const struct im_json *epoch, char *buffer, size_t n)
{
    bool shown[COLUMNS];
    size_t used = 0;

    choose(e, shown);
    buffer[0] = 0;
    for (size_t i = 0; i < COLUMNS && used < n; i++) {
        const struct column *c = &columns[i];
        char cell[32];

        if (!shown[i])
            continue;
        if (epoch)
            format_cell(c, epoch, cell, sizeof cell);
        used += (size_t)snprintf(buffer + used, n - used, "%*s", c->width, epoch ? cell : c->name);
        if (c->best && used < n)
            used += (size_t)snprintf(buffer + used, n - used, "%s",
                                     epoch && im_json_bool_or(epoch, c->best, false) ? "*" : " ");
    }
    return buffer;
}

const char *sv_epochs_heading(const struct sv_epochs *e, char *buffer, size_t n)
{
    return format_row(e, NULL, buffer, n);
}

const char *sv_epochs_row(const struct sv_epochs *e, const struct im_json *epoch, char *buffer, size_t n)
{
    return format_row(e, epoch, buffer, n);
}
