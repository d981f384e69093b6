/* One GPU through the CUDA runtime API. The only file that includes cuda_runtime_api.h (and NVTX's header).
 *
 * Thin on purpose: every function is one or two CUDA calls and a check. Only the first error is kept, as one
 * sentence: later errors are its consequences (after an illegal address every call of the process fails).
 * Works with CUDA 12 and 13: the calls whose signatures differ between them (cudaStreamGetCaptureInfo,
 * cudaMemPrefetchAsync, cudaGraphAddDependencies) and the fields of cudaDeviceProp that 13 removed are not
 * used.
 *
 * Host waits block instead of spinning (cudaDeviceScheduleBlockingSync): the cores belong to the augmenters,
 * and a step waits once. */
#include "trainer/backends/cuda/device.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cuda_runtime_api.h>

#include <nvtx3/nvToolsExt.h>

#include "ipc/base/err.h"

#if CUDART_VERSION < 12000
#error "CUDA 12 or later is needed"
#endif

struct tr_gpu {
    struct tr_gpu_properties properties;
    cudaStream_t streams[TR_GPU_STREAMS];
    bool capturing;
    int last_errno;
    struct im_text last_error;
};

struct tr_gpu_event {
    cudaEvent_t event;
    enum tr_gpu_event_kind kind;
};

struct tr_gpu_graph {
    cudaGraphExec_t exec;
};

/* What the user can do; NULL: only the CUDA error string is shown. */
static const char *advice(cudaError_t error)
{
    switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
        return "a GPU kernel accessed invalid memory: a bug in imsuper or faulty GPU memory; run "
               "compute-sanitizer to find the kernel";
    case cudaErrorECCUncorrectable:
        return "uncorrectable ECC error in the GPU's memory; reset the GPU or reboot, and replace it if "
               "the error returns";
    case cudaErrorUnknown:
    case cudaErrorLaunchFailure:
    case cudaErrorDevicesUnavailable:
    case cudaErrorNoDevice:
        return "if nvidia-smi no longer lists this GPU, or the kernel log shows Xid 79, the GPU has fallen "
               "off the bus: reboot";
    case cudaErrorLaunchTimeout:
        return "the display watchdog killed a kernel because this GPU drives a screen; use another GPU";
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
        return "imsuper was built without code for this GPU; build on the machine with the GPU, or set "
               "IMSUPER_CUDA_ARCHITECTURES";
    default:
        return NULL;
    }
}

static int errno_of(cudaError_t error)
{
    switch (error) {
    case cudaErrorMemoryAllocation:
        return -ENOMEM;
    case cudaErrorInvalidValue:
        return -EINVAL;
    case cudaErrorNotSupported:
        return -ENOTSUP;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorInvalidDevice:
    case cudaErrorStubLibrary:
        return -ENODEV;
    default:
        return -EIO;
    }
}

static int cuda_fail(struct im_text *text, const char *what, cudaError_t error)
{
    const char *more = advice(error);

    return im_fail(text, errno_of(error), "%s: CUDA error: %s (%s)%s%s", what, cudaGetErrorString(error),
                   cudaGetErrorName(error), more ? "; " : "", more ? more : "");
}

/* Checks the result of a call on an open GPU; records an error for tr_gpu_last_error(). */
static int gpu_check(struct tr_gpu *g, const char *what, cudaError_t error)
{
    struct im_text text = {0};
    int err;

    if (error == cudaSuccess)
        return 0;
    cudaGetLastError(); /* clears a non-sticky error, so that a later call does not report it */
    err = cuda_fail(&text, what, error);
    return tr_gpu_fail(g, err, "GPU %d (%s): %s", g->properties.index, g->properties.name, text.s);
}

int tr_gpu_fail(struct tr_gpu *g, int err, const char *format, ...)
{
    va_list args;

    if (!*g->last_error.s) {
        va_start(args, format);
        vsnprintf(g->last_error.s, sizeof g->last_error.s, format, args);
        va_end(args);
        g->last_errno = err;
    }
    return err;
}

