/* The table of a network's layers: shapes of one image, parameters, multiply-accumulates of one image's
 * forward, and the memory of the values for a batch. Totals of memory are the planned arenas for training and
 * for validation; they are less than the column's sum, because values share memory by lifetime.
 *
 * MACs as torchvision and timm count them: convolutions and the classifier; batch norm, pooling, blur and
 * additions are not counted. */
#include "trainer/tools/model.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "trainer/checkpoint/import.h"

enum { CLASSES_IMAGENET = 1000, CLASSES_CIFAR = 10 };

struct table {
    struct im_conf conf;
    int classes;
    struct tr_model *model;
    struct tr_backend *ref;
    struct tr_graph *training, *evaluation; /* planned only */
};

static const char *const kinds[] = {
    [TR_OP_INPUT] = "input",     [TR_OP_CONV] = "conv", [TR_OP_BN] = "bn",     [TR_OP_ADD] = "add",
    [TR_OP_MAXPOOL] = "maxpool", [TR_OP_GAP] = "gap",   [TR_OP_FC] = "fc",     [TR_OP_BLUR] = "blur",
    [TR_OP_DROPPATH] = "drop",   [TR_OP_GELU] = "gelu", [TR_OP_LOSS] = "loss",
};

/* One row. */
struct row {
    const struct tr_layer *layer;
    struct tr_shape y;
    char op[48];
    uint64_t params, macs;
    size_t bytes;
};

static uint64_t params_of(const struct tr_model *m, const struct tr_layer *l)
{
    const bool two = l->kind == TR_OP_BN || l->kind == TR_OP_FC;

    if (l->tensor < 0)
        return 0;
    return m->tensors[l->tensor].count + (two ? m->tensors[l->tensor + 1].count : 0);
}

static struct row row_of(const struct table *t, int i)
{
    const struct tr_model *m = t->model;
    const struct tr_layer *l = &m->layers[i];
    struct tr_layer_size size = tr_graph_size(t->training, i);
    struct row r = {
        .layer = l, .y = size.y, .params = params_of(m, l), .bytes = size.bytes + size.save_bytes};

    if (l->kind == TR_OP_CONV || l->kind == TR_OP_FC)
        r.macs = m->tensors[l->tensor].count * (uint64_t)size.y.h * (uint64_t)size.y.w;
    if (l->kernel > 0)
        snprintf(r.op, sizeof r.op, "%s %dx%d%s", kinds[l->kind], l->kernel, l->kernel,
                 l->stride == 3  ? "/3"
                 : l->stride > 1 ? "/2"
                                 : "");
    else
        snprintf(r.op, sizeof r.op, "%s%s", kinds[l->kind], l->relu ? "+relu" : "");
    return r;
}

/* ---- planning ---- */

static_assert((int)IM_AMP_BF16 == (int)IMK_BF16 && (int)IM_AMP_FP16 == (int)IMK_F16, "in step");

static int plan(struct table *t, bool training, struct tr_graph **ret_graph, struct im_text *text)
{
    struct tr_graph_config config = {.ops = &tr_backend_ref,
                                     .backend = t->ref,
                                     .model = t->model,
                                     .n = (int)t->conf.batch_size,
                                     .size = (int)t->conf.image_size,
                                     .training = training,
                                     .std = {1, 1, 1},
                                     .precision = (enum imk_dtype)im_conf_amp(&t->conf)};

    return tr_graph_new(&config, ret_graph, text);
}

/* Uses the reference backend: its plans allocate nothing, and its layouts have no padding. */
static int open_table(struct table *t, struct im_text *text)
{
    const struct im_conf *c = &t->conf;
    const struct tr_model_config config = {.name = im_conf_choice(IM_KEY_model, c->model),
                                           .stem = (enum tr_stem)c->stem,
                                           .head = (enum tr_head)c->head,
                                           .blurpool = (enum tr_blurpool)c->blurpool,
                                           .classes = t->classes,
                                           .drop_path_rate = c->drop_path_rate};
    int err = tr_model_new(&config, &t->model, text);

    if (err == 0)
        err = tr_backend_ref.open(1, &t->ref, text);
    if (err == 0)
        err = plan(t, true, &t->training, text);
    return err < 0 ? err : plan(t, false, &t->evaluation, text);
}

static void close_table(struct table *t)
{
    tr_graph_free(t->training);
    tr_graph_free(t->evaluation);
    tr_backend_ref.close(t->ref);
    tr_model_free(t->model);
}

/* ---- output ---- */

struct totals {
    uint64_t params, macs;
    size_t param_bytes, training_bytes, evaluation_bytes;
};

static struct totals totals_of(const struct table *t)
{
    const struct tr_model *m = t->model;
    struct totals sum = {.params = m->param_count,
                         .param_bytes = m->param_floats * sizeof(float),
                         .training_bytes = tr_graph_bytes(t->training),
                         .evaluation_bytes = tr_graph_bytes(t->evaluation)};

    for (int i = 0; i < m->layer_count; i++)
        sum.macs += row_of(t, i).macs;
    return sum;
}

