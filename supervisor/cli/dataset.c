#include "supervisor/cli/dataset.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "supervisor/cli/program.h"
#include "supervisor/report/rundir.h"

#define ANSWER_MAX 65536

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
    im_json_free(&j);
    return 0;
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

int sv_dataset_load(const struct im_conf *conf, struct sv_dataset *ret, struct im_text *text)
{
    char path[PATH_MAX], data[] = "data", verb[] = "measure", evaluated[] = "evaluated", json[] = "--json",
                         data_dir[PATH_MAX + 16], layout[64], size[64], seed[64], out[PATH_MAX + 16],
                         rebuild[] = "--rebuild-index", subset[] = "--subset", output[ANSWER_MAX],
                         quiet[] = "--quiet", multi[] = "--multi-label";
    char labels[IM_CONF_TEXT_BYTES + 16], val_labels[IM_CONF_TEXT_BYTES + 16];
    char class_names[IM_CONF_TEXT_BYTES + 16], list[IM_CONF_TEXT_BYTES + 16], split_of[64];
    char *argv[32] = {path, data, verb, json, layout};
    const int64_t began = sv_rundir_began_ns(conf->run_dir);
    char since[64], split[64], split_seed[64], seek[IM_CONF_TEXT_BYTES + 32],
        weights[IM_CONF_TEXT_BYTES + 32];
    int n = 5, status;

    sv_program_find("imsuper-reader", path, sizeof path);
    if (*conf->data_dir) {
        snprintf(data_dir, sizeof data_dir, "--data-dir=%s", conf->data_dir);
        argv[n++] = data_dir;
    }
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
    if (*conf->labels) {
        snprintf(labels, sizeof labels, "--labels=%s", conf->labels);
        argv[n++] = labels;
    }
    if (*conf->val_labels) {
        snprintf(val_labels, sizeof val_labels, "--val-labels=%s", conf->val_labels);
        argv[n++] = val_labels;
    }
    if (conf->multi_label)
        argv[n++] = multi;
    if (conf->val_split > 0) {
        snprintf(split, sizeof split, "--val-split=%.17g", conf->val_split);
        snprintf(split_seed, sizeof split_seed, "--val-split-seed=%" PRId64, conf->val_split_seed);
        argv[n++] = split;
        argv[n++] = split_seed;
    }
    if (conf->evaluate) {
        argv[2] = evaluated;
        snprintf(split_of, sizeof split_of, "--split=%s", im_conf_choice(IM_KEY_split, conf->split));
        argv[n++] = split_of;
    }
    if (conf->evaluate && *conf->class_names) {
        snprintf(class_names, sizeof class_names, "--class-names=%s", conf->class_names);
        argv[n++] = class_names;
    }
    if (conf->evaluate && *conf->image_list) {
        snprintf(list, sizeof list, "--image-list=%s", conf->image_list);
        argv[n++] = list;
    }
    if (*conf->class_weights) {
        snprintf(weights, sizeof weights, "--class-weights=%s", conf->class_weights);
        argv[n++] = weights;
    }
    if (began > 0) {
        snprintf(since, sizeof since, "--changed-since=%" PRId64, began);
        argv[n++] = since;
    }
    /* The run gets its own copy of the index: what the readers map cannot change under them. */
    snprintf(out, sizeof out, "--subset-out=%s", conf->run_dir);
    argv[n++] = out;
    snprintf(seek, sizeof seek, "--seek-index=%s", conf->dry_run ? "off" : conf->seek_index);
    argv[n++] = seek;
    status = sv_program_read(argv, 0, output, sizeof output);
    if (status < 0)
        return im_fail(text, status, "cannot run %s: %s", path, strerror(-status));
    if (status == 0)
        status = parse(output, ret, text);
    return status ? status : sv_dataset_prepare_seek(conf, ret, text);
}
