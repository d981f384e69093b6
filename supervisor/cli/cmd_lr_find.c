/* `imsuper lr-find`: a learning-rate range test through the whole pipeline, in a run directory of its own
 * that goes away with it, so that no run's state can be touched.
 *
 * The trainer takes the rates and ends the test (ipc/config/lr_range.h); what is left is to read its lines, to suggest
 * rates, and to show them: a table, a JSON file, a picture. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/base/output.h"
#include "ipc/base/printable.h"
#include "ipc/child.h"
#include "ipc/config/lr_range.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/program.h"
#include "supervisor/cli/start.h"
#include "supervisor/cli/temporary.h"
#include "supervisor/report/plot.h"
#include "supervisor/report/rundir.h"

#define LINES_BYTES_MAX ((size_t)1 << 28)
#define RUN_NAME "lr-find"
#define STOPPED_NS (5 * IM_SECOND) /* to say so */
#define DEFAULT_FOLDER                                                                                       \
    "lr_finder_plots" /* and the files' names: as scripts around torch-lr-finder write them */

struct lr_range {
    size_t count; /* of each array below; its room is num-iter */
    double *lr, *loss, *finder, *fastai;
    bool diverged;
    struct im_lr_range_suggestion at;
    bool has_suggestion;
    struct im_text why_not;
};

static int64_t images_per_step(const struct im_conf *conf)
{
    return conf->batch_size * conf->ranks * conf->accumulate;
}

/* A folder of training images may stand for the data set: nothing else is used. */
static void leave_train_folder(struct im_conf *conf)
{
    char inside[PATH_MAX], *path = conf->data_dir;
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n < 6 || strncmp(path + n - 6, "/train", 6) != 0 || conf->layout != IM_LAYOUT_AUTO ||
        snprintf(inside, sizeof inside, "%.*s/train", (int)n, path) >= (int)sizeof inside ||
        access(inside, F_OK) == 0)
        return;
    path[n == 6 ? 1 : n - 6] = '\0';
}

/* What a range test needs, in place of what a run would do. */
static int prepare(struct im_conf *conf, struct sv_temporary *folder, struct im_text *text)
{
    struct im_conf_resize resize;
    struct im_conf_sizes first;
    int err = im_conf_resize(conf, &resize, text);

    if (err < 0)
        return err;
    leave_train_folder(conf);
    first = im_conf_resize_at(&resize, 0);
    conf->image_size = first.image_size;
    conf->batch_size = first.batch_size;
    conf->resize_schedule[0] = '\0';
    conf->schedule = IM_SCHEDULE_CONSTANT;
    conf->warmup_epochs = 0;
    conf->snapshot_interval = 0; /* a test whose trainer dies begins anew */
    conf->snapshot_steps = 0;
    conf->lr_range_test = true;
    sv_hold_stop_signals();
    err = sv_temporary_make(RUN_NAME, folder, text);
    if (err < 0)
        return err;
    snprintf(conf->workspace, sizeof conf->workspace, "%s", folder->path);
    snprintf(conf->run_name, sizeof conf->run_name, RUN_NAME);
    return 0;
}

static void take_line(struct lr_range *s, struct im_lr_range_smooth *smooth, const struct im_json *j,
                      size_t room)
{
    double loss = im_json_real_or(j, "loss", (double)NAN), lr = im_json_real_or(j, "lr", 0);

    if (!im_json_get(j, "lr") || strcmp(im_json_str_or(j, "split", ""), "train") != 0 || s->diverged ||
        s->count == room)
        return;
    s->diverged = im_lr_range_add(smooth, loss);
    if (!isfinite(loss))
        return;
    s->lr[s->count] = lr;
    s->loss[s->count] = loss;
    s->finder[s->count] = smooth->finder;
    s->fastai[s->count++] = smooth->fastai;
}

