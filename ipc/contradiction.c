#include "ipc/contradiction.h"

#include <inttypes.h>

#include "ipc/cell_word.h"

struct check {
    const struct im_run *run;
    const struct im_plan *plan;
    uint64_t batch;
    im_lives *lives;
    void *context;
    struct im_text *text;
};

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

/* The owner is a living process of the role where the state has one, else 0. */
static bool owner_is_right(const struct check *c, uint64_t word, enum im_role role)
{
    return role == IM_ROLE_NONE ? im_word_owner(word) == 0 : c->lives(c->context, role, im_word_owner(word));
}

/* A place carries the batch of its slot, and is filled only if that batch has it. */
static bool place_is_right(const struct check *c, uint32_t rank, uint64_t batch, uint32_t place)
{
    const uint64_t word = load(im_run_batch_word(c->run, rank, batch, place));

    if (im_word_number(word) != batch)
        return false;
    switch (im_word_state(word)) {
    case IM_EMPTY:
        return owner_is_right(c, word, IM_ROLE_NONE);
    case IM_WRITING:
        return place < im_plan_batch_count(c->plan, batch, rank) &&
               owner_is_right(c, word, IM_ROLE_AUGMENTER);
    case IM_DONE:
        return place < im_plan_batch_count(c->plan, batch, rank) && owner_is_right(c, word, IM_ROLE_NONE);
    default:
        return false;
    }
}

/* Which batch the slot of `batch` carries: a trainer may have given the batch of its step back already, with all its
 * places, and the slot then carries the one a turn later. A rank may be one step ahead of another. */
static uint64_t carried(const struct check *c, uint32_t rank, uint64_t batch)
{
    const uint64_t later = batch + c->run->geometry.batches;

    if (batch > c->batch + 1)
        return batch;
    for (uint32_t place = 0; place < c->run->geometry.batch_size_max; place++)
        if (im_word_number(load(im_run_batch_word(c->run, rank, batch, place))) != later)
            return batch;
    return later;
}

static bool places_are_right(const struct check *c)
{
    const struct im_geometry *g = &c->run->geometry;

    for (uint32_t rank = 0; rank < g->ranks; rank++)
        for (uint64_t b = c->batch; b < c->batch + g->batches; b++) {
            const uint64_t batch = carried(c, rank, b);

            for (uint32_t place = 0; place < g->batch_size_max; place++)
                if (!place_is_right(c, rank, batch, place)) {
                    im_fail(c->text, 0, "place %" PRIu32 " of batch %" PRIu64 " of rank %" PRIu32, place, b,
                            rank);
                    return false;
                }
        }
    return true;
}

/* Committed, and perhaps consumed. Of a batch before the next one: surely. */
static bool is_delivered(const struct check *c, uint64_t ticket)
{
    struct im_place at;
    uint64_t word;

    if (im_plan_place(c->plan, ticket, &at) < 0)
        return false;
    if (at.batch < c->batch)
        return true;
    word = load(im_run_batch_word(c->run, at.rank, at.batch, at.place));
    return im_word_number(word) > at.batch || word == im_word(IM_DONE, 0, at.batch);
}

/* Its cell: who holds it lives, and a ticket that was delivered waits for nobody there any more. */
static bool cell_is_right(const struct check *c, uint64_t word)
{
    switch (im_word_state(word)) {
    case IM_FREE:
    case IM_READY:
        return owner_is_right(c, word, IM_ROLE_NONE) && !is_delivered(c, im_word_number(word));
    case IM_FILLING:
        return owner_is_right(c, word, IM_ROLE_READER);
    case IM_TAKEN:
        return owner_is_right(c, word, IM_ROLE_AUGMENTER);
    default:
        return false;
    }
}

/* Each ticket of the next batches is in its cell or was delivered, and no cell is another's. */
static bool cells_are_right(const struct check *c)
{
    const uint64_t cells = c->run->geometry.encoded_cells, first = im_plan_first_ticket(c->plan, c->batch);

    for (uint64_t t = first; t < first + cells; t++) {
        uint64_t word = load(&c->run->encoded_word[t % cells]), number = im_word_number(word);
        bool right = number % cells == t % cells && cell_is_right(c, word);

        /* In the plan's last turn a cell goes on to a ticket past its end, which nobody reads. */
        if (right && number > t && t < c->plan->tickets)
            right = is_delivered(c, t);
        if (!right) {
            im_fail(c->text, 0, "cell %" PRIu64 ", where ticket %" PRIu64 " belongs", t % cells, t);
            return false;
        }
    }
    return true;
}

bool im_run_contradicts(const struct im_run *run, const struct im_plan *plan, uint64_t batch, im_lives *lives,
                        void *context, struct im_text *text)
{
    const struct check c = {
        .run = run, .plan = plan, .batch = batch, .lives = lives, .context = context, .text = text};

    return !places_are_right(&c) || !cells_are_right(&c);
}
