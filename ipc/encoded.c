/* See encoded.h. Every step is one compare-and-swap on the cell's own word; there is no other state that
 * could be left half changed. The two hints only say where to begin to look: a search that finds nothing from
 * the hint looks at every cell before it gives up, so a wrong hint costs time and never a ticket. */
#include "ipc/encoded.h"

#include <errno.h>

#include "ipc/base/fault.h"
#include "ipc/base/hash.h"
#include "ipc/seek_file.h"
#include "ipc/wait.h"

static uint64_t load(const struct im_run *run, uint32_t cell, memory_order order)
{
    return atomic_load_explicit(&run->encoded_word[cell], order);
}

/* Moves a hint forward from `from` to `to`, unless somebody moved it meanwhile. */
static void advance(_Atomic uint64_t *hint, uint64_t from, uint64_t to)
{
    atomic_compare_exchange_strong_explicit(hint, &from, to, memory_order_relaxed, memory_order_relaxed);
}

/* Moves a hint back to a ticket that came up behind it: files are read and rendered out of order, and whoever
 * is skipped would hold up its batch for a whole turn of the ring. */
static void lower(_Atomic uint64_t *hint, uint64_t to)
{
    uint64_t at = atomic_load_explicit(hint, memory_order_relaxed);

    while (at > to &&
           !atomic_compare_exchange_weak_explicit(hint, &at, to, memory_order_relaxed, memory_order_relaxed))
        ;
}

/* Finds the lowest ticket >= start in `state` among the N cells that can hold start .. start+N-1. */
static int find_from(const struct im_run *run, enum im_state state, uint64_t start, uint64_t limit,
                     uint64_t *ret_word)
{
    uint32_t cells = run->geometry.encoded_cells;

    for (uint64_t t = start; t < start + cells && t < limit; t++) {
        uint64_t word = load(run, (uint32_t)(t % cells), memory_order_relaxed);

        if (word == im_word(state, 0, t)) {
            *ret_word = word;
            return 1;
        }
    }
    return 0;
}

/* Finds the lowest ticket in `state` over all cells. A ticket in a cell that is not its own is damage: it is
 * passed over, for no compare-and-swap on the ticket's own cell could ever take it. */
static int find_any(const struct im_run *run, enum im_state state, uint64_t limit, uint64_t *ret_word)
{
    int found = 0;

    for (uint32_t cell = 0; cell < run->geometry.encoded_cells; cell++) {
        uint64_t word = load(run, cell, memory_order_relaxed);

        if (im_word_state(word) != state || im_word_number(word) >= limit ||
            im_word_number(word) % run->geometry.encoded_cells != cell)
            continue;
        if (!found || im_word_number(word) < im_word_number(*ret_word))
            *ret_word = word;
        found = 1;
    }
    return found;
}

static void fill_view(struct im_run *run, uint64_t ticket, struct im_encoded *ret)
{
    uint32_t cell = (uint32_t)(ticket % run->geometry.encoded_cells);

    *ret = (struct im_encoded){.ticket = ticket,
                               .cell = cell,
                               .meta = &run->encoded_meta[cell],
                               .bytes = im_run_cell_bytes(run, cell)};
}

int im_encoded_claim(struct im_run *run, uint32_t owner, uint64_t limit, struct im_encoded *ret)
{
    _Atomic uint64_t *hint = &run->control->encoded_free_hint;
    uint64_t word;

    for (;;) {
        uint64_t start = atomic_load_explicit(hint, memory_order_relaxed);

        if (!find_from(run, IM_FREE, start, limit, &word) && !find_any(run, IM_FREE, limit, &word))
            return 0;

        uint64_t ticket = im_word_number(word);
        uint32_t cell = (uint32_t)(ticket % run->geometry.encoded_cells);

        /* E1 acquire: the augmenter that freed the cell is done with its bytes (E4 release). */
        if (atomic_compare_exchange_strong_explicit(&run->encoded_word[cell], &word,
                                                    im_word(IM_FILLING, owner, ticket), memory_order_acquire,
                                                    memory_order_relaxed)) {
            advance(hint, start, ticket + 1);
            fill_view(run, ticket, ret);
            IM_FAULT("reader.claimed");
            return 1;
        }
    }
}

int im_encoded_publish(struct im_run *run, uint32_t owner, const struct im_encoded *e)
{
    uint64_t word = im_word(IM_FILLING, owner, e->ticket);

    IM_FAULT("reader.publish.before");
    /* E2 release: meta and bytes are complete; pairs with the acquire of E3. */
    if (!atomic_compare_exchange_strong_explicit(&run->encoded_word[e->cell], &word,
                                                 im_word(IM_READY, 0, e->ticket), memory_order_release,
                                                 memory_order_relaxed))
        return -ESTALE;
    lower(&run->control->encoded_ready_hint, e->ticket);
    IM_FAULT("reader.publish.after");
    im_event_signal(&run->control->event_ready, 1);
    return 0;
}

/* A READY ticket may be taken only when its place in the batch ring waits for its batch: then whoever holds
 * the ticket can always finish it. */
static bool place_is_open(const struct im_run *run, const struct im_plan *plan, uint64_t ticket)
{
    struct im_place place;

    if (im_plan_place(plan, ticket, &place) < 0)
        return false;
    return atomic_load_explicit(im_run_batch_word(run, place.rank, place.batch, place.place),
                                memory_order_relaxed) == im_word(IM_EMPTY, 0, place.batch);
}

