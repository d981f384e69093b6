/* Seek indexes on their way from an augmenter, which may write no file, to the supervisor, which owns theirs
 * (seek_file.h): a ring of bytes for each augmenter. Moves and deaths: PROTOCOL.md; the labels K1, K2 are its. */
#ifndef IPC_SEEK_RING_H
#define IPC_SEEK_RING_H

#include <stdbool.h>
#include <stddef.h>

#include "ipc/abi.h"

/* Augmenter: a record, or with n == 0 the word that the one of this key is wrong. false: there is no room now; then
 * it is lost, and made again when the image is seen again. (K1) */
bool im_seek_ring_put(struct im_seek_ring *ring, uint64_t key, const void *bytes, size_t n);

/* Supervisor: the oldest record, of at most `size` bytes. Returns how many, or -ENOENT: there is none. What is damaged
 * is passed over. (K2) */
int im_seek_ring_take(struct im_seek_ring *ring, uint64_t *ret_key, void *buffer, size_t size);

bool im_seek_ring_is_empty(const struct im_seek_ring *ring);

#endif
