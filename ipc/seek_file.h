/* The file of seek indexes (augment/decode/seek.h): where the Huffman codes of images stand, so that a crop is
 * decoded without what lies around it. One file for a data set, shared by all runs of a machine.
 *
 * An image is known by its bytes: the key is im_seek_key() of all of them, so an index of other bytes is never
 * found, whatever became of a path. Each record has a checksum, too. What is torn, damaged or not there costs
 * the time that the index would have saved.
 *
 * What is trusted: the user's own processes and root, nobody else can write the file. Records are made by augmenters,
 * which have parsed a stranger's bytes. The decoder compares points with the codes between them, so that a single wrong
 * one is noticed; to notice points that agree with each other and not with the image, all codes before them would have
 * to be decoded, which is what an index saves. An augmenter that a file has taken over could therefore write records
 * that give other images wrong pixels, now and in later runs: remove the file after such a thing, or use
 * --seek-index off.
 *
 * One process at a time owns the file and writes it (flock); any number read. Readers use system calls and no
 * mapping: a file that is cut, or a disk that fails, is a record that is not there, never a SIGBUS. A record that
 * is not in the page cache is asked for and not waited for. */
#ifndef IPC_SEEK_FILE_H
#define IPC_SEEK_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base/err.h"

#define IM_SEEK_BYTES_MAX 32768 /* of a record */

/* Of an image's bytes. */
uint64_t im_seek_key(const void *bytes, size_t n);

/* An open file. fd < 0: none. */
struct im_seek_file {
    int fd;
    uint32_t slots; /* of the table; a power of two */
    bool may_wait;  /* the file system cannot say whether a read would wait */
};

/* Opens for reading. -ENOENT and other negative errno with a sentence: none can be used. */
int im_seek_open(const char *path, struct im_seek_file *ret, struct im_text *text);
void im_seek_close(struct im_seek_file *file); /* accepts one that is not open */

/* The bytes of a record, at most `size` of them. Returns how many; 0: there is none; -EAGAIN: it is on its way
 * into the page cache. Nothing else. */
int im_seek_find(struct im_seek_file *file, uint64_t key, void *buffer, size_t size);

/* The owner's view. */
struct im_seek_owner {
    struct im_seek_file file;
    uint64_t end;  /* where the next record goes */
    uint32_t used; /* slots */
    uint32_t adds; /* since the room on the disk was asked for */
};

/* Opens for writing and becomes the owner. Makes the file, empty, where there is none, it is none, or it is too small
 * for so many images. -EWOULDBLOCK: another process owns it. Other negative errno with a sentence. */
int im_seek_own(const char *path, uint64_t images, struct im_seek_owner *ret, struct im_text *text);
void im_seek_disown(struct im_seek_owner *owner); /* accepts one that owns nothing */

/* Adds a record, unless it is there. 0; -EEXIST: it was there; -ENOSPC: the disk is nearly full; other negative errno.
 * With an error the file is what it was. */
int im_seek_add(struct im_seek_owner *owner, uint64_t key, const void *bytes, size_t n);

/* Forgets a record. */
void im_seek_drop(struct im_seek_owner *owner, uint64_t key);

#endif
