/* Finds out which network a file of weights is of, from the shapes of its tensors: names differ between programs, shapes
 * do not. */
#ifndef TRAINER_EXPORT_IDENTIFY_H
#define TRAINER_EXPORT_IDENTIFY_H

#include "trainer/checkpoint/safetensors.h"
#include "trainer/model/model.h"

struct im_text;

/* Completes `config`: its name (NULL: any), stem and head (AUTO: any) say what is known, the classes are found. Blur
 * has no tensors, so it has to be known. -EBADMSG with a sentence that names what the tensors do fit, if anything. */
int tr_identify(const struct tr_safetensors *file, struct tr_model_config *config, struct im_text *text);

#endif
