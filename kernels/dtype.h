/* The types of numbers that values and weights have on any backend. */
#ifndef KERNELS_DTYPE_H
#define KERNELS_DTYPE_H

#include <stddef.h>

enum imk_dtype { IMK_F32, IMK_BF16, IMK_F16 };
#define IMK_DTYPES 3

static inline size_t imk_dtype_bytes(enum imk_dtype dtype)
{
    return dtype == IMK_F32 ? 4 : 2;
}

#endif
