/* One loop on several threads, for start-up work: listing folders, reading labels,
 * making synthetic images. */
#ifndef READER_DATASET_PARALLEL_H
#define READER_DATASET_PARALLEL_H

#include <stdint.h>

struct rd_parallel {
    uint64_t count;                          /* items 0 .. count-1 */
    unsigned threads;                        /* 0: two for each core, since items may wait for a disk */
    void (*item)(void *context, uint64_t i); /* any thread; items run in no order */
    void (*tick)(void *context,
                 uint64_t done); /* the calling thread, ten times a second and at the end; may be NULL */
    void *context;
};

/* Runs all items and returns when the last is done. Where no thread can be had the calling thread
 * does the work. */
void rd_parallel(const struct rd_parallel *parallel);

#endif
