#include "supervisor/cluster/wire.h"

#include <string.h>

/* The place of the next n bytes, or NULL. */
static const unsigned char *wire_take(struct sv_wire *w, size_t n)
{
    const unsigned char *at = w->to ? w->to : w->from;

    if (w->bad || n > w->n - w->used) {
        w->bad = true;
        return NULL;
    }
    at += w->used;
    w->used += n;
    return at;
}

/* An unsigned number of so many bytes. */
static uint64_t number(struct sv_wire *w, uint64_t value, size_t bytes, uint64_t max)
{
    const unsigned char *at = wire_take(w, bytes);

    if (!at)
        return 0;
    if (w->to) {
        unsigned char *to = w->to + (at - w->to);

        for (size_t i = 0; i < bytes; i++)
            to[i] = (unsigned char)(value >> (8 * i));
        w->bad |= value > max;
        return value;
    }
    value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    w->bad |= value > max;
    return w->bad ? 0 : value;
}

void sv_wire_u64(struct sv_wire *w, uint64_t *value)
{
    *value = number(w, *value, 8, UINT64_MAX);
}

void sv_wire_u32(struct sv_wire *w, uint32_t *value, uint32_t max)
{
    *value = (uint32_t)number(w, *value, 4, max);
}

void sv_wire_u16(struct sv_wire *w, uint16_t *value, uint16_t max)
{
    *value = (uint16_t)number(w, *value, 2, max);
}

void sv_wire_i32(struct sv_wire *w, int32_t *value)
{
    *value = (int32_t)(uint32_t)number(w, (uint32_t)*value, 4, UINT32_MAX);
}

void sv_wire_bool(struct sv_wire *w, bool *value)
{
    *value = number(w, *value, 1, 1) == 1;
}

static bool is_control(unsigned char c)
{
    return c < ' ' || c == 0x7f;
}

void sv_wire_text(struct sv_wire *w, char *text, size_t size)
{
    const size_t n = (size_t)number(w, w->to ? strnlen(text, size - 1) : 0, 2, size - 1);
    const unsigned char *at = wire_take(w, n);

    if (w->to) {
        for (size_t i = 0; at && i < n; i++)
            w->to[(size_t)(at - w->to) + i] =
                is_control((unsigned char)text[i]) ? '?' : (unsigned char)text[i];
        return;
    }
    for (size_t i = 0; at && i < n; i++)
        w->bad |= is_control(at[i]);
    if (at && !w->bad)
        memcpy(text, at, n);
    text[at && !w->bad ? n : 0] = '\0';
}

void sv_wire_bytes(struct sv_wire *w, const void **bytes, size_t *n, size_t max)
{
    const size_t count = (size_t)number(w, *n, 4, max);
    const unsigned char *at = wire_take(w, count);

    if (w->to) {
        if (at && count)
            memcpy(w->to + (at - w->to), *bytes, count);
        return;
    }
    *bytes = w->bad ? NULL : at;
    *n = w->bad ? 0 : count;
}