int tr_gpu_last_error(struct tr_gpu *g, struct im_text *text)
{
    cudaError_t error = cudaPeekAtLastError();

    /* cudaStreamQuery() on a stream in capture would invalidate the capture. */
    if (error == cudaSuccess && !g->capturing)
        error = cudaStreamQuery(g->streams[TR_GPU_COMPUTE]);
    if (error == cudaErrorNotReady)
        cudaGetLastError();
    else
        gpu_check(g, "work on the GPU failed", error);
    if (!*g->last_error.s) {
        if (text)
            *text->s = '\0';
        return 0;
    }
    if (text)
        *text = g->last_error;
    return g->last_errno;
}

/* Explains why no GPU is usable. */
static int say_none(struct im_text *text, cudaError_t error)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    int driver = 0;

    if (error == cudaErrorStubLibrary)
        return im_fail(
            text, -ENODEV,
            "no GPU can be used: libcuda.so.1 is the CUDA toolkit's link stub, not the driver's library");
    if (error == cudaErrorInsufficientDriver) {
        if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
            return im_fail(text, -ENODEV,
                           "no GPU can be used: the NVIDIA driver (libcuda.so.1) is not installed, or not "
                           "passed into the container");
        return im_fail(
            text, -ENODEV,
            "no GPU can be used: the NVIDIA driver supports CUDA %d.%d, but imsuper was built with "
            "CUDA %d.%d: update the driver, or build with an older toolkit",
            driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    }
    if (error == cudaSuccess || error == cudaErrorNoDevice) {
        if (visible)
            return im_fail(text, -ENODEV, "no GPU can be used: CUDA_VISIBLE_DEVICES=\"%s\" hides them all",
                           visible);
        return im_fail(text, -ENODEV, "no GPU can be used: the NVIDIA driver sees none");
    }
    return cuda_fail(text, "no GPU can be used", error);
}

int tr_gpu_count(int *ret_count, struct im_text *text)
{
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);

    if (error != cudaSuccess || count < 1) {
        cudaGetLastError();
        return say_none(text, error);
    }
    *ret_count = count;
    return 0;
}

static cudaError_t read_properties(int index, struct tr_gpu_properties *properties)
{
    struct cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, index);
    const unsigned char *u = (const unsigned char *)p.uuid.bytes;

    if (error != cudaSuccess)
        return error;
    properties->index = index;
    snprintf(properties->name, sizeof properties->name, "%.95s", p.name);
    snprintf(properties->uuid, sizeof properties->uuid,
             "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
             u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    snprintf(properties->bus_id, sizeof properties->bus_id, "%04x:%02x:%02x.0", (unsigned)p.pciDomainID,
             (unsigned)p.pciBusID, (unsigned)p.pciDeviceID);
    properties->sm = p.major * 10 + p.minor;
    properties->sm_count = p.multiProcessorCount;
    properties->shared_bytes = (int)p.sharedMemPerBlockOptin;
    properties->l2_bytes = (size_t)p.l2CacheSize;
    properties->memory_bytes = p.totalGlobalMem;
    error = cudaDriverGetVersion(&properties->driver);
    return error == cudaSuccess ? cudaRuntimeGetVersion(&properties->runtime) : error;
}

int tr_gpu_query(int index, struct tr_gpu_properties *ret_properties, struct im_text *text)
{
    struct tr_gpu_properties properties = {0};
    cudaError_t error = read_properties(index, &properties);
    char what[48];

    if (error != cudaSuccess) {
        snprintf(what, sizeof what, "cannot query GPU %d", index);
        cudaGetLastError();
        return cuda_fail(text, what, error);
    }
    *ret_properties = properties;
    return 0;
}

/* COMM has the highest priority: its kernels are few and the others wait for them. WEIGHTS has the lowest: what
 * waits for it comes later, and COMPUTE goes on meanwhile. Lower numbers are higher priorities. */
static int priority_of(enum tr_gpu_stream_id stream, int least, int greatest)
{
    if (stream == TR_GPU_COMM)
        return greatest;
    return stream == TR_GPU_COMPUTE && least - greatest >= 2 ? least - 1 : least;
}

/* A captured graph keeps each kernel's priority, but honours it only with cudaGraphInstantiateFlagUseNodePriority. */
static cudaError_t make_streams(struct tr_gpu *g)
{
    int least = 0, greatest = 0;
    cudaError_t error = cudaDeviceGetStreamPriorityRange(&least, &greatest);

    for (int i = 0; i < TR_GPU_STREAMS && error == cudaSuccess; i++)
        error = cudaStreamCreateWithPriority(&g->streams[i], cudaStreamNonBlocking,
                                             priority_of((enum tr_gpu_stream_id)i, least, greatest));
    return error;
}

