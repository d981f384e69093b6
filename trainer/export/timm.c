/* config.json as timm 1.0 writes it (save_for_hf); crop_pct is side over short side, as there. */
#include "trainer/export/timm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/file.h"

static bool is_preact(const struct tr_model *m)
{
    return strncmp(m->name, "resnetv2_", 9) == 0;
}

/* resnet20 and its like are not in these libraries. */
static const char *refuse(const struct tr_model *m, const char *library, const char *what,
                          struct im_text *text)
{
    im_fail(text, -EINVAL,
            "%s has no %s%s; use --format pt or safetensors (for your own module) or onnx (for any runtime)",
            library, m->name, what);
    return NULL;
}

static bool is_for_cifar(const struct tr_model *m)
{
    static const char *const known[] = {"18", "34", "50", "101", "152"};
    const char *depth = m->name + (is_preact(m) ? 9 : 6);

    for (size_t i = 0; i < IM_COUNT(known); i++)
        if (strcmp(depth, known[i]) == 0)
            return false;
    return true;
}

const char *tr_torchvision_name(const struct tr_model *m, enum tr_head_shape *ret_shape, struct im_text *text)
{
    *ret_shape = TR_HEAD_MATRIX;
    if (is_preact(m) || is_for_cifar(m))
        return refuse(m, "torchvision", "", text);
    if (m->stem == TR_STEM_SMALL)
        return refuse(m, "torchvision", " with a small stem", text);
    if (m->blurpool != TR_BLURPOOL_NONE)
        return refuse(m, "torchvision", " with blur", text);
    return m->name;
}

const char *tr_timm_name(const struct tr_model *m, enum tr_head_shape *ret_shape, struct im_text *text)
{
    *ret_shape = is_preact(m) ? TR_HEAD_1X1 : TR_HEAD_MATRIX;
    if (is_for_cifar(m))
        return refuse(m, "timm", "", text);
    if (m->stem == TR_STEM_SMALL)
        return refuse(m, "timm", " with a small stem", text);
    if (m->blurpool == TR_BLURPOOL_NONE)
        return m->name;
    if (m->blurpool == TR_BLURPOOL_ZHANG && strcmp(m->name, "resnet18") == 0)
        return "resnetblur18";
    if (m->blurpool == TR_BLURPOOL_ZHANG && strcmp(m->name, "resnet50") == 0)
        return "resnetblur50";
    return refuse(m, "timm", " with this blur", text);
}

static struct im_json *triplet(const double v[3])
{
    struct im_json *j = im_json_array();

    for (int i = 0; i < 3; i++)
        im_json_append_real(j, v[i]);
    return j;
}

static struct im_json *size3(uint32_t side)
{
    struct im_json *j = im_json_array();

    im_json_append_int(j, 3);
    im_json_append_int(j, side);
    im_json_append_int(j, side);
    return j;
}

static struct im_json *pretrained_cfg(const struct tr_source *s)
{
    struct im_json *j = im_json_object();
    /* timm's short side is floor(side / crop_pct): this quotient gives ours back, in spite of rounding. */
    double pct = (double)s->size / (double)s->resize;

    while ((uint32_t)((double)s->size / pct) < s->resize)
        pct *= 1 - 1e-12;
    im_json_set_str(j, "custom_load", "");
    im_json_set(j, "input_size", size3(s->size));
    im_json_set_bool(j, "fixed_input_size", false);
    im_json_set_str(j, "interpolation", "bilinear");
    im_json_set_real(j, "crop_pct", pct);
    im_json_set_str(j, "crop_mode", "center");
    im_json_set(j, "mean", triplet(s->mean));
    im_json_set(j, "std", triplet(s->std));
    im_json_set_int(j, "num_classes", s->model->classes);
    im_json_set_str(j, "first_conv", is_preact(s->model) ? "stem.conv" : "conv1");
    im_json_set_str(j, "classifier", is_preact(s->model) ? "head.fc" : "fc");
    return j;
}

static int write_config(const char *path, const char *name, const struct tr_source *s, struct im_text *text)
{
    const int channels = s->model->layers[s->model->layer_count - 2].in[0];
    struct im_json *j = im_json_object(), *labels;
    char room[16], *dumped;
    int err;

    im_json_set_str(j, "architecture", name);
    im_json_set_int(j, "num_classes", s->model->classes);
    im_json_set_int(j, "num_features", s->model->layers[channels].channels);
    if (s->classes) {
        labels = im_json_array();
        for (int i = 0; i < s->model->classes; i++)
            im_json_append_str(labels, tr_source_class(s, i, room));
        im_json_set(j, "label_names", labels);
    }
    im_json_set(j, "pretrained_cfg", pretrained_cfg(s));
    dumped = im_json_dump_indented(j);
    err = dumped ? im_file_replace(path, dumped, strlen(dumped), text)
                 : im_fail(text, -ENOMEM, "cannot write %.300s: out of memory", path);
    free(dumped);
    im_json_free(&j);
    return err;
}

int tr_timm_write(const char *folder, const struct tr_source *s, struct im_text *text)
{
    enum tr_head_shape shape;
    const char *name = tr_timm_name(s->model, &shape, text);
    const bool is_new = access(folder, F_OK) < 0;
    char path[PATH_MAX];
    int err;

    if (!name)
        return -EINVAL;
    if (strlen(folder) + sizeof "/model.safetensors" > sizeof path)
        return im_fail(text, -ENAMETOOLONG, "%.200s: the name is too long", folder);
    err = im_mkdirs(folder, 0777, text);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (err == 0)
        err = tr_state_dict_write(path, s, shape, NULL, text);
    if (err < 0 && is_new)
        rmdir(folder);
    snprintf(path, sizeof path, "%s/config.json", folder);
    return err < 0 ? err : write_config(path, name, s, text);
}
