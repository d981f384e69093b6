/* Why agreement at every step: the ranks read the shared flags (stop, save) at different moments. Were each
 * to act on what it sees, one would stop before a step that another has begun. So each says what it has seen,
 * and all act on the union.
 *
 * Why a lost peer is waited out: the supervisor sees a death by itself and brings everyone back to the last
 * checkpoint. A survivor that left first would look like the one that failed. */
#include "trainer/team.h"

#include <errno.h>
#include <math.h>

#include "ipc/base/fault.h"
#include "ipc/base/log.h"
#include "ipc/wait.h"

#define JUDGEMENT_NS (10 * IM_SECOND) /* how long the supervisor may take to notice a death */

static int publish(void *context, const void *card, size_t bytes)
{
    return im_peers_publish(context, card, bytes);
}

static int look(void *context, int rank, void *ret_card, size_t *ret_bytes)
{
    struct im_child *child = context;

    return im_peers_look(child, (uint32_t)rank, (im_ns)child->conf->rank_timeout_ms * IM_MS, ret_card,
                         ret_bytes);
}

/* What a failed collective means. */
static int lost(struct tr_team *t, int err, struct im_text *text)
{
    struct im_event *event = &t->child->run->control->event_done[t->child->index];
    im_ns until = im_now() + JUDGEMENT_NS;

    if (err != -ECONNRESET && err != -ETIMEDOUT)
        return err;
    im_log(IM_LOG_INFO, "a collective failed", "why=%s", im_log_quote(&(struct im_quoted){0}, text->s));
    while (err == -ECONNRESET && im_now() < until) {
        uint32_t seen = im_event_look(event);
        int leave = im_child_should_leave(t->child);

        if (leave)
            return leave;
        im_event_wait(event, seen, IM_WAIT_MAX_NS);
    }
    return IM_EXIT_PEER;
}

int tr_team_await_leader(struct im_child *child)
{
    return child->index == 0 ? 0 : im_peers_await_position(child, 0);
}

int tr_team_open(struct tr_team *t, struct im_child *child, struct im_text *text)
{
    const struct tr_comm_config config = {
        .rank = (int)child->index,
        .ranks = (int)child->plan->ranks,
        .timeout_ms = child->conf->rank_timeout_ms,
        .rendezvous = {.context = child, .publish = publish, .look = look},
    };
    int err;

    *t = (struct tr_team){.child = child, .peers = {.child = child}};
    static_assert(IM_CARD_BYTES >= TR_CARD_BYTES_MAX, "a card fits its place");
    err = tr_comm_find(config.ranks, &t->ops, text);
    if (err == 0)
        err = t->ops->open(&config, &t->comm, text);
    return err < 0 ? lost(t, err, text) : err;
}

void tr_team_close(struct tr_team *t)
{
    if (t->ops)
        t->ops->close(t->comm);
    *t = (struct tr_team){0};
}

int tr_team_agree(struct tr_team *t, struct tr_agreement *a)
{
    const double mine[] = {a->stop, a->saves, (double)a->usable};
    double all[IM_RANKS_MAX][IM_PEER_VALUES];
    int leave;

    if (t->child->plan->ranks == 1)
        return 0;
    leave = im_peers_exchange(&t->peers, mine, 3, all);
    if (leave)
        return leave;
    *a = (struct tr_agreement){0};
    for (uint32_t r = 0; r < t->child->plan->ranks; r++) {
        a->stop |= all[r][0] != 0;
        a->saves = (uint32_t)fmax(a->saves, all[r][1]);
        a->usable += (uint64_t)all[r][2];
    }
    return 0;
}

int tr_team_sum_tally(struct tr_team *t, struct im_tally *tally)
{
    const double mine[] = {tally->loss_sum, tally->valid, tally->top1, tally->top5};
    double all[IM_RANKS_MAX][IM_PEER_VALUES];
    int leave;

    if (t->child->plan->ranks == 1)
        return 0;
    leave = im_peers_exchange(&t->peers, mine, 4, all);
    if (leave)
        return leave;
    *tally = (struct im_tally){0};
    for (uint32_t r = 0; r < t->child->plan->ranks; r++) {
        tally->loss_sum += all[r][0];
        tally->valid += (uint32_t)all[r][1];
        tally->top1 += (uint32_t)all[r][2];
        tally->top5 += (uint32_t)all[r][3];
    }
    return 0;
}

int tr_team_sum_gradients(struct tr_team *t, struct im_network *net, struct im_text *text)
{
    int err;

    IM_FAULT("trainer.gradients.before");
    err = t->ops->allreduce_sum(t->comm, im_network_arena(net, IM_ARENA_GRADS),
                                im_network_floats(net, IM_ARENA_GRADS), text);
    IM_FAULT("trainer.gradients.after");
    return err < 0 ? lost(t, err, text) : 0;
}

int tr_team_share_statistics(struct tr_team *t, struct im_network *net, struct im_text *text)
{
    static const enum im_arena shared[] = {IM_ARENA_STATS, IM_ARENA_EMA_STATS};
    int err = 0;

    for (size_t i = 0; i < sizeof shared / sizeof *shared && err == 0; i++)
        err = t->ops->broadcast(t->comm, im_network_arena(net, shared[i]),
                                im_network_floats(net, shared[i]) * sizeof(float), 0, text);
    return err < 0 ? lost(t, err, text) : 0;
}

int tr_team_meet(struct tr_team *t)
{
    return tr_team_agree(t, &(struct tr_agreement){0});
}
