/* Checkpoints: what a run needs to go on, and what others need to use its weights.
 *
 *     last.state.safetensors        everything: weights, statistics, optimiser, position; to continue from
 *     last.prev.state.safetensors   the one before; used when the last is damaged or missing
 *     last.safetensors              the model alone, under torchvision's names
 *     epoch_NNN.safetensors         the same after an epoch, the newest K of them
 *     best.safetensors              the same after the best epoch
 *     *.ema.safetensors             beside each of the last three where weights are averaged: the averages
 *
 * load_state_dict(..., strict=True) of torchvision's model takes all but the states.
 *
 * Why two kinds: strict loaders refuse a file with optimiser tensors in it, so there must be a file without.
 * Two files cannot be replaced in one instant, so one of them has to be enough by itself: the state holds the
 * weights too, is written first and is the only one ever read back. The model files are exports of it. Each
 * carries the checksum of the state that it was made with (metadata "state"): equal content, not equal time
 * or number, ties them, so no crash can pair wrong ones. A crash between the two leaves an export of the step
 * before; tr_checkpoint_mend() writes it again from the state.
 *
 * Every file is replaced crash-safely (ipc/base/file.h). Its metadata carry "crc32c", the checksums of the
 * tensors' bytes in the order of the file, and "checksum", a 64-bit hash over names, types, shapes, those
 * checksums and all other metadata; both are verified before a byte is used. They find damage, not malice.
 *
 * A tensor whose name begins with "optimizer." belongs to the state only; one whose name begins with "ema."
 * is exported to the files of that name, without the prefix. One process writes to a directory at a time. */
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
    int epochs_kept; /* newest epoch files that stay; negative: all */
};

/* What is saved. Metadata keys are the caller's (step, epoch, seed, ...) but for format, state,
 * crc32c and checksum. */
struct tr_checkpoint_content {
    const struct tr_tensor *tensors;
    size_t tensor_count;
    const struct tr_pair *metadata;
    size_t metadata_count;
};

/* Makes the directory if missing and removes what killed writers left in it. Negative errno
 * with a sentence. */
int tr_checkpoint_store_open(struct tr_checkpoint_store *store, const char *directory, int epochs_kept,
                             struct im_text *text);

/* For a process that only loads, after the writer has opened the store and loaded from it. */
int tr_checkpoint_store_view(struct tr_checkpoint_store *store, const char *directory, struct im_text *text);

/* Saves the state, then the model as `last`, as `epoch_NNN` when epoch >= 0, and as `best` when `best`.
 * Negative errno with a sentence: the state is the old or the new one, never a part. */
int tr_checkpoint_save(struct tr_checkpoint_store *store, const struct tr_checkpoint_content *content,
                       int epoch, bool best, struct im_text *text);

/* The bytes of last.state.safetensors with this content, to anywhere; `name` is what sentences call them. */
int tr_checkpoint_put(const char *name, const struct tr_sink *sink,
                      const struct tr_checkpoint_content *content, struct im_text *text);

/* Loads the state, verified. 0: the last one. 1: the last one is damaged or missing, this is the one before;
 * `text` names what was wrong, and a damaged file is kept aside as last.damaged.state.safetensors. -ENOENT:
 * there is none (a new run). -EBADMSG: there are some and none is good. Other negative errno: could not read.
 * The caller closes it. */
int tr_checkpoint_load(struct tr_checkpoint_store *store, struct tr_safetensors **ret_state,
                       struct im_text *text);

/* Writes last.safetensors (and last.ema.safetensors) again where it is not the export of `state`. 1: written,
 * 0: all was right. */
int tr_checkpoint_mend(struct tr_checkpoint_store *store, const struct tr_safetensors *state,
                       struct im_text *text);

/* Reads and verifies one file that tr_checkpoint_save() wrote. -EBADMSG with a sentence that
 * names the tensor. */
int tr_checkpoint_open_file(const char *path, struct tr_safetensors **ret_file, struct im_text *text);

/* The same with bytes in memory, which are malloc'ed and taken over whatever the result. */
int tr_checkpoint_take(const char *name, char *bytes, size_t n, struct tr_safetensors **ret_file,
                       struct im_text *text);

/* Whether a file is for others to use: weights, without what continuing needs. */
bool tr_checkpoint_is_export(const struct tr_safetensors *file);

/* Copies tensors out: tensors[i] says name, dtype and shape, destinations[i] where to. As strict as PyTorch:
 * the file must hold these and no others. -EBADMSG with a sentence that says what differs; nothing has been
 * copied then. */
int tr_checkpoint_restore(const struct tr_safetensors *state, const struct tr_tensor *tensors,
                          void *const *destinations, size_t count, struct im_text *text);

#endif
