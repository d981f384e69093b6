/* imsuper data index: says what is in a data folder, and leaves the index where a run takes it: in the cache,
 * and with --subset-out in the run's own directory, so that a tree that changes later does not change the
 * run. The JSON form is what the supervisor reads. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "ipc/base/aside.h"
#include "ipc/base/clock.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/base/number.h"
#include "ipc/base/printable.h"
#include "ipc/label_sets.h"
#include "ipc/outcome.h"
#include "ipc/seek_file.h"
#include "reader/dataset/changed.h"
#include "reader/dataset/copies.h"
#include "reader/dataset/data.h"
#include "reader/dataset/evaluated.h"
#include "reader/dataset/index_file.h"
#include "reader/dataset/subset.h"
#include "reader/tools/class_weights.h"
#include "reader/tools/data_cmd.h"
#include "reader/tools/data_report.h"
#include "reader/tools/data_seek.h"

#define EMPTY_LIMIT_NS (IM_SECOND / 4)   /* nor for their sizes */
#define CHANGED_LIMIT_NS (3 * IM_SECOND) /* a start does not wait longer for files to be asked */

static_assert((int)RD_LAYOUT_AUTO == IM_LAYOUT_AUTO && (int)RD_LAYOUT_FOLDERS == IM_LAYOUT_FOLDERS &&
                  (int)RD_LAYOUT_ILSVRC == IM_LAYOUT_ILSVRC && (int)RD_LAYOUT_TINY == IM_LAYOUT_TINY &&
                  (int)RD_LAYOUT_SINGLE == IM_LAYOUT_SINGLE && (int)RD_LAYOUT_CSV == IM_LAYOUT_CSV &&
                  (int)RD_LAYOUT_SHARDS == IM_LAYOUT_SHARDS,
              "one list of layouts");

struct answer {
    struct rd_data data;
    struct rd_index index; /* of the data, or of the subset */
    void *subset;          /* the subset's bytes, or those of an evaluation's index */
    char path[PATH_MAX];   /* of the index file that a run should take; "" where there is none */
    char seek[PATH_MAX];   /* of the seek index, to be made yet or not; "": none */
    struct rd_seek_counts seeks;
    bool has_seeks; /* they were asked for */
    int is_subset;
    bool with_names;       /* JSON lists the classes */
    bool is_evaluated;     /* the index is that of an evaluation */
    bool is_part;          /* of a part of it (--shard) */
    int64_t changed_since; /* 0: not asked for */
    struct rd_changed changed;
    struct rd_empty empty;
    char *copies; /* rd_index_copies(); NULL: not asked for */
    double seconds;
};

static int wants_subset(const struct im_conf *conf)
{
    return conf->subset || conf->origin[IM_KEY_subset_size].source == IM_CONF_FLAG;
}

/* Gives the index of the cache another name, which takes no time; it is replaced and never written. False: it has to be copied. */
static bool link_index(const struct im_conf *conf, const struct answer *answer)
{
    char name[PATH_MAX + 64];
    struct rd_index_header header;
    bool is_linked = false;
    ssize_t n = -1;
    int fd;

    snprintf(name, sizeof name, "%s/.data.index.tmp-%d-0", conf->subset_out, (int)getpid());
    if (!*answer->data.path || linkat(AT_FDCWD, answer->data.path, AT_FDCWD, name, 0) < 0)
        return false;
    fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0)
        n = read(fd, &header, sizeof header);
    if (fd >= 0)
        close(fd);
    /* Another process may have replaced it since it was opened. */
    if (n == (ssize_t)sizeof header && memcmp(&header, answer->index.header, sizeof header) == 0)
        is_linked = rename(name, answer->path) == 0;
    unlink(name); /* also where both names were of the same file, which rename() leaves as they are */
    return is_linked;
}

