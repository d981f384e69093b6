/* What the verbs for data sets share: how failures end, and a line of progress. */
#include "reader/tools/data_cmd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "ipc/base/printable.h"

int rd_cmd_fail(int err, const struct im_text *text)
{
    const int status = im_command_fail(err, text);

    return err == -ENOTDIR || err == -EACCES ? IM_EXIT_BAD_DATA : status;
}

void rd_line_show(const struct rd_line *line, const char *format, ...)
{
    char said[512], shown[512];
    va_list args;

    if (!line->is_shown)
        return;
    va_start(args, format);
    vsnprintf(said, sizeof said, format, args);
    va_end(args);
    fprintf(stderr, "\r\033[K%s", im_printable(said, shown, sizeof shown));
    fflush(stderr);
}

void rd_line_clear(const struct rd_line *line)
{
    if (line->is_shown)
        fputs("\r\033[K", stderr);
}
