#include "supervisor/report/event.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void sv_event_time(char *buffer, size_t n)
{
    struct timespec now;
    struct tm utc;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(buffer, n, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(buffer + strlen(buffer), n - strlen(buffer), ".%03ldZ", now.tv_nsec / 1000000);
}

struct im_json *sv_event_json(const char *event, const char *run, const char *run_dir)
{
    struct im_json *j = im_json_object();
    char ts[40];

    sv_event_time(ts, sizeof ts);
    im_json_set_str(j, "schema", "imsuper.event/1");
    im_json_set_str(j, "ts", ts);
    im_json_set_str(j, "event", event);
    im_json_set_str(j, "run", run);
    im_json_set_str(j, "run_dir", run_dir);
    return j;
}

static void set_known(struct im_json *j, const char *key, double value)
{
    if (isfinite(value) && value >= 0)
        im_json_set_real(j, key, value);
}

struct im_json *sv_progress_json(const struct sv_progress *p)
{
    const struct sv_view *v = p->view;
    const struct im_phase *phase = p->phase;
    struct im_json *j = im_json_object();

    im_json_set_str(j, "state", p->state);
    if (!phase)
        return j;
    im_json_set_int(j, "epoch", phase->epoch + 1);
    im_json_set_int(j, "epochs", p->epochs);
    im_json_set_str(j, "split", phase->split == IM_TRAIN ? "train" : "val");
    im_json_set_int(j, "step", (int64_t)p->step);
    im_json_set_int(j, "steps", (int64_t)phase->steps);
    im_json_set_int(j, "batch_size", phase->batch_size);
    im_json_set_int(j, "image_size", phase->image_size);
    if (sv_view_has_step(v)) {
        im_json_set_real(j, "images_per_second", v->samples_per_second);
        im_json_set_real(j, "loss", v->gauge[IM_G_LOSS]);
        im_json_set_real(j, "lr", v->gauge[IM_G_LR]);
    }
    set_known(j, "eta_epoch_seconds", p->eta_epoch);
    set_known(j, "eta_run_seconds", p->eta_run);
    if (v->gauge[IM_G_SKIPPED] > 0)
        im_json_set_int(j, "skipped_steps", (int64_t)v->gauge[IM_G_SKIPPED]);
    if (v->limit >= 0)
        im_json_set_str(j, "limited_by", sv_stage_name(v->limit));
    return j;
}