/* Copies the index, or chooses the subset and writes it, into --subset-out. */
static int write_out(const struct im_conf *conf, struct answer *answer, struct im_text *text)
{
    size_t size = answer->index.bytes;
    const void *bytes = answer->index.header;
    int err = im_mkdirs(conf->subset_out, 0777, text);

    if (err < 0)
        return err;
    if ((size_t)snprintf(answer->path, sizeof answer->path, "%s/data.index", conf->subset_out) >=
        sizeof answer->path)
        return im_fail(text, -ENAMETOOLONG, "the path '%.700s' is too long", conf->subset_out);
    if (!answer->is_subset)
        return !answer->is_evaluated && link_index(conf, answer)
                   ? 0
                   : im_file_replace_any(answer->path, bytes, size, text);
    err = rd_subset_choose(&answer->data.index, (uint64_t)conf->subset_size, conf->seed, &answer->subset,
                           &size, text);
    if (err == 0)
        err = rd_subset_write(conf->subset_out, answer->subset, size, text);
    return err < 0 ? err : rd_index_attach(answer->subset, size, &answer->index, text);
}

static void add_changed(struct im_json *json, const struct answer *answer)
{
    struct im_json *names = im_json_array();

    im_json_set_int(json, "changed", (int64_t)answer->changed.changed);
    im_json_set_int(json, "changed_checked", (int64_t)answer->changed.checked);
    for (int i = 0; i < RD_CHANGED_NAMED && *answer->changed.name[i]; i++)
        im_json_append_str(names, answer->changed.name[i]);
    im_json_set(json, "changed_first", names);
}

static void add_classes(struct im_json *json, const struct rd_index *index)
{
    struct im_json *names = im_json_array();

    for (uint32_t class = 0; class < rd_index_class_count(index); class ++)
        im_json_append_str(names, rd_index_class(index, class));
    im_json_set(json, "class_names", names);
}

static void add_seeks(struct im_json *json, const struct rd_seek_counts *c)
{
    struct im_json *seek = im_json_object();

    im_json_set_int(seek, "made", (int64_t)c->made);
    im_json_set_int(seek, "present", (int64_t)c->present);
    im_json_set_int(seek, "without", (int64_t)c->without);
    im_json_set_int(seek, "failed", (int64_t)c->failed);
    im_json_set_int(seek, "made_bytes", (int64_t)c->made_bytes);
    im_json_set_real(seek, "seconds", c->seconds);
    im_json_set(json, "seek", seek);
}

static bool has_avif(const struct rd_index *index)
{
    for (int split = 0; split < IM_SPLITS; split++)
        for (uint64_t i = 0; i < rd_index_count(index, (enum im_split)split); i++) {
            const char *dot = strrchr(rd_index_name(index, (enum im_split)split, i), '.');

            if (dot && (strcasecmp(dot, ".avif") == 0 || strcasecmp(dot, ".avifs") == 0))
                return true;
        }
    return false;
}

static int index_print_json(const struct answer *answer)
{
    const struct rd_index *index = &answer->index;
    struct im_json *json = im_json_object();
    char hash[17];
    int err;

    snprintf(hash, sizeof hash, "%016" PRIx64, rd_index_hash(index));
    im_json_set_str(json, "schema", "imsuper.index/1");
    im_json_set_str(json, "layout", rd_layout_name(rd_index_layout(index)));
    im_json_set_str(json, "root", rd_index_root(index));
    im_json_set_bool(json, "has_avif", has_avif(index));
    im_json_set_bool(json, "links_lead_out", rd_index_leads_out(index));
    im_json_set_int(json, "train", (int64_t)rd_index_count(index, IM_TRAIN));
    im_json_set_int(json, "val", (int64_t)rd_index_count(index, IM_VAL));
    im_json_set_int(json, "classes", rd_index_class_count(index));
    if (rd_index_set_words(index) > 0)
        im_json_set_int(json, "label_sets", (int64_t)rd_index_label_count(index));
    im_json_set_str(json, "index", answer->path);
    im_json_set_str(json, "seek_index", answer->seek);
    if (answer->has_seeks)
        add_seeks(json, &answer->seeks);
    im_json_set_str(json, "hash", hash);
    im_json_set_real(json, "seconds", answer->seconds);
    im_json_set_bool(json, "cached", answer->data.cached != 0);
    im_json_set_bool(json, "subset", answer->is_subset != 0);
    im_json_set_str(json, "note", answer->data.note.s);
    rd_report_add_json(&(struct rd_report){index, &answer->empty, answer->data.table_why.s}, json);
    im_json_set(json, "warnings", rd_report_warnings(index, !answer->is_part));
    if (answer->with_names)
        add_classes(json, index);
    if (answer->changed_since > 0)
        add_changed(json, answer);
    if (answer->copies)
        im_json_set_str(json, "copies", answer->copies);
    err = im_json_print(json, stdout);
    im_json_free(&json);
    return err < 0 ? rd_cmd_fail(err, &(struct im_text){""}) : IM_EXIT_OK;
}

