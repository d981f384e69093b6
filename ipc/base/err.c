#include "ipc/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/base/printable.h"

int im_fail(struct im_text *text, int err, const char *format, ...)
{
    va_list args;

    if (text) {
        char raw[sizeof text->s]; /* `text` may be among the arguments */

        va_start(args, format);
        vsnprintf(raw, sizeof raw, format, args);
        va_end(args);
        im_printable(raw, text->s, sizeof text->s);
    }
    return err;
}

_Noreturn void im_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "imsuper: assertion failed: %s (%s:%d)\n", condition, file, line);
    abort();
}
