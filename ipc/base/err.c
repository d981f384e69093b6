#include "ipc/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int im_fail(struct im_text *text, int err, const char *format, ...)
{
    va_list args;

    if (text) {
        va_start(args, format);
        vsnprintf(text->s, sizeof text->s, format, args);
        va_end(args);
    }
    return err;
}

_Noreturn void im_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "imsuper: assertion failed: %s (%s:%d)\n", condition, file, line);
    abort();
}
