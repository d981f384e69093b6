/* The file of seek indexes, before a run: whether it can be, and where. */
#include "supervisor/cli/dataset.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "ipc/base/count.h"
#include "ipc/base/printable.h"
#include "ipc/seek_file.h"

/* Whoever reads there may wait for a server. */
static bool is_remote(const char *file)
{
    static const long remote[] = {0x6969 /* NFS */,       0x517b /* SMB */,        0xff534d42 /* CIFS */,
                                  0xfe534d42 /* SMB 2 */, 0x65735546 /* FUSE */,   0x00c36400 /* Ceph */,
                                  0x01021997 /* 9P */,    0x0bd00bd0 /* Lustre */, 0x5346414f /* AFS */,
                                  0x47504653 /* GPFS */,  0x19830326 /* BeeGFS */, 0x73757245 /* Coda */};
    char folder[IM_CONF_TEXT_BYTES];
    struct statfs fs;

    snprintf(folder, sizeof folder, "%s", file);
    *strrchr(folder, '/') = '\0';
    if (statfs(folder, &fs) < 0)
        return false;
    for (size_t i = 0; i < IM_COUNT(remote); i++)
        if (((long)fs.f_type & 0xffffffff) == remote[i])
            return true;
    return false;
}

/* Makes the file of seek indexes, where there is none, before anyone opens it. */
static int make_seek(const struct sv_dataset *d, bool is_auto, struct im_text *text)
{
    struct im_seek_file file = {.fd = -1};
    struct im_seek_owner owner;
    int err;

    if (is_auto && is_remote(d->seek_file))
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

int sv_dataset_prepare_seek(const struct im_conf *conf, struct sv_dataset *d, struct im_text *text)
{
    const bool is_auto = strcmp(conf->seek_index, "auto") == 0;
    struct im_text why = {""};
    int err = *d->seek_file ? make_seek(d, is_auto, &why) : 0;

    if (err == 0)
        return 0;
    if (!is_auto)
        return im_fail(text, err, "--seek-index: %s", why.s);
    if (!conf->quiet)
        im_say(stderr, "imsuper: no seek index: %s", why.s);
    d->seek_file[0] = 0;
    return 0;
}
