/* What the dataset holds, learnt from `imsuper-reader data index`: only the reader's folder knows layouts
 * and index files. */
#ifndef SUPERVISOR_CLI_DATASET_H
#define SUPERVISOR_CLI_DATASET_H

#include <limits.h>
#include <stdint.h>

#include "ipc/abi.h"
#include "ipc/config/conf.h"

struct sv_dataset {
    uint64_t samples[IM_SPLITS];
    uint32_t classes;
    char layout[32];
    char index_file[IM_CONF_TEXT_BYTES]; /* what the readers map */
    char seek_file[IM_CONF_TEXT_BYTES];  /* the seek index; "": none is used */
    char read_root[IM_CONF_TEXT_BYTES];  /* below which all images lie; "": symbolic links lead out of it */
    char hash[32];                       /* of paths and labels */
    double seconds;
    int cached;
    uint64_t changed, changed_checked; /* images that changed since the run began, of those that were asked */
    char changed_names[2048];          /* a few of them */
};

/* Runs the indexer with the configuration's data flags; its progress and complaints go to our stderr.
 * 0, or the exit status it left with (> 0), or negative errno with a sentence. */
int sv_dataset_load(const struct im_conf *conf, struct sv_dataset *ret, struct im_text *text);

#endif
