/* Weights of ONNX files. What an exporter leaves of a network's names differs: PyTorch's keeps those of the tensors where
 * it leaves batch norm alone, and folds it into the convolutions before it otherwise, where the names of nodes tell
 * which convolution it is. So the weights are looked for by the nodes that use them:
 *
 *   Conv, Gemm, MatMul   NAME.weight and NAME.bias, where NAME is the tensor's without ".weight", or the module of the node
 *                        ("/layer1/layer1.0/conv1/Conv" is layer1.0.conv1)
 *   BatchNormalization   its four tensors under their names; of another epsilon, a variance that makes up for it
 *   Conv with a bias     in the place of a folded batch norm: one that adds the bias and does nothing else
 *
 * Tensors may lie in a second file (PyTorch's "FILE.data"). This looks at a stranger's bytes in the process that calls it;
 * torch_open.h does it in a sandbox. */
#ifndef TRAINER_CHECKPOINT_ONNX_FILE_H
#define TRAINER_CHECKPOINT_ONNX_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "trainer/checkpoint/safetensors.h"

/* Whether a file that begins like this is one; 16 bytes are enough. */
bool tr_onnx_is(const void *bytes, size_t n);

/* The file beside it, by its name without a folder. NULL: there is none. */
struct tr_onnx_data {
    const char *name;
    const void *bytes;
    size_t n;
};

/* Writes the weights as a safetensors file. -EBADMSG: it is damaged, or has no weights under names that are known here,
 * with a sentence; -ENOTSUP: of a kind that is not read here; -ENOMEM. */
int tr_onnx_convert(const void *bytes, size_t n, const struct tr_onnx_data *data, const struct tr_sink *sink,
                    struct im_text *text);

#endif
