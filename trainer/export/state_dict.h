/* A source's tensors as a state_dict, and as a file of safetensors. */
#ifndef TRAINER_EXPORT_STATE_DICT_H
#define TRAINER_EXPORT_STATE_DICT_H

#include "trainer/checkpoint/safetensors.h"
#include "trainer/export/source.h"

/* The shape of the classifier's weight. */
enum tr_head_shape { TR_HEAD_AS_IT_IS, TR_HEAD_MATRIX, TR_HEAD_1X1 };

/* The tensors, in the order of the state_dict; they point into the source. NULL: no memory. The caller frees it. */
struct tr_tensor *tr_state_dict(const struct tr_source *s, enum tr_head_shape shape, size_t *ret_count);

/* Writes them with metadata: format "pt", classes, and the options that describe the network and its pixels, from
 * which such a file can be exported again. `made_of`: what the weights were made of; NULL: of one file. */
int tr_state_dict_write(const char *path, const struct tr_source *s, enum tr_head_shape shape,
                        const char *made_of, struct im_text *text);

#endif
