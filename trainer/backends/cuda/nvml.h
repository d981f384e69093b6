/* GPU telemetry from the driver through NVML: libnvidia-ml.so.1 comes with every driver and is loaded here if
 * present. Needs no NVIDIA header. One thread at a time. */
#ifndef TRAINER_BACKENDS_CUDA_NVML_H
#define TRAINER_BACKENDS_CUDA_NVML_H

#include <stdint.h>

struct im_text;
struct tr_nvml;

/* NAN: not available on this GPU. */
struct tr_gpu_sample {
    double busy;         /* share of the driver's last sampling period in which a kernel ran, 0 .. 1 */
    double memory_bytes; /* in use, by all processes */
    double power_w;      /* as averaged or measured by the GPU */
    double temperature_c;
    double sm_mhz, memory_mhz; /* clocks now */
    double throttle;           /* bits of enum im_throttle */
    double energy_j;           /* since the driver was loaded */
};

/* Opens the GPU with this UUID ("GPU-..."). -ENOENT: no library; -ELIBACC: required functions are missing;
 * -ENODEV: the GPU is not found or does not respond. With a sentence. */
int tr_nvml_open(const char *uuid, struct tr_nvml **ret_nvml, struct im_text *text);
void tr_nvml_close(struct tr_nvml *n); /* NULL is fine */

/* Queries all values; takes milliseconds, longer while the driver is busy. -ENODEV with a sentence: the GPU
 * (fallen off the bus, or needs a reset) or the driver is lost, permanently. */
int tr_nvml_sample(struct tr_nvml *n, struct tr_gpu_sample *ret_sample, struct im_text *text);

#endif
