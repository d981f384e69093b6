/* Imports weights from elsewhere: safetensors files, and .pt and .pth files of PyTorch (torch_open.h), with torchvision's or timm's names (and our own exports), or
 * names that are known to mean these, into a network. As strict as load_state_dict(strict=True): the same names and the same shapes, none
 * missing, none left over; only num_batches_tracked, which older files lack and nothing computes with, may be
 * missing. Accepts F32, F64, F16 and BF16. */
#ifndef TRAINER_CHECKPOINT_IMPORT_H
#define TRAINER_CHECKPOINT_IMPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "trainer/checkpoint/safetensors.h"
#include "trainer/network/network.h"

struct im_text;

/* Reports a mismatch, one call for each tensor: "fc.weight is [1000, 2048], the model has [10, 2048]". is_ours: it is
 * a tensor of the model, not one of the file that has no place in it. */
typedef void tr_import_report(void *argument, bool is_ours, const char *line);

/* Opens a file of weights, verifies the checksums of one that imsuper wrote, and gives the tensors the model's names
 * (foreign.h); `note` says how, empty: they had them. -EBADMSG with a sentence. */
int tr_import_open(const char *path, const struct tr_model *model, struct tr_safetensors **ret,
                   struct im_text *note, struct im_text *text);

/* Compares names, shapes and types. skip_head: the classifier's weight and bias may have any shape or be
 * missing. `say` may be NULL. Returns the number of mismatches. */
size_t tr_import_check(const struct tr_safetensors *file, const struct tr_model *model, bool skip_head,
                       tr_import_report *say, void *argument);

/* Of a file that was compared: all tensors into host copies of the arenas, which are zeroed. Returns how many. */
size_t tr_import_values(const struct tr_safetensors *file, const struct tr_model *model, bool skip_head,
                        float *params, float *stats, int64_t *ret_tracked);

/* Loads parameters and statistics from the file at `path`; with skip_head the classifier keeps its values.
 * Averages start from the loaded weights. *ret_loaded: tensors; `note` as of tr_import_open(). -EBADMSG with a sentence
 * that counts and names the mismatches, or names a value that no network computes with (values.h); nothing has changed
 * then. */
int tr_import(const char *path, struct tr_network *net, bool skip_head, size_t *ret_loaded,
              struct im_text *note, struct im_text *text);

#endif
