/* CUDA counts GPUs fastest first unless CUDA_DEVICE_ORDER says PCI_BUS_ID. It is set to that here, for the
 * program that looks and for the trainers alike, so that --gpus 2 is the GPU 2 of nvidia-smi. Under
 * CUDA_VISIBLE_DEVICES numbers begin at 0 among those that it names, as in every CUDA program. */
#include "supervisor/cli/gpus.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/json.h"
#include "supervisor/cli/program.h"

#define SM_BF16 80 /* compute capability from which on GPUs have bf16: as trainer/backends/cuda/backend.c */
#define FIND_TIMEOUT_MS 60000
#define ANSWER_MAX 65536

static void gpus_error(struct sv_gpus *g, const char *why)
{
    *g = (struct sv_gpus){.code = SV_GPUS_FAILED};
    im_fail(&g->why, 0, "%s", why);
}

static int parse_gpu(const struct im_json *j, struct sv_gpu *g)
{
    g->index = (int)im_json_int_or(j, "index", -1);
    g->memory_bytes = (uint64_t)im_json_int_or(j, "memory_bytes", 0);
    g->sm = (int)im_json_int_or(j, "sm", 0);
    g->mig = im_json_bool_or(j, "mig", false);
    snprintf(g->name, sizeof g->name, "%s", im_json_str_or(j, "name", "GPU"));
    snprintf(g->uuid, sizeof g->uuid, "%s", im_json_str_or(j, "uuid", ""));
    snprintf(g->pci, sizeof g->pci, "%s", im_json_str_or(j, "pci", ""));
    return g->index;
}

static enum sv_gpus_code code_of(const char *word)
{
    return strcmp(word, "ok") == 0          ? SV_GPUS_OK
           : strcmp(word, "no module") == 0 ? SV_GPUS_NO_MODULE
           : strcmp(word, "no device") == 0 ? SV_GPUS_NO_DEVICE
                                            : SV_GPUS_FAILED;
}

void sv_gpus_parse(const char *answer, struct sv_gpus *ret)
{
    const struct im_json *list;
    struct im_json *j = NULL;

    if (im_json_parse(answer, strlen(answer), &j, NULL) < 0 ||
        strcmp(im_json_str_or(j, "schema", ""), "imsuper.gpus/1") != 0) {
        gpus_error(ret, "imsuper-trainer gpus sent an unreadable answer");
        im_json_free(&j);
        return;
    }
    *ret = (struct sv_gpus){.code = code_of(im_json_str_or(j, "code", "")),
                            .nccl = im_json_bool_or(j, "nccl", true)};
    im_fail(&ret->why, 0, "%s", im_json_str_or(j, "why", ""));
    im_fail(&ret->no_nccl, 0, "%s", im_json_str_or(j, "nccl_why", ""));
    snprintf(ret->driver, sizeof ret->driver, "%s", im_json_str_or(j, "driver", "?"));
    snprintf(ret->runtime, sizeof ret->runtime, "%s", im_json_str_or(j, "runtime", "?"));
    list = im_json_get(j, "gpus");
    while (ret->code == SV_GPUS_OK && (size_t)ret->count < im_json_count(list) &&
           ret->count < IM_CONF_GPUS_MAX) {
        if (parse_gpu(im_json_at(list, (size_t)ret->count), &ret->gpu[ret->count]) != ret->count) {
            gpus_error(ret, "imsuper-trainer counts the GPUs in another order than its answer");
            break;
        }
        ret->count++;
    }
    im_json_free(&j);
    if (ret->code == SV_GPUS_OK && ret->count == 0)
        gpus_error(ret, "imsuper-trainer found neither a GPU nor a reason why");
}

void sv_gpus_find(struct sv_gpus *ret)
{
    char path[PATH_MAX], answer[ANSWER_MAX], why[256];
    char verb[] = "gpus", *argv[] = {path, verb, NULL};
    int status;

    setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 0);
    sv_program_find("imsuper-trainer", path, sizeof path);
    status = sv_program_read(argv, FIND_TIMEOUT_MS, answer, sizeof answer);
    if (status == 0) {
        sv_gpus_parse(answer, ret);
        return;
    }
    if (status == -ETIMEDOUT)
        snprintf(why, sizeof why,
                 "the driver did not list the GPUs within %d s; check nvidia-smi and the kernel log",
                 FIND_TIMEOUT_MS / 1000);
    else
        snprintf(why, sizeof why, "imsuper-trainer, which looks for GPUs, failed (%s %d)",
                 status < 0 ? "error" : "status", abs(status));
    gpus_error(ret, why);
}

