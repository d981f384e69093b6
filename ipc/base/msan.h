/* What MemorySanitizer (preset msan) does not see by itself. Libraries are not instrumented, so it does not see what
 * they write; and their own memory is left out of its sight (tests/fuzz/msan_options.c), so our buffers
 * are marked as what they are. Nothing in other builds. */
#ifndef IPC_BASE_MSAN_H
#define IPC_BASE_MSAN_H

#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#define IM_MSAN 1
#include <sanitizer/msan_interface.h>
#endif
#endif

/* A library has filled these bytes. */
static inline void im_msan_written(const void *bytes, size_t n)
{
#ifdef IM_MSAN
    __msan_unpoison(bytes, n);
#else
    (void)bytes;
    (void)n;
#endif
}

/* Reports if one of these bytes has not been written. */
static inline void im_msan_check(const void *bytes, size_t n)
{
#ifdef IM_MSAN
    __msan_check_mem_is_initialized(bytes, n);
#else
    (void)bytes;
    (void)n;
#endif
}

/* These bytes hold nothing yet. Say im_msan_written() before they are freed. */
static inline void im_msan_unwritten(const void *bytes, size_t n)
{
#ifdef IM_MSAN
    __msan_poison(bytes, n);
#else
    (void)bytes;
    (void)n;
#endif
}

#endif
