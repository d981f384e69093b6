/* A whole pipeline as threads of one process over one mapping of the run's shared memory: the roles' own
 * functions, each with its own child, incarnation and statistics, and the supervisor's part played by the
 * calling thread.
 *
 * ThreadSanitizer sees a race between two roles only here, where both touch one mapping. Threads cannot be
 * killed; they can be fenced off, which is how the supervisor rids itself of a process that it holds for dead
 * (pipeline_stop).
 *
 * One thread owns a pipeline and makes all calls. */
#ifndef TESTS_SUPPORT_PIPELINE_H
#define TESTS_SUPPORT_PIPELINE_H

#include <stdatomic.h>

#include "ipc/batch.h"
#include "ipc/child.h"
#include "ipc/reclaim.h"

struct pipeline;

/* What a member's thread does: rd_run, au_run, tr_run, or a stand-in of a test. */
typedef int pipeline_main(struct im_child *child, struct im_text *text);

/* Makes a run over the index that conf->index_file names; 0 values of the configuration are chosen
 * as `imsuper start` does. For trainers conf->run_dir must be a directory. 0, or a negative errno
 * with a sentence. */
int pipeline_open(struct pipeline **ret, const struct im_conf *conf, struct im_text *text);

/* Ends the run, waits for every member, frees everything. NULL is fine; nulls. */
void pipeline_close(struct pipeline **p);

/* The data plane begins at `batch`; no reader or augmenter may be running. */
void pipeline_begin(struct pipeline *p, uint64_t batch);

/* Asks for a state, and wakes everyone. */
void pipeline_set_state(struct pipeline *p, enum im_run_state state);

/* Announces a member and starts its thread; `main` NULL: the role's own. The slot must be free. 0 or a
 * negative errno. */
int pipeline_start(struct pipeline *p, enum im_role role, uint32_t index, pipeline_main *main);

/* Starts all readers and augmenters of the configuration with their own functions. */
int pipeline_start_workers(struct pipeline *p);

/* Fences a member off, waits until its thread has left, and returns its cells, as the supervisor does with a
 * dead process. Returns what it left with; `ret_returned` may be NULL. */
int pipeline_stop(struct pipeline *p, enum im_role role, uint32_t index, struct im_reclaimed *ret_returned);

/* Waits until a member leaves by itself. What it left with; its sentence in `text`. */
int pipeline_wait(struct pipeline *p, enum im_role role, uint32_t index, struct im_text *text);

/* What a consumer does with a complete batch, before it is freed. Non-zero ends
 * pipeline_consume() with that. */
typedef int pipeline_take(void *context, uint64_t batch, const struct im_phase *phase,
                          const struct im_batch_view *view, uint32_t count);

/* Plays the trainer of `rank` for the batches first .. end-1, in the calling thread. 0; what `take`
 * returned; or -EPIPE with a sentence when a member left meanwhile, -ETIMEDOUT when no batch came
 * for `patience` seconds. */
int pipeline_consume(struct pipeline *p, uint32_t rank, uint64_t first, uint64_t end, pipeline_take *take,
                     void *context, struct im_text *text);

/* A whole training as `imsuper start` runs it: trainers, their position, reset, workers; until the trainers
 * have left, then everyone. `stop_at`: asks to stop when that many batches are done (UINT64_MAX: never).
 * `disturb`: called again and again meanwhile, or NULL. Returns the exit status of rank 0, or a negative
 * errno with a sentence. */
typedef void pipeline_disturb(void *context, struct pipeline *p, uint64_t next_batch);
int pipeline_train(struct pipeline *p, uint64_t stop_at, pipeline_disturb *disturb, void *context,
                   struct im_text *text);

struct im_run *pipeline_run(struct pipeline *p);
const struct im_plan *pipeline_plan(const struct pipeline *p);
const struct im_conf *pipeline_conf(const struct pipeline *p); /* with the values that were chosen */

#endif
