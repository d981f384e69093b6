/* The metrics of a run, in files that survive crashes:
 *
 *     metrics.jsonl   one JSON object a line: first {"event":"config",...}; all others carry "step"
 *     summary.csv     a header, then one line for each finished epoch
 *     DONE            there when, and only when, the run came to its end
 *
 * "step" is the number of training steps finished when the line was written, and "epoch" that of epochs. A
 * run continues from a checkpoint, which is older than the last lines; those will be written again. So
 * opening at step S and epoch E first removes every line with a larger step or epoch, and torn lines. To lose
 * or duplicate nothing, write in this order: tr_metrics_line() and tr_metrics_summary() of an epoch,
 * tr_metrics_sync(), the checkpoint; and tr_metrics_settle() before a snapshot. While the disk takes no lines
 * they are kept in memory, and a death of the trainer then loses them: that is rarer than a full disk, and
 * costs no training. One process writes at a time. */
#ifndef TRAINER_METRICS_H
#define TRAINER_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/writer.h"

struct im_json;

struct tr_metrics {
    struct im_writer *writer; /* NULL: closed */
    int lines, summary;       /* its files: metrics.jsonl, summary.csv */
    bool multi_label;         /* summary.csv has columns more */
    bool is_new;
    uint64_t lost[2]; /* of a closed one: lines of each file that were not written */
};

/* A validation of images with several labels; 0 .. 1, as all accuracies. */
struct tr_several {
    double map, f1, f1_macro; /* mean average precision; F1 over all labels, and its mean over the classes */
};

/* One line of summary.csv. Values that are not finite are left empty (no validation in this epoch). */
struct tr_summary {
    uint32_t epoch; /* finished epochs, this one included */
    double train_loss;
    double train_top1; /* 0 .. 1, as all accuracies */
    double val_loss;
    double val_top1;
    double val_top5;
    double lr; /* of the epoch's last step */
    double images_per_second;
    double seconds;
    uint32_t image_size, batch_size; /* of training; a batch is one rank's */
    double ema_val_loss;             /* with averaged weights */
    double ema_val_top1;
    double ema_val_top5;
    struct tr_several val, ema_val; /* of images with several labels */
};

/* Opens the files in `directory`, created if missing, to continue after `step` steps and `epoch` epochs; 0, 0
 * starts anew, without any lines. What is no file, or a summary.csv with another header, is moved aside (im_move_aside). What
 * cannot be opened is no error: it is opened when that works. Returns the number of removed lines, or negative
 * errno with a sentence: -ENOMEM, -ENAMETOOLONG. */
int tr_metrics_open(struct tr_metrics *m, const char *directory, uint64_t step, uint32_t epoch,
                    bool multi_label, struct im_text *text);
/* Whether no line has been written yet, by earlier processes either. */
bool tr_metrics_is_new(const struct tr_metrics *m);
/* Accepts a closed one. Returns how many lines could not be written. */
uint64_t tr_metrics_close(struct tr_metrics *m);

/* Appends an object, soon; it must hold an integer "step", or be the config event: -EINVAL. Negative errno
 * with a sentence. */
int tr_metrics_line(struct tr_metrics *m, const struct im_json *object, struct im_text *text);
void tr_metrics_summary(struct tr_metrics *m, const struct tr_summary *summary);

/* Waits, for a bounded time, until all lines are on disk; or until they are written, which survives the death
 * of this process. Negative errno: they are kept, and written later. */
int tr_metrics_sync(struct tr_metrics *m);
int tr_metrics_settle(struct tr_metrics *m);

/* See im_writer_news(). */
bool tr_metrics_news(struct tr_metrics *m, struct im_writer_news *ret);

/* tr_done_set marks the run in `directory` as complete, with an object that says how; tr_done_clear removes
 * the mark for a run with more epochs (0 also if there was none). */
int tr_done_set(const char *directory, const struct im_json *object, struct im_text *text);
int tr_done_clear(const char *directory, struct im_text *text);

#endif
