/* For tests that are built for a GPU, and are skipped where there is none. */
#ifndef TESTS_SUPPORT_GPU_H
#define TESTS_SUPPORT_GPU_H

#include <stdbool.h>
#include <stdio.h>

#include "ipc/base/err.h"
#include "trainer/backends/backend.h"

/* Whether the backend opens; says why not. */
static inline bool has_gpu(const struct tr_backend_ops *ops)
{
    struct tr_backend *gpu = NULL;
    struct im_text text = {""};

    if (ops->open(0, &gpu, &text) < 0) {
        printf("skipped: %s\n", text.s);
        return false;
    }
    ops->close(gpu);
    return true;
}

#endif
