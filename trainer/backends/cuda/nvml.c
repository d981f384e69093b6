/* NVML through dlopen(), with our own declarations after NVIDIA's "NVML API Reference Guide" (its chapters
 * Device Queries, Device Enums and Unit Structs; the interface is stable: a function that changes gets a new
 * name with _v2 and the old one stays). Only the functions that find the GPU are required; any other may be
 * missing from an old driver, or return NOT_SUPPORTED on some GPU, and its value is then NAN.
 *
 * Throttle reasons are called "clocks event reasons" since driver 535; the bits are the same, and either name
 * is accepted. */
#include "trainer/backends/cuda/nvml.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/telemetry.h"

#define LIBRARY "libnvidia-ml.so.1"

/* nvmlReturn_t */
enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_RESET_REQUIRED = 16
};

/* nvmlClockType_t, nvmlTemperatureSensors_t */
enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEM = 2, NVML_TEMPERATURE_GPU = 0 };

/* nvmlClocksEventReasons: bits of its result. GPU idle (1), application clocks (2), sync boost (16) and
 * display (256) are not throttling. */
#define SW_POWER_CAP 0x4ull
#define HW_SLOWDOWN 0x8ull
#define SW_THERMAL 0x20ull
#define HW_THERMAL 0x40ull
#define HW_POWER_BRAKE 0x80ull

/* nvmlUtilization_t: percent of the last sampling period. nvmlMemory_t: bytes. */
struct utilization {
    unsigned gpu, memory;
};
struct memory {
    unsigned long long total, free, used;
};

typedef int init_fn(void);
typedef const char *error_fn(int result);
typedef int by_uuid_fn(const char *uuid, void **ret_device);
typedef int utilization_fn(void *device, struct utilization *ret);
typedef int memory_fn(void *device, struct memory *ret);
typedef int number_fn(void *device, unsigned *ret);
typedef int of_kind_fn(void *device, unsigned kind, unsigned *ret);
typedef int wide_fn(void *device, unsigned long long *ret);

struct tr_nvml {
    void *library, *device;
    init_fn *shutdown;
    error_fn *error;
    utilization_fn *utilization;
    memory_fn *memory;
    number_fn *power;
    of_kind_fn *temperature, *clock;
    wide_fn *reasons, *energy;
};

/* ISO C does not convert void * to a function pointer; this is the form of POSIX. */
#define FIND(library, name, target) (*(void **)(target) = dlsym(library, name))

static bool find_required(struct tr_nvml *n, init_fn **ret_init, by_uuid_fn **ret_by_uuid)
{
    FIND(n->library, "nvmlInit_v2", ret_init);
    FIND(n->library, "nvmlShutdown", &n->shutdown);
    FIND(n->library, "nvmlErrorString", &n->error);
    FIND(n->library, "nvmlDeviceGetHandleByUUID", ret_by_uuid);
    return *ret_init && n->shutdown && n->error && *ret_by_uuid;
}

static void find_optional(struct tr_nvml *n)
{
    FIND(n->library, "nvmlDeviceGetUtilizationRates", &n->utilization);
    FIND(n->library, "nvmlDeviceGetMemoryInfo", &n->memory);
    FIND(n->library, "nvmlDeviceGetPowerUsage", &n->power);
    FIND(n->library, "nvmlDeviceGetTemperature", &n->temperature);
    FIND(n->library, "nvmlDeviceGetClockInfo", &n->clock);
    FIND(n->library, "nvmlDeviceGetTotalEnergyConsumption", &n->energy);
    FIND(n->library, "nvmlDeviceGetCurrentClocksEventReasons", &n->reasons);
    if (!n->reasons)
        FIND(n->library, "nvmlDeviceGetCurrentClocksThrottleReasons", &n->reasons);
}

static int nvml_start(struct tr_nvml *n, const char *uuid, struct im_text *text)
{
    init_fn *init;
    by_uuid_fn *by_uuid;
    int r;

    if (!find_required(n, &init, &by_uuid))
        return im_fail(text, -ELIBACC, LIBRARY " lacks required NVML functions");
    find_optional(n);
    r = init();
    if (r != NVML_SUCCESS)
        return im_fail(text, -ENODEV, "cannot initialise NVML: %s", n->error(r));
    r = by_uuid(uuid, &n->device);
    if (r != NVML_SUCCESS) {
        n->shutdown();
        return im_fail(text, -ENODEV, "NVML does not find GPU %s: %s", uuid, n->error(r));
    }
    return 0;
}

