#include "trainer/finetune.h"

/* The groups of an epoch (from 0), in the position: what begins to be trained counts its updates from now. */
static void groups_of_epoch(struct tr_position *p, const struct im_conf *conf, uint32_t epoch)
{
    const uint32_t now = im_conf_frozen_stages(conf, epoch) | (conf->freeze_bn ? TR_FROZEN_NORMS : 0);
    const uint32_t thawed = p->groups.frozen & ~now;

    for (int stage = 0; stage < TR_STAGES_MAX; stage++)
        if (thawed >> stage & 1)
            p->groups.since[stage] = p->updates;
    if (thawed & TR_FROZEN_NORMS)
        p->groups.norms_since = p->updates;
    p->groups.frozen = now;
    p->groups.layer_decay = conf->layer_decay;
    p->groups.rest_rate = im_conf_rest_rate(conf);
    p->groups.norm_rate = conf->norm_lr_scale;
}

int tr_finetune_epoch(struct tr_network *net, struct tr_position *p, const struct im_conf *conf,
                      uint32_t epoch, bool *ret_changed, struct im_text *text)
{
    groups_of_epoch(p, conf, epoch);
    *ret_changed = !tr_groups_equal(tr_network_groups(net), &p->groups);
    return *ret_changed ? tr_network_train(net, &p->groups, text) : 0;
}
