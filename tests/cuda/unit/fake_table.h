/* A GPU, a cuDNN and a clock that are made of tables, behind device.h and cudnn.h. */
#ifndef TESTS_CUDA_UNIT_FAKE_TABLE_H
#define TESTS_CUDA_UNIT_FAKE_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAYS 2
#define ENGINES 4
#define MANY 16

/* What the made-up cuDNN has for any operation, by way of saying it. */
struct fake_engine {
    uint64_t ns;
    size_t workspace;
    bool refuses; /* cannot be planned */
    bool fails;   /* plans, does not run */
    bool forgets; /* does not add to what was there */
};

struct fake_table {
    struct fake_engine engines[WAYS][MANY];
    int counts[WAYS];
    int compile_ms;            /* that a plan takes */
    _Atomic int busy, busiest; /* plans that are made at once */
    _Atomic int asked, planned;
    int loaded, runs, casts;
    size_t cast_count, memory_limit, memory_used;
    int blank;                                  /* runs on weights that are zeros */
    const struct CUstream_st *ran_on, *cast_on; /* the last run, and the last cast */
    const void *workspace, *weights, *cast_from;
    uint64_t now;
    bool broken, can_save;
};

extern struct fake_table fake;
extern struct tr_gpu fake_gpu;

#endif
