/* One NVIDIA GPU: its facts, three streams, memory, copies, events, and recordings of a step. No header of
 * ours includes CUDA's; trainer/backends/cuda/device.c is the one file that does.
 *
 * Order. Each stream does its work in the order of the calls; different streams are unordered but for events:
 * tr_gpu_event_record() marks a place in one stream, tr_gpu_wait() makes another wait there. All calls only
 * enqueue and return, but for those that say that the host waits, and those that make or free memory.
 *
 * Recording. Between tr_gpu_record_begin() and _end() what is enqueued on COMPUTE is noted down and not done;
 * COPY or COMM take part once they have waited for an event that COMPUTE recorded since begin, and must be
 * joined again (COMPUTE waits for an event of theirs) before end. Addresses and values passed by value are
 * frozen then; what changes from step to step is read from device memory or from pinned memory by a recorded
 * copy. While recording: no memory is made or freed, no host wait, nothing on a stream that takes no part.
 * A replay runs on COMPUTE as one piece of work.
 *
 * Errors: 0 or a negative errno: -ENOMEM (GPU or pinned memory), -ENODEV (no such GPU, no driver), -ENOTSUP,
 * -EINVAL, -EIO for everything that is wrong with the GPU. Where there is no text argument the sentence waits
 * in tr_gpu_trouble(). Errors of work that runs later come out of later calls; a GPU that has failed once
 * stays failed, and the process must end.
 *
 * One thread: the one that opened the GPU. */
#ifndef TRAINER_BACKENDS_CUDA_DEVICE_H
#define TRAINER_BACKENDS_CUDA_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct CUstream_st; /* CUDA's stream: cudaStream_t is a pointer to it */
struct im_text;
struct tr_gpu;
struct tr_gpu_event;
struct tr_gpu_recording;

/* Of values in device memory. */
enum tr_gpu_type { TR_GPU_F32, TR_GPU_BF16, TR_GPU_F16, TR_GPU_TYPES };
size_t tr_gpu_type_bytes(enum tr_gpu_type type);
const char *tr_gpu_type_name(enum tr_gpu_type type); /* "fp32", "bf16", "fp16" */

enum tr_gpu_lane { TR_GPU_COMPUTE, TR_GPU_COPY, TR_GPU_COMM, TR_GPU_LANES };

struct tr_gpu_facts {
    int index;       /* among those that this process may see */
    char name[96];   /* "NVIDIA H200" */
    char uuid[48];   /* "GPU-" and 36 characters, as nvidia-smi writes it */
    char bus_id[24]; /* "0000:1b:00.0", lower case: the name in /sys/bus/pci/devices */
    int sm;          /* compute capability: 90 is 9.0 */
    int sm_count;
    int shared_bytes; /* that a block may ask for */
    size_t l2_bytes, memory_bytes;
    int driver, runtime; /* CUDA versions: 13000 is 13.0 */
};

/* How many GPUs this process sees. No driver, an old one, none: an error with its sentence, never 0. */
int tr_gpu_count(int *ret_count, struct im_text *text);

/* The facts of a GPU that need not be opened for it: nothing is left on it. */
int tr_gpu_look(int index, struct tr_gpu_facts *ret_facts, struct im_text *text);

int tr_gpu_open(int index, struct tr_gpu **ret_gpu, struct im_text *text);
void tr_gpu_close(struct tr_gpu *g); /* waits for running work; NULL is fine */
const struct tr_gpu_facts *tr_gpu_facts(const struct tr_gpu *g);
struct CUstream_st *tr_gpu_stream(struct tr_gpu *g, enum tr_gpu_lane lane);

/* The first error since open and its sentence; 0 and an empty text where there was none. Asks the GPU, so it
 * also finds what a kernel did. */
