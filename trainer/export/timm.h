/* Weights for timm and torchvision: which of their models a network is, and timm's folder. */
#ifndef TRAINER_EXPORT_TIMM_H
#define TRAINER_EXPORT_TIMM_H

#include "trainer/export/source.h"
#include "trainer/export/state_dict.h"

/* The name under which timm.create_model() or torchvision.models makes this network, and the shape of classifier that it
 * has there. NULL, with a sentence: there is none. */
const char *tr_timm_name(const struct tr_model *m, enum tr_head_shape *ret_shape, struct im_text *text);
const char *tr_torchvision_name(const struct tr_model *m, enum tr_head_shape *ret_shape,
                                struct im_text *text);

/* Makes the folder, with model.safetensors and config.json in it: timm.create_model("local-dir:FOLDER"), or what
 * Hugging Face's hub holds of a model. */
int tr_timm_write(const char *folder, const struct tr_source *s, struct im_text *text);

#endif
