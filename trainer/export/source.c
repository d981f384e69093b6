#include "trainer/export/source.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/config/class_names.h"
#include "kernels/dtype.h"
#include "trainer/checkpoint/classes.h"
#include "trainer/checkpoint/import.h"
#include "trainer/checkpoint/torch_open.h"
#include "trainer/checkpoint/values.h"
#include "trainer/export/identify.h"

/* What a file of imsuper has of its network, under the names of the options. */
static const enum im_conf_key_id described[] = {
    IM_KEY_model,           IM_KEY_stem,        IM_KEY_head,        IM_KEY_blurpool, IM_KEY_mean, IM_KEY_std,
    IM_KEY_eval_image_size, IM_KEY_eval_resize, IM_KEY_multi_label,
};

/* ---- which file, and of which run ---- */

static bool is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_run(const char *folder)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/config.yaml", folder) < (int)sizeof path &&
           access(path, F_OK) == 0;
}

/* Weights of a run. A run that has not validated has no best. */
static int find_weights(struct tr_source *s, enum im_conf_weights which, struct im_text *text)
{
    static const char *const names[] = {[IM_WEIGHTS_BEST] = "best",
                                        [IM_WEIGHTS_LAST] = "last",
                                        [IM_WEIGHTS_BEST_EMA] = "best.ema",
                                        [IM_WEIGHTS_EMA] = "last.ema"};
    int n = snprintf(s->path, sizeof s->path, "%s/checkpoints/%s.safetensors", s->run_dir, names[which]);

    if (n < 0 || (size_t)n >= sizeof s->path)
        return im_fail(text, -ENAMETOOLONG, "%.200s: the name is too long", s->run_dir);
    if (access(s->path, F_OK) == 0)
        return 0;
    if (!is_run(s->run_dir))
        return im_fail(text, -ENOENT, "%.700s is a folder, but no run: it has no config.yaml", s->run_dir);
    return im_fail(text, -ENOENT, "the run in %.700s has no checkpoints/%s.safetensors%s", s->run_dir,
                   names[which],
                   which == IM_WEIGHTS_BEST   ? " (it has not validated yet: --weights last)"
                   : which == IM_WEIGHTS_LAST ? ""
                                              : " (averages need --ema)");
}

static int find_file(struct tr_source *s, const struct im_conf *conf, const char *what, struct im_text *text)
{
    char in_run[PATH_MAX + 16];
    const char *slash;
    int n;

    if (is_directory(what)) {
        n = snprintf(s->run_dir, sizeof s->run_dir, "%s", what);
    } else if (access(what, F_OK) == 0 || strchr(what, '/')) {
        n = snprintf(s->path, sizeof s->path, "%s", what);
        slash = strrchr(what, '/');
        snprintf(s->run_dir, sizeof s->run_dir, "%.*s..", slash ? (int)(slash - what + 1) : 0, what);
    } else {
        n = snprintf(s->run_dir, sizeof s->run_dir, "%s/%s", conf->workspace, what);
        if (!is_directory(s->run_dir))
            return im_fail(text, -ENOENT, "there is neither a file %.300s nor a run %.500s", what,
                           s->run_dir);
    }
    if (n < 0 || (size_t)n >= sizeof s->path)
        return im_fail(text, -ENAMETOOLONG, "%.200s: the name is too long", what);
    if (s->path[0]) { /* a file: of a run only where the run's description stands above it */
        n = snprintf(in_run, sizeof in_run, "%s/config.yaml", s->run_dir);
        if (conf->origin[IM_KEY_weights].source != IM_CONF_DEFAULT)
            return im_fail(text, -EINVAL, "--weights chooses among those of a run; %.300s is a file", what);
        if (n < 0 || (size_t)n >= sizeof in_run || access(in_run, F_OK) < 0)
            s->run_dir[0] = '\0';
        return 0;
    }
    return find_weights(s, (enum im_conf_weights)conf->weights, text);
}

/* ---- its options ---- */

