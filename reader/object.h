/* What was read of an object of a cache on our own disk (dataset/mirror.h). */
#ifndef READER_OBJECT_H
#define READER_OBJECT_H

#include <errno.h>

#include "ipc/object_seal.h"
#include "ipc/seek_file.h"
#include "reader/io.h"

/* It is not what was fetched, by its seal, or cannot be read. An object that is empty or away made room for another. One larger than a cell is
 * compared by the augmenter, which reads it. */
static inline bool rd_object_is_damaged(uint32_t seal, const void *bytes, const struct rd_io_result *result)
{
    if (result->bytes < 0)
        return result->bytes != -ENOENT;
    return result->bytes > 0 && !result->too_large &&
           im_object_seal(im_seek_key(bytes, (size_t)result->bytes)) != seal;
}

#endif
