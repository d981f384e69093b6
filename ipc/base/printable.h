/* Text from outside, made safe for a terminal: names of files and classes, lines of libraries, strings of other
 * processes. Bytes that a terminal would obey, or that change the order in which a line is read, are shown
 * as escapes: control characters (\n, \x1b), C1 controls (\u009b), marks and overrides of writing direction
 * (\u202e), separators of lines (\u2028), bytes that are no UTF-8 (\xff). */
#ifndef IPC_BASE_PRINTABLE_H
#define IPC_BASE_PRINTABLE_H

#include <stddef.h>
#include <stdio.h>

#define IM_ESCAPE_BYTES 8 /* room for the longest escape and its NUL */

/* Bytes of the character at `s` if it may be shown as it is; 0 for one that is to be escaped. */
size_t im_printable_length(const char *s);

/* Writes the escape of the character at `s`, which is not the final NUL; returns how many bytes it was. */
size_t im_printable_escape(const char *s, char ret[IM_ESCAPE_BYTES]);

/* Copies `s` with its escapes into a buffer of n bytes, cut after a whole character. Returns the buffer. */
const char *im_printable(const char *s, char *buffer, size_t n);

/* For an argument of printf: im_shown(&(struct im_shown){0}, path). */
struct im_shown {
    char s[4096];
};
const char *im_shown(struct im_shown *room, const char *s);

/* Prints one line for a terminal: the whole of what `format` gives is escaped, then comes the newline. Negative
 * when it could not be written. */
int im_say(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
