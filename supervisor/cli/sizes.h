/* How a run is cut for a machine: process counts, threads, ring sizes. Pure, so that it can be tested without
 * a machine. */
#ifndef SUPERVISOR_CLI_SIZES_H
#define SUPERVISOR_CLI_SIZES_H

#include "ipc/config/conf.h"
#include "ipc/run.h"

struct sv_machine {
    uint32_t cpus;
    bool gpus;             /* the trainers have one each */
    uint64_t memory_bytes; /* available */
    uint64_t memory_total; /* used or not; 0: not known */
};

/* Replaces every "0 = chosen" of the configuration by a number, and computes the geometry of the shared
 * memory for a dataset of these sizes. -EINVAL / -ENOMEM with a sentence. */
int sv_sizes_choose(struct im_conf *conf, const struct sv_machine *machine, const uint64_t samples[IM_SPLITS],
                    uint32_t classes, struct im_geometry *ret, struct im_text *text);

/* Bytes of all segments together. */
uint64_t sv_sizes_bytes(const struct im_geometry *g);

#endif
