/* A snapshot: bytes in shared memory that outlive the process that wrote them, so that its successor goes on
 * from there. What they mean is the trainer's matter.
 *
 * The warden makes the segment, empty, and every trainer inherits it as IM_FD_SNAPSHOT. One process (the
 * trainer of rank 0), which alone has the size, gives it that, and from then on writes: always into the
 * slot that is not current, and then makes it the current one by a single store. Killed at any instant, it
 * leaves the one before as it was. Nobody may write while another reads: readers are trainers that start,
 * before any of them takes a step.
 *
 * Reading trusts nothing of it as a size or an address, and copies the bytes before they are looked at; what
 * is in them is to be checked by whoever asked (the trainer's snapshots carry checksums). */
#ifndef IPC_SNAPSHOT_H
#define IPC_SNAPSHOT_H

#include <stddef.h>

#include "ipc/abi.h"
#include "ipc/shm.h"

struct im_snapshot {
    struct im_segment segment;
    struct im_snapshot_header *header;
    unsigned char *slot;  /* being written; NULL: none */
    uint64_t slot_bytes;  /* of one slot */
    uint64_t slot_filled; /* of `slot` */
};

/* Bytes of a segment for snapshots of up to `bytes_max`. */
uint64_t im_snapshot_segment_bytes(uint64_t bytes_max);

/* The writer's: gives the segment its size, unless a predecessor did, and maps it; the descriptor stays
 * the caller's. -ENOMEM / -ENOSPC with the bytes needed; -EBADMSG when it is no segment for snapshots
 * of that size, or larger ones. */
int im_snapshot_open(int fd, uint64_t bytes_max, struct im_snapshot *ret, struct im_text *text);
void im_snapshot_close(struct im_snapshot *s); /* zeroed is fine */

/* Writes one: begin, any number of appends, commit. -ENOSPC when it is longer than the slot. A snapshot that
 * is not committed is forgotten by the next begin. */
void im_snapshot_begin(struct im_snapshot *s);
int im_snapshot_append(struct im_snapshot *s, const void *bytes, size_t n, struct im_text *text);
void im_snapshot_commit(struct im_snapshot *s);

/* Makes that there is none, as before the first: what they hold can no longer be trusted. */
void im_snapshot_forget(struct im_snapshot *s);

/* A copy of the current one, malloc'ed, the caller's. -ENOENT: there is none. -EBADMSG with a sentence: this
 * is no such segment. The descriptor stays the caller's. */
int im_snapshot_read(int fd, char **ret_bytes, size_t *ret_n, struct im_text *text);

#endif