int im_encoded_take(struct im_run *run, const struct im_plan *plan, uint32_t owner, struct im_encoded *ret)
{
    _Atomic uint64_t *hint = &run->control->encoded_ready_hint;
    uint64_t word = 0;

    for (;;) {
        uint64_t start = atomic_load_explicit(hint, memory_order_relaxed);

        /* From the hint first; if that ticket cannot go on, the oldest of all is what unblocks the ring. */
        if (!find_from(run, IM_READY, start, UINT64_MAX, &word) ||
            !place_is_open(run, plan, im_word_number(word)))
            if (!find_any(run, IM_READY, UINT64_MAX, &word) ||
                !place_is_open(run, plan, im_word_number(word)))
                return 0;

        uint64_t ticket = im_word_number(word);
        uint32_t cell = (uint32_t)(ticket % run->geometry.encoded_cells);

        /* E3 acquire: sees what the reader published (E2 release). */
        if (atomic_compare_exchange_strong_explicit(&run->encoded_word[cell], &word,
                                                    im_word(IM_TAKEN, owner, ticket), memory_order_acquire,
                                                    memory_order_relaxed)) {
            advance(hint, start, ticket + 1);
            fill_view(run, ticket, ret);
            IM_FAULT("augmenter.taken");
            return 1;
        }
    }
}

int im_encoded_release(struct im_run *run, uint32_t owner, const struct im_encoded *e)
{
    uint64_t word = im_word(IM_TAKEN, owner, e->ticket);

    IM_FAULT("augmenter.release.before");
    /* E4 release: we are done with the bytes; pairs with the acquire of E1. */
    if (!atomic_compare_exchange_strong_explicit(&run->encoded_word[e->cell], &word,
                                                 im_word(IM_FREE, 0, e->ticket + run->geometry.encoded_cells),
                                                 memory_order_release, memory_order_relaxed))
        return -ESTALE;
    lower(&run->control->encoded_free_hint, e->ticket + run->geometry.encoded_cells);
    IM_FAULT("augmenter.release.after");
    im_event_signal(&run->control->event_free, 1);
    return 0;
}

int im_encoded_reject(struct im_run *run, uint32_t owner, const struct im_encoded *e)
{
    uint64_t word = im_word(IM_TAKEN, owner, e->ticket);

    /* E5 release, as E4. */
    if (!atomic_compare_exchange_strong_explicit(&run->encoded_word[e->cell], &word,
                                                 im_word(IM_FREE, 0, e->ticket), memory_order_release,
                                                 memory_order_relaxed))
        return -ESTALE;
    lower(&run->control->encoded_free_hint, e->ticket);
    im_event_signal(&run->control->event_free, 1);
    return 0;
}

void im_encoded_ask_whole(struct im_run *run, const struct im_encoded *e)
{
    atomic_store_explicit(&run->encoded_meta[e->cell].whole, e->ticket + 1, memory_order_relaxed);
}

bool im_encoded_asks_whole(const struct im_encoded *e)
{
    return atomic_load_explicit(&e->meta->whole, memory_order_relaxed) == e->ticket + 1;
}

uint32_t im_encoded_count(const struct im_run *run, enum im_state state)
{
    uint32_t count = 0;

    for (uint32_t cell = 0; cell < run->geometry.encoded_cells; cell++)
        count += im_word_state(load(run, cell, memory_order_relaxed)) == state;
    return count;
}

uint64_t im_encoded_hash(const struct im_encoded *e)
{
    const struct im_encoded_meta *m = e->meta;
    const uint64_t said[] = {e->ticket,
                             m->sample,
                             (uint64_t)m->bytes << 32 | m->label,
                             (uint64_t)m->verdict << 32 | m->by_reference,
                             m->stamp,
                             m->link,
                             m->image,
                             (uint64_t)m->head << 32 | m->from,
                             (uint64_t)m->to << 32 | m->phase,
                             m->image_bytes,
                             m->key};

    return im_hash64(said, sizeof said, IM_MAGIC);
}

void im_encoded_seal(const struct im_encoded *e)
{
    e->meta->key = im_seek_key(e->bytes, e->meta->bytes);
    e->meta->hash = im_encoded_hash(e);
}

bool im_encoded_is_sealed(const struct im_run *run, const struct im_encoded *e)
{
    const struct im_encoded_meta *m = e->meta;

    return m->bytes <= run->geometry.cell_bytes && m->head <= m->from && m->from <= m->to &&
           m->to <= m->image_bytes && (!im_encoded_is_packed(m) || m->bytes == m->head + (m->to - m->from)) &&
           im_encoded_hash(e) == m->hash;
}

void im_encoded_compare_all(struct im_run *run)
{
    atomic_store_explicit(&run->control->must_compare, 1, memory_order_release);
}

bool im_encoded_must_compare(const struct im_run *run, const struct im_encoded *e)
{
    return e->ticket % IM_COMPARED_EACH == 0 ||
           atomic_load_explicit(&run->control->must_compare, memory_order_acquire) != 0;
}

bool im_encoded_is_whole(const struct im_encoded *e)
{
    return im_seek_key(e->bytes, e->meta->bytes) == e->meta->key;
}
