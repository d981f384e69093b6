/* What a run is planned to take of a GPU, from a description of it and by the planner that trainers use
 * (trainer/network/graphs.h): so a table of many kinds of GPUs, and no GPU is needed. */
#include "trainer/tools/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/json.h"
#include "ipc/config/conf.h"
#include "trainer/backends/cuda/describe.h"
#include "trainer/network/graphs.h"
#include "trainer/network/network.h"

#define CONTEXT                                                                                              \
    ((size_t)1 << 30) /* CUDA's context, code of cuDNN and cuBLASLt: an assumption, 0.6 to 1 GiB */
#define GIB ((double)((size_t)1 << 30))

enum { CLASSES_IMAGENET = 1000, CLASSES_CIFAR = 10, MOST = 1 << 16 };

/* memory: GiB as CUDA reports it, rounded down; drivers differ by some hundreds of MiB. */
static const struct kind {
    const char *word, *name;
    int sm;
    double memory;
    bool cuda12_only; /* CUDA 13 does not support it */
} known[] = {
    {"v100-16", "V100 16 GB", 70, 15.7, true},
    {"v100-32", "V100 32 GB", 70, 31.7, true},
    {"t4", "T4", 75, 14.5, false},
    {"a10g", "A10G", 86, 22.0, false},
    {"a100-40", "A100 40 GB", 80, 39.3, false},
    {"a100-80", "A100 80 GB", 80, 79.1, false},
    {"l4", "L4", 89, 21.9, false},
    {"l40s", "L40S", 89, 44.3, false},
    {"rtx4090", "RTX 4090", 89, 23.5, false},
    {"h100", "H100 80 GB", 90, 79.1, false},
    {"h200", "H200", 90, 139.7, false},
    {"b200", "B200", 100, 178.3, false},
};

/* Bytes by part. */
struct parts {
    size_t weights;     /* parameters, gradients, moments, statistics, averages */
    size_t activations; /* of the batch, with repacked weights and pixels */
    size_t copy;        /* kept for the copy of a snapshot */
    size_t kept;        /* context, libraries, their workspace */
};

struct planner {
    const struct im_conf *conf;
    struct tr_model *model;
    struct tr_backend *backend;
};

static enum im_conf_amp amp_of(const struct im_conf *conf, const struct kind *k)
{
    return conf->amp == IM_AMP_AUTO ? im_conf_auto_amp(k->sm) : (enum im_conf_amp)conf->amp;
}

static bool computes(const struct kind *k, enum im_conf_amp amp)
{
    return amp != IM_AMP_BF16 || k->sm >= 80;
}

static struct tr_graph_config config_of(const struct planner *p, enum im_conf_amp amp, int n)
{
    return (struct tr_graph_config){.ops = &tr_cuda_described,
                                    .backend = p->backend,
                                    .model = p->model,
                                    .n = n,
                                    .size = (int)p->conf->image_size,
                                    .training = true,
                                    .dw_apart = p->conf->wgrad_stream,
                                    .std = {1, 1, 1},
                                    .precision = (enum imk_dtype)amp};
}

static size_t weights_of(const struct planner *p)
{
    const struct tr_arena_use use = {.optimizer = im_conf_rest_opt(p->conf),
                                     .accumulates = p->conf->accumulate > 1,
                                     .averages = p->conf->ema > 0};
    size_t floats = 0;

    for (int i = 0; i < TR_ARENA_COUNT; i++)
        floats += tr_arena_floats(p->model, &use, (enum tr_arena)i);
    return floats * sizeof(float);
}

static struct parts parts_of(const struct planner *p, enum im_conf_amp amp)
{
    const struct tr_graph_config config = config_of(p, amp, (int)p->conf->batch_size);

    return (struct parts){.weights = weights_of(p),
                          .activations = tr_memory_estimate(&config),
                          .copy = weights_of(p),
                          .kept = CONTEXT + TR_CUDA_KEPT + (p->conf->wgrad_stream ? TR_DNN_WORKSPACE : 0)};
}

static size_t sum_of(const struct parts *b)
{
    return b->weights + b->activations + b->copy + b->kept;
}

static int largest_of(const struct planner *p, const struct kind *k, enum im_conf_amp amp)
{
    const struct tr_graph_config config = config_of(p, amp, MOST);
    const struct parts b = parts_of(p, amp);
    const size_t taken = b.weights + b.copy + b.kept, memory = (size_t)(k->memory * GIB);

    return memory > taken ? tr_memory_largest(&config, memory - taken) : 0;
}

/* ---- output ---- */

