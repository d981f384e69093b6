/* Which GPUs a run takes. They are listed by `imsuper-trainer gpus`, a process that lives for a
 * moment: this one never maps CUDA. */
#ifndef SUPERVISOR_CLI_GPUS_H
#define SUPERVISOR_CLI_GPUS_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/config/conf.h"

struct sv_gpu {
    int index; /* as CUDA counts those that it shows to processes started here */
    char name[96], uuid[48], pci[16];
    uint64_t memory_bytes;
    int sm;   /* compute capability: 90 is 9.0 */
    bool mig; /* an instance: a part of a GPU */
};

enum sv_gpus_code {
    SV_GPUS_OK,
    SV_GPUS_NO_MODULE, /* this build has no CUDA backend */
    SV_GPUS_NO_DEVICE, /* no driver, or it shows no GPU */
    SV_GPUS_FAILED     /* something is there and does not work */
};

struct sv_gpus {
    enum sv_gpus_code code;
    struct im_text why;     /* unless OK */
    bool nccl;              /* several can work together, or there is one */
    struct im_text no_nccl; /* why not */
    char driver[16], runtime[16];
    int count;
    struct sv_gpu gpu[IM_CONF_GPUS_MAX];
};

/* Asks. Waits a minute at most: a driver that has just been loaded takes seconds for each GPU. */
void sv_gpus_find(struct sv_gpus *ret);

/* From what `imsuper-trainer gpus` has printed; anything else is SV_GPUS_FAILED. */
void sv_gpus_parse(const char *answer, struct sv_gpus *ret);

/* May this configuration take GPUs? False: sv_gpus_find() can be spared. */
bool sv_gpus_are_wanted(const struct im_conf *conf);

/* Decides. On GPUs: gpus becomes a list ("0,2", "3,"), ranks its length, backend cuda. On the CPU: gpus "0".
 * `visible`: CUDA_VISIBLE_DEVICES, or NULL. 0; or with a sentence -EINVAL (a wrong wish) or -ENODEV (this
 * machine or build lacks what is asked for). */
int sv_gpus_choose(struct im_conf *conf, const struct sv_gpus *found, const char *visible,
                   struct im_text *text);

/* Does the configuration run on GPUs, once it has been decided? */
bool sv_gpus_are_used(const struct im_conf *conf);

/* "8 x NVIDIA H200 (139.8 GiB), 0 to 7; CUDA 13.0, driver 13.0", or why a machine with GPUs uses its CPU; ""
 * when there is nothing to say. Returns buffer. */
const char *sv_gpus_format(const struct im_conf *conf, const struct sv_gpus *found, char *buffer, size_t n);

#endif
