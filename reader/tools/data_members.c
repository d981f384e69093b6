/* imsuper-reader data members SHARD: the images in a shard, whatever their labels, for `imsuper predict`. An object: members
 * is an array of name, reference, name, reference (ipc/base/reference.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/json.h"
#include "ipc/base/reference.h"
#include "reader/dataset/shard.h"
#include "reader/tools/data_cmd.h"

static int print_members(const char *path, const struct rd_shard *shard)
{
    struct im_json *j = im_json_object(), *members = im_json_array();
    char reference[PATH_MAX + 64];
    int err;

    for (uint32_t i = 0; i < shard->count; i++) {
        snprintf(reference, sizeof reference, "%s", path);
        im_reference_add(reference, sizeof reference, shard->images[i].offset, shard->images[i].bytes);
        im_json_append_str(members, rd_shard_string(shard, shard->images[i].member));
        im_json_append_str(members, reference);
    }
    im_json_set(j, "members", members);
    im_json_set_str(j, "cut", shard->cut.s);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int rd_cmd_members(struct im_conf *conf)
{
    struct im_text text = {""};
    char path[PATH_MAX];
    struct rd_shard shard = {.path = path};
    int err = 0;

    if (!realpath(conf->data_dir, path))
        err = im_fail(&text, -errno, "cannot open '%.700s': %s", conf->data_dir, strerror(errno));
    if (err == 0) {
        rd_shard_scan(AT_FDCWD, &shard);
        err = shard.err < 0 ? im_fail(&text, shard.err, "the shard '%.500s' cannot be used: %.400s",
                                      conf->data_dir, *shard.why.s ? shard.why.s : strerror(-shard.err))
                            : print_members(path, &shard);
    }
    rd_shard_fini(&shard);
    return err < 0 ? rd_cmd_fail(err, &text) : IM_EXIT_OK;
}
