#include "ipc/base/aside.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ipc/base/file.h"
#include "ipc/base/log.h"
#include "ipc/base/printable.h"

#define NAMES_MAX 99

bool im_is_no_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? !S_ISREG(st.st_mode) : errno == ELOOP;
}

/* A process of a run has a log; a command speaks to whoever typed it. */
static void tell(const char *path, const char *to)
{
    if (strcmp(im_log_role(), "imsuper") == 0)
        im_say(stderr, "imsuper: what stood at %s was moved aside, to %s", path, to);
    else
        im_log(IM_LOG_WARN, "what stood where a file of the run has to be was moved aside", "to=%s",
               im_log_quote(&(struct im_quoted){0}, to));
}

int im_file_replace_any(const char *path, const void *bytes, size_t n, struct im_text *text)
{
    int err = im_is_no_file(path) ? im_move_aside(path, text) : 0;

    return err < 0 ? err : im_file_replace(path, bytes, n, text);
}

int im_move_aside(const char *path, struct im_text *text)
{
    char to[PATH_MAX];
    struct stat st;

    for (int i = 1; i <= NAMES_MAX; i++) {
        if (snprintf(to, sizeof to, "%s.%d", path, i) >= (int)sizeof to)
            return im_fail(text, -ENAMETOOLONG, "the path %.200s... is too long", path);
        if (lstat(to, &st) == 0)
            continue;
        if (errno == ENOENT && rename(path, to) == 0) {
            tell(path, to);
            return 0;
        }
        if (errno == ENOENT && lstat(path, &st) < 0 && errno == ENOENT)
            return 0;
        return im_fail(text, -errno, "cannot move %s aside: %s", path, strerror(errno));
    }
    return im_fail(text, -EEXIST, "cannot move %s aside: %s.1 to .%d are taken", path, path, NAMES_MAX);
}
