/* The two forms of torch.save()'s files: where their pickle and the bytes of their storages are. */
#ifndef TRAINER_CHECKPOINT_TORCH_STORAGE_H
#define TRAINER_CHECKPOINT_TORCH_STORAGE_H

#include <stddef.h>
#include <stdint.h>

#include "trainer/checkpoint/pickle.h"

struct tr_torch_storages;

/* Opens a file in memory, which must outlive the result, and reads its pickle. Errors as of tr_torch_convert(). */
int tr_torch_storages_open(const void *bytes, size_t n, struct tr_pickle *pickle,
                           struct tr_torch_storages **ret, const struct tr_value **ret_root,
                           struct im_text *text);
void tr_torch_storages_close(struct tr_torch_storages **s); /* nulls */

/* The bytes of a storage, exactly so many; they stay until the next call. */
int tr_torch_storage_get(struct tr_torch_storages *s, const char *key, uint64_t bytes, const void **ret,
                         struct im_text *text);

#endif
