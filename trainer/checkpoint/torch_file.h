/* Files of torch.save(), .pt and .pth: a zip archive with a pickle and the bytes of the tensors (since PyTorch 1.6, read
 * with libzip), or pickles and bytes one after the other (before). Nothing of Python is run (pickle.h).
 *
 * The weights are looked for as other programs do: the averages or the weights under the names that trainers give them
 * ("model_ema", "state_dict", "model", ...), a state dictionary by itself, or a whole module. Dictionaries in
 * dictionaries give names with dots. Optimisers and other states are passed over.
 *
 * This looks at a stranger's bytes in the process that calls it; torch_open.h does it in a sandbox. */
#ifndef TRAINER_CHECKPOINT_TORCH_FILE_H
#define TRAINER_CHECKPOINT_TORCH_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "trainer/checkpoint/safetensors.h"

/* Metadata of the result: which part of the file the tensors are, and what else could have been taken. */
#define TR_TORCH_FROM_KEY "torch.from"

/* Whether a file that begins like this is one; 16 bytes are enough. */
bool tr_torch_is(const void *bytes, size_t n);

/* Writes the tensors as a safetensors file. -EBADMSG: it is damaged, holds no tensors or asks for code, with a sentence;
 * -ENOTSUP: of a kind that is not read here; -ENOMEM. */
int tr_torch_convert(const void *bytes, size_t n, const struct tr_sink *sink, struct im_text *text);

#endif
