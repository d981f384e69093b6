#include "trainer/tools/export.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/output.h"
#include "ipc/base/printable.h"
#include "trainer/export/ending.h"
#include "trainer/export/onnx.h"
#include "trainer/export/prove.h"
#include "trainer/export/source.h"
#include "trainer/export/state_dict.h"
#include "trainer/export/timm.h"
#include "trainer/export/torch_write.h"
#include "trainer/tools/said.h"

static int write_torch(const char *path, const struct tr_source *s, enum tr_head_shape shape,
                       struct im_text *text)
{
    size_t count;
    struct tr_tensor *list = tr_state_dict(s, shape, &count);
    int err = list ? tr_torch_write(path, list, count, text) : im_fail(text, -ENOMEM, "out of memory");

    free(list);
    return err;
}

static int write_format(const struct tr_source *s, const char *path, struct im_text *text)
{
    enum tr_head_shape shape;

    switch ((enum im_conf_export_format)s->conf.export_format) {
    case IM_EXPORT_ONNX:
        return tr_onnx_export(path, s,
                              s->conf.export_input == IM_EXPORT_UINT8 ? TR_ONNX_PIXELS : TR_ONNX_NORMALISED,
                              s->conf.fold_bn, text);
    case IM_EXPORT_PT:
        return write_torch(path, s, TR_HEAD_AS_IT_IS, text);
    case IM_EXPORT_SAFETENSORS:
        return tr_state_dict_write(path, s, TR_HEAD_AS_IT_IS, NULL, text);
    case IM_EXPORT_TIMM:
        return tr_timm_write(path, s, text);
    case IM_EXPORT_TORCHVISION:
        return tr_torchvision_name(s->model, &shape, text) ? write_torch(path, s, shape, text) : -EINVAL;
    }
    return -EINVAL;
}

/* The format, which the name's ending chooses where nobody has, and flags that it leaves without effect. */
static int check(struct im_conf *c, struct im_text *text)
{
    static const enum im_conf_key_id of_onnx[] = {IM_KEY_export_input, IM_KEY_fold_bn};

    if (!c->output[0])
        return im_fail(text, -EINVAL, "-o FILE is missing: the file to write%s",
                       c->export_format == IM_EXPORT_TIMM ? ", for timm a folder" : "");
    if (tr_ending_choose(c, text) < 0)
        return -EINVAL;
    for (size_t i = 0; i < IM_COUNT(of_onnx); i++)
        if (c->export_format != IM_EXPORT_ONNX && c->origin[of_onnx[i]].source == IM_CONF_FLAG)
            return im_fail(text, -EINVAL, "--%s is for --format onnx", im_conf_name(of_onnx[i]));
    return 0;
}

/* How a program that uses the file names the network. */
static const char *name_there(const struct tr_source *s)
{
    enum tr_head_shape shape;

    return s->conf.export_format == IM_EXPORT_TIMM ? tr_timm_name(s->model, &shape, NULL) : s->model->name;
}

static void export_print_text(const struct tr_source *s, const char *path, const char *proof)
{
    const struct im_conf *c = &s->conf;

    if (s->note.s[0])
        im_say(stdout, "%s", s->note.s);
    im_say(stdout, "%s: %s of %s, %d classes%s", path, name_there(s), s->path, s->model->classes,
           s->classes ? "" : " (without names)");
    if (proof[0])
        im_say(stdout, "%s", proof);
    if (c->export_format != IM_EXPORT_ONNX)
        tr_say_input(s);
    else if (c->export_input == IM_EXPORT_UINT8)
        im_say(stdout,
               "input \"image\": uint8 [batch, height, width, 3] RGB; resized to %u px, cropped to %u px, "
               "mean %s, "
               "std %s",
               s->resize, s->size, c->mean, c->std);
    else
        im_say(stdout, "input \"input\": float [batch, 3, %u, %u], normalised with mean %s, std %s", s->size,
               s->size, c->mean, c->std);
    tr_say_unsaid(s);
}

static int export_print_json(const struct tr_source *s, const char *path, bool differs, const char *proof)
{
    struct im_json *j = im_json_object();
    int err;

    im_json_set_str(j, "schema", "imsuper.export/1");
    im_json_set_str(j, "file", path);
    im_json_set_str(j, "format", im_conf_choice(IM_KEY_export_format, s->conf.export_format));
    im_json_set_str(j, "from", s->path);
    im_json_set_str(j, "model", name_there(s));
    im_json_set_int(j, "classes", s->model->classes);
    im_json_set_bool(j, "class_names", s->classes != NULL);
    im_json_set_int(j, "image_size", s->size);
    im_json_set_int(j, "resize", s->resize);
    im_json_set_str(j, "mean", s->conf.mean);
    im_json_set_str(j, "std", s->conf.std);
    if (proof[0]) {
        im_json_set_str(j, "proof", proof);
        im_json_set_bool(j, "differs", differs);
    }
    if (s->note.s[0])
        im_json_set_str(j, "note", s->note.s);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int tr_cmd_export(struct im_conf *conf)
{
    struct im_text text = {""}, proof = {""};
    bool differs = false;
    struct tr_source s = {.model = NULL};
    int err = check(conf, &text);

    if (err < 0) {
        im_command_fail(err, &text);
        return IM_EXIT_USAGE;
    }
    if (conf->export_format != IM_EXPORT_TIMM)
        err = im_output_find_file(conf->output, sizeof conf->output, &text);
    if (err == 0)
        err = tr_source_open(&s, conf, conf->weights_from, &text);
    if (err == 0)
        err = write_format(&s, conf->output, &text);
    if (err == 0 && conf->prove) {
        err = tr_prove(&s, conf->output, &proof, &text);
        differs = err > 0;
        err = err < 0 ? err : 0;
    }
    if (err == 0 && conf->json)
        err = export_print_json(&s, conf->output, differs, proof.s);
    else if (err == 0)
        export_print_text(&s, conf->output, proof.s);
    tr_source_close(&s);
    return err < 0   ? im_command_fail(err == -ENOENT ? IM_EXIT_UNKNOWN_RUN : err, &text)
           : differs ? IM_EXIT_FAILED
                     : IM_EXIT_OK;
}
