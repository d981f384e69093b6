#include "supervisor/cli/evaluation.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "ipc/base/file.h"
#include "ipc/base/printable.h"
#include "ipc/config/class_names.h"
#include "ipc/config/command_line.h"
#include "supervisor/cli/program.h"
#include "supervisor/cli/start.h"
#include "supervisor/cli/temporary.h"
#include "supervisor/limits.h"

#define RUN_NAME "eval"
#define STOPPED_NS (5 * IM_SECOND) /* to remove the folder and say so */
#define ANSWER_BYTES ((size_t)16 << 20)
#define LINES_BYTES_MAX ((size_t)1 << 24)

enum { SIDE_IMAGENET = 224, SIDE_CIFAR = 32, TOPS_MAX = 1000 };

static bool is_set(const struct im_conf *conf, enum im_conf_key_id key)
{
    return conf->origin[key].source != IM_CONF_DEFAULT;
}

struct sizes {
    int64_t image, resize, batch; /* 0: not known */
};

/* ---- which weights ---- */

static bool is_run(const char *folder)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/config.yaml", folder) < (int)sizeof path &&
           access(path, F_OK) == 0;
}

/* The run that a file in its checkpoints/ is of; "": none. */
static void find_run_of(const char *file, char run_dir[PATH_MAX])
{
    char *slash;

    snprintf(run_dir, PATH_MAX, "%s", file);
    for (int up = 0; up < 2; up++) {
        slash = strrchr(run_dir, '/');
        if (slash)
            *slash = 0;
    }
    if (!is_run(run_dir))
        *run_dir = 0;
}

/* The file in a run's checkpoints/ that --weights names. */
static int find_in_run(const struct im_conf *conf, const char *run_dir, struct sv_weights *ret,
                       struct im_text *text)
{
    static const char *const names[] = {[IM_WEIGHTS_BEST] = "best",
                                        [IM_WEIGHTS_LAST] = "last",
                                        [IM_WEIGHTS_BEST_EMA] = "best.ema",
                                        [IM_WEIGHTS_EMA] = "last.ema"};
    const char *name = names[conf->weights];

    if (!realpath(run_dir, ret->run_dir))
        return im_fail(text, -errno, "cannot use %.300s: %s", run_dir, strerror(errno));
    if (snprintf(ret->path, sizeof ret->path, "%s/checkpoints/%s.safetensors", ret->run_dir, name) >=
        (int)sizeof ret->path)
        return im_fail(text, -ENAMETOOLONG, "%.300s: the path is too long", run_dir);
    if (access(ret->path, F_OK) == 0)
        return 0;
    if (conf->weights == IM_WEIGHTS_BEST &&
        !is_set(conf, IM_KEY_weights)) { /* of a run that did not validate yet */
        snprintf(ret->path + strlen(ret->path) - strlen("best.safetensors"), sizeof "last.safetensors",
                 "last.safetensors");
        if (access(ret->path, F_OK) == 0)
            return 0;
    }
    return im_fail(text, -ENOENT, "the run in %.300s has no weights '%s' (%s)%s", ret->run_dir,
                   im_conf_choice(IM_KEY_weights, conf->weights), name,
                   strstr(name, "ema") ? "; it needs --ema to have averages" : "");
}

static int find_weights(const struct im_conf *conf, struct sv_weights *ret, struct im_text *text)
{
    char named[PATH_MAX];
    struct stat st;
    const char *from = conf->weights_from;
    const bool exists = stat(from, &st) == 0;

    if (exists && S_ISDIR(st.st_mode) && is_run(from))
        return find_in_run(conf, from, ret, text);
    if (exists && !S_ISDIR(st.st_mode)) {
        int fd = im_open_regular(from, &st, text);

        if (fd < 0)
            return fd;
        close(fd);
        if (is_set(conf, IM_KEY_weights))
            return im_fail(text, -EINVAL,
                           "--weights chooses among the weights of a run, and %.300s is a file", from);
        if (!realpath(from, ret->path))
            return im_fail(text, -errno, "cannot use %.300s: %s", from, strerror(errno));
        find_run_of(ret->path, ret->run_dir);
        return 0;
    }
    if (!strchr(from, '/') &&
        snprintf(named, sizeof named, "%s/%s", conf->workspace, from) < (int)sizeof named && is_run(named))
        return find_in_run(conf, named, ret, text);
    if (exists)
        return im_fail(text, -EINVAL, "%.300s is a folder, and holds no run (there is no config.yaml in it)",
                       from);
    return im_fail(
        text, -ENOENT,
        "%.300s is neither a file of weights nor a run in %.300s; `imsuper runs --workspace DIR` lists "
        "the runs there",
        from, conf->workspace);
}