static int index_print_text(const struct answer *answer)
{
    static const char *const layouts[RD_LAYOUT_KINDS] = {[RD_LAYOUT_FOLDERS] = "class folders",
                                                         [RD_LAYOUT_ILSVRC] = "ILSVRC CLS-LOC",
                                                         [RD_LAYOUT_TINY] = "Tiny ImageNet",
                                                         [RD_LAYOUT_SINGLE] = "one folder of class folders",
                                                         [RD_LAYOUT_CSV] = "images with tables of classes",
                                                         [RD_LAYOUT_SHARDS] = "shards (tar)"};
    const struct rd_index *index = &answer->index;

    im_say(stdout, "data    %s", rd_index_root(index));
    im_say(stdout, "layout  %s", layouts[rd_index_layout(index)]);
    im_say(stdout, "train   %" PRIu64 " images of %u classes%s", rd_index_count(index, IM_TRAIN),
           rd_index_class_count(index), answer->is_subset ? " (a subset)" : "");
    if (rd_index_set_words(index) > 0)
        printf("labels  any number an image: %" PRIu64 " different sets of them\n",
               rd_index_label_count(index));
    printf("val     %" PRIu64 " images\n", rd_index_count(index, IM_VAL));
    im_say(stdout, "index   %s", *answer->path ? answer->path : "in memory only");
    if (answer->has_seeks) {
        im_say(stdout, "seek    %s", answer->seek);
        printf("        %" PRIu64 " images have an index, %" PRIu64
               " of them since now (%.1f s, %.1f MB); %" PRIu64 " need none, %" PRIu64 " cannot be read\n",
               answer->seeks.made + answer->seeks.present, answer->seeks.made, answer->seeks.seconds,
               (double)answer->seeks.made_bytes / 1e6, answer->seeks.without, answer->seeks.failed);
    }
    printf("hash    %016" PRIx64 "\n", rd_index_hash(index));
    im_say(stdout, "time    %.3f s%s", answer->seconds, answer->data.cached ? ", from the cache" : "");
    if (answer->changed_since > 0)
        printf("changed %" PRIu64 " of %" PRIu64 " images\n", answer->changed.changed,
               answer->changed.checked);
    for (char *line, *rest = answer->copies; rest && (line = strtok_r(rest, "\n", &rest));)
        im_say(stdout, "%s", line);
    rd_report_say(&(struct rd_report){index, &answer->empty, answer->data.table_why.s});
    if (*answer->data.note.s)
        im_say(stderr, "imsuper: %s", answer->data.note.s);
    return IM_EXIT_OK;
}

static void show(void *context, uint64_t files, uint64_t done, uint64_t folders)
{
    rd_line_show(context, "indexing: %" PRIu64 " images, %" PRIu64 " of %" PRIu64 " folders", files, done,
                 folders);
}

/* A part of an evaluation (--shard), and a line about the whole, by which parts are found to belong together. */
static int choose_part(const struct im_conf *conf, const struct rd_index *data, enum im_split split,
                       const struct im_class_names *outputs, struct rd_evaluated_part *ret,
                       struct im_text *text)
{
    const uint64_t images = rd_index_count(data, split);
    struct rd_index all = {0};
    struct im_text note;
    char path[PATH_MAX], line[120];
    int64_t number, count;
    void *bytes = NULL;
    size_t n = 0;
    int err;

