/* A thread of the trainer that samples its GPU once a second into its statistics page: gauges IM_G_GPU_*. It
 * is a thread because the driver may take long to respond. */
#ifndef TRAINER_BACKENDS_CUDA_TELEMETRY_H
#define TRAINER_BACKENDS_CUDA_TELEMETRY_H

#include "ipc/base/clock.h"
#include "ipc/base/json.h"
#include "ipc/run.h"
#include "ipc/stats.h"

struct tr_telemetry;

#define TR_TELEMETRY_INTERVAL_NS (1 * IM_SECOND)

/* Starts the thread for the GPU of this UUID. Failure to query the GPU is not an error: the reason is logged,
 * *ret is NULL, and the gauges are empty. -ENOMEM, -EAGAIN (no thread). */
int tr_telemetry_open(struct im_stats *stats, const char *uuid, im_ns interval, struct tr_telemetry **ret);

/* Stops it; afterwards the page is no longer written. Does not wait for a hanging driver. NULL is fine. */
void tr_telemetry_close(struct tr_telemetry *t);

/* Energy and time of intervals of training. Zero-initialise. */
struct tr_gpu_interval {
    struct tr_stretch_mark {
        uint64_t images; /* of the epoch so far, by all ranks */
        im_ns at;
        double energy_j; /* of all GPUs; NAN: unknown */
    } first, line, last; /* the epoch's first step, the last line's, the last */
};

/* Call after each training step, with the images of this epoch so far. An epoch's interval begins at the end
 * of its first step. */
void tr_gpu_interval_step(struct tr_gpu_interval *s, const struct im_run *run, uint64_t images);

/* Adds the GPUs' telemetry to a line of metrics.jsonl; nothing if there is none.
 *   gpu_busy, gpu_memory_bytes, gpu_power_w, gpu_temperature_c, gpu_sm_mhz, gpu_memory_mhz, gpu_throttled:
 * now, as struct im_telemetry has them, and over the steps since the last line, or of the epoch:
 *   images_per_second_per_gpu; mfu: share of the GPU's peak rate, if known; joules_per_image */
void tr_gpu_interval_line(struct tr_gpu_interval *s, const struct im_run *run, struct im_json *line);
void tr_stretch_epoch(const struct tr_gpu_interval *s, const struct im_run *run, struct im_json *line);

#endif
