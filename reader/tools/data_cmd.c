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

struct rd_source rd_cmd_source(const struct im_conf *conf)
{
    return (struct rd_source){.folder = conf->data_dir,
                              .cache_dir = conf->cache_dir,
                              .layout = (enum rd_layout_kind)conf->layout,
                              .rebuild = conf->rebuild_index,
                              .val_split = conf->val_split,
                              .val_split_seed = (uint64_t)conf->val_split_seed,
                              .multi_label = conf->multi_label,
                              .labels = conf->labels,
                              .val_labels = conf->val_labels};
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
