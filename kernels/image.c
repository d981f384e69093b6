/* Chooses the versions of the image kernels by CPU features, as dav1d does: start with the reference, then
 * let each version the CPU can run replace what it has. Callers hold their own table, so a test can run two
 * versions side by side. */
#include "kernels/image.h"

#include "kernels/image_versions.h"

unsigned imk_cpu_flags(void)
{
    unsigned flags = 0;

#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        flags |= IMK_CPU_AVX2;
    if (__builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        flags |= IMK_CPU_BMI2;
    if ((flags & IMK_CPU_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") &&
        __builtin_cpu_supports("avx512vbmi"))
        flags |= IMK_CPU_AVX512;
#endif
    return flags;
}

void imk_image_ops_init(struct imk_image_ops *ops, unsigned cpu_flags)
{
    imk_image_ops_ref(ops);
#if defined(__x86_64__)
    if (cpu_flags & IMK_CPU_AVX2)
        imk_image_ops_avx2(ops);
    if (cpu_flags & IMK_CPU_AVX512)
        imk_image_ops_avx512(ops);
#else
    (void)cpu_flags;
#endif
}
