#include "supervisor/warden/kept.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/label_sets.h"

#define BYTES_MAX ((size_t)1 << 30)

static const char *const names[] = {"classes.txt", "class_weights.txt", IM_LABEL_SETS_FILE};
static_assert(IM_COUNT(names) == SV_KEPT_MAX, "SV_KEPT_MAX");

void sv_kept_read(const char *run_dir, struct sv_kept *ret)
{
    ret->count = 0;
    if (snprintf(ret->folder, sizeof ret->folder, "%s", run_dir) >= (int)sizeof ret->folder)
        return;
    for (size_t i = 0; i < IM_COUNT(names); i++) {
        const size_t k = ret->count;

        if (snprintf(ret->file[k].path, PATH_MAX, "%s/%s", run_dir, names[i]) < PATH_MAX &&
            snprintf(ret->file[k].temporary, PATH_MAX, "%s/.%s.kept", run_dir, names[i]) < PATH_MAX &&
            access(ret->file[k].path, F_OK) == 0 &&
            im_read_file(ret->file[k].path, BYTES_MAX, &ret->file[k].bytes, &ret->file[k].n, NULL) == 0)
            ret->count++;
    }
}

void sv_kept_fini(struct sv_kept *kept)
{
    while (kept->count > 0)
        free(kept->file[--kept->count].bytes);
}

static void write_again(const struct sv_kept *kept, size_t i)
{
    const char *at = kept->file[i].bytes;
    size_t left = kept->file[i].n;
    ssize_t n = 1;
    int fd = open(kept->file[i].temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    if (fd < 0 && errno == ENOENT && mkdir(kept->folder, 0777) == 0)
        fd = open(kept->file[i].temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return;
    while (left > 0 && (n > 0 || errno == EINTR)) {
        n = write(fd, at, left);
        at += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    close(fd);
    if (left == 0)
        rename(kept->file[i].temporary, kept->file[i].path);
    else
        unlink(kept->file[i].temporary);
}

void sv_kept_restore(const struct sv_kept *kept)
{
    for (size_t i = 0; i < kept->count; i++)
        if (access(kept->file[i].path, F_OK) < 0 && errno == ENOENT)
            write_again(kept, i);
}
