/* GPUs and NCCL of a test's own process: each thread is a rank with a GPU whose memory is the host's. Work on
 * a stream is a queue that moves on when somebody asks for an event; a collective in it is done when all
 * ranks have come to it, so that a rank that never comes blocks the others, as on real GPUs. */
#ifndef TESTS_CUDA_NCCL_FAKE_H
#define TESTS_CUDA_NCCL_FAKE_H

#include <stdbool.h>

#include "tests/cuda/nccl/nccl.h"

struct CUstream_st;

/* A piece of work: true when it is done; asked again otherwise. */
typedef bool fake_work(void *argument);
void fake_enqueue(struct CUstream_st *stream, fake_work *work, void *argument);

/* What goes wrong, for all ranks; set before they begin. */
struct fake_trouble {
    int version;  /* of NCCL; 0: 2.28.9 */
    int fails_at; /* the how-manieth collective of rank 1 ends in `error`; 0: none */
    ncclResult_t error;
    int slow_polls; /* looks that the meeting takes longer than all ranks' coming */
};
void fake_reset(const struct fake_trouble *trouble);

/* What was done since: opened and not yet destroyed or aborted; aborted. */
int fake_open_comms(void);
int fake_aborted_comms(void);

#endif
