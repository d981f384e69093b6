/* A run of one validation pass over weights, for `imsuper eval` and `imsuper predict`: which weights, with the options of
 * the run that they are from. Everything else is a run as any other: the same readers, augmenters, rings and backend,
 * and the same code that validates while training. */
#ifndef SUPERVISOR_CLI_EVALUATION_H
#define SUPERVISOR_CLI_EVALUATION_H

#include <limits.h>
#include <stdint.h>

#include "ipc/base/json.h"
#include "ipc/config/conf.h"
#include "supervisor/cli/inputs.h"
#include "supervisor/cli/temporary.h"

struct sv_weights {
    char path[PATH_MAX];
    char run_dir[PATH_MAX]; /* "": they are of no run */
    struct im_json *info;   /* what imsuper-trainer says of the file; owned */
    int64_t outputs;
};

struct sv_evaluation_run {
    struct sv_weights weights;
    struct sv_temporary folder; /* holds the run */
    double seconds;             /* of the pass, without the start */
};

/* Finds the weights that conf->weights_from means, and gives each option that the user has not set the value of their
 * run. Makes the temporary folder. `inputs`: the images; NULL: those of the data set. Negative errno with a sentence. */
int sv_evaluation_open(struct im_conf *conf, const struct sv_inputs *inputs, struct sv_evaluation_run *ret,
                       struct im_text *text);

/* Runs the pass; conf->run_dir then holds its files (ipc/outcome.h, classes.txt, metrics.jsonl). An exit status; why has
 * been said. */
int sv_evaluation_run(struct im_conf *conf, struct sv_evaluation_run *e);

/* Where those files will be. */
int sv_evaluation_run_dir(const struct sv_evaluation_run *e, char ret[PATH_MAX]);

/* From sv_evaluation_open() on signals wait (program.h). All has been read: the folder goes, and they act again. */
void sv_evaluation_drop(struct sv_evaluation_run *e);
void sv_evaluation_close(struct sv_evaluation_run *e); /* removes the folder; zeroed is fine */

/* The line of metrics.jsonl that the pass ended with. NULL: there is none. */
struct im_json *sv_evaluation_epoch(const struct im_conf *conf);

#endif