bool sv_gpus_are_wanted(const struct im_conf *conf)
{
    struct im_conf_gpus gpus;

    return im_conf_parse_gpus(conf->gpus, &gpus) == 0 && gpus.count != 0 &&
           (conf->backend == IM_BACKEND_AUTO || conf->backend == IM_BACKEND_CUDA || gpus.count > 0);
}

bool sv_gpus_are_used(const struct im_conf *conf)
{
    struct im_conf_gpus gpus;

    return im_conf_parse_gpus(conf->gpus, &gpus) == 0 && gpus.is_list;
}

/* How many there are, and under which variable, for sentences. */
static const char *describe(const struct sv_gpus *found, const char *visible, char *s, size_t n)
{
    if (visible)
        snprintf(s, n, "CUDA_VISIBLE_DEVICES=%s leaves %d GPU%s, numbered from 0", visible, found->count,
                 found->count == 1 ? "" : "s");
    else
        snprintf(s, n, "this machine has %d GPU%s, numbered from 0", found->count,
                 found->count == 1 ? "" : "s");
    return s;
}

static bool is_given(const struct im_conf *conf, enum im_conf_key_id key)
{
    return conf->origin[key].source != IM_CONF_DEFAULT;
}

/* --gpus N and --gpus LIST against what there is. */
static int check_wish(const struct im_conf_gpus *wish, const struct sv_gpus *found, const char *visible,
                      struct im_text *text)
{
    char have[256];

    if (found->count == 0)
        return im_fail(text, -ENODEV, "%s", found->why.s);
    describe(found, visible, have, sizeof have);
    if (!wish->is_list && wish->count > found->count)
        return im_fail(text, -EINVAL, "--gpus %d: %s", wish->count, have);
    for (int i = 0; wish->is_list && i < wish->count; i++)
        if (wish->devices[i] >= found->count)
            return im_fail(text, -EINVAL, "--gpus: no GPU %d; %s", wish->devices[i], have);
    return 0;
}

/* --gpus auto: all, or as many as --ranks sets. *ret: none when the CPU is used. */
static int take_all(const struct im_conf *conf, const struct sv_gpus *found, struct im_conf_gpus *ret,
                    struct im_text *text)
{
    const int ranks = is_given(conf, IM_KEY_ranks) ? (int)conf->ranks : found->count;

    *ret = (struct im_conf_gpus){0};
    if (found->count == 0)
        return conf->backend == IM_BACKEND_CUDA ? im_fail(text, -ENODEV, "--backend cuda: %s", found->why.s)
                                                : 0;
    if (ranks > found->count)
        return im_fail(
            text, -EINVAL,
            "--ranks %d: there are %d GPUs, and a trainer needs one of its own; use --ranks %d, or "
            "--gpus 0 to train on the CPU",
            ranks, found->count, found->count);
    *ret = (struct im_conf_gpus){.count = ranks};
    return 0;
}

/* The devices of a number of GPUs: the first ones. */
static void fill_list(struct im_conf_gpus *g)
{
    for (int i = 0; i < g->count && !g->is_list; i++)
        g->devices[i] = i;
    g->is_list = g->count > 0;
}

static int check_chosen(const struct im_conf *conf, const struct im_conf_gpus *g, const struct sv_gpus *found,
                        struct im_text *text)
{
    if (is_given(conf, IM_KEY_ranks) && conf->ranks != g->count)
        return im_fail(text, -EINVAL,
                       "--ranks %" PRId64
                       " and --gpus %s contradict each other: there is one trainer for each "
                       "GPU; leave out --ranks",
                       conf->ranks, conf->gpus);
    for (int i = 0; i < g->count; i++) {
        const struct sv_gpu *gpu = &found->gpu[g->devices[i]];

        if (conf->amp == IM_AMP_BF16 && gpu->sm > 0 && gpu->sm < SM_BF16)
            return im_fail(text, -EINVAL,
                           "--amp bf16: GPU %d (%s) has compute capability %d.%d, and bf16 needs 8.0; use "
                           "--amp fp16, whose loss is scaled by itself",
                           gpu->index, gpu->name, gpu->sm / 10, gpu->sm % 10);
    }
    if (g->count == 1)
        return 0;
    if (!found->nccl)
        return im_fail(text, -ENODEV, "--gpus %s: %.800s", conf->gpus, found->no_nccl.s);
    for (int i = 0; i < g->count; i++)
        if (found->gpu[g->devices[i]].mig)
            return im_fail(
                text, -EINVAL,
                "--gpus %s: GPU %d is a MIG instance (%s), and NCCL cannot join those; use one alone "
                "(--gpus %d,), or turn MIG off (nvidia-smi -mig 0)",
                conf->gpus, g->devices[i], found->gpu[g->devices[i]].name, g->devices[i]);
    return 0;
}

