/* meta.mat of ILSVRC's devkit: which class each of its numbers is. A MATLAB file of level 5 with one array of structures,
 * "synsets", whose fields are ILSVRC2012_ID (or ILSVRC2010_ID), a number, and WNID, a name. */
#ifndef READER_DATASET_MAT_H
#define READER_DATASET_MAT_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/base/err.h"
#include "reader/dataset/names.h"

#define RD_NUMBERS_MAX 1000000u

/* Names of classes by number. Zero-initialise; add; fini. */
struct rd_numbering {
    struct rd_names strings;
    uint32_t *names; /* of number i, i < count: a string, or 0 */
    uint32_t count;
};

/* -EEXIST: the number has another name. -EINVAL: it is beyond RD_NUMBERS_MAX. -ENOMEM. */
int rd_numbering_add(struct rd_numbering *numbering, uint64_t number, const char *name);
const char *rd_numbering_name(const struct rd_numbering *numbering, uint64_t number); /* NULL: none */
void rd_numbering_fini(struct rd_numbering *numbering);

/* Of any bytes; `path` names them in sentences. -EBADMSG with a sentence; -ENOMEM. */
int rd_mat_read(const void *bytes, size_t n, const char *path, struct rd_numbering *ret_numbering,
                struct im_text *text);

#endif
