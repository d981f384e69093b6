/* Values of the three types as arrays of float. */
#ifndef TESTS_CUDA_LANES_NUMBER_H
#define TESTS_CUDA_LANES_NUMBER_H

#include <stddef.h>

#include "trainer/backends/cuda/device.h"

/* count values as new floats; the caller frees them. Never NULL. */
float *number_load(enum imk_dtype type, const void *values, size_t count);
/* Rounded to the nearest, ties to even. */
void number_store(enum imk_dtype type, void *values, const float *from, size_t count);

#endif
