/* What the driver tells about a GPU, by NVML: the library libnvidia-ml.so.1 that comes with every driver, and
 * is loaded here if it is there. No header of NVIDIA's is needed. One thread at a time. */
#ifndef TRAINER_BACKENDS_CUDA_NVML_H
#define TRAINER_BACKENDS_CUDA_NVML_H

#include <stdint.h>

struct im_text;
struct tr_nvml;

/* NAN: the driver does not say it for this GPU. */
struct tr_gpu_sample {
    double busy;         /* share of the driver's last sampling period in which a kernel ran, 0 .. 1 */
    double memory_bytes; /* in use, by anyone */
    double power_w;      /* as averaged or measured by the GPU */
    double temperature_c;
    double sm_mhz, memory_mhz; /* clocks now */
    double throttle;           /* bits of enum im_throttle */
    double energy_j;           /* since the driver was loaded */
};

/* The GPU of this UUID ("GPU-..."). -ENOENT: no library; -ELIBACC: one that lacks what every version has;
 * -ENODEV: it does not know the GPU, or does not work. With a sentence. */
int tr_nvml_open(const char *uuid, struct tr_nvml **ret_nvml, struct im_text *text);
void tr_nvml_close(struct tr_nvml *n); /* NULL is fine */

/* Asks for all of it; milliseconds as a rule, longer while the driver is busy. -ENODEV with a sentence: the
 * GPU is gone (fallen off the bus, or needs a reset) or the driver is; it stays so. */
int tr_nvml_sample(struct tr_nvml *n, struct tr_gpu_sample *ret_sample, struct im_text *text);

#endif
