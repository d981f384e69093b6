/* A network as an ONNX file: opset 18, batch open, logits and probabilities as outputs.
 *
 * Input "image", uint8 [batch, height, width, 3]: pixels of decoded RGB images of any size, one size a batch. The graph
 * does what validation does: resize of the short side with antialiasing, centre crop, normalisation. Input "input",
 * float [batch, 3, size, size]: the same after that. */
#ifndef TRAINER_EXPORT_ONNX_H
#define TRAINER_EXPORT_ONNX_H

#include "trainer/export/source.h"

enum tr_onnx_start { TR_ONNX_PIXELS, TR_ONNX_NORMALISED };

/* fold: batch norm behind a convolution becomes part of it. The metadata name the network, its classes (JSON array), and
 * what its pixels go through. */
int tr_onnx_export(const char *path, const struct tr_source *s, enum tr_onnx_start start, bool fold,
                   struct im_text *text);

#endif
