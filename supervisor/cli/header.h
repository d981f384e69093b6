/* Lines of the header of a start that say what is trained, and from where. */
#ifndef SUPERVISOR_CLI_HEADER_H
#define SUPERVISOR_CLI_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/config/conf.h"

/* "new run", "continued from epoch 3 of 90, step 17: runs/demo/checkpoints/last.state.safetensors". Returns the
 * buffer, as the others. */
const char *sv_header_origin(const struct im_conf *conf, char *s, size_t n);

/* "resnet50, bf16, blurpool full": network, precision, and its options that are not the default. */
const char *sv_header_model(const struct im_conf *conf, char *s, size_t n);

/* "classic: rrc 0.08-1, hflip 0.5, aug.hue 0.2": the set, the crop, and what differs from the set. */
const char *sv_header_augment(const struct im_conf *conf, char *s, size_t n);

/* "batch 32 · 32 px", and of several trainers or batches a step "batch 32 · 32 px, 128 images a step (2 trainers x 32 x
 * accumulate 2)". */
const char *sv_header_batch(const struct im_conf *conf, char *s, size_t n);

/* Says on standard error what advice.h has of the whole run: averages, few updates, images unlike those of init-from. */
void sv_header_say_advice(const struct im_conf *conf, uint64_t updates);

#endif
