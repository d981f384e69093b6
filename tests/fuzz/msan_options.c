/* For targets whose input goes through a library: heap memory counts as written when it is allocated, for
 * MemorySanitizer cannot see the library write; and libraries may compare what they have on their stack. Our
 * stack, and buffers that are marked (ipc/base/msan.h),
 * stay watched. */
const char *__msan_default_options(void);

const char *__msan_default_options(void)
{
    return "poison_in_malloc=0:poison_in_free=0:intercept_memcmp=0";
}
