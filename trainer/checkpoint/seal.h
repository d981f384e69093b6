/* The seal of a checkpoint file: checksums in its metadata that detect any damage. Private to this folder. */
#ifndef TRAINER_CHECKPOINT_SEAL_H
#define TRAINER_CHECKPOINT_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "trainer/checkpoint/safetensors.h"

struct im_text;

#define TR_SEAL_CRC_KEY                                                                                      \
    "crc32c" /* eight hex digits a tensor, in the order of the file, with a blank between */
#define TR_SEAL_CHECKSUM_KEY "checksum" /* sixteen hex digits */
#define TR_SEAL_DIGITS 17               /* room for a checksum as text */

/* The two values. `crcs` is malloc'ed, the caller frees it. */
struct tr_seal {
    char *crcs;
    char checksum[TR_SEAL_DIGITS];
};

/* Computes the seal of a file with these tensors, in this order, and this metadata (without the two keys). 0
 * or -ENOMEM. */
int tr_seal_make(const struct tr_tensor *const *tensors, size_t count, const struct tr_pair *metadata,
                 size_t metadata_count, struct tr_seal *ret_seal);

/* Checks a file against its own seal: -EBADMSG with a sentence that names `path` and, where it is
 * known, the tensor. */
int tr_seal_verify(const char *path, const struct tr_safetensors *file, struct im_text *text);

#endif
