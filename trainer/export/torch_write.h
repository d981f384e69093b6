/* Writes a state_dict as torch.save() does, so that torch.load(..., weights_only=True) reads it. */
#ifndef TRAINER_EXPORT_TORCH_WRITE_H
#define TRAINER_EXPORT_TORCH_WRITE_H

#include <stddef.h>

#include "trainer/checkpoint/safetensors.h"

/* Replaces the file at `path`, crash-safely. Tensors are F32 or I64. -ENOTSUP: this build is without libzip. */
int tr_torch_write(const char *path, const struct tr_tensor *tensors, size_t count, struct im_text *text);

#endif
