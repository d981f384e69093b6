/* In place of the driver's libnvidia-ml.so.1: a GPU with made-up numbers. FAKE_NVML says what happens:
 *
 *   lost:N   the N-th look at its utilisation finds the GPU off the bus, and so does everything after it
 *   hang:N   the N-th look never returns
 *   unknown  no GPU has the UUID that is asked for
 *   dead     the library does not start: there is no driver
 *
 * Built with FAKE_OLD it lacks what drivers before 2018 lack (energy) and what is new since 535, and does not
 * support power. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

#define EXPORT __attribute__((visibility("default")))

static _Atomic int looks;
static char device; /* a handle is an address */

static const char *how(void)
{
    const char *value = getenv("FAKE_NVML");

    return value ? value : "";
}

/* "lost:3" for the word lost: 3; 0 where it is not said. */
static int at(const char *word)
{
    size_t n = strlen(word);

    return strncmp(how(), word, n) == 0 && how()[n] == ':' ? (int)strtol(how() + n + 1, NULL, 10) : 0;
}

static int state(void)
{
    int lost = at("lost");

    return lost && atomic_load_explicit(&looks, memory_order_relaxed) >= lost ? GPU_IS_LOST : OK;
}

EXPORT int fake_nvml_looks(void); /* how often its utilisation was looked at since the start */
EXPORT int nvmlInit_v2(void);
EXPORT int nvmlShutdown(void);
EXPORT const char *nvmlErrorString(int result);
EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **ret);
EXPORT int nvmlDeviceGetUtilizationRates(void *d, unsigned ret[2]);
EXPORT int nvmlDeviceGetMemoryInfo(void *d, unsigned long long ret[3]);
EXPORT int nvmlDeviceGetPowerUsage(void *d, unsigned *ret);
EXPORT int nvmlDeviceGetTemperature(void *d, unsigned sensor, unsigned *ret);
EXPORT int nvmlDeviceGetClockInfo(void *d, unsigned clock, unsigned *ret);
EXPORT int nvmlDeviceGetCurrentClocksEventReasons(void *d, unsigned long long *ret);
EXPORT int nvmlDeviceGetCurrentClocksThrottleReasons(void *d, unsigned long long *ret);
EXPORT int nvmlDeviceGetTotalEnergyConsumption(void *d, unsigned long long *ret);

int fake_nvml_looks(void)
{
    return atomic_load_explicit(&looks, memory_order_relaxed);
}

int nvmlInit_v2(void)
{
    atomic_store_explicit(&looks, 0, memory_order_relaxed);
    return strcmp(how(), "dead") == 0 ? DRIVER_NOT_LOADED : OK;
}

int nvmlShutdown(void)
{
    return OK;
}

const char *nvmlErrorString(int result)
{
    return result == GPU_IS_LOST         ? "GPU is lost"
           : result == NOT_FOUND         ? "Not Found"
           : result == DRIVER_NOT_LOADED ? "Driver Not Loaded"
                                         : "?";
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **ret)
{
    if (strcmp(how(), "unknown") == 0 || strncmp(uuid, "GPU-", 4) != 0)
        return NOT_FOUND;
    *ret = &device;
    return OK;
}

int nvmlDeviceGetUtilizationRates(void *d, unsigned ret[2])
{
    int n = atomic_fetch_add_explicit(&looks, 1, memory_order_relaxed) + 1;

    while (at("hang") && n >= at("hang"))
        pause();
    ret[0] = d == &device ? 97 : 0;
    ret[1] = 55;
    return state();
}

int nvmlDeviceGetMemoryInfo(void *d, unsigned long long ret[3])
{
    (void)d;
    ret[0] = 150000000000ull;
    ret[1] = 100000000000ull;
    ret[2] = 50000000000ull;
    return state();
}

int nvmlDeviceGetPowerUsage(void *d, unsigned *ret)
{
    (void)d;
#ifdef FAKE_OLD
    (void)ret;
    return NOT_SUPPORTED;
#else
    *ret = 641500;
    return state();
#endif
}

int nvmlDeviceGetTemperature(void *d, unsigned sensor, unsigned *ret)
{
    (void)d;
    *ret = sensor == 0 ? 62 : 0;
    return state();
}

int nvmlDeviceGetClockInfo(void *d, unsigned clock, unsigned *ret)
{
    (void)d;
    *ret = clock == 1 ? 1755 : clock == 2 ? 3201 : 0;
    return state();
}

#ifdef FAKE_OLD
/* Heat, said by the hardware. */
int nvmlDeviceGetCurrentClocksThrottleReasons(void *d, unsigned long long *ret)
{
    (void)d;
    *ret = 0x40 | 0x8 | 0x1;
    return state();
}
#else
int nvmlDeviceGetCurrentClocksEventReasons(void *d, unsigned long long *ret)
{
    (void)d;
    *ret = 0x4 | 0x2 | 0x10;
    return state();
}

/* 100 J a look. */
int nvmlDeviceGetTotalEnergyConsumption(void *d, unsigned long long *ret)
{
    (void)d;
    *ret = 7000000ull + 100000ull * (unsigned long long)atomic_load_explicit(&looks, memory_order_relaxed);
    return state();
}
#endif
