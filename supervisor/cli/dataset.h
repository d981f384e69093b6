/* What the dataset holds, learnt from `imsuper-reader data index`: only the reader's folder reads layouts
 * and index files. */
#ifndef SUPERVISOR_CLI_DATASET_H
#define SUPERVISOR_CLI_DATASET_H

#include <limits.h>
#include <stdint.h>

#include "ipc/abi.h"
#include "ipc/base/err.h"
#include "ipc/config/conf.h"

#define SV_DATASET_WARNINGS_MAX 8

struct sv_dataset {
    uint64_t samples[IM_SPLITS];
    uint32_t classes;
    char layout[32];
    char index_file[IM_CONF_TEXT_BYTES]; /* what the readers map */
    char seek_file[IM_CONF_TEXT_BYTES];  /* the seek index; "": none is used */
    bool has_avif;                       /* by the names of the files */
    char read_root[IM_CONF_TEXT_BYTES];  /* below which all images lie; "": symbolic links lead out of it */
    char hash[32];                       /* of paths and labels */
    char *copies; /* on several machines: what tells another copy of the images from this one; malloc'ed */
    double seconds;
    int cached;
    uint64_t changed, changed_checked; /* images that changed since the run began, of those that were asked */
    char changed_names[2048];          /* a few of them */
    struct im_text left_out;           /* what takes no part, and why; "": nothing */
    struct im_text warnings[SV_DATASET_WARNINGS_MAX]; /* up to the first empty one */
};

/* Runs the indexer with the configuration's data flags; its progress and complaints go to our stderr.
 * 0, or the exit status it left with (> 0), or negative errno with a sentence. */
int sv_dataset_load(const struct im_conf *conf, struct sv_dataset *ret, struct im_text *text);

/* Says what is left out and where the list is, and the warnings. */
void sv_dataset_warn(const struct sv_dataset *dataset, const struct im_conf *conf);

/* Makes the file that dataset->seek_file names, where there is none, before anyone opens it. With `--seek-index auto` a
 * run goes on with none where that cannot be, says so, and the name becomes "". 0, or negative errno with a sentence. */
int sv_dataset_prepare_seek(const struct im_conf *conf, struct sv_dataset *dataset, struct im_text *text);

#endif
