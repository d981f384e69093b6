/* A run on several machines has one folder and one snapshot, on rank 0's. Whoever starts gets the state from there: as
 * the bytes of a state file, through the ranks' communicator, with the checks of every such file. So a machine that
 * comes with nothing is as good as another, and there is one truth about where the run stands. */
#include <inttypes.h>

#include "ipc/base/log.h"
#include "trainer/impl.h"

static int shared_state_take(struct tr_trainer *t, char *bytes, size_t n, struct tr_resume *from,
                             struct im_text *text)
{
    const struct im_child *child = t->child;
    int err;

    if (!bytes) {
        t->at = tr_position_start(child->conf);
        return 0;
    }
    err = tr_checkpoint_take("the state that rank 0 sent", bytes, n, &from->snapshot, text);
    if (err == 0)
        err = tr_position_read(from->snapshot, child->conf, child->plan, child->run->geometry.samples,
                               &from->at, text);
    if (err < 0)
        return err;
    from->state = from->snapshot;
    t->at = from->at;
    return 0;
}

static uint64_t or_here(uint64_t first_position, const struct tr_trainer *t)
{
    return first_position ? first_position : t->at.next_batch + 1;
}

/* From where this start of the run delivers, and which passes it has ended: a machine that came later counts as one that
 * was there. Each number is below 2^53. */
static int share_past(struct tr_trainer *t)
{
    const struct im_control *c = t->child->run->control;
    double x[1 + IM_SPLITS] = {
        (double)or_here(atomic_load_explicit(&c->first_position, memory_order_relaxed), t)};
    int err;

    for (int split = 0; split < IM_SPLITS; split++)
        x[1 + split] = (double)atomic_load_explicit(&c->ledger[split].ended, memory_order_relaxed);
    err = tr_ranks_share_numbers(&t->ranks, x, 1 + IM_SPLITS);
    t->leader.first_position = (uint64_t)x[0];
    for (int split = 0; split < IM_SPLITS; split++)
        t->leader.ended[split] = (uint64_t)x[1 + split];
    return err;
}

int tr_trainer_share_state(struct tr_trainer *t, struct tr_resume *from, struct im_text *text)
{
    struct im_child *child = t->child;
    const void *mine = NULL;
    char *bytes;
    size_t n = 0;
    int err;

    if (!tr_trainer_leads(t))
        t->begins_again = atomic_load_explicit(&child->run->control->generation, memory_order_acquire) > 0;
    else if (from->state)
        mine = tr_safetensors_bytes(from->state, &n);
    err = tr_ranks_share_bytes(&t->ranks, mine, n, &bytes, &n, text);
    if (err == 0)
        err = share_past(t);
    if (err || tr_trainer_leads(t)) /* who leads has its own bytes */
        return err;
    err = shared_state_take(t, bytes, n, from, text);
    if (err)
        return err;
    im_log(IM_LOG_INFO, "continuing", "from=%s next_batch=%" PRIu64, n > 0 ? "rank 0" : "the beginning",
           t->at.next_batch);
    atomic_store_explicit(&child->entry->position, t->at.next_batch + 1, memory_order_release);
    return 0;
}
