/* What the verbs for data sets share: how failures end, and a line of progress. */
#include "reader/tools/data_cmd.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/file.h"
#include "ipc/base/printable.h"
#include "ipc/seek_file.h"

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

int rd_cmd_seek_path(const struct im_conf *conf, const char *root, char *ret_path, size_t size,
                     struct im_text *text)
{
    const enum rd_layout_kind forced = (enum rd_layout_kind)conf->layout;
    struct im_text why = {""};
    char folder[PATH_MAX];
    int err;

    ret_path[0] = 0;
    if (strcmp(conf->seek_index, "off") == 0)
        return 0;
    if (strcmp(conf->seek_index, "auto") == 0) {
        if (rd_seek_path(root, forced, NULL, ret_path, size) < 0)
            ret_path[0] = 0;
        return 0;
    }
    err = im_mkdirs(conf->seek_index, 0700, &why);
    if (err < 0)
        return im_fail(text, err, "--seek-index: %.900s", why.s);
    if (!realpath(conf->seek_index, folder))
        err = im_fail(text, -errno, "--seek-index '%.700s': %s", conf->seek_index, strerror(errno));
    if (err == 0 && rd_seek_path(root, forced, folder, ret_path, size) < 0)
        err = im_fail(text, -ENAMETOOLONG, "--seek-index '%.700s': the path is too long", conf->seek_index);
    return err;
}
