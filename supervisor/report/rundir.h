/* The run directory: <workspace>/<run name>/.
 *
 * In this folder: what a run shows and leaves behind: the live screen, events.jsonl, the training log, plots,
 * and the files of its directory. Reporting never changes a run: an error here is logged, and training
 * continues. Files that other programs read (JSON keys, CSV columns) keep their format. */
#ifndef SUPERVISOR_REPORT_RUNDIR_H
#define SUPERVISOR_REPORT_RUNDIR_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/config/conf.h"

/* A run's lock: on the file .lock and, so that it holds when that file is removed, on checkpoints/.lock. Nobody but
 * their owner can open them; a folder could be locked by anyone who may read it. It lives until every holder of the
 * descriptors is gone. -1: not held. */
struct sv_rundir_lock {
    int file, second;
};

/* Fills conf->run_name (when empty: model, date and time; with resume "auto" the newest run's, which must
 * have a checkpoint: -EINVAL) and conf->run_dir, resolves the file that resume names, makes the directory and
 * its subfolders and takes its lock. 0; -EBUSY: the run is going on. -EROFS, -EACCES, ...: with a sentence. */
int sv_rundir_open(struct im_conf *conf, struct sv_rundir_lock *ret_lock, struct im_text *text);

/* Takes back what sv_rundir_open() and a start that ended before its first step have made. Closes the lock,
 * if it is held. */
void sv_rundir_discard(const char *run_dir, struct sv_rundir_lock *lock);

void sv_rundir_unlock(struct sv_rundir_lock *lock);

/* The directory that `imsuper status` and the like mean: <workspace>/<run-name>, else the run that is starting,
 * else <workspace>/latest. -ENOENT with a sentence when there is none. */
int sv_rundir_find(struct im_conf *conf, struct im_text *text);

/* How many epochs a finished run has; 0 when it is not finished. */
int64_t sv_rundir_done_epochs(const char *run_dir);

/* What a finished run tells. */
struct sv_done {
    int64_t epochs;     /* 0: it is not finished */
    int64_t best_epoch; /* of a run that --early-stop ended: its best one; 0: it has all its epochs */
    bool multi_label;   /* top1 and average are mAP */
    double top1,
        average; /* best validation accuracy (0 .. 1) of the weights, and of their averages; negative: none */
};
void sv_rundir_done(const char *run_dir, struct sv_done *ret);

/* Takes the run's lock if nobody holds it. */
bool sv_rundir_try_lock(const char *run_dir, struct sv_rundir_lock *ret);

/* Does a process hold the lock now? 1, 0, or -EACCES: another user's run, whose lock cannot be read. */
int sv_rundir_look(const char *run_dir);
bool sv_rundir_is_live(const char *run_dir); /* false also where that is unknown */

/* When the run began, CLOCK_REALTIME; 0: none has. */
int64_t sv_rundir_began_ns(const char *run_dir);

/* Has a run begun here: were trainers ever ready? */
bool sv_rundir_is_described(const char *run_dir);

/* Has the run all these epochs? What DONE says counts as far as the state has it: `note` says where they differ.
 * -EINVAL with a sentence: epochs were done, and the state that continues them is missing. */
int sv_rundir_check_done(const char *run_dir, int64_t epochs, bool *ret_done, struct im_text *note,
                         struct im_text *text);

/* Writes config.yaml (effective) and env.json (machine and program) under other names. sv_rundir_accept() gives
 * them their names once the trainers have accepted the configuration, and points <workspace>/latest here: a start
 * that is refused changes neither. An older configuration with other values stays as config.1.yaml and so on.
 * sv_rundir_withdraw() removes what was not accepted by the end. */
int sv_rundir_describe(const struct im_conf *conf, struct im_text *text);
bool sv_rundir_accept(const struct im_conf *conf); /* false: it was accepted before */
void sv_rundir_withdraw(const struct im_conf *conf);

#endif
