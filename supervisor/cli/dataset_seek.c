/* The file of seek indexes, before a run: whether it can be, and where. */
#include "supervisor/cli/dataset.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/printable.h"
#include "ipc/seek_file.h"

/* Makes the file of seek indexes, where there is none, before anyone opens it. */
static int make_seek(const struct sv_dataset *d, bool is_auto, struct im_text *text)
{
    struct im_seek_file file = {.fd = -1};
    struct im_seek_owner owner;
    int err;

    if (is_auto && im_seek_is_remote(d->seek_file))
        return im_fail(text, -EREMOTE,
                       "'%.700s' would be on a network file system; --seek-index DIR names a folder",
                       d->seek_file);
    err = im_seek_own(d->seek_file, d->samples[IM_TRAIN] + d->samples[IM_VAL], &owner, text);
    im_seek_disown(&owner);
    if (err < 0 && im_seek_open(d->seek_file, &file, NULL) == 0)
        err = 0; /* another run writes it, or it may only be read */
    im_seek_close(&file);
    return err;
}

/* --dry-run: whether the folder could be made, without making it. */
static int check_folder(const char *folder, struct im_text *text)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s", folder);
    while (stat(path, &st) < 0 && errno == ENOENT) {
        char *slash = strrchr(path, '/');

        if (slash == path)
            slash++;
        if (slash && *slash)
            *slash = 0;
        else
            snprintf(path, sizeof path, ".");
    }
    if (stat(path, &st) < 0)
        return im_fail(text, -errno, "--seek-index: %.700s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return im_fail(text, -ENOTDIR, "--seek-index: %.700s is not a folder", path);
    if (strcmp(path, folder) != 0 && access(path, W_OK | X_OK) < 0)
        return im_fail(text, -errno, "--seek-index: cannot make a folder in %.700s: %s", path,
                       strerror(errno));
    return 0;
}

int sv_dataset_prepare_seek(const struct im_conf *conf, struct sv_dataset *d, struct im_text *text)
{
    const bool is_auto = strcmp(conf->seek_index, "auto") == 0;
    struct im_text why = {""};
    int err = *d->seek_file ? make_seek(d, is_auto, &why) : 0;

    if (conf->dry_run && !is_auto && strcmp(conf->seek_index, "off") != 0)
        return check_folder(conf->seek_index, text);
    if (err == 0)
        return 0;
    if (!is_auto)
        return im_fail(text, err, "--seek-index: %s", why.s);
    if (!conf->quiet)
        im_say(stderr, "imsuper: no seek index: %s", why.s);
    d->seek_file[0] = 0;
    return 0;
}