static void write_list(struct im_conf *conf, const struct im_conf_gpus *g)
{
    size_t used = 0;

    for (int i = 0; i < g->count; i++)
        used += (size_t)snprintf(conf->gpus + used, sizeof conf->gpus - used, "%s%d", i ? "," : "",
                                 g->devices[i]);
    if (g->count == 1)
        snprintf(conf->gpus + used, sizeof conf->gpus - used, ",");
}

int sv_gpus_choose(struct im_conf *conf, const struct sv_gpus *found, const char *visible,
                   struct im_text *text)
{
    struct im_conf_gpus g;
    int err = im_conf_parse_gpus(conf->gpus, &g);

    if (err < 0)
        return im_fail(text, -EINVAL, "--gpus %s: expected 0, auto, a number, or a list such as 0,2",
                       conf->gpus);
    if (conf->backend != IM_BACKEND_AUTO && conf->backend != IM_BACKEND_CUDA) {
        if (g.count > 0)
            return im_fail(text, -EINVAL, "--gpus %s and --backend %s contradict each other", conf->gpus,
                           im_conf_choice(IM_KEY_backend, conf->backend));
        g.count = 0;
    }
    if (g.count < 0)
        err = take_all(conf, found, &g, text);
    else if (g.count > 0)
        err = check_wish(&g, found, visible, text);
    if (err == 0 && g.count > 0) {
        fill_list(&g);
        err = check_chosen(conf, &g, found, text);
    }
    if (err < 0)
        return err;
    if (g.count == 0) {
        snprintf(conf->gpus, sizeof conf->gpus, "0");
        return 0;
    }
    write_list(conf, &g);
    conf->ranks = g.count;
    conf->backend = IM_BACKEND_CUDA;
    return 0;
}

/* "0 to 7", "0, 2". */
static void format_indices(const struct im_conf_gpus *g, char *s, size_t n)
{
    bool run = true;
    size_t used = 0;

    for (int i = 1; i < g->count; i++)
        run &= g->devices[i] == g->devices[0] + i;
    if (run && g->count > 2) {
        snprintf(s, n, "%d to %d", g->devices[0], g->devices[g->count - 1]);
        return;
    }
    s[0] = 0;
    for (int i = 0; i < g->count && used + 8 < n; i++)
        used += (size_t)snprintf(s + used, n - used, "%s%d", i ? ", " : "", g->devices[i]);
}

const char *sv_gpus_format(const struct im_conf *conf, const struct sv_gpus *found, char *buffer, size_t n)
{
    struct im_conf_gpus g;
    const struct sv_gpu *first;
    char which[128];
    bool alike = true;

    buffer[0] = 0;
    if (!sv_gpus_are_used(conf) || im_conf_parse_gpus(conf->gpus, &g) < 0) {
        /* The machine has something that could not be used; that it has nothing is no news. */
        if (found->code == SV_GPUS_FAILED ||
            (found->code != SV_GPUS_OK && access("/dev/nvidiactl", F_OK) == 0))
            snprintf(buffer, n, "CPU; no GPU, for %s", found->why.s);
        return buffer;
    }
    first = &found->gpu[g.devices[0]];
    for (int i = 1; i < g.count; i++)
        alike &= strcmp(found->gpu[g.devices[i]].name, first->name) == 0;
    format_indices(&g, which, sizeof which);
    snprintf(buffer, n, "%d x %s%s (%.1f GiB): GPU %s; CUDA %s, driver for %s", g.count, first->name,
             alike ? "" : " and others", (double)first->memory_bytes / (1 << 30), which, found->runtime,
             found->driver);
    return buffer;
}
