/* Opens files of weights, of whichever kind. Those of torch.save() and of ONNX are read by a process of their own, which may read
 * that one file, write its answer, and nothing else: it is this program's sibling imsuper-trainer, in a sandbox. */
#ifndef TRAINER_CHECKPOINT_TORCH_OPEN_H
#define TRAINER_CHECKPOINT_TORCH_OPEN_H

#include <stdbool.h>

#include "ipc/sandbox.h"
#include "trainer/checkpoint/safetensors.h"

/* A safetensors file, or one of torch.save() or ONNX as if it were one. Errors as of tr_safetensors_open(). */
int tr_weights_open(const char *path, struct tr_safetensors **ret, struct im_text *text);

/* For main(): whether this process was started to read such a file; does it, and exits. */
bool tr_is_torch_reader(int argc, char **argv);
_Noreturn void tr_torch_reader(const char *data_name); /* of the second file; NULL: there is none */

/* What such a process enters before it looks at the bytes: nothing can be opened any more. As im_sandbox_enter(). */
int tr_torch_sandbox_enter(struct im_sandbox_state *ret, struct im_text *text);

#endif