    if (!im_part_of(conf->shard, &number, &count) || count > UINT32_MAX || conf->batch_size < 1)
        return im_fail(text, -EINVAL, "--shard %.64s: expected I/N, and --batch-size", conf->shard);
    err = rd_evaluated_part(images, (uint64_t)conf->batch_size, (uint32_t)number, (uint32_t)count, ret, text);
    if (err == 0)
        err = rd_evaluated_choose(data, split, NULL, outputs, &bytes, &n, &note, text);
    if (err == 0)
        err = rd_index_attach(bytes, n, &all, text);
    if (err == 0 &&
        snprintf(path, sizeof path, "%s/" IM_EVALUATED_PART_FILE, conf->subset_out) >= (int)sizeof path)
        err = -ENAMETOOLONG;
    if (err == 0) {
        snprintf(line, sizeof line,
                 "{\"hash\":\"%016" PRIx64 "\",\"first\":%" PRIu64 ",\"images\":%" PRIu64 "}\n",
                 rd_index_hash(&all), ret->first, images);
        err = im_file_replace(path, line, strlen(line), text);
    }
    free(bytes);
    return err;
}

/* The index of an evaluation in place of the data's. */
static int choose_evaluated(const struct im_conf *conf, struct answer *answer, struct im_text *text)
{
    const struct rd_index *data = &answer->data.index;
    const bool all =
        conf->split == IM_SPLIT_CHOICE_AUTO && !*conf->image_list && rd_index_count(data, IM_VAL) == 0;
    const enum im_split split = all || conf->split == IM_SPLIT_CHOICE_TRAIN ? IM_TRAIN : IM_VAL;
    struct im_class_names outputs = {0};
    struct rd_evaluated_part part;
    struct im_text note = {""};
    char *paths = NULL;
    size_t n = 0;
    int err = *conf->class_names ? im_class_names_read(conf->class_names, &outputs, text) : 0;

    if (err == 0 && *conf->image_list) {
        err = im_read_file(conf->image_list, (size_t)1 << 32, &paths, &n, text);
        if (err == 0)
            err = rd_evaluated_list(paths, n, &outputs, conf->multi_label, &answer->subset, &n, text);
    } else if (err == 0 && rd_index_count(data, split) == 0) {
        err = im_fail(text, -EBADMSG, "%.300s has no validation images; --split train takes the others",
                      conf->data_dir);
    } else if (err == 0) {
        if (*conf->shard)
            err = choose_part(conf, data, split, &outputs, &part, text);
        if (err == 0)
            err = rd_evaluated_choose(data, split, *conf->shard ? &part : NULL, &outputs, &answer->subset, &n,
                                      &note, text);
    }
    if (err == 0)
        err = rd_index_attach(answer->subset, n, &answer->index, text);
    if (err == 0)
        err = rd_evaluated_names(&answer->index, conf->subset_out, text);
    if (note.s[0])
        im_say(stderr, "imsuper: %s", note.s);
    im_class_names_fini(&outputs);
    free(paths);
    return err;
}

static int write_sets(const struct rd_index *index, const char *folder, struct im_text *text)
{
    const struct im_label_sets sets = {.classes = rd_index_class_count(index),
                                       .count = (uint32_t)rd_index_label_count(index),
                                       .words = rd_index_set_words(index),
                                       .bits = index->sets};

    return sets.words > 0 ? im_label_sets_write(&sets, folder, text) : 0;
}

/* Makes the seek index of what was indexed. As rd_seek_make(). */
static int make_seek(const struct im_conf *conf, struct answer *answer, bool is_shown, struct im_text *text)
{
    if (!*answer->seek)
        return im_fail(text, -ENOENT,
                       "there is no folder for a seek index: HOME and XDG_CACHE_HOME are not set; "
                       "--seek-index DIR names one");
    if (strcmp(conf->seek_index, "auto") == 0 && im_seek_is_remote(answer->seek))
        return im_fail(text, -EREMOTE,
                       "'%.700s' would be on a network file system; --seek-index DIR names a folder",
                       answer->seek);
    answer->has_seeks = true;
    return rd_seek_make(conf, &answer->index, answer->seek, is_shown, &answer->seeks, text);
}

