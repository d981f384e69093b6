/* `imsuper export`: weights for other programs. */
#ifndef TRAINER_TOOLS_EXPORT_H
#define TRAINER_TOOLS_EXPORT_H

#include "ipc/config/command.h"

#define TR_EXPORT_WHAT                                                                                       \
    "Writes the weights of a file or of a run for other programs.\n"                                         \
    "An ONNX file (opset 18, any batch) takes decoded RGB bytes of any size, does what validation does to\n" \
    "them, and answers \"probabilities\" and \"logits\"; its metadata name the classes. Under onnxruntime "  \
    "0.02 to\n"                                                                                              \
    "0.12 % of the resized bytes differ by one from validation's. What the network is and what its pixels "  \
    "go\n"                                                                                                   \
    "through comes from the run beside the file, from the file, or from its tensors; flags override it."

/* Returns an exit status. */
int tr_cmd_export(struct im_conf *conf);

#endif
