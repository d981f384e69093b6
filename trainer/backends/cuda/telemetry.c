/* The thread writes its own gauges in the trainer's page, so each word still has one writer. It holds the
 * mutex while it writes, never while it queries the driver; so close() can revoke the page from a thread that
 * hangs in the driver, and leave that thread to end with the process. */
#include "trainer/backends/cuda/telemetry.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ipc/base/count.h"
#include "ipc/base/log.h"
#include "ipc/telemetry.h"
#include "trainer/backends/cuda/nvml.h"

#define JOIN_SECONDS 2

struct tr_telemetry {
    struct tr_nvml *nvml;
    im_ns interval;
    double energy_first; /* NAN: not known yet */
    uint64_t samples;
    pthread_t thread;
    pthread_mutex_t mutex; /* over `stats` and the page behind it */
    pthread_cond_t wake;
    struct im_stats *stats; /* NULL: closed */
};

static const enum im_gauge gauges[] = {IM_G_GPU_SAMPLES,      IM_G_GPU_BUSY,        IM_G_GPU_MEMORY,
                                       IM_G_GPU_POWER,        IM_G_GPU_TEMPERATURE, IM_G_GPU_CLOCK,
                                       IM_G_GPU_MEMORY_CLOCK, IM_G_GPU_THROTTLED,   IM_G_GPU_ENERGY};

/* Clears the gauges, including values of an earlier process. */
static void clear_gauges(struct im_stats *stats)
{
    for (size_t i = 0; i < IM_COUNT(gauges); i++)
        im_stats_gauge(stats, gauges[i], gauges[i] == IM_G_GPU_SAMPLES ? 0 : (double)NAN);
}

static void write_gauges(struct tr_telemetry *t, const struct tr_gpu_sample *s)
{
    const double values[] = {(double)++t->samples, s->busy,          s->memory_bytes,
                             s->power_w,           s->temperature_c, s->sm_mhz,
                             s->memory_mhz,        s->throttle,      s->energy_j - t->energy_first};

    static_assert(IM_COUNT(values) == IM_COUNT(gauges), "one value a gauge");
    for (size_t i = 0; i < IM_COUNT(gauges); i++)
        im_stats_gauge(t->stats, gauges[i], values[i]);
}

/* Writes one sample into the page. False: the GPU is lost. */
static bool write_sample(struct tr_telemetry *t)
{
    struct tr_gpu_sample s;
    struct im_text text = {0};
    int err = tr_nvml_sample(t->nvml, &s, &text);

    pthread_mutex_lock(&t->mutex);
    if (isnan(t->energy_first))
        t->energy_first = s.energy_j;
    if (t->stats && err == 0)
        write_gauges(t, &s);
    else if (t->stats)
        clear_gauges(t->stats);
    pthread_mutex_unlock(&t->mutex);
    if (err < 0)
        im_log(IM_LOG_ERROR, "the GPU no longer responds", "why=%s",
               im_log_quote(&(struct im_quoted){0}, text.s));
    return err == 0;
}

static void *telemetry_thread(void *argument)
{
    struct tr_telemetry *t = argument;

    while (write_sample(t)) {
        im_ns until = im_now() + t->interval;
        const struct timespec at = {.tv_sec = (time_t)(until / IM_SECOND),
                                    .tv_nsec = (long)(until % IM_SECOND)};
        bool over;

        pthread_mutex_lock(&t->mutex);
        while (t->stats && pthread_cond_timedwait(&t->wake, &t->mutex, &at) != ETIMEDOUT)
            ;
        over = !t->stats;
        pthread_mutex_unlock(&t->mutex);
        if (over)
            break;
    }
    return NULL;
}

static void telemetry_free(struct tr_telemetry *t)
{
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->mutex);
    tr_nvml_close(t->nvml);
    free(t);
}

static void telemetry_init(struct tr_telemetry *t)
{
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC); /* im_now()'s */
    pthread_cond_init(&t->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&t->mutex, NULL);
}

