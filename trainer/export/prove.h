/* FILE.proof.json beside an exported file: what the file was compared with, and what came of it. */
#ifndef TRAINER_EXPORT_PROVE_H
#define TRAINER_EXPORT_PROVE_H

#include "trainer/export/source.h"

/* Proves `path`, which was written of `s` in the format of s->conf, and writes the proof. ONNX: onnxruntime's answers and
 * this program's own to conf.prove_images validation images. Others: read back, and compared bit by bit. `said` gets a sentence.
 * 0: it is the same, as far as it could be compared (the sentence says how far); 1: it is not; negative errno with a
 * sentence in `text`: the proof could not be written. */
int tr_prove(const struct tr_source *s, const char *path, struct im_text *said, struct im_text *text);

#endif
