/* The augmenter's only own allocation. Sizes grow by at least a quarter, so that a run of slowly growing
 * images settles after a few steps; there is no shrinking, because the limits on input bound what a buffer
 * can reach. */
#include "augment/decode/buffer.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "ipc/base/fault.h"
#include "ipc/base/msan.h"

#define ALIGNMENT ((size_t)64)
#define SIZE_MIN ((size_t)64 * 1024)

int au_buffer_reserve(struct au_buffer *buffer, size_t size)
{
    size_t wanted = buffer->size + buffer->size / 4;
    unsigned char *data;

    if (size <= buffer->size)
        return 0;
    if (size > SIZE_MAX / 2 || IM_FAULT_ERR("augment.memory") < 0)
        return -ENOMEM;
    if (wanted < size)
        wanted = size;
    if (wanted < SIZE_MIN)
        wanted = SIZE_MIN;
    wanted = (wanted + ALIGNMENT - 1) & ~(ALIGNMENT - 1);

    data = aligned_alloc(ALIGNMENT, wanted);
    if (!data)
        return -ENOMEM;
    au_buffer_fini(buffer);
    im_msan_unwritten(data, wanted);
    *buffer = (struct au_buffer){data, wanted};
    return 0;
}

void au_buffer_fini(struct au_buffer *buffer)
{
    im_msan_written(buffer->data, buffer->size); /* for whoever gets the memory next */
    free(buffer->data);
    *buffer = (struct au_buffer){0};
}
