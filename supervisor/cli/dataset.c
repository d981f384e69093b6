#include "supervisor/cli/dataset.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "ipc/config/command_line.h"
#include "supervisor/cli/program.h"
#include "supervisor/report/rundir.h"

#define ANSWER_MAX (192 * 1024)

static void parse_warnings(const struct im_json *list, struct sv_dataset *ret)
{
    for (size_t i = 0; i < im_json_count(list) && i < SV_DATASET_WARNINGS_MAX; i++) {
        const char *line = "";

        im_json_as_str(im_json_at(list, i), &line);
        snprintf(ret->warnings[i].s, sizeof ret->warnings[i].s, "%s", line);
    }
}

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
        .has_avif = im_json_bool_or(j, "has_avif", false),
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
    snprintf(ret->left_out.s, sizeof ret->left_out.s, "%s", im_json_str_or(j, "left_out", ""));
    parse_warnings(im_json_get(j, "warnings"), ret);
    snprintf(ret->hash, sizeof ret->hash, "%s", im_json_str_or(j, "hash", ""));
    if (im_json_get(j, "copies")) {
        ret->copies = strdup(im_json_str_or(j, "copies", ""));
        err = ret->copies ? 0 : -ENOMEM;
    }
    im_json_free(&j);
    return err;
}

void sv_dataset_warn(const struct sv_dataset *dataset, const struct im_conf *conf)
{
    if (*conf->image_list) /* no data set: its classes need no images */
        return;
    if (dataset->left_out.s[0] && !conf->quiet) {
        im_say(stderr, "data    %s", dataset->left_out.s);
        if (!im_conf_is_probe(conf))
            im_say(stderr, "data    the whole list: %s/left_out.txt", conf->run_dir);
    }
    for (int i = 0; i < SV_DATASET_WARNINGS_MAX && dataset->warnings[i].s[0]; i++)
        im_say(stderr, "imsuper: warning: %s", dataset->warnings[i].s);
}

static void describe(struct im_command_line *l, const struct im_conf *conf)
{
    static const enum im_conf_key_id subset[] = {IM_KEY_subset, IM_KEY_subset_size, IM_KEY_seed},
                                     evaluated[] = {IM_KEY_split, IM_KEY_class_names, IM_KEY_image_list};
    const int64_t began = sv_rundir_began_ns(conf->run_dir);
    char since[32], step[32];

    im_command_line_data(l, conf);
    im_command_line_flag(l, conf, IM_KEY_cache_dir);
    if (conf->rebuild_index)
        im_command_line_flag(l, conf, IM_KEY_rebuild_index);
    if (conf->quiet)
        im_command_line_flag(l, conf, IM_KEY_quiet);
    if (conf->node_count > 1)
        im_command_line_word(l, "--copies");
    for (size_t i = 0; conf->subset && i < IM_COUNT(subset); i++)
        im_command_line_flag(l, conf, subset[i]);
    for (size_t i = 0; conf->evaluate && i < IM_COUNT(evaluated); i++)
        im_command_line_flag(l, conf, evaluated[i]);
    if (conf->evaluate && *conf->shard && !*conf->image_list) {
        snprintf(step, sizeof step, "%" PRId64, im_conf_step_images(conf));
        im_command_line_value(l, IM_KEY_shard, conf->shard);
        im_command_line_value(l, IM_KEY_batch_size, step);
    }
    im_command_line_flag(l, conf, IM_KEY_class_weights);
    if (began > 0) {
        snprintf(since, sizeof since, "%" PRId64, began);
        im_command_line_value(l, IM_KEY_changed_since, since);
    }
    /* The run gets its own copy of the index: what the readers map cannot change under them. */
    im_command_line_value(l, IM_KEY_subset_out, conf->run_dir);
    im_command_line_value(l, IM_KEY_seek_index, conf->dry_run ? "off" : conf->seek_index);
}

int sv_dataset_load(const struct im_conf *conf, struct sv_dataset *ret, struct im_text *text)
{
    char path[PATH_MAX], output[ANSWER_MAX];
    struct im_command_line line;
    int status = -ENOMEM;

    sv_program_find("imsuper-reader", path, sizeof path);
    im_command_line_begin(&line, path);
    im_command_line_word(&line, "data");
    im_command_line_word(&line, conf->evaluate ? "evaluated" : "measure");
    im_command_line_word(&line, "--json");
    describe(&line, conf);
    if (line.words)
        status = sv_program_read(line.words, 0, output, sizeof output);
    im_command_line_free(&line);
    if (status < 0)
        return im_fail(text, status, "cannot run %s: %s", path, strerror(-status));
    if (status == 0)
        status = parse(output, ret, text);
    return status ? status : sv_dataset_prepare_seek(conf, ret, text);
}
