/* The one place that turns options into a network's configuration. */
#include "trainer/network_config.h"

#include <assert.h>
#include <errno.h>

#include "ipc/base/err.h"

/* The lists of the configuration have exactly the rows of the model's enums. */
#define ROW(constant, word) +1
static_assert((0 IM_STEMS(ROW)) == TR_STEM_SMALL + 1 && (0 IM_HEADS(ROW)) == TR_HEAD_CONV + 1 &&
                  (0 IM_BLURPOOLS(ROW)) == TR_BLURPOOL_FFCV + 1 && (0 IM_AMPS(ROW)) == IMK_F16 + 2,
              "the model lacks a row");
static_assert((int)TR_STEM_AUTO == IM_CONF_STEM_AUTO && (int)TR_STEM_IMAGENET == IM_CONF_STEM_IMAGENET &&
                  (int)TR_STEM_SMALL == IM_CONF_STEM_SMALL,
              "one list of stems");
static_assert((int)TR_HEAD_AUTO == IM_CONF_HEAD_AUTO && (int)TR_HEAD_FC == IM_CONF_HEAD_FC &&
                  (int)TR_HEAD_CONV == IM_CONF_HEAD_CONV,
              "one list of heads");
static_assert((int)TR_BLURPOOL_NONE == IM_CONF_BLURPOOL_NONE &&
                  (int)TR_BLURPOOL_ZHANG == IM_CONF_BLURPOOL_ZHANG &&
                  (int)TR_BLURPOOL_FFCV == IM_CONF_BLURPOOL_FFCV,
              "one list of blurs");
/* open.c casts it too. */
static_assert((int)IMK_F32 == IM_AMP_NONE && (int)IMK_BF16 == IM_AMP_BF16 && (int)IMK_F16 == IM_AMP_FP16,
              "one list of number types");

int tr_network_configure(const struct im_conf *conf, int classes, struct tr_network_config *ret,
                         struct im_text *text)
{
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
        .precision = (enum imk_dtype)im_conf_amp(conf),
        .device = {.deterministic = conf->deterministic, .tf32 = conf->tf32, .dw_apart = conf->wgrad_stream},
    };
    if (im_conf_triplet(conf->mean, mean) < 0 || im_conf_triplet(conf->std, std) < 0)
        return im_fail(text, -EINVAL, "--mean or --std is not three numbers");
    for (int c = 0; c < 3; c++) {
        ret->mean[c] = (float)mean[c];
        ret->std[c] = (float)std[c];
    }
    return 0;
}
