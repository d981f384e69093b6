#include "supervisor/cli/dataset.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/vfs.h>

#include "ipc/base/count.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "ipc/seek_file.h"
#include "supervisor/cli/program.h"
#include "supervisor/report/rundir.h"

#define ANSWER_MAX 65536

static int parse(const char *answer, struct sv_dataset *ret, struct im_text *text)
{
    struct im_json *j = NULL;
    int err = im_json_parse(answer, strlen(answer), &j, text);

    if (err < 0)
        return im_fail(text, -EBADMSG, "imsuper-reader sent an unreadable answer");
    *ret = (struct sv_dataset){
        .samples = {(uint64_t)im_json_int_or(j, "train", 0), (uint64_t)im_json_int_or(j, "val", 0)},
        .classes = (uint32_t)im_json_int_or(j, "classes", 0),
        .seconds = im_json_real_or(j, "seconds", 0),
        .cached = im_json_bool_or(j, "cached", false),
    };
    ret->changed = (uint64_t)im_json_int_or(j, "changed", 0);
    ret->changed_checked = (uint64_t)im_json_int_or(j, "changed_checked", 0);
    for (size_t i = 0; i < im_json_count(im_json_get(j, "changed_first")); i++) {
        const char *name = "";
        size_t used = strlen(ret->changed_names);

        im_json_as_str(im_json_at(im_json_get(j, "changed_first"), i), &name);
        snprintf(ret->changed_names + used, sizeof ret->changed_names - used, "%s%s", used ? ", " : "", name);
    }
    snprintf(ret->layout, sizeof ret->layout, "%s", im_json_str_or(j, "layout", ""));
    snprintf(ret->index_file, sizeof ret->index_file, "%s", im_json_str_or(j, "index", ""));
    /* A path that is cut would name another place. */
    if (strlen(im_json_str_or(j, "seek_index", "")) < sizeof ret->seek_file)
        snprintf(ret->seek_file, sizeof ret->seek_file, "%s", im_json_str_or(j, "seek_index", ""));
    if (!im_json_bool_or(j, "links_lead_out", true) &&
        strlen(im_json_str_or(j, "root", "")) < sizeof ret->read_root)
        snprintf(ret->read_root, sizeof ret->read_root, "%s", im_json_str_or(j, "root", ""));
    snprintf(ret->hash, sizeof ret->hash, "%s", im_json_str_or(j, "hash", ""));
    im_json_free(&j);
    return 0;
}

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

/* With `auto` a run does without where it cannot be. */
static int prepare_seek(const struct im_conf *conf, struct sv_dataset *d, struct im_text *text)
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

int sv_dataset_load(const struct im_conf *conf, struct sv_dataset *ret, struct im_text *text)
{
    char path[PATH_MAX], data[] = "data", verb[] = "measure", json[] = "--json", data_dir[PATH_MAX + 16],
                         layout[64], size[64], seed[64], out[PATH_MAX + 16], rebuild[] = "--rebuild-index",
                         subset[] = "--subset", output[ANSWER_MAX], quiet[] = "--quiet";
    char *argv[16] = {path, data, verb, json, data_dir, layout};
    const int64_t began = sv_rundir_began_ns(conf->run_dir);
    char since[64], seek[IM_CONF_TEXT_BYTES + 32];
    int n = 6, status;

    sv_program_find("imsuper-reader", path, sizeof path);
    snprintf(data_dir, sizeof data_dir, "--data-dir=%s", conf->data_dir);
    snprintf(layout, sizeof layout, "--layout=%s", im_conf_choice(IM_KEY_layout, conf->layout));
    if (conf->rebuild_index)
        argv[n++] = rebuild;
    if (conf->quiet)
        argv[n++] = quiet;
    if (conf->subset) {
        snprintf(size, sizeof size, "--subset-size=%" PRId64, conf->subset_size);
        snprintf(seed, sizeof seed, "--seed=%" PRIu64, conf->seed);
        argv[n++] = subset;
        argv[n++] = size;
        argv[n++] = seed;
    }
    if (began > 0) {
        snprintf(since, sizeof since, "--changed-since=%" PRId64, began);
        argv[n++] = since;
    }
    /* The run gets its own copy of the index: what the readers map cannot change under them. */
    snprintf(out, sizeof out, "--subset-out=%s", conf->run_dir);
    argv[n++] = out;
    snprintf(seek, sizeof seek, "--seek-index=%s", conf->seek_index);
    argv[n++] = seek;
    status = sv_program_read(argv, 0, output, sizeof output);
    if (status < 0)
        return im_fail(text, status, "cannot run %s: %s", path, strerror(-status));
    if (status == 0)
        status = parse(output, ret, text);
    return status ? status : prepare_seek(conf, ret, text);
}
