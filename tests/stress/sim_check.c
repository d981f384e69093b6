/* What a simulated run must look like, while it runs and afterwards. */
#include <inttypes.h>
#include <stdio.h>

#include "ipc/cell_word.h"
#include "tests/stress/sim.h"

bool sim_is_over(const struct sim *sim)
{
    for (uint32_t r = 0; r < sim->ranks; r++)
        if (atomic_load_explicit(&sim->shared->next_batch[r], memory_order_acquire) < sim->plan.batches)
            return false;
    return true;
}

uint64_t sim_progress(const struct sim *sim)
{
    uint64_t sum = 0;

    for (uint32_t r = 0; r < sim->ranks; r++)
        sum += atomic_load_explicit(&sim->shared->next_batch[r], memory_order_relaxed);
    return sum;
}

bool sim_ready_places_are_open(const struct sim *sim)
{
    bool good = true;

    for (uint32_t cell = 0; cell < sim->run.geometry.encoded_cells; cell++) {
        uint64_t word = atomic_load_explicit(&sim->run.encoded_word[cell], memory_order_acquire), place;
        struct im_place at;

        if (im_word_state(word) != IM_READY || im_plan_place(&sim->plan, im_word_number(word), &at) < 0)
            continue;
        place = atomic_load_explicit(im_run_batch_word(&sim->run, at.rank, at.batch, at.place),
                                     memory_order_acquire);
        /* Taken meanwhile? Nobody but the supervisor, who is here, could have made it READY again
         * after a claim. */
        if (atomic_load_explicit(&sim->run.encoded_word[cell], memory_order_acquire) == word &&
            im_word_state(place) == IM_WRITING && im_word_number(place) == at.batch) {
            fprintf(stderr, "ticket %" PRIu64 " is READY while its place is WRITING by %" PRIu32 "\n",
                    im_word_number(word), im_word_owner(place));
            good = false;
        }
    }
    return good;
}

static int complain(const char *what, uint64_t is, uint64_t should)
{
    if (is == should)
        return 0;
    fprintf(stderr, "%s: %" PRIu64 ", should be %" PRIu64 "\n", what, is, should);
    return 1;
}

int sim_check(const struct sim *sim)
{
    uint64_t phases[IM_SPLITS] = {0};
    uint64_t once = 0;
    int faults = 0;

    for (uint64_t t = 0; t < sim->plan.tickets; t++)
        once += atomic_load_explicit(&sim->shared->seen[t], memory_order_relaxed) == 1;
    faults += complain("samples delivered exactly once", once, sim->plan.tickets);
    faults += complain("samples with wrong content",
                       atomic_load_explicit(&sim->shared->wrong, memory_order_relaxed), 0);
    faults += complain("living workers fenced",
                       atomic_load_explicit(&sim->shared->fenced, memory_order_relaxed), 0);
    for (uint32_t i = 0; i < sim->plan.phases; i++)
        phases[sim->plan.phase[i].split]++;
    for (int s = 0; s < IM_SPLITS; s++) {
        struct im_ledger *l = &sim->run.control->ledger[s];
        uint64_t ended = atomic_load_explicit(&l->phases, memory_order_relaxed);

        faults += complain("ledger: exact phases",
                           atomic_load_explicit(&l->phases_exact, memory_order_relaxed), ended);
        if (ended < phases[s]) /* a trainer killed right after it ended a phase ends it again */
            faults += complain("ledger: phases", ended, phases[s]);
    }
    return faults;
}

void sim_dump(const struct sim *sim)
{
    const struct im_geometry *g = &sim->run.geometry;

    for (uint32_t r = 0; r < sim->ranks; r++)
        fprintf(stderr, "trainer %" PRIu32 " at batch %" PRIu64 " of %" PRIu64 "\n", r,
                atomic_load_explicit(&sim->shared->next_batch[r], memory_order_relaxed), sim->plan.batches);
    for (uint32_t i = 0; i < g->encoded_cells; i++) {
        uint64_t word = atomic_load_explicit(&sim->run.encoded_word[i], memory_order_relaxed);

        fprintf(stderr, "encoded %" PRIu32 ": state %d owner %" PRIu32 " ticket %" PRIu64 "\n", i,
                (int)im_word_state(word), im_word_owner(word), im_word_number(word));
    }
    for (uint32_t i = 0; i < g->ranks * g->batches * g->batch_size_max; i++) {
        uint64_t word = atomic_load_explicit(&sim->run.batch_word[i], memory_order_relaxed);

        fprintf(stderr, "batch word %" PRIu32 ": state %d owner %" PRIu32 " batch %" PRIu64 "\n", i,
                (int)im_word_state(word), im_word_owner(word), im_word_number(word));
    }
}