int tr_nvml_open(const char *uuid, struct tr_nvml **ret_nvml, struct im_text *text)
{
    struct tr_nvml n = {.library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL)};
    int err;

    if (!n.library)
        return im_fail(text, -ENOENT, "%s", dlerror());
    err = nvml_start(&n, uuid, text);
    if (err == 0) {
        *ret_nvml = malloc(sizeof n);
        if (*ret_nvml) {
            **ret_nvml = n;
            return 0;
        }
        n.shutdown();
        err = -ENOMEM;
    }
    dlclose(n.library);
    return err;
}

void tr_nvml_close(struct tr_nvml *n)
{
    if (!n)
        return;
    n->shutdown();
    dlclose(n->library);
    free(n);
}

/* Errors after which every later query fails. */
static bool is_the_end(int r)
{
    return r == NVML_ERROR_GPU_IS_LOST || r == NVML_ERROR_RESET_REQUIRED || r == NVML_ERROR_UNINITIALIZED ||
           r == NVML_ERROR_DRIVER_NOT_LOADED || r == NVML_ERROR_NOT_FOUND;
}

/* Keeps the worst of several results; returns the value, or NAN. */
static double take_value(int r, double value, int *worst)
{
    if (is_the_end(r))
        *worst = r;
    return r == NVML_SUCCESS ? value : (double)NAN;
}

static double ask_number(const struct tr_nvml *n, number_fn *f, double scale, int *worst)
{
    unsigned value = 0;
    int r = f ? f(n->device, &value) : -1;

    return take_value(r, scale * value, worst);
}

static double ask_kind(const struct tr_nvml *n, of_kind_fn *f, unsigned kind, int *worst)
{
    unsigned value = 0;
    int r = f ? f(n->device, kind, &value) : -1;

    return take_value(r, value, worst);
}

static double ask_throttle(const struct tr_nvml *n, int *worst)
{
    unsigned long long bits = 0;
    int r = n->reasons ? n->reasons(n->device, &bits) : -1;
    unsigned ours = 0;

    if (bits & (SW_POWER_CAP | HW_POWER_BRAKE))
        ours |= IM_THROTTLE_POWER;
    if (bits & (SW_THERMAL | HW_THERMAL))
        ours |= IM_THROTTLE_THERMAL;
    if (bits & HW_SLOWDOWN)
        ours |= IM_THROTTLE_HARDWARE;
    return take_value(r, ours, worst);
}

int tr_nvml_sample(struct tr_nvml *n, struct tr_gpu_sample *ret_sample, struct im_text *text)
{
    struct utilization use = {0};
    struct memory memory = {0};
    unsigned long long energy = 0;
    int worst = NVML_SUCCESS, r;

    r = n->utilization ? n->utilization(n->device, &use) : -1;
    ret_sample->busy = take_value(r, use.gpu / 100.0, &worst);
    r = n->memory ? n->memory(n->device, &memory) : -1;
    ret_sample->memory_bytes = take_value(r, (double)memory.used, &worst);
    ret_sample->power_w = ask_number(n, n->power, 1e-3, &worst);
    ret_sample->temperature_c = ask_kind(n, n->temperature, NVML_TEMPERATURE_GPU, &worst);
    ret_sample->sm_mhz = ask_kind(n, n->clock, NVML_CLOCK_SM, &worst);
    ret_sample->memory_mhz = ask_kind(n, n->clock, NVML_CLOCK_MEM, &worst);
    ret_sample->throttle = ask_throttle(n, &worst);
    r = n->energy ? n->energy(n->device, &energy) : -1;
    ret_sample->energy_j = take_value(r, (double)energy * 1e-3, &worst);
    if (worst != NVML_SUCCESS)
        return im_fail(text, -ENODEV, "the GPU is lost: %s", n->error(worst));
    return 0;
}