int tr_gpu_open(int index, struct tr_gpu **ret_gpu, struct im_text *text)
{
    struct tr_gpu *g;
    cudaError_t error;
    int count, err = tr_gpu_count(&count, text);
    char what[48];

    if (err < 0)
        return err;
    if (index < 0 || index >= count)
        return im_fail(text, -ENODEV, "there is no GPU %d: this process sees %d%s", index, count,
                       getenv("CUDA_VISIBLE_DEVICES") ? " (CUDA_VISIBLE_DEVICES is set)" : "");
    g = calloc(1, sizeof *g);
    if (!g)
        return im_fail(text, -ENOMEM, "no memory for a GPU's handle");
    error = cudaInitDevice(index, cudaDeviceScheduleBlockingSync, cudaInitDeviceFlagsAreValid);
    if (error == cudaSuccess)
        error = cudaSetDevice(index);
    if (error == cudaSuccess)
        error = read_properties(index, &g->properties);
    if (error == cudaSuccess)
        error = make_streams(g);
    if (error != cudaSuccess) {
        snprintf(what, sizeof what, "cannot initialise GPU %d", index);
        tr_gpu_close(g);
        cudaGetLastError();
        return cuda_fail(text, what, error);
    }
    *ret_gpu = g;
    return 0;
}

int tr_gpu_enter(struct tr_gpu *g)
{
    return cudaSetDevice(g->properties.index) == cudaSuccess ? 0 : -EIO;
}

void tr_gpu_close(struct tr_gpu *g)
{
    if (!g)
        return;
    for (int i = 0; i < TR_GPU_STREAMS; i++)
        if (g->streams[i]) {
            cudaStreamSynchronize(g->streams[i]);
            cudaStreamDestroy(g->streams[i]);
        }
    free(g);
}

const struct tr_gpu_properties *tr_gpu_properties(const struct tr_gpu *g)
{
    return &g->properties;
}

struct CUstream_st *tr_gpu_stream(struct tr_gpu *g, enum tr_gpu_stream_id stream)
{
    return g->streams[stream];
}

static int no_memory(struct tr_gpu *g, size_t bytes, const char *what, struct im_text *text)
{
    size_t left = 0, all = 0;

    cudaGetLastError();
    if (cudaMemGetInfo(&left, &all) != cudaSuccess)
        cudaGetLastError();
    return im_fail(text, -ENOMEM,
                   "GPU %d (%s) is out of memory for %s: %.2f GiB requested, %.2f of %.2f GiB free; use a "
                   "smaller batch, or check with nvidia-smi for other processes",
                   g->properties.index, g->properties.name, what, (double)bytes / (1 << 30),
                   (double)left / (1 << 30), (double)all / (1 << 30));
}

int tr_gpu_memory_new(struct tr_gpu *g, size_t bytes, const char *what, void **ret_memory,
                      struct im_text *text)
{
    void *memory = NULL;
    cudaError_t error = cudaMalloc(&memory, bytes ? bytes : 1);

    if (error == cudaErrorMemoryAllocation)
        return no_memory(g, bytes, what, text);
    if (error == cudaSuccess) {
        error = cudaMemsetAsync(memory, 0, bytes ? bytes : 1, g->streams[TR_GPU_COMPUTE]);
        if (error == cudaSuccess)
            error = cudaStreamSynchronize(g->streams[TR_GPU_COMPUTE]);
        if (error != cudaSuccess)
            cudaFree(memory);
    }
    if (error != cudaSuccess) {
        gpu_check(g, "allocating memory", error);
        return cuda_fail(text, what, error);
    }
    *ret_memory = memory;
    return 0;
}

void tr_gpu_memory_free(struct tr_gpu *g, void *memory)
{
    if (memory)
        gpu_check(g, "freeing memory", cudaFree(memory));
}

int tr_gpu_memory_left(struct tr_gpu *g, size_t *ret_free_bytes)
{
    size_t all;

    return gpu_check(g, "querying free memory", cudaMemGetInfo(ret_free_bytes, &all));
}

