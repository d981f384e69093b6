/* Data sets for tests of more than one part: a folder of their own with images, an index and
 * room for runs. */
#ifndef TESTS_SUPPORT_DATASET_H
#define TESTS_SUPPORT_DATASET_H

#include <limits.h>

#include "ipc/config/conf.h"
#include "reader/tools/synth.h"

struct dataset {
    char root[PATH_MAX / 4];       /* removed at the end, unless it was given */
    char data[PATH_MAX / 2];       /* train/<class>/... and perhaps val/<class>/... */
    char index_file[PATH_MAX / 2]; /* of `data` */
    bool keep;                     /* `data` is the caller's */
};

/* Makes synthetic images below $TMPDIR or /tmp; synth->folder is ignored. 0 or a negative errno with a
 * sentence. Sets XDG_CACHE_HOME: call it before there are threads. */
int dataset_make(struct dataset *d, const struct rd_synth *synth, struct im_text *text);

/* Unpacks imagenet-sample-200.tar. -ENOENT where it is missing (said on stdout). */
int dataset_unpack_sample(struct dataset *d, struct im_text *text);

/* Takes a folder of the caller's. */
int dataset_use(struct dataset *d, const char *folder, struct im_text *text);

/* Fills data_dir, index_file and run_dir (a new directory of that name with its checkpoints/). */
int dataset_configure(const struct dataset *d, const char *run_name, struct im_conf *conf,
                      struct im_text *text);

/* Removes what was made. Accepts a zeroed one. */
void dataset_remove(struct dataset *d);

#endif