/* ---- what is known of them ---- */

static int ask_trainer(const struct im_conf *conf, struct sv_weights *w, struct im_text *text)
{
    static const enum im_conf_key_id keys[] = {IM_KEY_model, IM_KEY_stem, IM_KEY_head, IM_KEY_blurpool};
    char program[PATH_MAX], *answer = malloc(ANSWER_BYTES);
    struct im_command_line line;
    int err = -ENOMEM;

    sv_program_find("imsuper-trainer", program, sizeof program);
    im_command_line_begin(&line, program);
    im_command_line_word(&line, "weights");
    im_command_line_value(&line, IM_KEY_init_from, w->path);
    for (size_t i = 0; i < IM_COUNT(keys); i++)
        if (is_set(conf, keys[i]))
            im_command_line_flag(&line, conf, keys[i]);
    if (answer && line.words)
        err = sv_program_read(line.words, 0, answer, ANSWER_BYTES);
    im_command_line_free(&line);
    if (err < 0)
        im_fail(text, err, "cannot run %s: %s", program, strerror(-err));
    else if (err == 0)
        err = im_json_parse(answer, strlen(answer), &w->info, text);
    free(answer);
    return err;
}

/* The weights say whether an image has one label or several; a flag that says otherwise would measure something else. */
static int check_labels(const struct im_conf *conf, const struct sv_weights *w, struct im_text *text)
{
    const char *said = im_json_str_or(w->info, im_conf_name(IM_KEY_multi_label), "");
    bool ours = false;

    if (im_json_as_bool(im_json_get(w->info, "ours"), &ours) < 0 || !ours || !*said ||
        (strcmp(said, "true") == 0) == conf->multi_label)
        return 0;
    return im_fail(text, -EINVAL,
                   conf->multi_label
                       ? "%.300s was trained on images with one label each (softmax): leave out --multi-label"
                       : "%.300s was trained with --multi-label: leave out --no-multi-label",
                   w->path);
}

static int64_t number_of(const struct im_json *info, enum im_conf_key_id key)
{
    return strtoll(im_json_str_or(info, im_conf_name(key), "0"), NULL, 10);
}

/* Sizes go to `sizes` where no run has said them. */
static void take_info(struct im_conf *conf, const struct sv_weights *w, struct sizes *sizes)
{
    static const enum im_conf_key_id keys[] = {IM_KEY_model,       IM_KEY_stem, IM_KEY_head, IM_KEY_blurpool,
                                               IM_KEY_multi_label, IM_KEY_mean, IM_KEY_std};

    for (size_t i = 0; i < IM_COUNT(keys); i++) {
        const char *value = im_json_str_or(w->info, im_conf_name(keys[i]), "");

        if (*value && !is_set(conf, keys[i]))
            im_conf_set(conf, im_conf_name(keys[i]), value, NULL);
    }
    if (sizes->image == 0) {
        sizes->image = number_of(w->info, IM_KEY_eval_image_size);
        sizes->resize = number_of(w->info, IM_KEY_eval_resize);
    }
}

/* ---- options ---- */