int tr_gpu_pinned_new(struct tr_gpu *g, size_t bytes, const char *what, void **ret_memory,
                      struct im_text *text)
{
    void *memory = NULL;
    cudaError_t error = cudaHostAlloc(&memory, bytes ? bytes : 1, cudaHostAllocDefault);

    if (error != cudaSuccess) {
        cudaGetLastError();
        return im_fail(text, errno_of(error),
                       "cannot allocate %zu bytes of pinned memory for %s: CUDA error: %s", bytes, what,
                       cudaGetErrorString(error));
    }
    memset(memory, 0, bytes ? bytes : 1);
    (void)g;
    *ret_memory = memory;
    return 0;
}

void tr_gpu_pinned_free(struct tr_gpu *g, void *memory)
{
    if (memory)
        gpu_check(g, "freeing pinned memory", cudaFreeHost(memory));
}

/* cudaHostRegisterReadOnly needs cudaDevAttrHostRegisterReadOnlySupported, which is 0 on x86 hosts. There the
 * mapping is made writable while it is registered, which a mapping of a writable descriptor allows, and
 * read-only again afterwards. */
static cudaError_t lock_read_only(void *memory, size_t bytes)
{
    cudaError_t error = cudaHostRegister(memory, bytes, cudaHostRegisterReadOnly);

    if (error != cudaErrorNotSupported || mprotect(memory, bytes, PROT_READ | PROT_WRITE) < 0)
        return error;
    error = cudaHostRegister(memory, bytes, cudaHostRegisterDefault);
    im_assert(mprotect(memory, bytes, PROT_READ) == 0);
    return error;
}

int tr_gpu_pin(struct tr_gpu *g, void *memory, size_t bytes, bool read_only, struct im_text *text)
{
    cudaError_t error = cudaHostRegister(memory, bytes, cudaHostRegisterDefault);

    if (error != cudaSuccess && read_only)
        error = lock_read_only(memory, bytes);
    cudaGetLastError();
    if (error == cudaSuccess)
        return 0;
    return im_fail(text, error == cudaErrorNotSupported || error == cudaErrorInvalidValue ? -ENOTSUP : -EIO,
                   "GPU %d (%s) cannot pin %zu bytes of memory: CUDA error: %s", g->properties.index,
                   g->properties.name, bytes, cudaGetErrorString(error));
}

void tr_gpu_unpin(struct tr_gpu *g, void *memory)
{
    if (memory)
        gpu_check(g, "unpinning memory", cudaHostUnregister(memory));
}

int tr_gpu_copy(struct tr_gpu *g, enum tr_gpu_stream_id stream, void *to, const void *from, size_t bytes)
{
    return gpu_check(g, "copying memory",
                     cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, g->streams[stream]));
}

int tr_gpu_zero(struct tr_gpu *g, enum tr_gpu_stream_id stream, void *memory, size_t bytes)
{
    return gpu_check(g, "zeroing memory", cudaMemsetAsync(memory, 0, bytes, g->streams[stream]));
}

int tr_gpu_event_new(struct tr_gpu *g, enum tr_gpu_event_kind kind, struct tr_gpu_event **ret_event)
{
    unsigned flags =
        kind == TR_GPU_TIMED ? cudaEventBlockingSync : cudaEventBlockingSync | cudaEventDisableTiming;
    struct tr_gpu_event *e = calloc(1, sizeof *e);
    int err;

    if (!e)
        return tr_gpu_fail(g, -ENOMEM, "no memory for an event");
    err = gpu_check(g, "creating an event", cudaEventCreateWithFlags(&e->event, flags));
    if (err < 0) {
        free(e);
        return err;
    }
    e->kind = kind;
    *ret_event = e;
    return 0;
}

void tr_gpu_event_free(struct tr_gpu *g, struct tr_gpu_event *e)
{
    if (!e)
        return;
    gpu_check(g, "freeing an event", cudaEventDestroy(e->event));
    free(e);
}

/* During capture an ordinary record only adds an edge between streams; an external one adds a node that
 * records the event at each replay. */
