/* imsuper data organise SRC DST: class folders from any layout. */
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

enum { SHOWN_MAX = 5 };

static const struct {
    const char *doing, *done;
} words[RD_HOWS] = {
    [RD_HOW_COPY] = {"copying", "copied"},
    [RD_HOW_HARD_LINK] = {"linking", "hard links"},
    [RD_HOW_SYMLINK] = {"linking", "symbolic links"},
};

static void show(void *context, uint64_t done)
{
    const struct rd_line *line = context;

    rd_line_show(line, "%s: %" PRIu64 " of %" PRIu64 " images", line->what, done, line->count);
}

static int print_undone(const struct im_conf *conf, const struct rd_undone *undone)
{
    struct im_json *j = im_json_object();
    int err;

    im_json_set_str(j, "schema", "imsuper.undone/1");
    im_json_set_str(j, "file", conf->undo);
    im_json_set_int(j, "removed", (int64_t)undone->removed);
    im_json_set_int(j, "kept", (int64_t)undone->kept);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

static int undo(const struct im_conf *conf)
{
    struct im_text text = {""};
    struct rd_undone undone;
    int err = rd_organise_undo(conf->undo, &undone, &text);

    if (err < 0)
        return rd_cmd_fail(err, &text);
    if (conf->json && (err = print_undone(conf, &undone)) < 0)
        return im_command_fail(err, &text);
    if (!conf->json && !conf->quiet)
        im_say(stdout, "removed %" PRIu64 " files%s", undone.removed,
               undone.kept ? "" : ", and folders that are empty now");
    if (undone.kept == 0)
        return IM_EXIT_OK;
    im_say(stderr, "imsuper: %" PRIu64 " files stay, the first of them: %s", undone.kept, undone.why);
    return IM_EXIT_FAILED;
}

/* What of the plan a user would not expect. */
static void say_changes(const struct rd_plan *plan)
{
    uint32_t shown = 0;

    for (uint32_t i = 0; i < rd_index_class_count(plan->index) && plan->renamed_classes > 0; i++) {
        const char *class = rd_index_class(plan->index, i), *folder = plan->strings.bytes + plan->folders[i];

        if (strcmp(class, folder) != 0 && shown++ < SHOWN_MAX)
            im_say(stderr, "imsuper: warning: the class '%s' becomes the folder '%s'", class, folder);
    }
    if (shown > SHOWN_MAX)
        im_say(stderr, "imsuper: warning: and %u more", shown - SHOWN_MAX);
    if (plan->reordered)
        im_say(stderr, "imsuper: warning: folders are in the order of their names, so that classes get other "
                       "numbers than now (0, 1, 10, 2): weights go by name (--init-from)");
    if (plan->renamed_count > 0)
        im_say(stderr,
               "imsuper: %" PRIu64 " images have the name of another one of their class, and get longer ones",
               plan->renamed_count);
}

static void say_plan(const struct rd_plan *plan)
{
    struct im_shown from, to;
    char source[PATH_MAX];
    uint64_t shown[IM_SPLITS] = {0};

    for (uint64_t i = 0; i < plan->count; i++) {
        const struct rd_plan_file *file = &plan->files[i];

        if (++shown[file->split] > SHOWN_MAX ||
            rd_index_relative(plan->index, (enum im_split)file->split, file->id, source, sizeof source) < 0)
            continue;
        printf("  %s  <-  %s\n", im_shown(&to, rd_plan_path(plan, i)), im_shown(&from, source));
    }
}

static void say_done(const struct im_conf *conf, const struct rd_organise *organise, double seconds)
{
    const struct rd_index *index = organise->plan->index;

    if (conf->dry_run)
        say_plan(organise->plan);
    if (conf->quiet)
        return;
    im_say(stdout, "%s %" PRIu64 " training and %" PRIu64 " validation images of %u classes (%s): %s",
           conf->dry_run ? "would organise" : "organised", rd_index_count(index, IM_TRAIN),
           rd_index_count(index, IM_VAL), rd_index_class_count(index), words[organise->how].done,
           organise->folder);
    if (organise->already > 0)
        im_say(stdout, "%" PRIu64 " of them were there before", organise->already);
    if (!conf->dry_run)
        im_say(stdout, "%.1f s; to take it back: imsuper data organise --undo %s/" RD_UNDO_FILE, seconds,
               organise->folder);
}

static int print_json(const struct im_conf *conf, const struct rd_organise *organise, double seconds)
{
    static const char *const hows[RD_HOWS] = {
        [RD_HOW_COPY] = "copy", [RD_HOW_HARD_LINK] = "hard-link", [RD_HOW_SYMLINK] = "symlink"};
    const struct rd_index *index = organise->plan->index;
    struct im_json *j = im_json_object();
    int err;

    im_json_set_str(j, "schema", "imsuper.organised/1");
    im_json_set_str(j, "folder", organise->folder);
    im_json_set_str(j, "how", hows[organise->how]);
    im_json_set_bool(j, "dry_run", conf->dry_run);
    im_json_set_int(j, "train", (int64_t)rd_index_count(index, IM_TRAIN));
    im_json_set_int(j, "val", (int64_t)rd_index_count(index, IM_VAL));
    im_json_set_int(j, "classes", rd_index_class_count(index));
    im_json_set_int(j, "already", (int64_t)organise->already);
    im_json_set_real(j, "seconds", seconds);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int rd_organise_index(const struct im_conf *conf, const struct rd_index *index, enum rd_how how,
                      struct im_text *text)
{
    struct rd_line line = {.is_shown = isatty(STDERR_FILENO) && !conf->quiet && !conf->plain,
                           .what = words[how].doing};
    struct rd_plan plan = {.count = 0};
    char folder[PATH_MAX];
    struct rd_organise organise = {.plan = &plan,
                                   .folder = folder,
                                   .how = how,
                                   .dry_run = conf->dry_run,
                                   .tick = show,
                                   .context = &line};
    const im_ns start = im_now();
    double seconds;
    int err = rd_organise_folder(rd_index_root(index), conf->out, folder, text);

    if (err == 0)
        err = rd_plan_make(index, &plan, text);
    line.count = plan.count;
    if (err == 0)
        say_changes(&plan);
    if (err == 0)
        err = rd_organise(&organise, text);
    rd_line_clear(&line);
    seconds = (double)(im_now() - start) / (double)IM_SECOND;
    if (err == 0 && conf->json)
        err = print_json(conf, &organise, seconds);
    else if (err == 0)
        say_done(conf, &organise, seconds);
    rd_plan_fini(&plan);
    return err;
}

static int organise(const struct im_conf *conf, enum rd_how how)
{
    struct im_text text = {""};
    struct rd_source source = rd_cmd_source(conf);
    struct rd_empty empty = {.checked = UINT64_MAX};
    struct rd_data data;
    int err = rd_data_open(&source, NULL, &data, &text);

    if (err < 0)
        return rd_cmd_fail(err, &text);
    rd_report_say(&(struct rd_report){&data.index, &empty, data.table_why.s});
    if (rd_index_has_containers(&data.index) && how != RD_HOW_COPY)
        err = im_fail(&text, -EINVAL,
                      "there are no links to parts of shards: imsuper data unpack SRC DST copies them");
    else
        err = rd_organise_index(conf, &data.index, how, &text);
    rd_data_close(&data);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}

/* By a word or a flag, not by the environment. */
static bool is_given(const struct im_conf *conf, int key)
{
    return conf->origin[key].source == IM_CONF_FLAG || conf->origin[key].source == IM_CONF_CODE;
}

int rd_cmd_organise(struct im_conf *conf)
{
    const enum rd_how how = conf->organise_copy      ? RD_HOW_COPY
                            : conf->organise_symlink ? RD_HOW_SYMLINK
                                                     : RD_HOW_HARD_LINK;
    struct im_text text = {""};
    int err = 0;

    if (*conf->undo && (is_given(conf, IM_KEY_data_dir) || is_given(conf, IM_KEY_out)))
        err = im_fail(&text, -EINVAL, "--undo FILE takes no other words: the file lists what is taken back");
    else if (*conf->undo)
        return undo(conf);
    else if (!*conf->data_dir || !*conf->out)
        err = im_fail(&text, -EINVAL, "two folders are needed: imsuper data organise SRC DST");
    else if (conf->organise_copy + conf->organise_symlink + conf->organise_hard_link > 1)
        err = im_fail(&text, -EINVAL, "one of --copy, --hard-link and --symlink can be taken, not several");
    if (err < 0) {
        im_command_fail(err, &text);
        return IM_EXIT_USAGE;
    }
    return organise(conf, how);
}