static void print_line(const struct planner *p, const struct kind *k)
{
    const enum im_conf_amp amp = amp_of(p->conf, k);
    const struct parts b = parts_of(p, amp);
    const double left = k->memory - (double)sum_of(&b) / GIB;
    char fits[24] = "no", at[16];

    snprintf(at, sizeof at, "%d.%d", k->sm / 10, k->sm % 10);
    printf("%-10s %7.1f %8s %5s ", k->word, k->memory, at, k->cuda12_only ? "12" : "12,13");
    if (!computes(k, amp)) {
        printf("%5s  not computed by this GPU\n", im_conf_choice(IM_KEY_amp, (int32_t)amp));
        return;
    }
    if (left >= 0)
        snprintf(fits, sizeof fits, "%.1f", left);
    printf("%5s %8.2f %12.2f %6.2f %9.2f %7s %8d\n",
           amp == IM_AMP_NONE ? "fp32" : im_conf_choice(IM_KEY_amp, (int32_t)amp), (double)b.weights / GIB,
           (double)b.activations / GIB, (double)b.copy / GIB, (double)b.kept / GIB, fits,
           largest_of(p, k, amp));
}

static void print_head(const struct planner *p)
{
    printf("%s, %d px, %d classes, %s, batch %d; memory in GiB; planned, not measured\n\n", p->model->name,
           (int)p->conf->image_size, p->model->classes, im_conf_choice(IM_KEY_opt, p->conf->opt),
           (int)p->conf->batch_size);
    printf("%-10s %7s %8s %5s %5s %8s %12s %6s %9s %7s %8s\n", "GPU", "memory", "compute", "CUDA", "type",
           "weights", "activations", "copy", "libraries", "left", "largest");
}

static struct im_json *line_json(const struct planner *p, const struct kind *k)
{
    const enum im_conf_amp amp = amp_of(p->conf, k);
    const struct parts b = parts_of(p, amp);
    struct im_json *j = im_json_object();

    im_json_set_str(j, "gpu", k->word);
    im_json_set_str(j, "name", k->name);
    im_json_set_int(j, "sm", k->sm);
    im_json_set_int(j, "memory_bytes", (int64_t)(k->memory * GIB));
    im_json_set_bool(j, "cuda12_only", k->cuda12_only);
    im_json_set_str(j, "amp", im_conf_choice(IM_KEY_amp, (int32_t)amp));
    im_json_set_bool(j, "computes", computes(k, amp));
    im_json_set_int(j, "weights_bytes", (int64_t)b.weights);
    im_json_set_int(j, "activations_bytes", (int64_t)b.activations);
    im_json_set_int(j, "copy_bytes", (int64_t)b.copy);
    im_json_set_int(j, "libraries_bytes", (int64_t)b.kept);
    im_json_set_int(j, "largest_batch", computes(k, amp) ? largest_of(p, k, amp) : 0);
    return j;
}

static bool is_meant(const struct im_conf *conf, const struct kind *k)
{
    return strcasecmp(conf->gpu_kind, "all") == 0 || strcasecmp(conf->gpu_kind, k->word) == 0;
}

static int refuse_kind(const char *word, struct im_text *text)
{
    char names[256] = "";
    size_t used = 0;

    for (size_t i = 0; i < IM_COUNT(known); i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", known[i].word);
    return im_fail(text, -EINVAL, "no GPU \"%.100s\" is described here; there are all, %s", word, names);
}

static int print(const struct planner *p, struct im_text *text)
{
    struct im_json *j = im_json_object(), *list = im_json_array();
    int count = 0, err = 0;

    for (size_t i = 0; i < IM_COUNT(known); i++) {
        if (!is_meant(p->conf, &known[i]))
            continue;
        if (p->conf->json)
            im_json_append(list, line_json(p, &known[i]));
        else if (count == 0)
            print_head(p);
        if (!p->conf->json)
            print_line(p, &known[i]);
        count++;
    }
    im_json_set_str(j, "schema", "imsuper.memory/1");
    im_json_set_str(j, "model", p->model->name);
    im_json_set_int(j, "image_size", p->conf->image_size);
    im_json_set_int(j, "batch_size", p->conf->batch_size);
    im_json_set(j, "gpus", list);
    if (count == 0)
        err = refuse_kind(p->conf->gpu_kind, text);
    else if (p->conf->json)
        err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int tr_cmd_memory(struct im_conf *conf)
{
    struct tr_model_config model = {.name = im_conf_choice(IM_KEY_model, conf->model),
                                    .stem = (enum tr_stem)conf->stem,
                                    .head = (enum tr_head)conf->head,
                                    .blurpool = (enum tr_blurpool)conf->blurpool,
                                    .classes = (int)conf->classes,
                                    .drop_path_rate = conf->drop_path_rate};
    struct planner p = {.conf = conf};
    struct im_text text = {""};
    int err;

    if (conf->origin[IM_KEY_classes].source == IM_CONF_DEFAULT)
        model.classes = im_conf_small_images(conf) ? CLASSES_CIFAR : CLASSES_IMAGENET;
    err = tr_model_new(&model, &p.model, &text);
    if (err == 0)
        err = tr_cuda_described.open(1, &p.backend, &text);
    if (err == 0)
        err = print(&p, &text);
    tr_cuda_described.close(p.backend);
    tr_model_free(p.model);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}