int tr_gpu_event_record(struct tr_gpu *g, struct tr_gpu_event *e, enum tr_gpu_stream_id stream)
{
    unsigned flags =
        g->capturing && e->kind == TR_GPU_TIMED ? cudaEventRecordExternal : cudaEventRecordDefault;

    return gpu_check(g, "recording an event", cudaEventRecordWithFlags(e->event, g->streams[stream], flags));
}

int tr_gpu_wait(struct tr_gpu *g, enum tr_gpu_stream_id stream, struct tr_gpu_event *e)
{
    return gpu_check(g, "waiting for an event", cudaStreamWaitEvent(g->streams[stream], e->event, 0));
}

int tr_gpu_event_sync(struct tr_gpu *g, struct tr_gpu_event *e)
{
    return gpu_check(g, "work on the GPU failed", cudaEventSynchronize(e->event));
}

int tr_gpu_event_done(struct tr_gpu *g, struct tr_gpu_event *e)
{
    cudaError_t error = cudaEventQuery(e->event);

    if (error == cudaErrorNotReady) {
        cudaGetLastError(); /* clears it, or tr_gpu_last_error() returns this error without querying the
                               stream */
        return 0;
    }
    return error == cudaSuccess ? 1 : gpu_check(g, "work on the GPU failed", error);
}

int tr_gpu_elapsed(struct tr_gpu *g, struct tr_gpu_event *from, struct tr_gpu_event *to, uint64_t *ret_ns)
{
    float ms = 0;
    int err =
        gpu_check(g, "reading the time between events", cudaEventElapsedTime(&ms, from->event, to->event));

    if (err < 0)
        return err;
    *ret_ns = ms > 0 ? (uint64_t)((double)ms * 1e6) : 0;
    return 0;
}

int tr_gpu_sync(struct tr_gpu *g, enum tr_gpu_stream_id stream)
{
    return gpu_check(g, "work on the GPU failed", cudaStreamSynchronize(g->streams[stream]));
}

/* Thread-local capture mode: CUDA calls of other threads (the NCCL proxy, telemetry) do not invalidate the
 * capture. */
int tr_gpu_capture_begin(struct tr_gpu *g)
{
    int err;

    im_assert(!g->capturing);
    err = gpu_check(g, "beginning to capture a step",
                    cudaStreamBeginCapture(g->streams[TR_GPU_COMPUTE], cudaStreamCaptureModeThreadLocal));
    g->capturing = err == 0;
    return err;
}

int tr_gpu_capture_end(struct tr_gpu *g, struct tr_gpu_graph **ret_graph, struct im_text *text)
{
    struct tr_gpu_graph *r;
    cudaGraph_t graph = NULL;
    cudaError_t error;

    im_assert(g->capturing);
    g->capturing = false;
    error = cudaStreamEndCapture(g->streams[TR_GPU_COMPUTE], &graph);
    r = calloc(1, sizeof *r);
    if (error == cudaSuccess && !r)
        error = cudaErrorMemoryAllocation;
    if (error == cudaSuccess)
        error = cudaGraphInstantiate(&r->exec, graph, cudaGraphInstantiateFlagUseNodePriority);
    if (error == cudaSuccess)
        error = cudaGraphUpload(r->exec, g->streams[TR_GPU_COMPUTE]);
    if (graph)
        cudaGraphDestroy(graph);
    if (error != cudaSuccess) {
        tr_gpu_graph_free(g, r);
        gpu_check(g, "capturing a step", error);
        return cuda_fail(text, "cannot capture a step", error);
    }
    *ret_graph = r;
    return 0;
}

bool tr_gpu_is_capturing(const struct tr_gpu *g)
{
    return g->capturing;
}

int tr_gpu_graph_launch(struct tr_gpu *g, struct tr_gpu_graph *r)
{
    return gpu_check(g, "launching a captured graph", cudaGraphLaunch(r->exec, g->streams[TR_GPU_COMPUTE]));
}

void tr_gpu_graph_free(struct tr_gpu *g, struct tr_gpu_graph *r)
{
    if (!r)
        return;
    if (r->exec)
        gpu_check(g, "freeing a captured graph", cudaGraphExecDestroy(r->exec));
    free(r);
}

void tr_gpu_range_push(const char *name)
{
    nvtxRangePushA(name);
}

void tr_gpu_range_pop(void)
{
    nvtxRangePop();
}
