/* The one place that turns options into a network's description. */
#include "trainer/network_config.h"

#include <errno.h>

#include "ipc/base/err.h"

int tr_network_configure(const struct im_conf *conf, int classes, struct tr_network_config *ret,
                         struct im_text *text)
{
    static const enum tr_precision precisions[] = {[IM_AMP_NONE] = TR_PRECISION_FP32,
                                                   [IM_AMP_BF16] = TR_PRECISION_BF16,
                                                   [IM_AMP_FP16] = TR_PRECISION_FP16};
    double mean[3], std[3];

    *ret = (struct tr_network_config){
        .model = im_conf_choice(IM_KEY_model, conf->model),
        .stem = (enum tr_stem)conf->stem,
        .head = (enum tr_head)conf->head,
        .blurpool = (enum tr_blurpool)conf->blurpool,
        .drop_path_rate = conf->drop_path_rate,
        .zero_init_residual = conf->zero_init_residual,
        .classes = classes,
        .backend =
            conf->backend == IM_BACKEND_AUTO ? "onednn" : im_conf_choice(IM_KEY_backend, conf->backend),
        .threads = (int)conf->trainer_threads,
        .seed = conf->seed,
        .precision = precisions[conf->amp],
        .device = {.deterministic = conf->deterministic, .tf32 = conf->tf32},
    };
    if (im_conf_triplet(conf->mean, mean) < 0 || im_conf_triplet(conf->std, std) < 0)
        return im_fail(text, -EINVAL, "--mean or --std is not three numbers");
    for (int c = 0; c < 3; c++) {
        ret->mean[c] = (float)mean[c];
        ret->std[c] = (float)std[c];
    }
    return 0;
}
