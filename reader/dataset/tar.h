/* The members of a tar archive, one after the other, without their bytes: ustar, GNU (long names, sizes in base 256) and
 * pax. The archive is a stranger's: every number is checked against its size, memory is bounded, and what is no archive
 * ends with a sentence. Sparse members are reported as such, for their bytes are not in one piece. */
#ifndef READER_DATASET_TAR_H
#define READER_DATASET_TAR_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"

#define RD_TAR_BLOCK 512
#define RD_TAR_WINDOW 16384
#define RD_TAR_EXTENSION_MAX ((uint64_t)1 << 20) /* of a long name or a pax header */

enum rd_tar_type {
    RD_TAR_FILE,
    RD_TAR_FOLDER,
    RD_TAR_SPARSE,
    RD_TAR_LINK,  /* hard or symbolic */
    RD_TAR_OTHER, /* a pipe, a device, another type, or a name that is too long */
};

struct rd_tar_member {
    const char *name; /* of the archive's; until the next call. Without "./" in front; may be anything else */
    enum rd_tar_type type;
    uint64_t header; /* where its first header begins */
    uint64_t offset, bytes;
    uint32_t mark; /* rd_tar_mark() of the header before its bytes */
};

/* pread(): how many bytes, fewer at the end only, or a negative errno. */
typedef int64_t rd_tar_read(void *context, uint64_t offset, void *buffer, size_t n);

/* Fill read, context and bytes (the size of the archive), the rest zero; next until it is not 1; fini. */
struct rd_tar {
    rd_tar_read *read;
    void *context;
    uint64_t bytes;

    uint64_t at; /* of the next header */
    uint64_t window_at;
    uint32_t window_bytes;
    char *extension; /* bytes of a pax header */
    uint64_t pax_size;
    bool has_long_name, has_size, is_sparse;
    char name[PATH_MAX];
    unsigned char window[RD_TAR_WINDOW];
};

/* 1: *ret_member is the next one, and lies whole in the archive. 0: the end. With a sentence: -ENODATA: it is cut short, or another archive
 * stands behind its end;
 * -EBADMSG: it is damaged, or no archive; other negative errno of read. */
int rd_tar_next(struct rd_tar *tar, struct rd_tar_member *ret_member, struct im_text *text);

/* What is kept of a header: names, times and sizes that differ give other numbers. Never 0. */
uint32_t rd_tar_mark(const unsigned char header[RD_TAR_BLOCK]);

/* Is this the header of a member of so many bytes, with that mark (0: any)? It stands before them: an archive that was
 * replaced since is recognised by it. */
bool rd_tar_is_header_of(const unsigned char header[RD_TAR_BLOCK], uint64_t bytes, uint32_t mark);

/* Copies the first bytes of a member, at most `size`. Returns how many, or a negative errno. */
int64_t rd_tar_peek(struct rd_tar *tar, const struct rd_tar_member *member, void *buffer, size_t size);
void rd_tar_fini(struct rd_tar *tar);

#endif
