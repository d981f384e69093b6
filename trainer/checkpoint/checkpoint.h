/* Checkpoints: what a run needs to continue, and the weights for other programs.
 *
 *     last.state.safetensors        everything: weights, statistics, optimiser, position; to continue from
 *     last.prev.state.safetensors   the previous one; used when the last is damaged or missing
 *     last.times.json               the seconds of an epoch that a state is in the middle of (times.h)
 *     last.safetensors              the model alone, under torchvision's names
 *     epoch_NNN.safetensors         the same after an epoch, the newest K of them
 *     best.safetensors              the same after the best epoch
 *     *.ema.safetensors             beside each of the last three where weights are averaged: the averages
 *
 * torchvision's load_state_dict(..., strict=True) accepts all but the states.
 *
 * Why two kinds: strict loaders reject a file with optimiser tensors, so there is a file without. Two files
 * cannot be replaced atomically, so one has to be sufficient alone: the state holds the weights too, is
 * written first and is the only one read back. The model files are exports of it. Each carries the checksum
 * of the state that it was made with (metadata "state"): equal content, not equal time or number, ties them,
 * so a crash cannot pair the wrong ones. A crash between the two leaves an export of the step before;
 * tr_checkpoint_repair() rewrites it from the state.
 *
 * Every file is replaced crash-safely (ipc/base/file.h). Its metadata carry "crc32c", the checksums of the
 * tensors' bytes in the order of the file, and "checksum", a 64-bit hash over names, types, shapes, those
 * checksums and all other metadata; both are verified before any byte is used. They detect damage, not
 * tampering.
 *
 * A tensor whose name begins with "optimizer." belongs to the state only; one whose name begins with "ema."
 * is exported to the files of that name, without the prefix. One process writes to a directory at a time.
 *
 * In this folder: file formats (safetensors, seal), the files of a run (checkpoint, export, load), what they
 * hold (state, position), and where a run continues from (snapshot, resume, import). A change of a format
 * keeps old files readable and has a test that loads one. Files come from anywhere: verify before use, and
 * change nothing when a file is rejected. Nothing here computes a step. */
#ifndef TRAINER_CHECKPOINT_CHECKPOINT_H
#define TRAINER_CHECKPOINT_CHECKPOINT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trainer/checkpoint/safetensors.h"

struct im_text;

#define TR_CHECKPOINT_STATE_PREFIX "optimizer."
#define TR_CHECKPOINT_AVERAGE_PREFIX "ema."

struct tr_checkpoint_store {
    char directory[PATH_MAX];
    int epochs_kept;       /* newest epoch files to keep; negative: all */
    bool state_is_saved;   /* by the last save, even if what is beside it could not be written */
    bool state_is_kept;    /* it is not saved, but whole in kept.state.safetensors: the names are blocked */
    bool has_kept;         /* there is such a file of this process */
    bool state_is_damaged; /* the last state could be neither read nor moved aside: the next save moves it */
    bool has_failed;       /* a save, since the last one that did not: it may have left temporary files */
};

/* The content of a checkpoint. Metadata keys are the caller's (step, epoch, seed, ...) except format, state,
 * crc32c and checksum, which are reserved. */
struct tr_checkpoint_content {
    const struct tr_tensor *tensors;
    size_t tensor_count;
    const struct tr_pair *metadata;
    size_t metadata_count;
};

/* Creates the directory if missing and removes temporary files of killed writers. Negative errno with a
 * sentence. */
int tr_checkpoint_store_open(struct tr_checkpoint_store *store, const char *directory, int epochs_kept,
                             struct im_text *text);

/* For a process that only reads; the writer must have opened the store and loaded from it first. */
int tr_checkpoint_store_view(struct tr_checkpoint_store *store, const char *directory, struct im_text *text);

/* Weights that are the best of the run, as a set: best.safetensors holds the plain ones of the epoch in which they
 * were best, best.ema.safetensors the averages of that in which those were. */
#define TR_BEST_PLAIN 1u
#define TR_BEST_AVERAGE 2u

/* Saves the state, then the model and its averages as `last`, as `epoch_NNN` if epoch >= 0, and those in `best` as
 * `best`. Negative errno with a sentence: the state file is then the old or the new one, never partial. */
int tr_checkpoint_save(struct tr_checkpoint_store *store, const struct tr_checkpoint_content *content,
                       int epoch, unsigned best, struct im_text *text);

/* Saves a state that was read, from a snapshot, as the last one: the same bytes, and `last` beside it. */
int tr_checkpoint_save_state(struct tr_checkpoint_store *store, const struct tr_safetensors *state,
                             struct im_text *text);

/* Has the last state its name? */
bool tr_checkpoint_is_there(const struct tr_checkpoint_store *store);

/* Writes the bytes of last.state.safetensors with this content to a sink; `name` names them in errors. */
int tr_checkpoint_put(const char *name, const struct tr_sink *sink,
                      const struct tr_checkpoint_content *content, struct im_text *text);

/* Loads and verifies the state. 0: the last one. 1: the last one is damaged or missing, this is the previous
 * one; `text` says what was wrong, and a damaged file is kept as last.damaged.state.safetensors. -ENOENT:
 * there is none (a new run). -EBADMSG: all are damaged. Other negative errno: cannot read. The caller closes
 * it. */
int tr_checkpoint_load(struct tr_checkpoint_store *store, struct tr_safetensors **ret_state,
                       struct im_text *text);

/* Are there exports in the directory? They are written after a state: without one, it was lost. */
bool tr_checkpoint_has_models(const struct tr_checkpoint_store *store);

/* Rewrites last.safetensors (and last.ema.safetensors) if it is not the export of `state`. 1: written, 0:
 * nothing to repair. */
int tr_checkpoint_repair(struct tr_checkpoint_store *store, const struct tr_safetensors *state,
                         struct im_text *text);

/* Reads and verifies one file that tr_checkpoint_save() wrote. -EBADMSG with a sentence that
 * names the tensor. */
int tr_checkpoint_open_file(const char *path, struct tr_safetensors **ret_file, struct im_text *text);

/* The same for bytes in memory, which are malloc'ed; takes ownership whatever the result. */
int tr_checkpoint_take(const char *name, char *bytes, size_t n, struct tr_safetensors **ret_file,
                       struct im_text *text);

/* Whether a file is an export: weights, without what continuing needs. */
bool tr_checkpoint_is_export(const struct tr_safetensors *file);

/* Copies tensors out: tensors[i] gives name, dtype and shape, destinations[i] the target. Strict, as PyTorch:
 * the file must hold exactly these, and others only where their names begin with one of `ignored`, which NULL
 * ends (NULL itself: none). -EBADMSG with a sentence that says what differs; nothing has been copied then. */
int tr_checkpoint_restore(const struct tr_safetensors *state, const struct tr_tensor *tensors,
                          void *const *destinations, size_t count, const char *const *ignored,
                          struct im_text *text);

#endif
