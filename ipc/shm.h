/* Shared-memory segments: made once, handed on as file descriptors, never by name. */
#ifndef IPC_SHM_H
#define IPC_SHM_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"

struct im_segment {
    int fd;    /* close-on-exec */
    void *map; /* whole segment */
    uint64_t bytes;
};

/* Makes a zeroed segment of `bytes` whose pages are all reserved: POSIX shared memory under a name that
 * is gone before this returns, or a sealed memfd where /dev/shm is too small for it. `what` names the
 * segment in messages. Errors: -ENOSPC / -ENOMEM with the bytes needed and the bytes there are. The
 * caller owns the result. */
int im_segment_create(const char *what, uint64_t bytes, struct im_segment *ret, struct im_text *text);

/* An empty segment, whose size is known later than it must be handed on: a memfd. Its descriptor
 * (close-on-exec), the caller's; or negative errno with a sentence. */
int im_segment_create_empty(const char *what, struct im_text *text);

/* Gives it its size, once and for all its life, with all pages reserved; 0 also when it has that size already
 * (a predecessor was killed half way). -ENOMEM / -ENOSPC: there is not that much memory; -EBADMSG: it has
 * another size, or is no memfd. No sentence: what to do about it is the caller's to say. */
int im_segment_fix_size(int fd, uint64_t bytes);

/* Has it got its size? Then nothing can make it smaller, and reading its pages is safe. */
bool im_segment_is_fixed(int fd);

/* Maps a segment that another process made; takes ownership of fd on success. `writable` 0 maps it read-only.
 * -EBADMSG when the descriptor is no regular shared memory of at least `bytes_min`. */
int im_segment_attach(int fd, int writable, uint64_t bytes_min, struct im_segment *ret, struct im_text *text);

/* Unmaps and closes; a zeroed or closed segment is fine. */
void im_segment_close(struct im_segment *s);

#endif
