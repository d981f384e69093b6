/* TensorBoard's event file of a run: tensorboard/events.out.tfevents.TIME.HOST.PID.imsuper.
 *
 * It is made from the run's other files: metrics.jsonl and stages.jsonl, which have each step once whatever died,
 * config.yaml, the pictures of the first batch and of the epochs (--per-class-log), and now and then the last weights. While it goes on it grows; where its sources were cut back, or nobody
 * knows what was written (another supervisor, another start), it is written anew and the one before removed, so that no
 * step is doubled or lost. Readers that follow the folder drop what they had. */
#ifndef SUPERVISOR_REPORT_TENSORBOARD_H
#define SUPERVISOR_REPORT_TENSORBOARD_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"

/* How far a file of lines was read. */
struct sv_tb_source {
    dev_t device;
    ino_t inode;
    int64_t offset;
};

struct sv_tensorboard {
    const char *run_dir; /* borrowed */
    int fd;              /* of the event file; -1: it has to be written anew */
    int64_t written;
    struct sv_tb_source metrics, stages;
    int64_t train_step, stage_step, last_step; /* of the last lines */
    double last_time;
    bool has_first_batch;
    struct timespec weights; /* of the weights whose histograms were taken last */
    im_ns weights_at, weights_took;
};

void sv_tensorboard_init(struct sv_tensorboard *t, const char *run_dir);

/* Writes what is new. Nothing before the run has its config.yaml. After an error, with a sentence, the next call goes
 * on where this one began. */
int sv_tensorboard_update(struct sv_tensorboard *t, struct im_text *text);

void sv_tensorboard_close(struct sv_tensorboard *t);

#endif