int tr_telemetry_open(struct im_stats *stats, const char *uuid, im_ns interval, struct tr_telemetry **ret)
{
    struct tr_telemetry *t = calloc(1, sizeof *t);
    struct im_text text = {0};
    int err;

    *ret = NULL;
    clear_gauges(stats);
    if (!t)
        return -ENOMEM;
    *t = (struct tr_telemetry){.stats = stats, .interval = interval, .energy_first = (double)NAN};
    err = tr_nvml_open(uuid, &t->nvml, &text);
    if (err < 0) {
        free(t);
        im_log(IM_LOG_INFO, "no GPU telemetry", "why=%s", im_log_quote(&(struct im_quoted){0}, text.s));
        return 0;
    }
    telemetry_init(t);
    err = -pthread_create(&t->thread, NULL, telemetry_thread, t);
    if (err < 0) {
        telemetry_free(t);
        return err;
    }
    *ret = t;
    return 0;
}

void tr_telemetry_close(struct tr_telemetry *t)
{
    struct timespec at;

    if (!t)
        return;
    pthread_mutex_lock(&t->mutex);
    t->stats = NULL;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->mutex);
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += JOIN_SECONDS;
    if (pthread_timedjoin_np(t->thread, NULL, &at) == 0)
        telemetry_free(t);
    else
        pthread_detach(t->thread); /* it hangs in the driver; the memory it uses stays */
}

static void set_known(struct im_json *line, const char *key, double value)
{
    if (isfinite(value))
        im_json_set_real(line, key, value);
}

static void set_now(const struct im_telemetry *now, struct im_json *line)
{
    struct im_json *throttled = im_json_array();

    set_known(line, "gpu_busy", now->busy);
    set_known(line, "gpu_memory_bytes", now->memory_bytes);
    set_known(line, "gpu_power_w", now->power_w);
    set_known(line, "gpu_temperature_c", now->temperature_c);
    set_known(line, "gpu_sm_mhz", now->sm_mhz);
    set_known(line, "gpu_memory_mhz", now->memory_mhz);
    for (unsigned i = 0; i < IM_THROTTLES; i++)
        if (now->throttled >> i & 1)
            im_json_append_str(throttled, im_throttle_word(i));
    im_json_set(line, "gpu_throttled", throttled);
}

void tr_gpu_interval_step(struct tr_gpu_interval *s, const struct im_run *run, uint64_t images)
{
    const bool begins = s->last.at == 0 || images < s->last.images;
    struct im_telemetry now;

    im_telemetry_read(run, &now);
    s->last = (struct tr_stretch_mark){.images = images, .at = im_now(), .energy_j = now.energy_j};
    if (begins)
        s->first = s->line = s->last;
}

static void report(const struct tr_stretch_mark *from, const struct tr_stretch_mark *to,
                   const struct im_run *run, struct im_json *line)
{
    const double images = (double)(to->images - from->images), seconds = (double)(to->at - from->at) / 1e9;
    struct im_telemetry now;
    double rate;

    im_telemetry_read(run, &now);
    if (now.gpus == 0)
        return;
    set_now(&now, line);
    if (images <= 0 || seconds <= 0)
        return;
    rate = images / seconds / run->geometry.ranks;
    im_json_set_real(line, "images_per_second_per_gpu", rate);
    if (now.ideal_s > 0)
        im_json_set_real(line, "mfu", rate * now.ideal_s);
    if (to->energy_j > from->energy_j) /* the counter moves in steps, and not at all on some GPUs */
        im_json_set_real(line, "joules_per_image", (to->energy_j - from->energy_j) / images);
}

void tr_gpu_interval_line(struct tr_gpu_interval *s, const struct im_run *run, struct im_json *line)
{
    report(&s->line, &s->last, run, line);
    s->line = s->last;
}

void tr_stretch_epoch(const struct tr_gpu_interval *s, const struct im_run *run, struct im_json *line)
{
    report(&s->first, &s->last, run, line);
}
