/* What the tests of CUDA kernels share: numbers in the kernels' types, arrays of exactly their size, values
 * between NHWC with padding and the reference's NCHW, tolerances. */
#ifndef TESTS_CUDA_EMULATOR_HELP_H
#define TESTS_CUDA_EMULATOR_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/cuda/types.h"
#include "tests/cuda/emulator/emulation.h"
#include "trainer/backends/backend.h"

/* The nearest number of the type, ties to even, by arithmetic. */
double round_to(enum imk_dtype type, double value);

/* Half a unit in the last place of a number of that size: what storing it may change. */
double rounding(enum imk_dtype type, double value);

const char *type_name(enum imk_dtype type);
size_t type_bytes(enum imk_dtype type);

/* Device memory: guarded behind its end by AddressSanitizer, and elsewhere by bytes that array_free() looks
 * at. Begins on 16 bytes, or one element behind that. */
struct array {
    enum imk_dtype type;
    size_t count;
    void *data;
    void *block; /* where the memory begins */
};

struct array array_new(enum imk_dtype type, size_t count, bool is_aligned);
void array_free(struct array *a);
double array_get(const struct array *a, size_t i);
void array_set(struct array *a, size_t i, double value); /* rounds */

/* NHWC with pitch from and to NCHW. Into: padding becomes zero, numbers are rounded, and nchw holds them as
 * they are now. Out: fails unless the padding is zero. */
struct array array_of(enum imk_dtype type, struct tr_shape s, int pitch, float *nchw, bool is_aligned);
void plain_of(const struct array *a, struct tr_shape s, int pitch, float *ret_nchw);

size_t numbers(struct tr_shape s);

/* Draws from a normal distribution; other items, other numbers. The caller frees it. */
float *drawn(size_t count, uint64_t item);
float *blank(size_t count); /* zeros */

/* got is want, rounded to the type, after arithmetic that was off by at most `slack` (absolute). */
void check_near(const char *what, enum imk_dtype type, const float *got, const float *want, size_t count,
                double slack);

/* The call succeeds; a failed launch says what the emulation found. */
void check_run(int result, const char *call, int line);
#define RUN(call) check_run((call), #call, __LINE__)

/* What main is called where on_gpu.c has a main of its own. */
int test_main(void);

/* Once for each order of blocks and threads. */
extern const unsigned orders[3];
#define EACH_ORDER(i)                                                                                        \
    for (size_t i = 0; i < sizeof(orders) / sizeof(*orders) && (emulation_seed(orders[i]), true); i++)
#define EACH_TYPE(type)                                                                                      \
    for (enum imk_dtype type = IMK_F32; type <= IMK_F16; type = (enum imk_dtype)(type + 1))

#endif