/* The steps that the trainer has written to metrics.jsonl. */
static int read_losses(const struct im_conf *conf, struct lr_range *s, struct im_text *text)
{
    char path[PATH_MAX], *bytes, *rest = NULL;
    struct im_lr_range_smooth smooth = {0};
    struct im_lr_range_curve curve;
    size_t n, room = (size_t)conf->num_iter;
    int err;

    s->lr = calloc(4 * room, sizeof *s->lr);
    if (!s->lr)
        return -ENOMEM;
    s->loss = s->lr + room;
    s->finder = s->loss + room;
    s->fastai = s->finder + room;
    snprintf(path, sizeof path, "%s/metrics.jsonl", conf->run_dir);
    err = im_read_file(path, LINES_BYTES_MAX, &bytes, &n, text);
    if (err < 0)
        return err;
    for (char *line = strtok_r(bytes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        struct im_json *j = NULL;

        if (im_json_parse(line, strlen(line), &j, NULL) == 0)
            take_line(s, &smooth, j, room);
        im_json_free(&j);
    }
    free(bytes);
    curve = (struct im_lr_range_curve){s->loss, s->finder, s->fastai, s->count, room};
    err = im_lr_range_suggest(&curve, &s->at, &s->why_not);
    s->has_suggestion = err == 0;
    return err == -EINVAL ? 0 : err;
}

static struct im_json *numbers(const double *v, size_t n)
{
    struct im_json *list = im_json_array();

    for (size_t i = 0; i < n; i++)
        im_json_append_real(list, v[i]);
    return list;
}

/* What scripts around torch-lr-finder write for OneCycle: a tenth of the rate where its loss is lowest. */
static void add_onecycle(const struct im_conf *conf, const struct lr_range *s, struct im_json *j)
{
    const double none = (double)NAN, at = s->has_suggestion ? s->lr[s->at.lowest] : none;

    im_json_set_real(j, "suggested_max_lr", s->has_suggestion ? fmax(at / 10, conf->start_lr) : none);
    im_json_set_real(j, "min_loss", s->has_suggestion ? s->finder[s->at.lowest] : none);
    im_json_set_real(j, "min_loss_lr", at);
    im_json_set_real(j, "start_lr", conf->start_lr);
    im_json_set_real(j, "end_lr", conf->end_lr);
    im_json_set_int(j, "num_iter", conf->num_iter);
}

static struct im_json *to_json(const struct im_conf *conf, const struct lr_range *s)
{
    struct im_json *j = im_json_object(), *suggestion = im_json_object();

    im_json_set_str(j, "schema", "imsuper.lr-find/1");
    im_json_set_str(j, "model", im_conf_choice(IM_KEY_model, conf->model));
    im_json_set_int(j, "images_per_step", images_per_step(conf));
    im_json_set_int(j, "image_size", conf->image_size);
    im_json_set_int(j, "steps", conf->num_iter);
    im_json_set_int(j, "taken", (int64_t)s->count);
    im_json_set_bool(j, "diverged", s->diverged);
    if (s->has_suggestion) {
        im_json_set_real(suggestion, "steepest", s->lr[s->at.steepest]);
        im_json_set_real(suggestion, "valley", s->lr[s->at.valley]);
        im_json_set_real(suggestion, "min_div_10", s->lr[s->at.minimum] / 10);
    } else {
        im_json_set_str(j, "no_suggestion", s->why_not.s);
    }
    add_onecycle(conf, s, j);
    im_json_set(j, "suggestion", suggestion);
    im_json_set(j, "lr", numbers(s->lr, s->count));
    im_json_set(j, "loss_raw", numbers(s->loss, s->count));
    im_json_set(j, "loss_smooth_torch_lr_finder", numbers(s->finder, s->count));
    im_json_set(j, "loss_smooth_fastai", numbers(s->fastai, s->count));
    return j;
}

static int write_json(const struct im_conf *conf, const struct lr_range *s, const char *path,
                      struct im_text *text)
{
    struct im_json *j = to_json(conf, s);
    char *dumped = im_json_dump_indented(j);
    int err = dumped ? im_output_write(path, dumped, strlen(dumped), text) : -ENOMEM;

    if (err == 0 && conf->json)
        fputs(dumped, stdout);
    free(dumped);
    im_json_free(&j);
    return err;
}

static int write_plot(const struct im_conf *conf, const struct lr_range *s, const char *path,
                      struct im_text *text)
{
    const struct sv_plot_line lines[] = {
        {"loss", s->lr, s->loss, s->count, SV_PLOT_GREY, .faint = true},
        {"torch-lr-finder's smoothed loss", s->lr, s->finder, s->count, SV_PLOT_ORANGE, .dots = false},
        {"fastai's", s->lr, s->fastai, s->count, SV_PLOT_BLUE, .dots = false},
    };
    struct sv_plot_mark marks[3] = {{0}};
    char title[128];
    double top = 0;

    if (s->has_suggestion) {
        marks[0] = (struct sv_plot_mark){"min/10", s->lr[s->at.minimum] / 10, SV_PLOT_GREEN};
        marks[1] = (struct sv_plot_mark){"steepest", s->lr[s->at.steepest], SV_PLOT_ORANGE};
        marks[2] = (struct sv_plot_mark){"valley", s->lr[s->at.valley], SV_PLOT_BLUE};
    }
    for (size_t i = 0; i < s->count && i < (size_t)conf->num_iter / 2; i++)
        top = s->loss[i] > top ? s->loss[i] : top;
    snprintf(title, sizeof title, "%s, %lld steps of %lld images of %lld px",
             im_conf_choice(IM_KEY_model, conf->model), (long long)s->count, (long long)images_per_step(conf),
             (long long)conf->image_size);
    return sv_plot_png(&(struct sv_plot){.title = title,
                                         .x_label = "learning rate",
                                         .y_label = "training loss",
                                         .line = lines,
                                         .lines = 3,
                                         .mark = marks,
                                         .marks = s->has_suggestion ? 3 : 0,
                                         .log_x = true,
                                         .y_most = 1.3 * top},
                       path, text);
}

static void print_row(const char *name, double lr, double images, const char *what)
{
    im_say(stdout, "%-9s  %9.3g   %9.3g   %s", name, lr, lr * 256 / images, what);
}

static void print_table(const struct im_conf *conf, const struct lr_range *s, const char *png,
                        const char *json)
{
    double images = (double)images_per_step(conf);

    im_say(stdout, "%zu of %lld steps of %g images, %.3g to %.3g%s", s->count, (long long)conf->num_iter,
           images, s->count ? s->lr[0] : 0, s->count ? s->lr[s->count - 1] : 0,
           s->diverged ? ", where the loss diverged" : "");
    if (s->has_suggestion) {
        im_say(stdout, "%-9s  %9s   %9s", "", "lr", "per 256");
        print_row("steepest", s->lr[s->at.steepest], images, "steepest fall of the loss (torch-lr-finder)");
        print_row("valley", s->lr[s->at.valley], images, "half way down the longest valley (fastai)");
        print_row("min/10", s->lr[s->at.minimum] / 10, images,
                  "a tenth of where the loss is lowest (fastai)");
        if (!s->diverged && s->at.usable == s->count && s->at.minimum + s->count / 20 + 6 > s->count)
            im_say(stdout,
                   "note       the loss still fell at the highest rates: a higher --end-lr shows more");
        im_say(stdout, "next       imsuper start --lr %.2g", s->lr[s->at.valley]);
    } else {
        im_say(stdout, "%s", s->why_not.s);
    }
    im_say(stdout, "files      %s, %s", png, json);
}

struct lr_files {
    char png[PATH_MAX], json[PATH_MAX];
};

/* --output NAME.png: that file, and NAME.json beside it. Anything else is a folder for files with the time in
 * their names, so that no test replaces another's. */
static int name_files(const struct im_conf *conf, struct lr_files *ret, struct im_text *text)
{
    const char *output = conf->output[0] ? conf->output : DEFAULT_FOLDER;
    const int stem = (int)strlen(output) - 4;
    time_t now = time(NULL);
    char stamp[32] = "";
    struct tm tm;
    int err, a, b;

    if (stem > 0 && strcmp(output + stem, ".png") == 0) {
        a = snprintf(ret->png, sizeof ret->png, "%s", output);
        b = snprintf(ret->json, sizeof ret->json, "%.*s.json", stem, output);
        err = im_output_check(ret->png, text);
        if (err == 0)
            err = im_output_check(ret->json, text);
        if (err < 0)
            return err;
    } else {
        if (localtime_r(&now, &tm))
            strftime(stamp, sizeof stamp, "%Y%m%d_%H%M%S", &tm);
        err = conf->dry_run ? 0 : im_mkdirs(output, 0777, text);
        if (err < 0)
            return err;
        a = snprintf(ret->png, sizeof ret->png, "%s/lr_finder_%s_start%g_end%g_iter%" PRId64 ".png", output,
                     stamp, conf->start_lr, conf->end_lr, conf->num_iter);
        b = snprintf(ret->json, sizeof ret->json, "%s/lr_suggestion_%s.json", output, stamp);
    }
    if (a >= (int)sizeof ret->png || b >= (int)sizeof ret->json)
        return im_fail(text, -ENAMETOOLONG, "--output: the path %.200s... is too long", output);
    return 0;
}

/* The run's folder is removed once its lines are read: then nothing is left but files whose writing cleans up, and to
 * print, and signals act again. */
static int report(const struct im_conf *conf, const struct lr_files *files, struct sv_temporary *folder,
                  struct im_text *text)
{
    struct lr_range s = {0};
    int err = read_losses(conf, &s, text);

    sv_temporary_drop(folder);
    sv_release_stop_signals();
    if (err == 0)
        err = write_json(conf, &s, files->json, text);
    if (err == 0)
        err = write_plot(conf, &s, files->png, text);
    if (err == 0 && !conf->json)
        print_table(conf, &s, files->png, files->json);
    free(s.lr);
    return err;
}

int sv_cmd_lr_find(struct im_conf *conf)
{
    struct im_text text = {""};
    struct sv_temporary folder = {.lock = 0};
    struct lr_files files;
    int status;

    if (!sv_start_is_ours(conf, &status))
        return status;
    if (name_files(conf, &files, &text) < 0 || prepare(conf, &folder, &text) < 0)
        return sv_print_failure(&text, IM_EXIT_FAILED);
    status = sv_start_run(conf);
    if (status == IM_EXIT_OK && !conf->dry_run && report(conf, &files, &folder, &text) < 0)
        status = sv_print_failure(&text, IM_EXIT_FAILED);
    sv_temporary_drop(&folder);
    if (status != IM_EXIT_OK && !conf->output[0])
        rmdir(DEFAULT_FOLDER); /* ours, if nothing is in it */
    if (status == IM_EXIT_RESUMABLE) {
        sv_leave_within(IM_EXIT_FORCED, STOPPED_NS);
        fprintf(stderr, "imsuper: stopped; an LR range test cannot be continued\n");
        status = IM_EXIT_FORCED;
    }
    return status;
}
