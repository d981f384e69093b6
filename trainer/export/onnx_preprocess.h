/* Validation's way from pixels to the network's input, as nodes. */
#ifndef TRAINER_EXPORT_ONNX_PREPROCESS_H
#define TRAINER_EXPORT_ONNX_PREPROCESS_H

#include "trainer/export/onnx_model.h"
#include "trainer/export/source.h"

/* From uint8 [batch, height, width, 3] called `input` to float [batch, 3, size, size]; returns its name. */
const char *tr_onnx_preprocess(struct tr_onnx *o, const struct tr_source *s, const char *input);

#endif
