#include "supervisor/cli/precision.h"

#include <errno.h>

enum { SM_TF32 = 80 };

/* The smallest compute capability of the run's GPUs; 0: it runs on the CPU, or a driver does not say it. */
static int smallest_sm(const struct im_conf *conf, const struct sv_gpus *found, const struct sv_gpu **ret_gpu)
{
    struct im_conf_gpus g;
    int sm = 0;

    *ret_gpu = NULL;
    if (!sv_gpus_are_used(conf) || im_conf_parse_gpus(conf->gpus, &g) < 0)
        return 0;
    for (int i = 0; i < g.count; i++) {
        const struct sv_gpu *gpu = &found->gpu[g.devices[i]];

        if (*ret_gpu && gpu->sm >= sm)
            continue;
        *ret_gpu = gpu;
        sm = gpu->sm;
    }
    return sm;
}

/* Why this type: for a GPU that decides, or the CPU. */
static void explain(const struct im_conf *conf, const struct sv_gpu *gpu, bool chosen, bool kept,
                    struct im_text *ret)
{
    const char *how = chosen ? "auto; " : "", *word = sv_precision_word(conf);
    const char *scaled = conf->amp == IM_AMP_FP16 ? " with loss scaling" : "";

    if (kept)
        im_fail(ret, 0, "%s%s, as this run began", word, scaled);
    else if (!chosen)
        im_fail(ret, 0, "%s%s, as --amp %s says", word, scaled, im_conf_choice(IM_KEY_amp, conf->amp));
    else if (!gpu)
        im_fail(ret, 0, "%s on CPUs (%s--amp bf16 suits those with AVX512-BF16 or AMX)", word, how);
    else if (conf->amp == IM_AMP_NONE)
        im_fail(ret, 0, "%s: compute capability %d.%d has no fast fp16 (%s--amp fp16 saves memory)", word,
                gpu->sm / 10, gpu->sm % 10, how);
    else
        im_fail(ret, 0, "%s%s: compute capability %d.%d %s bf16 (%s--amp none for fp32)", word, scaled,
                gpu->sm / 10, gpu->sm % 10, conf->amp == IM_AMP_BF16 ? "has" : "lacks", how);
}

int sv_precision_choose(struct im_conf *conf, const struct sv_gpus *found, bool kept, struct im_text *ret_why,
                        struct im_text *text)
{
    const struct sv_gpu *gpu;
    const int sm = smallest_sm(conf, found, &gpu);
    const bool chosen = conf->amp == IM_AMP_AUTO;

    if (chosen)
        conf->amp = (int32_t)im_conf_auto_amp(sm);
    if (conf->amp == IM_AMP_FP16 && !gpu && conf->backend != IM_BACKEND_REF)
        return im_fail(
            text, -EINVAL,
            "--amp fp16%s: CPUs compute in fp32 (--amp none) or bf16 (--amp bf16); fp16 is for GPUs",
            kept ? ", with which this run began" : "");
    if (gpu && sm > 0 && sm < SM_TF32)
        conf->tf32 = false;
    explain(conf, gpu, chosen, kept, ret_why);
    return 0;
}

const char *sv_precision_word(const struct im_conf *conf)
{
    if (im_conf_amp(conf) != IM_AMP_NONE)
        return im_conf_choice(IM_KEY_amp, conf->amp);
    return conf->tf32 && sv_gpus_are_used(conf) ? "tf32" : "fp32";
}
