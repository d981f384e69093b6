/* Names of checkpoint files and how one is written. Private to this folder. */
#ifndef TRAINER_CHECKPOINT_IMPL_H
#define TRAINER_CHECKPOINT_IMPL_H

#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/seal.h"

#define TR_CHECKPOINT_STATE_NAME "last.state.safetensors"
#define TR_CHECKPOINT_NEXT_NAME "next.state.safetensors"
#define TR_CHECKPOINT_PREV_NAME "last.prev.state.safetensors"
#define TR_CHECKPOINT_KEPT_NAME "kept.state.safetensors"
#define TR_CHECKPOINT_DAMAGED_NAME "last.damaged.state.safetensors"

#define TR_CHECKPOINT_STATE_KEY "state" /* of an export: the checksum of the state it belongs to */

/* The path of a file of the store. -ENAMETOOLONG with a sentence. */
int tr_checkpoint_path(const struct tr_checkpoint_store *store, const char *name, char path[PATH_MAX],
                       struct im_text *text);

/* Moves what has this name, and is no state that can be read, to TR_CHECKPOINT_DAMAGED_NAME or the like. 0 also
 * when it is gone. */
int tr_checkpoint_move_aside(const struct tr_checkpoint_store *store, const char *name, struct im_text *text);

/* A metadata key that callers may not use. */
bool tr_checkpoint_is_reserved(const char *key);

/* Writes one sealed file, to `sink` when it is not NULL. state: NULL, or the checksum of the state that this
 * is an export of. ret_checksum may be NULL. */
int tr_checkpoint_write(const char *path, const struct tr_sink *sink, const struct tr_checkpoint_content *c,
                        const char *state, char ret_checksum[TR_SEAL_DIGITS], struct im_text *text);

/* Exports the models (and averages) of a state with this checksum: last, epoch_NNN if epoch >= 0, best those
 * that are in `best`; removes surplus epoch files. */
int tr_checkpoint_export(const struct tr_checkpoint_store *store, const struct tr_checkpoint_content *content,
                         const char *checksum, int epoch, unsigned best, struct im_text *text);

#endif
