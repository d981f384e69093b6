/* The trainer asks the driver about its GPU, once a second, and puts the answers into its statistics page:
 * gauges IM_G_GPU_*. A thread does it, for the driver may take long to answer. */
#ifndef TRAINER_BACKENDS_CUDA_TELEMETRY_H
#define TRAINER_BACKENDS_CUDA_TELEMETRY_H

#include "ipc/base/clock.h"
#include "ipc/base/json.h"
#include "ipc/run.h"
#include "ipc/stats.h"

struct tr_telemetry;

#define TR_TELEMETRY_INTERVAL_NS (1 * IM_SECOND)

/* Begins, for the GPU of this UUID. A GPU that cannot be asked is no error: the log says why, *ret is NULL,
 * and the gauges say that there is nothing. -ENOMEM, -EAGAIN (no thread). */
int tr_telemetry_open(struct im_stats *stats, const char *uuid, im_ns interval, struct tr_telemetry **ret);

/* Ends it; afterwards the page is no longer written. Does not wait for a driver that hangs. NULL is fine. */
void tr_telemetry_close(struct tr_telemetry *t);

/* What stretches of training cost. Zero-initialise. */
struct tr_stretch {
    struct tr_stretch_mark {
        uint64_t images; /* of the epoch so far, by all ranks */
        im_ns at;
        double energy_j; /* of all GPUs; NAN: not known */
    } first, line, last; /* the epoch's first step, the last line's, the last */
};

/* After each training step, with the images of this epoch so far. An epoch's stretch begins with the end of
 * its first step. */
void tr_stretch_step(struct tr_stretch *s, const struct im_run *run, uint64_t images);

/* Adds what the GPUs of the run do to a line of metrics.jsonl; nothing where none says anything.
 *   gpu_busy, gpu_memory_bytes, gpu_power_w, gpu_temperature_c, gpu_sm_mhz, gpu_memory_mhz, gpu_throttled:
 * now, as struct im_telemetry has them, and over the steps since the last line, or of the epoch:
 *   images_per_second_per_gpu; mfu: share of the GPU's peak rate, where that is known; joules_per_image */
void tr_stretch_line(struct tr_stretch *s, const struct im_run *run, struct im_json *line);
void tr_stretch_epoch(const struct tr_stretch *s, const struct im_run *run, struct im_json *line);

#endif
