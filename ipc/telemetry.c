#include "ipc/telemetry.h"

#include <math.h>

const char *im_throttle_word(unsigned i)
{
    static const char *const words[IM_THROTTLES] = {"power", "thermal", "hardware"};

    return i < IM_THROTTLES ? words[i] : "?";
}

/* A sum, a largest and a lowest of what is a number; NAN as long as nothing is. */
static void telemetry_add(double *sum, double x)
{
    if (!isnan(x))
        *sum = isnan(*sum) ? x : *sum + x;
}

static void raise(double *most, double x)
{
    *most = fmax(*most, x); /* of a NAN and a number, the number */
}

static void lower(double *least, double x)
{
    *least = fmin(*least, x);
}

void im_telemetry_read(const struct im_run *run, struct im_telemetry *ret)
{
    const double none = (double)NAN;
    struct im_telemetry t = {.busy = none,
                             .memory_bytes = none,
                             .temperature_c = none,
                             .power_w = none,
                             .energy_j = none,
                             .sm_mhz = none,
                             .memory_mhz = none};
    uint32_t with_busy = 0;

    for (uint32_t r = 0; r < run->geometry.ranks; r++) {
        struct im_stats_view v;

        im_stats_read(&run->stats[im_run_slot(run, IM_ROLE_TRAINER, r)], im_now(), &v);
        if (r == 0)
            t.ideal_s = v.gauge[IM_G_GPU_IDEAL];
        if (!(v.gauge[IM_G_GPU_SAMPLES] > 0))
            continue;
        t.gpus++;
        with_busy += isnan(v.gauge[IM_G_GPU_BUSY]) ? 0u : 1u;
        telemetry_add(&t.busy, v.gauge[IM_G_GPU_BUSY]);
        raise(&t.memory_bytes, v.gauge[IM_G_GPU_MEMORY]);
        raise(&t.temperature_c, v.gauge[IM_G_GPU_TEMPERATURE]);
        telemetry_add(&t.power_w, v.gauge[IM_G_GPU_POWER]);
        telemetry_add(&t.energy_j, v.gauge[IM_G_GPU_ENERGY]);
        lower(&t.sm_mhz, v.gauge[IM_G_GPU_CLOCK]);
        lower(&t.memory_mhz, v.gauge[IM_G_GPU_MEMORY_CLOCK]);
        if (v.gauge[IM_G_GPU_THROTTLED] > 0 && v.gauge[IM_G_GPU_THROTTLED] < 1 << IM_THROTTLES)
            t.throttled |= (unsigned)v.gauge[IM_G_GPU_THROTTLED];
    }
    t.busy = with_busy ? t.busy / with_busy : none;
    *ret = t;
}
