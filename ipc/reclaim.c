#include "ipc/reclaim.h"

#include "ipc/base/fault.h"
#include "ipc/cell_word.h"
#include "ipc/encoded.h"
#include "ipc/wait.h"

static bool swap(_Atomic uint64_t *at, uint64_t from, uint64_t to)
{
    return atomic_compare_exchange_strong_explicit(at, &from, to, memory_order_acq_rel, memory_order_relaxed);
}

/* R1: WRITING(g, dead) -> EMPTY(g). Before R3, which makes the ticket READY: an augmenter that saw ticket and
 * place open and was slow must still find the place open (PROTOCOL.md). */
static void return_samples(struct im_run *run, uint32_t owner, struct im_reclaimed *ret)
{
    const struct im_geometry *g = &run->geometry;
    uint64_t cells = (uint64_t)g->ranks * g->batches * g->batch_size_max;

    for (uint64_t i = 0; i < cells; i++) {
        uint64_t word = atomic_load_explicit(&run->batch_word[i], memory_order_acquire);

        if (im_word_state(word) != IM_WRITING || im_word_owner(word) != owner)
            continue;
        if (swap(&run->batch_word[i], word, im_word(IM_EMPTY, 0, im_word_number(word))))
            ret->writing++;
        IM_FAULT("reclaim.sample");
    }
}

/* Was the sample of this ticket committed? Its place says DONE of its batch, or already belongs to
 * a later batch. */
static bool is_committed(const struct im_run *run, const struct im_plan *plan, uint64_t ticket)
{
    struct im_place at;
    uint64_t word;

    if (im_plan_place(plan, ticket, &at) < 0)
        return false;
    word = atomic_load_explicit(im_run_batch_word(run, at.rank, at.batch, at.place), memory_order_acquire);
    return im_word_number(word) > at.batch || word == im_word(IM_DONE, 0, at.batch);
}

/* The dead augmenter's ticket is to be taken again. Its bytes may be what it died of, and others than were read: they
 * are compared before the next one decodes them, so that a file does not pay for them (supervisor/blame.h). */
static bool return_taken(struct im_run *run, uint32_t cell, uint64_t word)
{
    atomic_store_explicit(&run->encoded_meta[cell].ended, 1, memory_order_relaxed);
    return swap(&run->encoded_word[cell], word, im_word(IM_READY, 0, im_word_number(word)));
}

/* R2: FILLING(t, dead) -> FREE(t).  R3: TAKEN(t, dead) -> FREE(t+N) if the sample was committed, else
 * READY(t). */
static void return_encoded(struct im_run *run, const struct im_plan *plan, uint32_t owner,
                           struct im_reclaimed *ret)
{
    uint32_t cells = run->geometry.encoded_cells;

    for (uint32_t i = 0; i < cells; i++) {
        uint64_t word = atomic_load_explicit(&run->encoded_word[i], memory_order_acquire);
        uint64_t ticket = im_word_number(word);

        if (im_word_owner(word) != owner)
            continue;
        if (im_word_state(word) == IM_FILLING) {
            /* Of the dead one's read: the next reader of the cell must not be judged by it. The kernel may still be at it. */
            im_encoded_compare_all(run);
            atomic_store_explicit(&run->encoded_meta[i].slow_ns, 0, memory_order_relaxed);
            ret->filling += swap(&run->encoded_word[i], word, im_word(IM_FREE, 0, ticket));
        } else if (im_word_state(word) == IM_TAKEN) {
            if (is_committed(run, plan, ticket))
                ret->done += swap(&run->encoded_word[i], word, im_word(IM_FREE, 0, ticket + cells));
            else
                ret->taken += return_taken(run, i, word);
        }
        IM_FAULT("reclaim.encoded");
    }
}

void im_reclaim(struct im_run *run, const struct im_plan *plan, uint32_t incarnation,
                struct im_reclaimed *ret)
{
    *ret = (struct im_reclaimed){0};
    if (incarnation == 0)
        return;
    return_samples(run, incarnation, ret);
    return_encoded(run, plan, incarnation, ret);

    /* Returned tickets are behind the hints; from 0 a search looks everywhere once. */
    atomic_store_explicit(&run->control->encoded_free_hint, 0, memory_order_relaxed);
    atomic_store_explicit(&run->control->encoded_ready_hint, 0, memory_order_relaxed);

    /* The dead may have taken a wake-up with it, or have been the one who was woken. */
    im_event_broadcast(&run->control->event_free);
    im_event_broadcast(&run->control->event_ready);
    for (uint32_t r = 0; r < run->geometry.ranks; r++)
        im_event_broadcast(&run->control->event_done[r]);
}
