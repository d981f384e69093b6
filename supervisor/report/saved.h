/* What a file of state says of itself: the metadata of checkpoints/last.state.safetensors, read without its
 * tensors. Its checksums are not verified here; the trainer, which reads it whole, does that. */
#ifndef SUPERVISOR_REPORT_SAVED_H
#define SUPERVISOR_REPORT_SAVED_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"
#include "ipc/base/json.h"
#include "supervisor/report/rundir.h"

struct sv_state_file {
    struct im_json *header; /* owned; NULL: there is no state that can be read */
    bool exists;            /* a file is there, readable or not */
    int err;                /* why it is not known whether there is one; 0: it is known */
};

/* Of a run: the last state, else the one before. Of one file: sv_saved_open(). */
void sv_saved_read(const char *run_dir, struct sv_state_file *ret);
int sv_saved_open(const char *path, struct sv_state_file *ret, struct im_text *text);
/* The same, and its tensors: where their bytes are. The caller closes `fd`. */
struct sv_tensor_data {
    int fd;
    uint64_t begin, bytes;
};
int sv_saved_open_tensors(const char *path, struct sv_state_file *ret, struct sv_tensor_data *ret_data,
                          struct im_text *text);
void sv_saved_close(struct sv_state_file *saved); /* zeroed is fine */

/* A number of the metadata (they are texts); `otherwise` where it is missing or no number. */
int64_t sv_saved_int(const struct sv_state_file *saved, const char *key, int64_t otherwise);

/* Are there weights in checkpoints/ that only a run with a state writes? */
bool sv_saved_has_weights(const char *run_dir);

/* What a run that is done has to show: the best weights where it has validated any, the last ones otherwise. Files that somebody removed, or that could not be written, are not
 * there. */
struct sv_run_files {
    char weights[64];       /* the file to use, below the run's folder; "": there is none */
    char averages[64];      /* that of the averages; "": there is none */
    char numbers[PATH_MAX]; /* names, as a sentence lists them; "": none */
    char missing[PATH_MAX];
};
void sv_saved_list(const char *run_dir, const struct sv_done *done, bool has_averages,
                   struct sv_run_files *ret);

#endif
