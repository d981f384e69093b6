#include "supervisor/top/run.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ipc/base/count.h"
#include "supervisor/report/history.h"

#define PAST_INTERVAL_NS (IM_SECOND / 2) /* at least, between two points of the past */
#define RATE_SECONDS 5

static void push(struct sv_top_past *p, double value)
{
    if (!isfinite(value))
        return;
    if (p->count == SV_TOP_PAST) {
        memmove(p->value, p->value + 1, (SV_TOP_PAST - 1) * sizeof *p->value);
        p->count--;
    }
    p->value[p->count++] = value;
}

static const struct im_json *find_process(const struct im_json *status, const char *role, int64_t index)
{
    const struct im_json *list = im_json_get(status, "processes");

    for (size_t i = 0; i < im_json_count(list); i++) {
        const struct im_json *j = im_json_at(list, i);

        if (im_json_int_or(j, "index", -1) == index && strcmp(im_json_str_or(j, "role", ""), role) == 0)
            return j;
    }
    return NULL;
}

/* How much a counter grew in a second; NAN: it is not the same process, or the time is none. */
static double growth(const struct im_json *before, const struct im_json *now, const char *key, double seconds)
{
    const double from = im_json_real_or(before, key, (double)NAN),
                 to = im_json_real_or(now, key, (double)NAN);

    if (!(seconds > 0) || im_json_int_or(before, "pid", -1) != im_json_int_or(now, "pid", -2) ||
        !(to >= from))
        return (double)NAN;
    return (to - from) / seconds;
}

/* A batch may take longer than the time between two answers: over some RATE_SECONDS. */
static double smoothed(double before, double now, double seconds)
{
    return isnan(before) || isnan(now) ? now : before + (now - before) * seconds / (seconds + RATE_SECONDS);
}

static void compare(struct sv_top_run *r, const struct im_json *before, double seconds)
{
    const struct im_json *list = im_json_get(r->status, "processes");

    r->processes = 0;
    for (size_t i = 0; i < im_json_count(list) && r->processes < SV_TOP_PROCESSES; i++) {
        const struct im_json *j = im_json_at(list, i);
        const char *role = im_json_str_or(j, "role", "?");
        const int64_t index = im_json_int_or(j, "index", 0);
        const struct im_json *then = find_process(before, role, index);
        struct sv_top_process *p = &r->process[r->processes++];
        char name[sizeof p->name];

        snprintf(name, sizeof name, "%.20s#%d", role, (int)index);
        p->rate = smoothed(strcmp(name, p->name) == 0 ? p->rate : (double)NAN,
                           growth(then, j, "samples", seconds), seconds);
        memcpy(p->name, name, sizeof name);
        p->cpu = growth(then, j, "cpu_seconds", seconds);
    }
}

void sv_top_take(struct sv_top_run *r, struct im_json *status, im_ns now)
{
    struct im_json *before = r->status;
    const double seconds = (double)(now - r->answered) / 1e9;

    r->status = status;
    compare(r, before, r->answered ? seconds : 0);
    r->answered = now;
    if (r->taken == 0 || now - r->taken >= PAST_INTERVAL_NS) {
        push(&r->rate, im_json_real_or(status, "images_per_second", (double)NAN));
        push(&r->loss, im_json_real_or(status, "loss", (double)NAN));
        r->taken = now;
    }
    im_json_free(&before);
}

void sv_top_forget(struct sv_top_run *r)
{
    im_json_free(&r->status);
    im_json_free(&r->epochs);
    *r = (struct sv_top_run){.name = ""};
}