/* Of the run's options those that say what is measured, not how fast or where to. */
static bool is_taken(enum im_conf_key_id key)
{
    static const enum im_conf_key_id own[] = {
        IM_KEY_workspace,         IM_KEY_output,          IM_KEY_json,        IM_KEY_status_interval,
        IM_KEY_rebuild_index,     IM_KEY_readers,         IM_KEY_augmenters,  IM_KEY_encoded_cells,
        IM_KEY_batches_ahead,     IM_KEY_cell_bytes,      IM_KEY_io,          IM_KEY_queue_depth,
        IM_KEY_image_size,        IM_KEY_eval_image_size, IM_KEY_eval_resize, IM_KEY_batch_size,
        IM_KEY_snapshot_interval, IM_KEY_snapshot_steps,  IM_KEY_config};

    for (size_t i = 0; i < IM_COUNT(own); i++)
        if (own[i] == key)
            return false;
    return im_conf_is_for(key, IM_FOR_USE) && !im_conf_is_for(key, IM_FOR_CHILDREN);
}

/* Do two names stand for one folder, or read the same? */
static bool is_same_place(const char *a, const char *b)
{
    struct stat x, y;

    if (strcmp(a, b) == 0)
        return true;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Tables and the layout are of the run's images, and tell nothing of others that --data-dir names. */
static bool is_of_other_images(const struct im_conf *conf, const struct im_conf *run, enum im_conf_key_id key)
{
    static const enum im_conf_key_id keys[] = {IM_KEY_labels, IM_KEY_val_labels, IM_KEY_layout};
    char value[IM_CONF_TEXT_BYTES], standard[IM_CONF_TEXT_BYTES];
    struct im_conf *defaults;
    bool is_key = false;

    for (size_t i = 0; i < IM_COUNT(keys); i++)
        is_key = is_key || keys[i] == key;
    if (!is_key || !is_set(conf, IM_KEY_data_dir) || is_same_place(conf->data_dir, run->data_dir))
        return false;
    defaults = malloc(sizeof *defaults);
    if (!defaults)
        return true;
    im_conf_defaults(defaults);
    im_conf_value(defaults, key, standard);
    free(defaults);
    im_conf_value(run, key, value);
    if (strcmp(value, standard) != 0 && !conf->quiet)
        im_say(stderr,
               "imsuper: --%s %s of the run is for its own images, and left out: --data-dir names others",
               im_conf_name(key), value);
    return true;
}

/* Gives the options that the user left open the values of the run's config.yaml. */
static int take_run(struct im_conf *conf, const char *run_dir, struct sizes *ret, struct im_text *text)
{
    struct im_conf *run = malloc(sizeof *run);
    char value[IM_CONF_TEXT_BYTES];
    int err;

    if (!run)
        return -ENOMEM;
    im_conf_defaults(run);
    err = im_conf_load_run(run, run_dir, text);
    for (int key = 0; key < IM_KEY_COUNT && err == 0; key++) {
        const enum im_conf_key_id id = (enum im_conf_key_id)key;

        if (!is_taken(id) || is_set(conf, id) || is_of_other_images(conf, run, id))
            continue;
        im_conf_value(run, id, value);
        err = im_conf_set(conf, im_conf_name(id), value, text);
    }
    if (err == 0)
        *ret = (struct sizes){im_conf_eval_image_size(run), im_conf_eval_resize(run),
                              im_conf_last_sizes(run).batch_size};
    free(run);
    return err;
}

/* A run on a GPU computed in a type that CPUs lack. */
static void fit_precision(struct im_conf *conf)
{
    struct im_conf_gpus gpus;
    const bool on_cpu =
        conf->backend == IM_BACKEND_ONEDNN ||
        (conf->backend == IM_BACKEND_AUTO && im_conf_parse_gpus(conf->gpus, &gpus) == 0 && gpus.count == 0);

    if (conf->amp != IM_AMP_FP16 || !on_cpu || conf->origin[IM_KEY_amp].source != IM_CONF_CODE)
        return;
    conf->amp = IM_AMP_NONE;
    if (!conf->quiet)
        im_say(stderr, "imsuper: the run computed in fp16, which is for GPUs: this CPU computes in fp32");
}

/* The size that is asked for, else the run's; the crop keeps the run's share of the image. */
static void choose_sizes(struct im_conf *conf, const struct sv_weights *w, const struct sizes *run)
{
    const bool asked = is_set(conf, IM_KEY_eval_image_size) && conf->eval_image_size > 0;
    bool unsaid = false;
    int64_t side = asked                             ? conf->eval_image_size
                   : is_set(conf, IM_KEY_image_size) ? conf->image_size
                                                     : run->image;

    if (side == 0) {
        side = im_conf_small_images(conf) ? SIDE_CIFAR : SIDE_IMAGENET;
        unsaid = true;
    }
    conf->image_size = conf->eval_image_size = side;
    if (!is_set(conf, IM_KEY_eval_resize) || conf->eval_resize == 0)
        conf->eval_resize =
            run->image > 0 ? llround((double)side * (double)run->resize / (double)run->image) : 0;
    if (!is_set(conf, IM_KEY_batch_size) && run->batch > 0)
        conf->batch_size = run->batch;
    if (!conf->quiet && !w->run_dir[0] && (unsaid || !is_set(conf, IM_KEY_mean) || !is_set(conf, IM_KEY_std)))
        im_say(stderr,
               "imsuper: %s does not say how its images are made: %" PRId64 " px of %" PRId64
               ", mean %s, deviation %s are used (--image-size, --eval-resize, --mean, --std)",
               w->path, side, im_conf_eval_resize(conf), conf->mean, conf->std);
}

/* ---- names of classes ---- */

static int write_names(const struct im_json *names, int64_t outputs, const char *path, struct im_text *text)
{
    char *bytes = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&bytes, &n);
    int err;

    if (!out)
        return -ENOMEM;
    for (int64_t i = 0; i < outputs; i++) {
        const char *name = NULL;
        struct im_shown shown; /* a newline of others' files is no end of a name */

        if (names && im_json_as_str(im_json_at(names, (size_t)i), &name) == 0)
            fprintf(out, "%s\n", im_shown(&shown, name));
        else
            fprintf(out, "%" PRId64 "\n", i);
    }
    err = fclose(out) ? -ENOMEM : im_file_replace(path, bytes, n, text);
    free(bytes);
    return err;
}

