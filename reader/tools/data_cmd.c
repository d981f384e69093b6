/* What the commands of imsuper-data share: how failures end, and a line of progress. */
#include "reader/tools/data_cmd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int rd_cmd_fail(int err, const struct im_text *text)
{
    fprintf(stderr, "imsuper: %s\n", text->s[0] ? text->s : strerror(-err));
    switch (err) {
    case -EINVAL:
        return RD_EXIT_USAGE;
    case -EBADMSG:
    case -ENOENT:
    case -ENOTDIR:
    case -EACCES:
        return RD_EXIT_BAD_DATA;
    default:
        return RD_EXIT_FAILED;
    }
}

void rd_line_show(const struct rd_line *line, const char *format, ...)
{
    va_list args;

    if (!line->is_shown)
        return;
    fputs("\r\033[K", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fflush(stderr);
}

void rd_line_clear(const struct rd_line *line)
{
    if (line->is_shown)
        fputs("\r\033[K", stderr);
}