int tr_gpu_trouble(struct tr_gpu *g, struct im_text *text);
/* Notes a sentence for tr_gpu_trouble(), unless there is one; for libraries on top. Returns err. */
int tr_gpu_fail(struct tr_gpu *g, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Device memory: zeroed, aligned to 256 bytes; at least 1 byte. `what` names it in the sentence of -ENOMEM,
 * which also says how much was asked for and how much there is. Freeing waits for the GPU. */
int tr_gpu_memory_new(struct tr_gpu *g, size_t bytes, const char *what, void **ret_memory,
                      struct im_text *text);
void tr_gpu_memory_free(struct tr_gpu *g, void *memory);          /* NULL is fine */
int tr_gpu_memory_left(struct tr_gpu *g, size_t *ret_free_bytes); /* as the driver counts now */

/* Page-locked host memory, zeroed; readable and writable by the host, and source or target of copies. */
int tr_gpu_pinned_new(struct tr_gpu *g, size_t bytes, const char *what, void **ret_memory,
                      struct im_text *text);
void tr_gpu_pinned_free(struct tr_gpu *g, void *memory); /* NULL is fine */

/* Page-locks memory that is there already (a ring in shared memory), so that copies from it run
 * asynchronously. read_only: it may be a whole mapping that is read only, and stays so. -ENOTSUP: this memory
 * cannot be locked here: copies from it still work, but the host waits for them. Unlock before unmapping. */
int tr_gpu_lock(struct tr_gpu *g, void *memory, size_t bytes, bool read_only, struct im_text *text);
void tr_gpu_unlock(struct tr_gpu *g, void *memory); /* only what was locked; NULL is fine */

/* Copies between any two of device, pinned and plain host memory. Host memory must stay until the
 * copy is done. */
int tr_gpu_copy(struct tr_gpu *g, enum tr_gpu_lane lane, void *to, const void *from, size_t bytes);
int tr_gpu_zero(struct tr_gpu *g, enum tr_gpu_lane lane, void *memory, size_t bytes);

/* ORDER: for streams to wait, and for the host; inside a recording only for the recording's streams.
 * TIMED: with a time; inside a recording each replay records it anew, and the host, not the recording's own
 * streams, may wait for it. */
enum tr_gpu_event_kind { TR_GPU_ORDER, TR_GPU_TIMED };
int tr_gpu_event_new(struct tr_gpu *g, enum tr_gpu_event_kind kind, struct tr_gpu_event **ret_event);
void tr_gpu_event_free(struct tr_gpu *g, struct tr_gpu_event *e); /* NULL is fine */
int tr_gpu_event_record(struct tr_gpu *g, struct tr_gpu_event *e, enum tr_gpu_lane lane);
/* What is enqueued on the lane from now on waits for the event's last record; never recorded: no wait. */
int tr_gpu_wait(struct tr_gpu *g, enum tr_gpu_lane lane, struct tr_gpu_event *e);
int tr_gpu_event_sync(struct tr_gpu *g, struct tr_gpu_event *e); /* the host waits, without spinning */
int tr_gpu_event_done(struct tr_gpu *g, struct tr_gpu_event *e); /* 1: done, 0: not yet */
/* Time from one TIMED event to a later one; both done, by _sync or _done. Resolution about 500 ns. */
int tr_gpu_elapsed(struct tr_gpu *g, struct tr_gpu_event *from, struct tr_gpu_event *to, uint64_t *ret_ns);

int tr_gpu_sync(struct tr_gpu *g, enum tr_gpu_lane lane); /* the host waits for all of the lane's work */

/* begin and end in pairs; end always ends the recording, and on an error gives none. */
int tr_gpu_record_begin(struct tr_gpu *g);
int tr_gpu_record_end(struct tr_gpu *g, struct tr_gpu_recording **ret_recording, struct im_text *text);
bool tr_gpu_is_recording(const struct tr_gpu *g);
int tr_gpu_replay(struct tr_gpu *g, struct tr_gpu_recording *r);          /* enqueues it on COMPUTE */
void tr_gpu_recording_free(struct tr_gpu *g, struct tr_gpu_recording *r); /* NULL is fine */

/* Names what the calling thread does for profilers (NVTX); nested; next to free where none listens. */
void tr_gpu_range_push(const char *name);
void tr_gpu_range_pop(void);

#endif
