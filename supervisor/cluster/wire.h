/* Fields of a message in bytes. One function goes over the fields of a kind of message, in both directions: what
 * it writes is what it reads. The first thing that is wrong sets `bad`, and all that follows does nothing. */
#ifndef SUPERVISOR_CLUSTER_WIRE_H
#define SUPERVISOR_CLUSTER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sv_wire {
    unsigned char *to;         /* writing, if not NULL */
    const unsigned char *from; /* reading */
    size_t n, used;
    bool bad;
};

void sv_wire_u64(struct sv_wire *w, uint64_t *value);
void sv_wire_u32(struct sv_wire *w, uint32_t *value, uint32_t max);
void sv_wire_u16(struct sv_wire *w, uint16_t *value, uint16_t max);
void sv_wire_i32(struct sv_wire *w, int32_t *value);
void sv_wire_bool(struct sv_wire *w, bool *value);

/* A string with its 0 in `size` bytes; a control character is written as '?', and wrong when it is read. A longer text is cut when it
 * is written. */
void sv_wire_text(struct sv_wire *w, char *text, size_t size);

/* Up to `max` bytes that stay where they are: *bytes points into what is read. */
void sv_wire_bytes(struct sv_wire *w, const void **bytes, size_t *n, size_t max);

#endif
