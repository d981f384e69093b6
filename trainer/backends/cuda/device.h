/* One NVIDIA GPU: device properties, four streams, memory, copies, events, and captured graphs. No other
 * header includes CUDA's; trainer/backends/cuda/device.c is the only file that does.
 *
 * Order. Each stream executes in the order of the calls; different streams are ordered by events only:
 * tr_gpu_event_record() marks a point in one stream, tr_gpu_wait() makes another stream wait for it. All
 * calls only enqueue and return, except those documented to make the host wait, and those that allocate or
 * free memory.
 *
 * Capture. Between tr_gpu_capture_begin() and tr_gpu_capture_end() work on COMPUTE is captured and not
 * executed; the other streams join the capture by waiting for an event that COMPUTE recorded since begin, and
 * must be joined back (COMPUTE waits for one of their events) before end. Addresses and by-value arguments
 * are frozen then; what changes from step to step is read from device memory, or from pinned memory by a
 * captured copy. During capture: no allocation, no free, no host wait, nothing on a stream outside the
 * capture. A replay runs on COMPUTE as one unit of work.
 *
 * Errors: 0 or a negative errno: -ENOMEM (GPU or pinned memory), -ENODEV (no such GPU, no driver), -ENOTSUP,
 * -EINVAL, -EIO for every other GPU error. Calls without a text argument leave the sentence for
 * tr_gpu_last_error(). Errors of asynchronous work are returned by later calls; after an error the GPU is
 * unusable and the process must exit.
 *
 * Thread: only the one that opened the GPU. */
#ifndef TRAINER_BACKENDS_CUDA_DEVICE_H
#define TRAINER_BACKENDS_CUDA_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/dtype.h"

struct CUstream_st; /* CUDA's stream: cudaStream_t is a pointer to it */
struct im_text;
struct tr_gpu;
struct tr_gpu_event;
struct tr_gpu_graph;

/* Element types in device memory. */
const char *tr_gpu_dtype_name(enum imk_dtype type); /* "fp32", "bf16", "fp16" */

/* WEIGHTS: gradients of weights that are made apart (tr_op.dw_apart). */
enum tr_gpu_stream_id { TR_GPU_COMPUTE, TR_GPU_COPY, TR_GPU_COMM, TR_GPU_WEIGHTS, TR_GPU_STREAMS };

struct tr_gpu_properties {
    int index;       /* of the GPUs visible to this process */
    char name[96];   /* "NVIDIA H200" */
    char uuid[48];   /* "GPU-" and 36 characters, as nvidia-smi writes it */
    char bus_id[24]; /* "0000:1b:00.0", lower case: the name in /sys/bus/pci/devices */
    int sm;          /* compute capability: 90 is 9.0 */
    int sm_count;
    int shared_bytes; /* most that a block may request */
    size_t l2_bytes, memory_bytes;
    int driver, runtime; /* CUDA versions: 13000 is 13.0 */
};

/* Number of GPUs visible to this process. No driver, an old driver or no GPU is an error with its sentence,
 * never 0. */
int tr_gpu_count(int *ret_count, struct im_text *text);

/* Properties of a GPU without opening it: creates no context. */
int tr_gpu_query(int index, struct tr_gpu_properties *ret_properties, struct im_text *text);

int tr_gpu_open(int index, struct tr_gpu **ret_gpu, struct im_text *text);
int tr_gpu_enter(
    struct tr_gpu *g); /* makes it the calling thread's, where a library works in another thread */
void tr_gpu_close(struct tr_gpu *g); /* waits for running work; NULL is fine */
const struct tr_gpu_properties *tr_gpu_properties(const struct tr_gpu *g);
struct CUstream_st *tr_gpu_stream(struct tr_gpu *g, enum tr_gpu_stream_id stream);

/* The first error since open with its sentence; 0 and an empty text if there was none. Also queries the GPU,
 * so it finds errors of kernels. */
int tr_gpu_last_error(struct tr_gpu *g, struct im_text *text);
/* Records a sentence for tr_gpu_last_error(), unless there is one already; for cuDNN and cuBLASLt. Returns
 * err. */