static void print_table(const struct table *t)
{
    const struct tr_model *m = t->model;
    const double mib = 1 << 20;
    struct totals sum = totals_of(t);

    printf("%s, %d px, %d classes, stem %s, head %s, blurpool %s; memory at batch %d, --amp %s\n\n", m->name,
           (int)t->conf.image_size, m->classes, im_conf_choice(IM_KEY_stem, (int32_t)m->stem),
           im_conf_choice(IM_KEY_head, (int32_t)m->head),
           im_conf_choice(IM_KEY_blurpool, (int32_t)m->blurpool), (int)t->conf.batch_size,
           im_conf_choice(IM_KEY_amp, (int32_t)im_conf_amp(&t->conf)));
    printf("%-36s %-14s %-16s %11s %10s %9s\n", "layer", "op", "output", "parameters", "MMACs", "MiB");
    for (int i = 0; i < m->layer_count - 1; i++) {
        struct row r = row_of(t, i);
        char shape[32], params[24] = "", macs[24] = "";

        snprintf(shape, sizeof shape, "%d x %d x %d", r.y.c, r.y.h, r.y.w);
        if (r.params)
            snprintf(params, sizeof params, "%llu", (unsigned long long)r.params);
        if (r.macs)
            snprintf(macs, sizeof macs, "%.2f", (double)r.macs / 1e6);
        printf("%-36s %-14s %-16s %11s %10s %9.2f\n", r.layer->name, r.op, shape, params, macs,
               (double)r.bytes / mib);
    }
    printf("\n%-36s %llu parameters, %.1f MiB in fp32; as much for gradients and for each moment of the "
           "optimiser\n",
           "in all", (unsigned long long)sum.params, (double)sum.param_bytes / mib);
    printf("%-36s %.3f GMACs forward for an image\n", "", (double)sum.macs / 1e9);
    printf("%-36s %.1f MiB of activations in training, %.1f MiB in validation, for the batch\n", "",
           (double)sum.training_bytes / mib, (double)sum.evaluation_bytes / mib);
}

static struct im_json *row_json(const struct row *r)
{
    struct im_json *j = im_json_object(), *shape = im_json_array();

    im_json_append_int(shape, r->y.c);
    im_json_append_int(shape, r->y.h);
    im_json_append_int(shape, r->y.w);
    im_json_set_str(j, "name", r->layer->name);
    im_json_set_str(j, "op", r->op);
    im_json_set(j, "output", shape);
    im_json_set_int(j, "parameters", (int64_t)r->params);
    im_json_set_int(j, "macs", (int64_t)r->macs);
    im_json_set_int(j, "bytes", (int64_t)r->bytes);
    return j;
}

static int model_print_json(const struct table *t)
{
    const struct tr_model *m = t->model;
    struct im_json *j = im_json_object(), *layers = im_json_array();
    struct totals sum = totals_of(t);
    int err;

    for (int i = 0; i < m->layer_count; i++) {
        struct row r = row_of(t, i);

        im_json_append(layers, row_json(&r));
    }
    im_json_set_str(j, "schema", "imsuper.model/1");
    im_json_set_str(j, "model", m->name);
    im_json_set_int(j, "image_size", t->conf.image_size);
    im_json_set_int(j, "batch_size", t->conf.batch_size);
    im_json_set_int(j, "classes", m->classes);
    im_json_set_str(j, "stem", im_conf_choice(IM_KEY_stem, (int32_t)m->stem));
    im_json_set_str(j, "head", im_conf_choice(IM_KEY_head, (int32_t)m->head));
    im_json_set_str(j, "blurpool", im_conf_choice(IM_KEY_blurpool, (int32_t)m->blurpool));
    im_json_set_int(j, "parameters", (int64_t)sum.params);
    im_json_set_int(j, "macs", (int64_t)sum.macs);
    im_json_set_int(j, "parameter_bytes", (int64_t)sum.param_bytes);
    im_json_set_int(j, "training_bytes", (int64_t)sum.training_bytes);
    im_json_set_int(j, "validation_bytes", (int64_t)sum.evaluation_bytes);
    im_json_set(j, "layers", layers);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

static void say(void *argument, bool is_ours, const char *line)
{
    (void)argument, (void)is_ours;
    im_say(stdout, "%s", line);
}

/* Lists every tensor in the file of weights that does not fit. */
static int check_file(const struct table *t, struct im_text *text)
{
    const struct tr_model *m = t->model;
    struct tr_safetensors *file = NULL;
    struct im_text note = {""};
    int err = tr_import_open(t->conf.init_from, m, &file, &note, text);
    size_t misfits;

    if (err < 0)
        return err;
    if (note.s[0])
        im_say(stdout, "%s", note.s);
    misfits = tr_import_check(file, m, t->conf.init_skip_head, say, NULL);
    tr_safetensors_close(&file);
    if (misfits > 0)
        return im_fail(text, -EBADMSG, "%zu tensors of %.200s do not fit %s with %d classes", misfits,
                       t->conf.init_from, m->name, m->classes);
    im_say(stdout, "%s fits %s with %d classes", t->conf.init_from, m->name, m->classes);
    return 0;
}

/* ---- the command ---- */

int tr_cmd_model(struct im_conf *conf)
{
    struct im_text text = {""};
    struct table t = {.conf = *conf, .classes = (int)conf->classes};
    int err;

    if (conf->origin[IM_KEY_classes].source == IM_CONF_DEFAULT)
        t.classes = im_conf_small_images(conf) ? CLASSES_CIFAR : CLASSES_IMAGENET;
    err = open_table(&t, &text);
    if (err == 0 && conf->init_from[0])
        err = check_file(&t, &text);
    else if (err == 0 && conf->json)
        err = model_print_json(&t);
    else if (err == 0)
        print_table(&t);
    close_table(&t);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