/* Gives each option that `conf` does not have from the user the value in `to`. */
static int put_over(struct im_conf *to, const struct im_conf *conf, struct im_text *text)
{
    char value[IM_CONF_TEXT_BYTES];
    int err = 0;

    for (int key = 0; key < IM_KEY_COUNT && err == 0; key++) {
        if (conf->origin[key].source == IM_CONF_DEFAULT || conf->origin[key].source == IM_CONF_SET)
            continue;
        im_conf_value(conf, (enum im_conf_key_id)key, value);
        err = im_conf_set(to, im_conf_name((enum im_conf_key_id)key), value, text);
        to->origin[key] = conf->origin[key];
    }
    return err;
}

static int read_options(struct tr_source *s, const struct im_conf *conf, struct im_text *text)
{
    char path[PATH_MAX];
    int err = 0;

    im_conf_defaults(&s->conf);
    if (s->run_dir[0] && snprintf(path, sizeof path, "%s/config.yaml", s->run_dir) < (int)sizeof path &&
        access(path, F_OK) == 0)
        err = im_conf_load_run(&s->conf, s->run_dir, text);
    return err < 0 ? err : put_over(&s->conf, conf, text);
}

static bool is_said(const struct tr_source *s, enum im_conf_key_id key)
{
    return s->conf.origin[key].source != IM_CONF_DEFAULT;
}

/* --image-size is also that of evaluation, and the resize goes with it. */
static bool is_size(enum im_conf_key_id key)
{
    return key == IM_KEY_eval_image_size || key == IM_KEY_eval_resize;
}

/* What neither the user nor the run has said. */
static int read_metadata(struct tr_source *s, const struct tr_safetensors *file, struct im_text *text)
{
    struct im_text why = {""};

    for (size_t i = 0; i < IM_COUNT(described); i++) {
        const char *name = im_conf_name(described[i]), *value = tr_safetensors_metadata(file, name);

        if (!value || is_said(s, described[i]) || (is_size(described[i]) && is_said(s, IM_KEY_image_size)))
            continue;
        if (strlen(value) >= IM_CONF_TEXT_BYTES || im_conf_set(&s->conf, name, value, &why) < 0)
            return im_fail(text, -EBADMSG, "%.200s says of itself: %.300s", s->path, why.s);
    }
    return 0;
}

static int make_model(struct tr_source *s, const struct tr_safetensors *file, struct im_text *text)
{
    const struct im_conf *c = &s->conf;
    struct im_text why = {""};
    struct tr_model_config config = {
        .name = is_said(s, IM_KEY_model) ? im_conf_choice(IM_KEY_model, c->model) : NULL,
        .stem = (enum tr_stem)c->stem,
        .head = (enum tr_head)c->head,
        .blurpool = (enum tr_blurpool)c->blurpool,
    };
    int err = tr_identify(file, &config, &why);

    if (err < 0)
        return im_fail(text, err, "%.200s: %s", s->path, why.s[0] ? why.s : strerror(-err));
    err = tr_model_new(&config, &s->model, text);
    if (err == 0)
        err = im_conf_set(&s->conf, "model", s->model->name, text);
    if (err == 0)
        s->conf.stem = (int32_t)config.stem;
    return err;
}

/* ---- its numbers ---- */

struct first_misfit {
    char line[512];
};

static void keep_first(void *argument, bool is_ours, const char *line)
{
    struct first_misfit *first = argument;

    (void)is_ours;
    if (!first->line[0])
        snprintf(first->line, sizeof first->line, "%s", line);
}

static int read_values(struct tr_source *s, struct im_text *text)
{
    struct tr_safetensors *file = NULL;
    struct first_misfit first = {""};
    struct tr_bad_values bad;
    size_t misfits;
    int err = tr_import_open(s->path, s->model, &file, &s->note, text);

    if (err < 0)
        return err;
    misfits = tr_import_check(file, s->model, false, keep_first, &first);
    if (misfits > 0)
        err = im_fail(text, -EBADMSG, "%zu tensors of %.200s do not fit %s: %.400s", misfits, s->path,
                      s->model->name, first.line);
    s->params = calloc(s->model->param_floats + 1, sizeof *s->params);
    s->stats = calloc(s->model->stat_floats + 1, sizeof *s->stats);
    if (err == 0 && (!s->params || !s->stats))
        err = im_fail(text, -ENOMEM, "out of memory for the weights of %.200s", s->path);
    if (err == 0) {
        tr_import_values(file, s->model, false, s->params, s->stats, &s->tracked);
        bad = tr_values_bad(s->model, s->params, s->stats, IMK_F32);
        if (bad.count > 0)
            err = im_fail(text, -EBADMSG, "%.200s: %s", s->path, tr_values_say(&bad).s);
    }
    tr_safetensors_close(&file);
    return err;
}

