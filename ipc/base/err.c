#include "ipc/base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "ipc/base/printable.h"

/* "Too many open files" and "File too large" say nothing of the limit that a shell or a service has set. Which it is, and
 * how much, is added to them: system calls of all files fail in this way. */
static void name_limit(int err, char *s, size_t n)
{
    const size_t used = strlen(s);
    struct rlimit r;

    if ((err != -EMFILE && err != -EFBIG) || strstr(s, "ulimit") ||
        getrlimit(err == -EMFILE ? RLIMIT_NOFILE : RLIMIT_FSIZE, &r) < 0 || r.rlim_cur == RLIM_INFINITY)
        return;
    if (err == -EMFILE)
        snprintf(s + used, n - used, "; a process may have %" PRIu64 " open here: raise `ulimit -n`",
                 (uint64_t)r.rlim_cur);
    else
        snprintf(s + used, n - used, "; a file may have %" PRIu64 " KiB here: `ulimit -f unlimited`",
                 (uint64_t)r.rlim_cur / 1024);
}

int im_fail(struct im_text *text, int err, const char *format, ...)
{
    va_list args;

    if (text) {
        char raw[sizeof text->s]; /* `text` may be among the arguments */

        va_start(args, format);
        vsnprintf(raw, sizeof raw, format, args);
        va_end(args);
        name_limit(err, raw, sizeof raw);
        im_printable(raw, text->s, sizeof text->s);
    }
    return err;
}

_Noreturn void im_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "imsuper: assertion failed: %s (%s:%d)\n", condition, file, line);
    abort();
}
