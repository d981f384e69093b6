/* The cache folder of a machine, which any number of runs share (reader/dataset/mirror.h has its layout).
 *
 * Whoever holds the lock is the one that counts, makes room and puts objects in place: for microseconds, but for a
 * count of all files. The kernel takes the lock back from the dead. `book` holds the bytes that objects take and those
 * that are promised to downloads; it only errs upwards, and each who opens the cache counts anew. An object that is
 * being fetched is a file in tmp/, named by the object and locked by who fetches it: nobody fetches it twice, and what a
 * dead one left is found unlocked.
 *
 * An object that is given up becomes an empty file again, at once: who has it open reads on. Objects that were not
 * looked at for longest go first; their access time says so (fe_cache_look() sets it, whatever the mount says). Files that
 * are no images stay: the index is made of them. */
#ifndef FETCHER_CACHE_H
#define FETCHER_CACHE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"

struct fe_book;

struct fe_cache {
    char path[PATH_MAX];
    int dir_fd, tmp_fd, lock_fd;
    uint64_t limit; /* bytes; 0: what a twentieth of the disk leaves */
    struct fe_book *book;
    uint64_t evicted; /* objects, by us */
    bool touches;     /* the limit is near: the order in which objects are used matters */
};

/* A download. Zeroed: none. */
struct fe_claim {
    int fd; /* of the file in tmp/, locked */
    char name[24];
    uint64_t promised; /* bytes of the limit */
};

/* Makes what is missing, throws away what the dead have left, and counts. `limit` 0: see above. */
int fe_cache_open(const char *path, uint64_t limit, struct fe_cache *ret, struct im_text *text);
void fe_cache_close(struct fe_cache *cache);

uint64_t fe_cache_used(const struct fe_cache *cache);
uint64_t fe_cache_limit(const struct fe_cache *cache); /* now */

/* Takes the download of an object (its hash). -EBUSY: another fetcher has it, and has written to it within two minutes; -EAGAIN: the lock is held for long. */
int fe_cache_claim(struct fe_cache *cache, uint64_t object, struct fe_claim *ret);

/* Promises `bytes` in all to the download, and takes them from the disk. Makes room where there is none. -ENOSPC: there
 * is no room; -EFBIG: never; -EAGAIN. */
int fe_cache_promise(struct fe_cache *cache, struct fe_claim *claim, uint64_t bytes);

/* The download is complete, `bytes` long: puts it at `path` below the open data/ folder. The claim is over, whatever is
 * returned. -EAGAIN: the lock is held for long, or another has taken the download over. */
int fe_cache_put(struct fe_cache *cache, struct fe_claim *claim, uint64_t bytes, int root_fd,
                 const char *path);
void fe_cache_drop(struct fe_cache *cache, struct fe_claim *claim); /* accepts a zeroed one */

/* Makes the folders that an object's path names, below the open data/ folder. */
int fe_cache_folders(int root_fd, const char *path);

/* Whether the folder or the files of the cache were removed: what we have open has no name any more. */
bool fe_cache_is_removed(const struct fe_cache *cache);

/* Whether an object is here; if so it counts as used now. */
bool fe_cache_look(const struct fe_cache *cache, int root_fd, const char *path);

/* The object cannot be fetched: tells readers (RD_OBJECT_FAILED). */
int fe_cache_mark(struct fe_cache *cache, int root_fd, const char *path);

/* An object that has changed, or is no longer listed, is not kept. */
int fe_cache_forget(struct fe_cache *cache, int root_fd, const char *path);
/* The same of all in a folder, which is removed. One that is not there is none. */
void fe_cache_forget_folder(struct fe_cache *cache, int root_fd, const char *path);

#endif
