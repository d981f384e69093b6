/* Memory that grows and is kept: after the first images of a run it is large enough, and
 * nothing is allocated. */
#ifndef AUGMENT_DECODE_BUFFER_H
#define AUGMENT_DECODE_BUFFER_H

#include <stddef.h>

struct au_buffer {
    unsigned char *data; /* aligned to 64 */
    size_t size;
};

/* Makes room for `size` bytes. What was in it is lost if it grows. 0, or -ENOMEM (the buffer is
 * then as before). */
int au_buffer_reserve(struct au_buffer *buffer, size_t size);

void au_buffer_fini(struct au_buffer *buffer);

#endif
