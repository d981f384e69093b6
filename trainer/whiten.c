/* A network's first layer that whitens the images: its filters are made of the first batch of a run, by all ranks alike.
 * A run that is continued has them in its checkpoint; one that begins again from the first batch makes the same again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/log.h"
#include "trainer/impl.h"
#include "trainer/model/whiten.h"
#include "trainer/network_config.h"

/* Of all ranks, the same sums on each. Virtual ranks take those of the first batch alone, which rank 0 has, however many
 * ranks there are. */
static int sum_patches(struct tr_trainer *t, struct tr_patches *p)
{
    int (*const join)(struct tr_ranks *, double *, uint32_t) =
        t->child->conf->virtual_ranks > 0 ? tr_ranks_share_numbers : tr_ranks_sum_numbers;
    const uint32_t n = (uint32_t)(p->numbers * p->numbers);
    int err = join(&t->ranks, &p->count, 1);

    for (uint32_t i = 0; i < n && err == 0; i += IM_PEER_VALUES)
        err = join(&t->ranks, p->products + i, n - i < IM_PEER_VALUES ? n - i : IM_PEER_VALUES);
    return err;
}

static int write_filters(struct tr_network *net, const struct tr_param_tensor *tensor,
                         const struct tr_patches *p)
{
    float *params = malloc(tr_network_floats(net, TR_ARENA_PARAMS) * sizeof *params);
    int err = params ? tr_network_read(net, TR_ARENA_PARAMS, params) : -ENOMEM;

    if (err == 0) {
        tr_whiten(p, params + tensor->offset);
        err = tr_network_write(net, TR_ARENA_PARAMS, params);
    }
    free(params);
    return err;
}

int tr_trainer_whiten(struct tr_trainer *t, const struct tr_ring_batch *b, struct im_text *text)
{
    const struct tr_model *m = tr_network_model(t->net);
    const struct im_conf *conf = t->child->conf;
    struct tr_patch_images images = {
        .pixels = b->batch.pixels, .valid = b->batch.valid, .n = (int)b->count, .size = b->batch.size};
    struct tr_network_config config;
    struct tr_patches p = {.side = 0};
    int err;

    if (b->g != 0 || m->whitens == 0 || conf->init_from[0])
        return 0;
    err = tr_network_configure(conf, m->classes, &config, text);
    if (err < 0)
        return err;
    memcpy(images.mean, config.mean, sizeof images.mean);
    memcpy(images.std, config.std, sizeof images.std);
    p.side = m->layers[m->whitens].kernel;
    p.numbers = 3 * p.side * p.side;
    tr_patches_add(&p, &images);
    err = sum_patches(t, &p);
    if (err)
        return err;
    err = write_filters(t->net, &m->tensors[m->layers[m->whitens].tensor], &p);
    if (err == 0 && conf->ema > 0)
        err = tr_network_reset_averages(t->net);
    if (err < 0)
        return im_fail(text, err, "cannot write the filters of the first layer");
    if (tr_trainer_leads(t))
        im_log(IM_LOG_INFO, "the first layer whitens patches of the first batch", "patches=%.0f", p.count);
    return 0;
}
