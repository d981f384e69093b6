/* What the trainers' GPUs do, read from the statistics pages of all trainers. */
#ifndef IPC_TELEMETRY_H
#define IPC_TELEMETRY_H

#include "ipc/run.h"
#include "ipc/stats.h"

/* Why clocks are lower than they could be; bits of IM_G_GPU_THROTTLED. */
enum im_throttle {
    IM_THROTTLE_POWER = 1,   /* power limit, or the board's power brake */
    IM_THROTTLE_THERMAL = 2, /* temperature */
    IM_THROTTLE_HARDWARE = 4 /* slowed down by the hardware, for one of both reasons or another */
};
#define IM_THROTTLES 3

/* The word of bit number i: "power", "thermal", "hardware". */
const char *im_throttle_word(unsigned i);

/* Over all GPUs of the run that say something; NAN where none says it. */
struct im_telemetry {
    uint32_t gpus;                      /* that say something; 0: the rest means nothing */
    double busy;                        /* mean share of time in which a kernel ran */
    double memory_bytes, temperature_c; /* largest */
    double power_w, energy_j;           /* sum; energy since the trainers began */
    double sm_mhz, memory_mhz;          /* lowest */
    unsigned throttled;                 /* any: bits of enum im_throttle */
    double ideal_s; /* rank 0's: IM_G_GPU_IDEAL; the share of peak is this times images/s of a GPU */
};
void im_telemetry_read(const struct im_run *run, struct im_telemetry *ret);

#endif
