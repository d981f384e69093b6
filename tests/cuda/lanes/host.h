/* A GPU that is this processor: device.h, dnn.h and cublas.h in plain C, for tests of what is
 * built on them. It is strict where a GPU is only fast:
 *
 *   - Nothing runs when it is enqueued. A lane's work runs when the host waits for it, or when another lane
 *     that waits for it must go on: as late as can be. Lanes named as eager run as early as can be instead.
 *     Results that depend on which lanes are eager show that a wait is missing.
 *   - Device memory cannot be touched by the host but by copies: it is mapped without access while no work
 *     runs.
 *   - A recording keeps the work itself, with the values that it was given; replaying does it again. What
 *     CUDA forbids in a recording is an error here too.
 *   - A communicator that a recording refers to cannot be ended: NCCL would wait for ever. */
#ifndef TESTS_CUDA_LANES_HOST_H
#define TESTS_CUDA_LANES_HOST_H

#include <stdbool.h>
#include <stddef.h>

#include "trainer/backends/cuda/device.h"

/* For GPUs opened from now on; zeroed: 1 GiB, nothing eager. */
struct host_gpu_options {
    size_t memory_bytes;
    unsigned eager; /* bits 1 << enum tr_gpu_stream_id */
    bool no_norms;  /* cuDNN has no engines for batch norm, nor for adding to dx */
    bool no_narrow; /* nor for convolutions over 4 channels of 16-bit types */
    int sm;         /* compute capability; 0: 90 */
};
void host_gpu_set(const struct host_gpu_options *options);
const struct host_gpu_options *host_gpu_get(void);

/* Enqueues run(args) with a copy of the args. */
int host_gpu_enqueue(struct CUstream_st *stream, void (*run)(const void *args), const void *args,
                     size_t bytes);
/* Where the stream is being recorded: *recordings is one more until that recording is freed. */
void host_gpu_refer(struct CUstream_st *stream, int *recordings);
struct CUstream_st *host_gpu_stream_of(struct tr_gpu *g, enum tr_gpu_stream_id lane);
struct tr_gpu *host_gpu_of(const void *at); /* whose memory it is; NULL: of none that is open */

/* comm.c: between GPUs of several processes; $IMSUPER_TEST_GPUS of them are there (1). */
extern const struct tr_comm_ops host_gpu_comm;

#endif
