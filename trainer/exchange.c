#include "trainer/exchange.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert(IM_CARD_BYTES >= TR_CARD_BYTES_MAX, "a card fits its place");
static_assert(TR_HUB_VALUES == IM_PEER_VALUES && TR_HUB_RANKS_MAX >= IM_RANKS_MAX,
              "either carries the numbers");

static im_ns patience(const struct tr_exchange *x)
{
    return (im_ns)x->child->conf->rank_timeout_ms * IM_MS;
}

static uint32_t rank_of(const struct im_child *child)
{
    return child->plan->first_rank + child->index;
}

/* Rank 0's hub listens before its card is shown. */
static int publish_with_hub(struct tr_exchange *x, const void *card, size_t bytes)
{
    unsigned char both[IM_CARD_BYTES] = {0};

    if (bytes > sizeof both - sizeof x->card)
        return -E2BIG;
    memcpy(both, &x->card, sizeof x->card);
    memcpy(both + sizeof x->card, card, bytes);
    return im_peers_publish(x->child, both, sizeof x->card + bytes);
}

static int publish(void *context, const void *card, size_t bytes)
{
    struct tr_exchange *x = context;

    return x->is_remote ? publish_with_hub(x, card, bytes) : im_peers_publish(x->child, card, bytes);
}

static int fetch(void *context, int rank, void *ret_card, size_t *ret_bytes)
{
    struct tr_exchange *x = context;
    int err = im_peers_look(x->child, (uint32_t)rank, patience(x), ret_card, ret_bytes);

    if (err || !x->is_remote)
        return err;
    if (*ret_bytes < sizeof x->card)
        return -EBADMSG;
    if (rank == 0)
        memcpy(&x->card, ret_card, sizeof x->card);
    *ret_bytes -= sizeof x->card;
    memmove(ret_card, (unsigned char *)ret_card + sizeof x->card, *ret_bytes);
    return 0;
}

static int leave(void *context)
{
    return im_child_should_leave(((struct tr_exchange *)context)->child);
}

int tr_exchange_open(struct tr_exchange *x, struct im_child *child, struct tr_rendezvous *ret,
                     struct im_text *text)
{
    *x = (struct tr_exchange){
        .child = child, .peers = {.child = child}, .is_remote = child->plan->world > child->plan->ranks};
    *ret = (struct tr_rendezvous){.context = x, .publish = publish, .fetch = fetch, .leave = leave};
    return x->is_remote && rank_of(child) == 0
               ? tr_hub_listen(child->conf->node_address, &x->hub, &x->card, text)
               : 0;
}

int tr_exchange_join(struct tr_exchange *x, struct im_text *text)
{
    const struct tr_hub_config config = {.rank = (int)rank_of(x->child),
                                         .ranks = (int)x->child->plan->world,
                                         .timeout_ms = x->child->conf->rank_timeout_ms,
                                         .context = x,
                                         .leave = leave};

    return x->is_remote ? tr_hub_join(&x->hub, &config, &x->card, text) : 0;
}

int tr_exchange_numbers(struct tr_exchange *x, const double *mine, uint32_t count,
                        double (*ret_all)[IM_PEER_VALUES], struct im_text *text)
{
    const enum im_activity before =
        (enum im_activity)atomic_load_explicit(&x->child->stats->activity, memory_order_relaxed);
    int err;

    if (!x->is_remote)
        return im_peers_exchange(&x->peers, mine, count, ret_all);
    /* Others may wait for their data: not this rank's time (supervisor/progress.c). */
    im_stats_enter(x->child->stats, IM_IDLE);
    err = tr_hub_exchange(x->hub, mine, count, ret_all, text);
    im_stats_enter(x->child->stats, before);
    return err;
}

void tr_exchange_close(struct tr_exchange *x)
{
    tr_hub_close(x->hub);
    *x = (struct tr_exchange){0};
}
