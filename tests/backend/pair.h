/* What tests of the loss on each backend share: the reference and the fast backend of the build, and a batch of logits. */
#ifndef TESTS_BACKEND_PAIR_H
#define TESTS_BACKEND_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/err.h"
#include "tests/golden/draw.h"
#include "trainer/backends/backend.h"

enum {
    LABELS = 1000,
    PIXELS = 1002,
    LOGITS = 1003,
    WEIGHTS = 1004
}; /* streams of draw(), as in tests/golden */

static const char *golden_path;
#ifdef TESTS_CUDA
static const struct tr_backend_ops *const both[] = {&tr_backend_ref, &tr_backend_cuda};
#else
static const struct tr_backend_ops *const both[] = {&tr_backend_ref, &tr_backend_onednn};
#endif

static inline void draw_logits(float *ret, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        ret[i] = (float)(3 * draw(LOGITS, i));
}

static inline void draw_weights(float *ret, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        ret[i] = (float)(draw(WEIGHTS, i) + 1.5);
}

/* Labels below `classes`; all valid. */
static inline void draw_labels(int32_t *ret, uint8_t *ret_valid, uint32_t count, uint32_t classes)
{
    for (uint32_t i = 0; i < count; i++) {
        ret[i] = (int32_t)(draw_bits(LABELS, i) % classes);
        ret_valid[i] = 1;
    }
}

static inline void *copied_in(const struct tr_backend_ops *ops, struct tr_backend *b, const void *from,
                              size_t bytes)
{
    void *buffer = NULL;

    assert_int_equal(ops->buffer_new(b, bytes, &buffer), 0);
    assert_int_equal(ops->copy_in(b, buffer, from, bytes), 0);
    return buffer;
}

#endif