/* The user's names as an array; NULL without --class-names. */
static int users_names(const struct im_conf *conf, const struct sv_weights *w, struct im_json **ret,
                       struct im_text *text)
{
    struct im_class_names names = {0};
    int err;

    if (!conf->class_names[0])
        return 0;
    err = im_class_names_read(conf->class_names, &names, text);
    if (err == 0)
        err = im_class_names_check(&names, conf->class_names, w->outputs, w->path, text);
    *ret = err == 0 ? im_class_names_json(&names) : NULL;
    im_class_names_fini(&names);
    return err == 0 && !*ret ? -ENOMEM : err;
}

/* With images that have labels, classes without names are those of the data. */
static int choose_names(struct im_conf *conf, struct sv_evaluation_run *e, struct im_text *text)
{
    const struct im_json *names = im_json_get(e->weights.info, "classes");
    struct im_json *given = NULL;
    int err = users_names(conf, &e->weights, &given, text);

    if (given)
        names = given;
    else if ((int64_t)im_json_count(names) != e->weights.outputs)
        names = NULL;
    if (err == 0 && (names || conf->image_list[0])) {
        if (snprintf(conf->class_names, sizeof conf->class_names, "%s/outputs.txt", e->folder.path) >=
            (int)sizeof conf->class_names)
            err = -ENAMETOOLONG;
        else
            err = write_names(names, e->weights.outputs, conf->class_names, text);
    }
    im_json_free(&given);
    return err;
}

static int write_list(struct im_conf *conf, const char *folder, const struct sv_inputs *inputs,
                      struct im_text *text)
{
    if (snprintf(conf->image_list, sizeof conf->image_list, "%s/images", folder) >=
        (int)sizeof conf->image_list)
        return -ENAMETOOLONG;
    return sv_inputs_write(inputs, conf->image_list, text);
}

int sv_evaluation_open(struct im_conf *conf, const struct sv_inputs *inputs, struct sv_evaluation_run *ret,
                       struct im_text *text)
{
    const bool labels_said = is_set(conf, IM_KEY_multi_label);
    struct sizes run = {0};
    size_t length;
    int err;

