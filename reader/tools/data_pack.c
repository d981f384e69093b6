/* imsuper data pack SRC DST: shards from any layout. imsuper data unpack SRC DST: class folders from shards. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "reader/tools/data_cmd.h"
#include "reader/tools/data_report.h"
#include "reader/tools/organise.h"
#include "reader/tools/pack.h"

static void show(void *context, uint64_t done)
{
    const struct rd_line *line = context;

    rd_line_show(line, "packing: %" PRIu64 " of %" PRIu64 " shards", done, line->count);
}

static int pack_print_json(const struct im_conf *conf, const struct rd_pack *pack, double seconds)
{
    struct im_json *j = im_json_object();
    int err;

    im_json_set_str(j, "schema", "imsuper.packed/1");
    im_json_set_str(j, "folder", pack->folder);
    im_json_set_bool(j, "dry_run", conf->dry_run);
    im_json_set_int(j, "train", (int64_t)rd_index_count(pack->index, IM_TRAIN));
    im_json_set_int(j, "val", (int64_t)rd_index_count(pack->index, IM_VAL));
    im_json_set_int(j, "train_shards", pack->shards_of[IM_TRAIN]);
    im_json_set_int(j, "val_shards", pack->shards_of[IM_VAL]);
    im_json_set_int(j, "already", pack->already);
    im_json_set_int(j, "bytes", (int64_t)pack->bytes);
    im_json_set_real(j, "seconds", seconds);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

static void say(const struct im_conf *conf, const struct rd_pack *pack, double seconds)
{
    if (conf->quiet)
        return;
    im_say(stdout,
           "%s %" PRIu64 " training and %" PRIu64
           " validation images of %u classes in %u and %u shards (%.1f MB): %s",
           conf->dry_run ? "would pack" : "packed", rd_index_count(pack->index, IM_TRAIN),
           rd_index_count(pack->index, IM_VAL), rd_index_class_count(pack->index), pack->shards_of[IM_TRAIN],
           pack->shards_of[IM_VAL], (double)pack->bytes / 1e6, pack->folder);
    if (pack->already > 0)
        im_say(stdout, "%u of them were there before", pack->already);
    if (!conf->dry_run)
        im_say(stdout, "%.1f s; each was read again and compared", seconds);
}

static int pack_index(const struct im_conf *conf, const struct rd_index *index, struct im_text *text)
{
    struct rd_line line = {.is_shown = isatty(STDERR_FILENO) && !conf->quiet && !conf->plain};
    char folder[PATH_MAX];
    struct rd_pack pack = {.index = index,
                           .folder = folder,
                           .shard_bytes = (uint64_t)conf->shard_bytes,
                           .shard_images = (uint64_t)conf->shard_images,
                           .threads = (unsigned)conf->jobs,
                           .tick = show,
                           .context = &line};
    const im_ns start = im_now();
    double seconds;
    int err = rd_organise_folder(rd_index_root(index), conf->out, folder, text);

    if (err == 0)
        err = rd_pack_plan(&pack, text);
    line.count = pack.count;
    if (err == 0 && !conf->dry_run)
        err = rd_pack_write(&pack, text);
    rd_line_clear(&line);
    seconds = (double)(im_now() - start) / (double)IM_SECOND;
    if (err == 0 && conf->json)
        err = pack_print_json(conf, &pack, seconds);
    else if (err == 0)
        say(conf, &pack, seconds);
    rd_pack_fini(&pack);
    return err;
}

static int open_source(const struct im_conf *conf, const char *verb, struct rd_data *data,
                       struct im_text *text)
{
    struct rd_source source = rd_cmd_source(conf);
    struct rd_empty empty = {.checked = UINT64_MAX};
    int err;

    if (!*conf->data_dir || !*conf->out)
        return im_fail(text, -EINVAL, "two folders are needed: imsuper data %s SRC DST", verb);
    err = rd_data_open(&source, NULL, data, text);
    if (err == 0)
        rd_report_say(&(struct rd_report){&data->index, &empty, data->table_why.s});
    return err;
}

int rd_cmd_pack(struct im_conf *conf)
{
    struct im_text text = {""};
    struct rd_data data = {0};
    int err = open_source(conf, "pack", &data, &text);

    if (err < 0)
        return rd_cmd_fail(err, &text);
    err = pack_index(conf, &data.index, &text);
    rd_data_close(&data);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}

int rd_cmd_unpack(struct im_conf *conf)
{
    struct im_text text = {""};
    struct rd_data data = {0};
    int err = open_source(conf, "unpack", &data, &text);

    if (err < 0)
        return rd_cmd_fail(err, &text);
    if (!rd_index_has_containers(&data.index))
        err = im_fail(&text, -EBADMSG,
                      "'%.600s' holds no shards, but folders of images: imsuper data organise SRC DST",
                      conf->data_dir);
    else
        err = rd_organise_index(conf, &data.index, RD_HOW_COPY, &text);
    rd_data_close(&data);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
