/* See bad_kernels.cc. */
#ifndef TESTS_CUDA_EMULATOR_BAD_KERNELS_H
#define TESTS_CUDA_EMULATOR_BAD_KERNELS_H

enum bad_kernel {
    SOME_LEAVE_BEFORE_THE_BARRIER,
    TWO_BARRIERS_IN_BRANCHES,
    HALF_A_WARP_SHUFFLES,
    READS_WHAT_NOBODY_WROTE,
    FORGETS_THE_BARRIER,
    WRITES_AGAIN_TOO_EARLY,
    TWO_WRITE_ONE_NUMBER,
    WRITES_PAST_THE_END,
    HAS_TOO_MUCH_SHARED_MEMORY,
    READS_ACROSS_16_BYTES,
    SUMS_WELL,
};

#ifdef __cplusplus
extern "C" {
#endif

int run_bad_kernel(enum bad_kernel which, float *out); /* out: 64 numbers, on 16 bytes */
int run_grid(unsigned x, unsigned y, unsigned z, unsigned threads);

#ifdef __cplusplus
}
#endif

#endif
