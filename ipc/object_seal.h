/* What tells an object of a cache (fetcher/cache.h) from one that was damaged, cut or written over since it was fetched: whoever
 * puts it in place sets its modification time to its seal, which is made of the key of its bytes and of its path in the mirror, so that an
 * object in the place of another is found, too. A whole, even number of seconds, which
 * all file systems keep; the times of files that anything else has written are later. One damaged object in 2^28 goes unnoticed. */
#ifndef IPC_OBJECT_SEAL_H
#define IPC_OBJECT_SEAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Seconds since 1970, in the years 1987 to 2004. key: im_seek_key() of all bytes. */
static inline uint32_t im_object_seal(uint64_t key)
{
    return (UINT32_C(1) << 29) + 2 * (uint32_t)(key >> 36);
}

/* The seal of the same bytes as the object at `place` (rd_mirror_place()), which is what a file has; and back. */
static inline uint32_t im_object_seal_at(uint32_t seal, uint64_t place)
{
    return seal ^ 2 * (uint32_t)(place >> 36);
}

/* The seal of a file; 0: it has none. */
static inline uint32_t im_object_seal_of(const struct stat *st)
{
    const bool has_one = S_ISREG(st->st_mode) && st->st_size > 0 && st->st_mtim.tv_nsec == 0 &&
                         st->st_mtim.tv_sec >> 29 == 1 && st->st_mtim.tv_sec % 2 == 0;

    return has_one ? (uint32_t)st->st_mtim.tv_sec : 0;
}

#endif