/* The user's names, in place of those that the file has. */
static int take_names(struct tr_source *s, struct im_text *text)
{
    struct im_class_names names = {0};
    int err = im_class_names_read(s->conf.class_names, &names, text);

    im_json_free(&s->classes);
    if (err == 0)
        err = im_class_names_check(&names, s->conf.class_names, s->model->classes, s->path, text);
    if (err == 0 && !(s->classes = im_class_names_json(&names)))
        err = im_fail(text, -ENOMEM, "out of memory for the names of classes");
    im_class_names_fini(&names);
    return err;
}

/* Names that are not as many as the classes are of something else. */
static void find_names(struct tr_source *s, const struct tr_safetensors *file)
{
    const char *said = tr_safetensors_metadata(file, TR_CLASSES_KEY);
    char *of_run =
        said || !s->run_dir[0] ? NULL : tr_classes_read(s->run_dir, (uint32_t)s->model->classes, NULL);
    const char *names = said ? said : of_run, *name;
    bool are_names = names && im_json_parse(names, strlen(names), &s->classes, NULL) == 0 &&
                     im_json_is_array(s->classes) && im_json_count(s->classes) == (size_t)s->model->classes;

    for (size_t i = 0; are_names && i < im_json_count(s->classes); i++)
        are_names = im_json_as_str(im_json_at(s->classes, i), &name) == 0;
    if (!are_names)
        im_json_free(&s->classes);
    free(of_run);
}

static int read_pixels(struct tr_source *s, struct im_text *text)
{
    if (im_conf_triplet(s->conf.mean, s->mean) < 0 || im_conf_triplet(s->conf.std, s->std) < 0)
        return im_fail(text, -EINVAL, "--mean or --std is not three numbers");
    for (int c = 0; c < 3; c++)
        if (!(s->std[c] > 0))
            return im_fail(text, -EINVAL, "--std has a number that is not above 0");
    s->unsaid_colors = !s->run_dir[0] && (!is_said(s, IM_KEY_mean) || !is_said(s, IM_KEY_std));
    s->unsaid_size = !s->run_dir[0] && !is_said(s, IM_KEY_image_size) && !is_said(s, IM_KEY_eval_image_size);
    if (!is_said(s, IM_KEY_image_size) && im_conf_small_images(&s->conf))
        s->conf.image_size = 32; /* what these networks are for */
    s->size = (uint32_t)im_conf_eval_image_size(&s->conf);
    s->resize = (uint32_t)im_conf_eval_resize(&s->conf);
    if (s->size < (uint32_t)s->model->stride)
        return im_fail(text, -EINVAL, "%s takes images of %d pixels at least, not %u; see --image-size",
                       s->model->name, s->model->stride, s->size);
    return 0;
}

int tr_source_open(struct tr_source *s, const struct im_conf *conf, const char *what, struct im_text *text)
{
    struct tr_safetensors *file = NULL;
    int err;

    *s = (struct tr_source){0};
    err = find_file(s, conf, what, text);
    if (err == 0)
        err = read_options(s, conf, text);
    if (err == 0)
        err = tr_weights_open(s->path, &file, text);
    if (err == 0)
        err = read_metadata(s, file, text);
    if (err == 0)
        err = make_model(s, file, text);
    if (err == 0)
        err = read_values(s, text);
    if (err == 0)
        find_names(s, file);
    if (err == 0 && s->conf.class_names[0])
        err = take_names(s, text);
    if (err == 0)
        err = read_pixels(s, text);
    tr_safetensors_close(&file);
    return err;
}

void tr_source_close(struct tr_source *s)
{
    tr_model_free(s->model);
    free(s->params);
    free(s->stats);
    im_json_free(&s->classes);
    s->model = NULL;
    s->params = s->stats = NULL;
}

const char *tr_source_class(const struct tr_source *s, int i, char room[16])
{
    const char *name = NULL;

    if (s->classes && im_json_as_str(im_json_at(s->classes, (size_t)i), &name) == 0)
        return name;
    snprintf(room, 16, "%d", i);
    return room;
}