void sv_top_read_epochs(struct sv_top_run *r)
{
    enum { COUNTS = 2 }; /* the first of them are whole numbers */
    static const char *const keys[] = {"epoch",    "image_size",        "train_loss", "train_top1",
                                       "val_loss", "val_top1",          "val_top5",   "ema_val_top1",
                                       "lr",       "images_per_second", "seconds",    "val_map",
                                       "val_f1",   "val_f1_macro",      "ema_val_map"};
    struct im_json *list = im_json_array();
    struct sv_history h = {0};
    const double *top1;
    double best = -1;

    im_json_free(&r->epochs);
    if (sv_history_load(&h, r->run_dir, NULL) < 0)
        h.epochs = 0;
    r->multi_label = sv_history_column(&h, "val_map") != NULL;
    top1 = sv_history_column(&h, r->multi_label ? "val_map" : "val_top1");
    for (size_t i = 0; i < h.epochs; i++) {
        struct im_json *j = im_json_object();

        for (size_t k = 0; k < IM_COUNT(keys); k++) {
            const double *values = sv_history_column(&h, keys[k]);

            if (values && k < COUNTS && isfinite(values[i]))
                im_json_set_int(j, keys[k], (int64_t)values[i]);
            else if (values)
                im_json_set_real(j, keys[k], values[i]);
        }
        im_json_set_bool(j, "best", top1 && top1[i] > best);
        best = top1 ? fmax(best, top1[i]) : best;
        r->has_averages |= isfinite(im_json_real_or(j, "ema_val_top1", (double)NAN)) ||
                           isfinite(im_json_real_or(j, "ema_val_map", (double)NAN));
        im_json_append(list, j);
    }
    sv_history_free(&h);
    r->epochs = list;
}

/* "2026-11-30T04:01:07.210Z" as the local time of day. */
static void format_time(const char *ts, char *s, size_t n)
{
    struct tm tm = {.tm_isdst = 0};
    time_t t;

    s[0] = 0;
    if (!strptime(ts, "%Y-%m-%dT%H:%M:%S", &tm))
        return;
    t = timegm(&tm);
    localtime_r(&t, &tm);
    strftime(s, n, "%H:%M:%S", &tm);
}

static bool is_told_elsewhere(const char *key)
{
    static const char *const keys[] = {
        "ts", "event", "role", "index", "incarnation", "returned_reads", "returned_samples"};

    for (size_t i = 0; i < IM_COUNT(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

__attribute__((format(printf, 2, 3))) static void run_add(struct sv_top_event *e, const char *format, ...)
{
    const size_t used = strlen(e->text);
    va_list args;

    va_start(args, format);
    vsnprintf(e->text + used, sizeof e->text - used, format, args);
    va_end(args);
}

/* "process.died augmenter#1 pid=17 end=signal 9 (Killed)". */
static void fill_event(const struct im_json *j, struct sv_top_event *ret)
{
    const char *name = im_json_str_or(j, "event", "?"), *dot = strchr(name, '.'), *key = NULL;
    const struct im_json *value;

    *ret = (struct sv_top_event){.time = ""};
    format_time(im_json_str_or(j, "ts", ""), ret->time, sizeof ret->time);
    run_add(ret, "%s", name);
    if (im_json_get(j, "role")) {
        snprintf(ret->process, sizeof ret->process, "%.20s#%d", im_json_str_or(j, "role", "?"),
                 (int)im_json_int_or(j, "index", 0));
        snprintf(ret->brief, sizeof ret->brief, "%s", dot ? dot + 1 : name);
        run_add(ret, " %s", ret->process);
    }
    while ((value = im_json_next(j, &key))) {
        const char *s;
        double number;

        if (is_told_elsewhere(key))
            continue;
        if (im_json_as_str(value, &s) == 0)
            run_add(ret, " %s=%s", key, s);
        else if (im_json_as_real(value, &number) == 0)
            run_add(ret, " %s=%.10g", key, number);
    }
}

void sv_top_read_events(struct sv_top_run *r, const char *tail)
{
    r->events = 0;
    for (const char *line = tail, *end; *line && (end = strchr(line, '\n')); line = end + 1) {
        struct im_json *j = NULL;

        if (im_json_parse(line, (size_t)(end - line), &j, NULL) < 0)
            continue;
        if (r->events == SV_TOP_EVENTS) {
            memmove(r->event, r->event + 1, (SV_TOP_EVENTS - 1) * sizeof *r->event);
            r->events--;
        }
        fill_event(j, &r->event[r->events++]);
        im_json_free(&j);
    }
}
