/* onnxruntime, where python3 has it: prove_onnx.py in a process of its own. */
#ifndef TRAINER_EXPORT_RUNTIME_H
#define TRAINER_EXPORT_RUNTIME_H

#include <stdio.h>

#include "ipc/base/err.h"
#include "ipc/base/json.h"
#include "ipc/base/piped.h"

struct tr_runtime {
    FILE *to;   /* images for it */
    FILE *from; /* its answer */
    struct im_piped program;
};

/* Starts the script with these arguments, which NULL ends. -ENOENT with a sentence: there is no python3 or no script. */
int tr_runtime_start(struct tr_runtime *r, const char *const *arguments, struct im_text *text);

/* Waits for the answer, an object, which the caller frees. -EIO with a sentence: there is none. */
int tr_runtime_end(struct tr_runtime *r, struct im_json **ret, struct im_text *text);

#endif