    *ret = (struct sv_evaluation_run){0};
    if (sv_limits_first(text) < 0)
        return sv_print_failure(text, IM_EXIT_UNAVAILABLE);
    err = find_weights(conf, &ret->weights, text);
    if (err == 0 && ret->weights.run_dir[0])
        err = take_run(conf, ret->weights.run_dir, &run, text);
    fit_precision(conf);
    if (err == 0)
        err = ask_trainer(conf, &ret->weights, text);
    if (err == 0 && labels_said)
        err = check_labels(conf, &ret->weights, text);
    if (err != 0)
        return err;
    take_info(conf, &ret->weights, &run);
    conf->outputs = ret->weights.outputs = im_json_int_or(ret->weights.info, "outputs", 0);
    choose_sizes(conf, &ret->weights, &run);
    length = strlen(ret->weights.path);
    if (length >= sizeof conf->init_from)
        return im_fail(text, -ENAMETOOLONG, "%.300s: the path is too long", ret->weights.path);
    memcpy(conf->init_from, ret->weights.path, length + 1);
    if (conf->multi_label && conf->threshold > 0 && !is_set(conf, IM_KEY_top_k))
        conf->top_k = conf->outputs < TOPS_MAX ? conf->outputs : TOPS_MAX; /* all that reach it */
    conf->evaluate = true;
    conf->epochs = 1;
    conf->bad_sample_limit = 0;
    err = im_conf_check(conf, text);
    if (err == 0)
        err = im_conf_check_network(conf, text);
    sv_hold_stop_signals(); /* a folder that is there is removed */
    if (err == 0)
        err = sv_temporary_make(RUN_NAME, &ret->folder, text);
    if (err == 0 && inputs)
        err = write_list(conf, ret->folder.path, inputs, text);
    return err < 0 ? err : choose_names(conf, ret, text);
}

int sv_evaluation_run_dir(const struct sv_evaluation_run *e, char ret[PATH_MAX])
{
    return snprintf(ret, PATH_MAX, "%s/" RUN_NAME, e->folder.path) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int sv_evaluation_run(struct im_conf *conf, struct sv_evaluation_run *e)
{
    struct im_json *epoch;
    int status;

    snprintf(conf->workspace, sizeof conf->workspace, "%s", e->folder.path);
    snprintf(conf->run_name, sizeof conf->run_name, RUN_NAME);
    status = sv_start_run(conf);
    if (status == IM_EXIT_RESUMABLE) {
        sv_leave_within(IM_EXIT_FORCED, STOPPED_NS);
        fprintf(stderr, "imsuper: stopped\n");
        status = IM_EXIT_FORCED;
    }
    epoch = status == IM_EXIT_OK ? sv_evaluation_epoch(conf) : NULL;
    e->seconds = im_json_real_or(epoch, "seconds", 0);
    im_json_free(&epoch);
    return status;
}

void sv_evaluation_drop(struct sv_evaluation_run *e)
{
    sv_temporary_drop(&e->folder);
    sv_release_stop_signals();
}

void sv_evaluation_close(struct sv_evaluation_run *e)
{
    sv_temporary_drop(&e->folder);
    im_json_free(&e->weights.info);
    *e = (struct sv_evaluation_run){0};
}

struct im_json *sv_evaluation_epoch(const struct im_conf *conf)
{
    char path[PATH_MAX], *bytes = NULL, *rest = NULL;
    struct im_json *found = NULL;
    size_t n;

    snprintf(path, sizeof path, "%s/metrics.jsonl", conf->run_dir);
    if (im_read_file(path, LINES_BYTES_MAX, &bytes, &n, NULL) < 0)
        return NULL;
    for (char *line = strtok_r(bytes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        struct im_json *j = NULL;

        if (im_json_parse(line, strlen(line), &j, NULL) == 0 &&
            strcmp(im_json_str_or(j, "event", ""), "epoch") == 0) {
            im_json_free(&found);
            found = j;
            j = NULL;
        }
        im_json_free(&j);
    }
    free(bytes);
    return found;
}
