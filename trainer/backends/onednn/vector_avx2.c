/* For processors with AVX2 and FMA: this file is compiled for them where the compiler can. */
#include "trainer/backends/onednn/vector_loops.h"

#if defined(__AVX2__) && defined(__FMA__)
#include "trainer/backends/onednn/vector_code.h"

static const struct tr_vector_loops loops = VECTOR_LOOPS;

const struct tr_vector_loops *tr_vector_loops_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &loops : NULL;
}
#else
const struct tr_vector_loops *tr_vector_loops_avx2(void)
{
    return NULL;
}
#endif
