/* Writing JPEG: for the synthetic images of `imsuper data synth`. */
#ifndef READER_TOOLS_JPEG_WRITE_H
#define READER_TOOLS_JPEG_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/base/err.h"

/* Encodes width x height RGB pixels (rows without gaps) as baseline JPEG, 4:2:0. quality 1 .. 100. ret_bytes
 * is the caller's to free(). -EINVAL with libjpeg's sentence, -ENOMEM. */
int rd_jpeg_encode(const uint8_t *rgb, uint32_t width, uint32_t height, int quality, uint8_t **ret_bytes,
                   size_t *ret_size, struct im_text *text);

#endif
