/* Files of imsuper name their network and their classes. Of others the network is found by the shapes of its tensors
 * (trainer/export/identify.h), as for an export. */
#include "trainer/tools/weights.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/json.h"
#include "trainer/checkpoint/classes.h"
#include "trainer/checkpoint/import.h"
#include "trainer/checkpoint/torch_open.h"
#include "trainer/export/identify.h"

enum { ANY_CLASSES = 1000 };

/* The network's options: metadata that imsuper wrote has the flags' names. */
static const enum im_conf_key_id shape_keys[] = {IM_KEY_model, IM_KEY_stem, IM_KEY_head, IM_KEY_blurpool,
                                                 IM_KEY_multi_label};

/* How its images are made: exported files say it, states leave it to their run. */
static const enum im_conf_key_id image_keys[] = {IM_KEY_eval_image_size, IM_KEY_eval_resize, IM_KEY_mean,
                                                 IM_KEY_std};

static int take_keys(const struct tr_safetensors *file, struct im_conf *conf, const enum im_conf_key_id *keys,
                     size_t n, struct im_text *text)
{
    struct im_text why = {""};

    for (size_t i = 0; i < n; i++) {
        const char *value = tr_safetensors_metadata(file, im_conf_name(keys[i]));

        if (!value || conf->origin[keys[i]].source != IM_CONF_DEFAULT)
            continue;
        if (strlen(value) >= IM_CONF_TEXT_BYTES || im_conf_set(conf, im_conf_name(keys[i]), value, &why) < 0)
            return im_fail(text, -EBADMSG, "%.300s says of itself: %.300s", conf->init_from, why.s);
    }
    return 0;
}

/* Takes what the file says of its network and the user does not: states, and exported files, which name the program. */
static int take_metadata(const struct tr_safetensors *file, struct im_conf *conf, bool *ret_is_ours,
                         struct im_text *text)
{
    int err;

    *ret_is_ours = tr_safetensors_metadata(file, "model") &&
                   (tr_safetensors_metadata(file, "index-hash") || tr_safetensors_metadata(file, "imsuper"));
    if (!*ret_is_ours)
        return 0;
    err = take_keys(file, conf, shape_keys, IM_COUNT(shape_keys), text);
    return err < 0 ? err : take_keys(file, conf, image_keys, IM_COUNT(image_keys), text);
}

static int new_model(const struct im_conf *conf, struct tr_model **ret, struct im_text *text)
{
    const struct tr_model_config config = {.name = im_conf_choice(IM_KEY_model, conf->model),
                                           .stem = (enum tr_stem)conf->stem,
                                           .head = (enum tr_head)conf->head,
                                           .blurpool = (enum tr_blurpool)conf->blurpool,
                                           .classes = ANY_CLASSES};

    return tr_model_new(&config, ret, text);
}

/* Rows of the classifier in the file, under the model's names; 0: it has none. */
static int64_t outputs_of(const struct tr_safetensors *file, const struct tr_model *model)
{
    for (int i = 0; i < model->tensor_count; i++) {
        const struct tr_tensor *t = model->tensors[i].kind == TR_TENSOR_FC_WEIGHT
                                        ? tr_safetensors_find(file, model->tensors[i].name)
                                        : NULL;

        if (t && t->rank > 0 && t->shape[0] <= INT32_MAX)
            return (int64_t)t->shape[0];
    }
    return 0;
}

struct fit {
    size_t misfits;
    int64_t outputs;
    struct im_text note;
};

static int fit(const struct im_conf *conf, struct fit *ret, struct im_text *text)
{
    struct tr_safetensors *file = NULL;
    struct tr_model *m = NULL;
    int err = new_model(conf, &m, text);

    *ret = (struct fit){.misfits = 1};
    if (err == 0)
        err = tr_import_open(conf->init_from, m, &file, &ret->note, text);
    if (err == 0) {
        ret->misfits = tr_import_check(file, m, true, NULL, NULL);
        ret->outputs = outputs_of(file, m);
    }
    tr_safetensors_close(&file);
    tr_model_free(m);
    return err;
}

/* Of a file of others: by the shapes of its tensors, among the networks that the user's flags leave open. */
static int find_model(const struct tr_safetensors *file, struct im_conf *conf, struct im_text *text)
{
    struct tr_model_config config = {.stem = (enum tr_stem)conf->stem,
                                     .head = (enum tr_head)conf->head,
                                     .blurpool = (enum tr_blurpool)conf->blurpool};
    struct im_text why = {""};
    int err = tr_identify(file, &config, &why);

    if (err < 0)
        return im_fail(text, err, "%.300s: %s", conf->init_from, why.s[0] ? why.s : strerror(-err));
    conf->stem = (int32_t)config.stem;
    return im_conf_set(conf, im_conf_name(IM_KEY_model), config.name, text);
}

static int print(const struct im_conf *conf, const struct fit *f, bool is_ours,
                 const struct tr_safetensors *file)
{
    const char *names = tr_safetensors_metadata(file, TR_CLASSES_KEY);
    struct im_json *j = im_json_object(), *list = NULL;
    int err;

    im_json_set_str(j, "schema", "imsuper.weights/1");
    for (size_t i = 0; i < IM_COUNT(shape_keys); i++) {
        char value[IM_CONF_TEXT_BYTES];

        im_conf_value(conf, shape_keys[i], value);
        im_json_set_str(j, im_conf_name(shape_keys[i]), value);
    }
    for (size_t i = 0; i < IM_COUNT(image_keys); i++) {
        char value[IM_CONF_TEXT_BYTES];

        if (conf->origin[image_keys[i]].source == IM_CONF_DEFAULT)
            continue;
        im_conf_value(conf, image_keys[i], value);
        im_json_set_str(j, im_conf_name(image_keys[i]), value);
    }
    im_json_set_bool(j, "ours", is_ours);
    im_json_set_int(j, "outputs", f->outputs);
    im_json_set_str(j, "note", f->note.s);
    if (names && im_json_parse(names, strlen(names), &list, NULL) == 0)
        im_json_set(j, "classes", list);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int tr_cmd_weights(struct im_conf *conf)
{
    struct im_text text = {""};
    struct tr_safetensors *file = NULL;
    struct fit f = {0};
    bool is_ours = false;
    int err = tr_weights_open(conf->init_from, &file, &text);

    if (err == 0)
        err = take_metadata(file, conf, &is_ours, &text);
    if (err == 0 && !is_ours && conf->origin[IM_KEY_model].source == IM_CONF_DEFAULT)
        err = find_model(file, conf, &text);
    if (err == 0)
        err = fit(conf, &f, &text);
    if (err == 0 && f.misfits > 0)
        err = im_fail(
            &text, -EBADMSG,
            "%zu tensors of %.300s do not fit %s; `imsuper model --model %s --init-from %.300s` lists "
            "them",
            f.misfits, conf->init_from, im_conf_choice(IM_KEY_model, conf->model),
            im_conf_choice(IM_KEY_model, conf->model), conf->init_from);
    if (err == 0 && f.outputs == 0)
        err = im_fail(&text, -EBADMSG, "%.300s has no classifier", conf->init_from);
    if (err == 0)
        err = print(conf, &f, is_ours, file);
    tr_safetensors_close(&file);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