int tr_gpu_fail(struct tr_gpu *g, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Device memory: zeroed, aligned to 256 bytes, at least 1 byte. `what` names it in the sentence of -ENOMEM,
 * which also gives the bytes requested and free. Freeing waits for the GPU. */
int tr_gpu_memory_new(struct tr_gpu *g, size_t bytes, const char *what, void **ret_memory,
                      struct im_text *text);
void tr_gpu_memory_free(struct tr_gpu *g, void *memory);          /* NULL is fine */
int tr_gpu_memory_left(struct tr_gpu *g, size_t *ret_free_bytes); /* as the driver reports it now */

/* Pinned host memory, zeroed: accessible by the host, source or target of asynchronous copies. */
int tr_gpu_pinned_new(struct tr_gpu *g, size_t bytes, const char *what, void **ret_memory,
                      struct im_text *text);
void tr_gpu_pinned_free(struct tr_gpu *g, void *memory); /* NULL is fine */

/* Pins existing memory (a ring in shared memory), so that copies from it are asynchronous. read_only: the
 * memory may be a read-only mapping, and stays one. -ENOTSUP: this memory cannot be pinned: copies from it
 * still work, but block the host. Unpin before unmapping. */
int tr_gpu_pin(struct tr_gpu *g, void *memory, size_t bytes, bool read_only, struct im_text *text);
void tr_gpu_unpin(struct tr_gpu *g, void *memory); /* pinned by tr_gpu_pin(); NULL is fine */

/* Copies between any two of device, pinned and pageable host memory. Host memory must stay valid until the
 * copy is done. */
int tr_gpu_copy(struct tr_gpu *g, enum tr_gpu_stream_id stream, void *to, const void *from, size_t bytes);
int tr_gpu_zero(struct tr_gpu *g, enum tr_gpu_stream_id stream, void *memory, size_t bytes);

/* ORDER: for waits of streams and of the host; during capture only for the captured streams. TIMED: with a
 * timestamp; in a captured graph each replay records it anew, and the host, not the captured streams, may
 * wait for it. */
enum tr_gpu_event_kind { TR_GPU_ORDER, TR_GPU_TIMED };
int tr_gpu_event_new(struct tr_gpu *g, enum tr_gpu_event_kind kind, struct tr_gpu_event **ret_event);
void tr_gpu_event_free(struct tr_gpu *g, struct tr_gpu_event *e); /* NULL is fine */
int tr_gpu_event_record(struct tr_gpu *g, struct tr_gpu_event *e, enum tr_gpu_stream_id stream);
/* Later work on the stream waits for the last record of the event; never recorded: no wait. */
int tr_gpu_wait(struct tr_gpu *g, enum tr_gpu_stream_id stream, struct tr_gpu_event *e);
int tr_gpu_event_sync(struct tr_gpu *g, struct tr_gpu_event *e); /* the host waits, without spinning */
int tr_gpu_event_done(struct tr_gpu *g, struct tr_gpu_event *e); /* 1: done, 0: not yet */
/* Time from one TIMED event to a later one; both done, by _sync or _done. Resolution about 500 ns. */
int tr_gpu_elapsed(struct tr_gpu *g, struct tr_gpu_event *from, struct tr_gpu_event *to, uint64_t *ret_ns);

int tr_gpu_sync(struct tr_gpu *g,
                enum tr_gpu_stream_id stream); /* the host waits for all work on the stream */

/* begin and end in pairs; end always ends the capture, and returns no graph on an error. */
int tr_gpu_capture_begin(struct tr_gpu *g);
int tr_gpu_capture_end(struct tr_gpu *g, struct tr_gpu_graph **ret_graph, struct im_text *text);
bool tr_gpu_is_capturing(const struct tr_gpu *g);
int tr_gpu_graph_launch(struct tr_gpu *g, struct tr_gpu_graph *r); /* enqueues it on COMPUTE */
void tr_gpu_graph_free(struct tr_gpu *g, struct tr_gpu_graph *r);  /* NULL is fine */

/* Marks a named range of the calling thread for profilers (NVTX); nested; almost free without a profiler. */
void tr_gpu_range_push(const char *name);
void tr_gpu_range_pop(void);

#endif
