/* Names where an image's bytes are, in one string that programs pass on: a path, or a part of a container,
 * "PATH//@OFFSET+BYTES". No path that an index gives has two slashes inside. */
#ifndef IPC_BASE_REFERENCE_H
#define IPC_BASE_REFERENCE_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/base/err.h"

/* Appends the part to the path in `reference`. Returns the length, or -ENAMETOOLONG. */
int im_reference_add(char *reference, size_t size, uint64_t offset, uint64_t bytes);

/* The length of the path in a reference. *ret_bytes: UINT64_MAX for a whole file. */
size_t im_reference_parse(const char *reference, uint64_t *ret_offset, uint64_t *ret_bytes);

/* im_read_file() of what it names. -ENODATA: the container ends before the part does. */
int im_reference_read(const char *reference, size_t bytes_max, char **ret_bytes, size_t *ret_n,
                      struct im_text *text);

/* The same of an image of n bytes, of which only [0, head) and [from, to) are read (two: head, from, to), and nothing ahead of
 * them; the others are zeros. */
int im_reference_read_two(const char *reference, size_t n, const size_t two[3], char **ret_bytes,
                          struct im_text *text);

#endif