static int make_answer(const struct im_conf *conf, struct answer *answer, struct im_text *text)
{
    struct rd_line line = {.is_shown = isatty(STDERR_FILENO) && !conf->quiet && !conf->plain};
    struct rd_progress progress = {show, &line};
    struct rd_source source = rd_cmd_source(conf);
    im_ns start = im_now();
    int err;

    source.may_be_remote = true;
    err = *conf->image_list ? 0 : rd_data_open(&source, &progress, &answer->data, text);

    rd_line_clear(&line);
    if (err < 0)
        return err;
    answer->index = answer->data.index;
    if (answer->is_evaluated)
        err = choose_evaluated(conf, answer, text);
    if (err < 0)
        return err;
    answer->is_part = answer->is_evaluated && *conf->shard;
    answer->is_subset = !answer->is_evaluated && wants_subset(conf);
    memcpy(answer->path, answer->data.path, sizeof answer->path);
    err = answer->is_evaluated ? 0
                               : rd_cmd_seek_path(conf, rd_index_root(&answer->data.index), answer->seek,
                                                  sizeof answer->seek, text);
    if (err == 0 && *conf->subset_out)
        err = write_out(conf, answer, text);
    if (err == 0)
        err = rd_index_empty(&answer->index, EMPTY_LIMIT_NS, &answer->empty);
    if (err == 0 && *conf->subset_out)
        err =
            rd_report_write(&(struct rd_report){&answer->index, &answer->empty, ""}, conf->subset_out, text);
    if (err == 0 && *conf->subset_out)
        err = rd_report_classes(&answer->index, conf->subset_out, text);
    if (err == 0 && *conf->subset_out)
        err = write_sets(&answer->index, conf->subset_out, text);
    if (err == 0 && *conf->subset_out && *conf->class_weights)
        err = rd_class_weights_write(&answer->index, conf->class_weights, conf->subset_out, text);
    answer->changed_since = conf->changed_since;
    if (err == 0 && conf->changed_since > 0)
        rd_index_changed(&answer->index, conf->changed_since, CHANGED_LIMIT_NS, &answer->changed);
    if (err == 0 && conf->copies) {
        answer->copies = rd_index_copies(&answer->index);
        err = answer->copies ? 0 : -ENOMEM;
    }
    if (err == 0 && conf->seek)
        err = make_seek(conf, answer, line.is_shown, text);
    answer->seconds = (double)(im_now() - start) / (double)IM_SECOND;
    return err;
}

static int index_folder(struct im_conf *conf, bool with_names, bool is_evaluated)
{
    struct im_text text = {""};
    struct answer *answer = NULL;
    int err, status;

    if (wants_subset(conf) && !*conf->subset_out)
        return im_command_fail(
            im_fail(&text, -EINVAL, "--subset-out is required with a subset (try --subset-out DIR)"), &text);
    if (*conf->class_weights && !*conf->subset_out)
        return im_command_fail(im_fail(&text, -EINVAL, "--class-weights has no effect without --subset-out"),
                               &text);
    if (conf->seek && strcmp(conf->seek_index, "off") == 0)
        return im_command_fail(
            im_fail(&text, -EINVAL,
                    "--seek makes an index, which --seek-index off turns off: leave one of them away"),
            &text);
    answer = calloc(1, sizeof *answer);
    if (!answer)
        return rd_cmd_fail(-ENOMEM, &text);
    answer->with_names = with_names;
    answer->is_evaluated = is_evaluated;
    err = make_answer(conf, answer, &text);
    if (err > 0)
        status = err; /* imsuper-augmenter has said why */
    else
        status = err < 0      ? rd_cmd_fail(err, &text)
                 : conf->json ? index_print_json(answer)
                              : index_print_text(answer);
    rd_data_close(&answer->data);
    rd_empty_fini(&answer->empty);
    free(answer->copies);
    free(answer->subset);
    free(answer);
    return status;
}

int rd_cmd_index(struct im_conf *conf)
{
    return index_folder(conf, true, false);
}

int rd_cmd_measure(struct im_conf *conf)
{
    return index_folder(conf, false, false);
}

int rd_cmd_evaluated(struct im_conf *conf)
{
    return index_folder(conf, false, true);
}
