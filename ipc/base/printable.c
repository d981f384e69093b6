#include "ipc/base/printable.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/utf8.h"

/* The code point of a well-formed character of n bytes. */
static uint32_t code_point(const unsigned char *u, size_t n)
{
    static const unsigned char lead[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = u[0] & lead[n];

    for (size_t i = 1; i < n; i++)
        c = c << 6 | (u[i] & 0x3f);
    return c;
}

static bool is_harmful(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

size_t im_printable_length(const char *s)
{
    size_t n = im_utf8_length(s);

    return n > 0 && is_harmful(code_point((const unsigned char *)s, n)) ? 0 : n;
}

size_t im_printable_escape(const char *s, char ret[IM_ESCAPE_BYTES])
{
    static const char named[] = "\nn\rr\tt";
    const size_t n = im_utf8_length(s);

    for (const char *known = named; *known; known += 2)
        if (*s == *known) {
            snprintf(ret, IM_ESCAPE_BYTES, "\\%c", known[1]);
            return 1;
        }
    if (n > 1)
        snprintf(ret, IM_ESCAPE_BYTES, "\\u%04x", (unsigned)code_point((const unsigned char *)s, n) & 0xffff);
    else
        snprintf(ret, IM_ESCAPE_BYTES, "\\x%02x", (unsigned)(unsigned char)*s);
    return n > 1 ? n : 1;
}

const char *im_printable(const char *s, char *buffer, size_t n)
{
    size_t used = 0;

    while (*s) {
        size_t length = im_printable_length(s), taken = length;
        char escape[IM_ESCAPE_BYTES];
        const char *shown = s;

        if (length == 0) {
            taken = im_printable_escape(s, escape);
            shown = escape;
            length = strlen(escape);
        }
        if (used + length >= n)
            break;
        memcpy(buffer + used, shown, length);
        used += length;
        s += taken;
    }
    buffer[used] = '\0';
    return buffer;
}

const char *im_shown(struct im_shown *room, const char *s)
{
    return im_printable(s, room->s, sizeof room->s);
}

int im_say(FILE *out, const char *format, ...)
{
    char *line = NULL, *shown;
    va_list args;
    size_t n;
    int done;

    va_start(args, format);
    done = vasprintf(&line, format, args);
    va_end(args);
    if (done < 0)
        return done;
    n = (size_t)done * (IM_ESCAPE_BYTES - 1) + 1;
    shown = malloc(n);
    done = shown ? fprintf(out, "%s\n", im_printable(line, shown, n)) : -1;
    free(shown);
    free(line);
    return done;
}
