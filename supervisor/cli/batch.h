/* --batch-size auto: the largest batch that fits the run's GPUs. */
#ifndef SUPERVISOR_CLI_BATCH_H
#define SUPERVISOR_CLI_BATCH_H

#include "supervisor/cli/gpus.h"

/* After the devices, the precision and the data set are known: conf->batch_size becomes a number, and *ret_why says which and
 * why. Nothing if it is one. -EINVAL: not on CPUs, not with this configuration; -ENODEV: the GPU did not answer, or not
 * even one image fits. */
int sv_batch_choose(struct im_conf *conf, const struct sv_gpus *found, uint64_t images, uint32_t classes,
                    struct im_text *ret_why, struct im_text *text);

#endif
