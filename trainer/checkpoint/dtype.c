/* Types and sizes of tensors in files, shared by the writer and the reader of safetensors. */
#include "trainer/checkpoint/safetensors.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"

static const struct {
    char name[5];
    uint8_t bytes;
} types[TR_DTYPE_COUNT] = {
    [TR_BOOL] = {"BOOL", 1}, [TR_U8] = {"U8", 1},   [TR_F16] = {"F16", 2}, [TR_BF16] = {"BF16", 2},
    [TR_I32] = {"I32", 4},   [TR_F32] = {"F32", 4}, [TR_F64] = {"F64", 8}, [TR_I64] = {"I64", 8},
};

size_t tr_dtype_bytes(enum tr_dtype dtype)
{
    im_assert((unsigned)dtype < TR_DTYPE_COUNT);
    return types[dtype].bytes;
}

const char *tr_dtype_name(enum tr_dtype dtype)
{
    im_assert((unsigned)dtype < TR_DTYPE_COUNT);
    return types[dtype].name;
}

int tr_tensor_bytes(const struct tr_tensor *t, size_t *ret_bytes)
{
    size_t bytes = tr_dtype_bytes(t->dtype);

    if (t->rank < 0 || t->rank > TR_TENSOR_RANK_MAX)
        return -EINVAL;
    for (int i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(bytes, t->shape[i], &bytes))
            return -EOVERFLOW;
    *ret_bytes = bytes;
    return 0;
}

static int compare_tensors(const void *a, const void *b, void *tensors)
{
    const struct tr_tensor *x = (const struct tr_tensor *)tensors + *(const size_t *)a;
    const struct tr_tensor *y = (const struct tr_tensor *)tensors + *(const size_t *)b;

    if (x->dtype != y->dtype)
        return x->dtype > y->dtype ? -1 : 1;
    return strcmp(x->name, y->name);
}

void tr_safetensors_order(const struct tr_tensor *tensors, size_t count, size_t *ret_order)
{
    for (size_t i = 0; i < count; i++)
        ret_order[i] = i;
    if (count > 1)
        qsort_r(ret_order, count, sizeof *ret_order, compare_tensors, (void *)(uintptr_t)tensors);
}

static float from_half(uint16_t bits)
{
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float size = exponent == 31  ? (mantissa ? NAN : INFINITY)
                 : exponent == 0 ? ldexpf((float)mantissa, -24)
                                 : ldexpf((float)(mantissa + 1024), exponent - 25);

    return bits >> 15 ? -size : size;
}

float tr_dtype_element(enum tr_dtype dtype, const void *data, size_t i)
{
    const char *at = (const char *)data + i * tr_dtype_bytes(dtype);
    uint32_t bits = 0;
    uint16_t half;
    double wide;
    float value;

    if (dtype == TR_F64) {
        memcpy(&wide, at, sizeof wide);
        return (float)wide;
    }
    if (dtype == TR_F32) {
        memcpy(&value, at, sizeof value);
        return value;
    }
    memcpy(&half, at, sizeof half);
    if (dtype == TR_F16)
        return from_half(half);
    bits = (uint32_t)half << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}
