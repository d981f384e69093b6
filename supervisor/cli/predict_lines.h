/* The answers of `imsuper predict`, printed in the order of the images while the pass goes on. */
#ifndef SUPERVISOR_CLI_PREDICT_LINES_H
#define SUPERVISOR_CLI_PREDICT_LINES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/config/conf.h"
#include "supervisor/cli/inputs.h"

struct sv_lines {
    const struct im_conf *conf;     /* output, json, top-k */
    const struct sv_inputs *inputs; /* all, those that cannot be read too */
    struct im_conf *pass;           /* with the run directory of the pass; owned */
    pthread_t thread;
    bool has_thread;
    _Atomic int state; /* enum, in predict_lines.c */
    int64_t bad;       /* images without an answer */
    int err;           /* nobody takes what is printed, or it cannot be read */
    struct im_text text;
};

/* Begins to print the records that appear in run_dir. When nobody reads the lines any more, this process is asked to stop,
 * as by SIGTERM. */
int sv_lines_begin(struct sv_lines *l, const struct im_conf *conf, const struct sv_inputs *inputs,
                   const char *run_dir);

/* After the pass. `whole`: it went to its end; what has not been printed is printed now, an image without a record as
 * an error. Returns how many images have no answer, or a negative errno with l->text. -EINTR: a signal asks to end
 * (`is_stopped`, or a signal that waits), and a line waits for a reader that takes nothing; the thread still waits with it,
 * and what it was given must stay: this process has to leave by _exit(). */
int64_t sv_lines_end(struct sv_lines *l, bool whole, bool is_stopped);

#endif
