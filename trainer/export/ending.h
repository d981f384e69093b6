/* What the ending of a file's name says of its format: a user who writes -o model.onnx means it. */
#ifndef TRAINER_EXPORT_ENDING_H
#define TRAINER_EXPORT_ENDING_H

#include "ipc/config/conf.h"

/* Sets conf->export_format from the ending of conf->output where nobody has chosen one; without a known ending it stays.
 * -EINVAL with a sentence if the ending is that of another format than was chosen. */
int tr_ending_choose(struct im_conf *conf, struct im_text *text);

/* For `verb`, which writes safetensors: -EINVAL with a sentence if the ending of conf->output is another's. */
int tr_ending_is_ours(const struct im_conf *conf, const char *verb, struct im_text *text);

#endif
