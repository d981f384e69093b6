#include "ipc/batch.h"

#include <errno.h>

#include "ipc/base/fault.h"
#include "ipc/base/hash.h"
#include "ipc/cell_word.h"
#include "ipc/wait.h"

int im_batch_claim(struct im_run *run, const struct im_place *at, uint32_t owner)
{
    uint64_t word = im_word(IM_EMPTY, 0, at->batch);

    IM_FAULT("augmenter.claim.before");
    /* B1 acquire: the trainer that freed the place has read what was there (B3 release). */
    if (atomic_compare_exchange_strong_explicit(im_run_batch_word(run, at->rank, at->batch, at->place), &word,
                                                im_word(IM_WRITING, owner, at->batch), memory_order_acq_rel,
                                                memory_order_acquire)) {
        IM_FAULT("augmenter.claim.after");
        return 0;
    }
    if (im_word_number(word) > at->batch || word == im_word(IM_DONE, 0, at->batch))
        return 1;
    return -ESTALE;
}

static uint64_t check_of(uint64_t batch, uint32_t rank, uint32_t place, uint64_t sample, int32_t label,
                         uint32_t verdict)
{
    const uint64_t said[] = {batch, (uint64_t)rank << 32 | place, sample,
                             (uint64_t)(uint32_t)label << 32 | verdict};

    return im_hash64(said, sizeof said, IM_MAGIC);
}

void im_batch_describe(const struct im_batch_view *view, const struct im_place *at, uint64_t sample,
                       int32_t label, uint32_t verdict)
{
    view->labels[at->place] = label;
    view->verdicts[at->place] = verdict;
    view->samples[at->place] = sample;
    /* Release: whoever finds the check finds the pixels, whatever the place's word says. */
    atomic_store_explicit(&view->checks[at->place],
                          check_of(at->batch, at->rank, at->place, sample, label, verdict),
                          memory_order_release);
}

bool im_batch_read(const struct im_batch_view *view, uint64_t batch, uint32_t rank, uint32_t place,
                   uint64_t sample, int32_t *ret_label, uint32_t *ret_verdict)
{
    uint64_t check = atomic_load_explicit(&view->checks[place], memory_order_acquire);

    *ret_label =
        __atomic_load_n(&view->labels[place], __ATOMIC_RELAXED); /* once: what is judged is what is used */
    *ret_verdict = __atomic_load_n(&view->verdicts[place], __ATOMIC_RELAXED);
    return view->samples[place] == sample &&
           check == check_of(batch, rank, place, sample, *ret_label, *ret_verdict);
}

int im_batch_commit(struct im_run *run, const struct im_place *at, uint32_t owner)
{
    uint64_t word = im_word(IM_WRITING, owner, at->batch);

    IM_FAULT("augmenter.commit.before");
    /* B2 release: everything of the sample is written; pairs with the acquire in im_batch_done(). */
    if (!atomic_compare_exchange_strong_explicit(im_run_batch_word(run, at->rank, at->batch, at->place),
                                                 &word, im_word(IM_DONE, 0, at->batch), memory_order_release,
                                                 memory_order_relaxed))
        return -ESTALE;
    IM_FAULT("augmenter.commit.after");
    im_event_signal(&run->control->event_done[at->rank], 1);
    return 0;
}

int im_batch_abandon(struct im_run *run, const struct im_place *at, uint32_t owner)
{
    uint64_t word = im_word(IM_WRITING, owner, at->batch);

    IM_FAULT("augmenter.abandon.before");
    /* B4 release: we write there no more; pairs with the acquire of B1. */
    if (!atomic_compare_exchange_strong_explicit(im_run_batch_word(run, at->rank, at->batch, at->place),
                                                 &word, im_word(IM_EMPTY, 0, at->batch), memory_order_release,
                                                 memory_order_relaxed))
        return -ESTALE;
    IM_FAULT("augmenter.abandon.after");
    return 0;
}

uint32_t im_batch_done(const struct im_run *run, uint32_t rank, uint64_t batch, uint32_t from, uint32_t count)
{
    uint32_t place = from;

    /* Acquire on each word: sees what its augmenter committed (B2 release). */
    while (place < count && atomic_load_explicit(im_run_batch_word(run, rank, batch, place),
                                                 memory_order_acquire) == im_word(IM_DONE, 0, batch))
        place++;
    return place - from;
}

bool im_batch_was_done(const struct im_run *run, uint32_t rank, uint64_t batch, uint32_t count)
{
    for (uint32_t place = 0; place < count; place++) {
        uint64_t word =
            atomic_load_explicit(im_run_batch_word(run, rank, batch, place), memory_order_relaxed);

        if (word != im_word(IM_DONE, 0, batch) && im_word_number(word) <= batch)
            return false;
    }
    return true;
}

void im_batch_free(struct im_run *run, uint32_t rank, uint64_t batch)
{
    uint64_t next = batch + run->geometry.batches;

    /* B3 release: we have read the batch. Every place, used by this batch or not: the next one
     * may be longer. */
    for (uint32_t place = 0; place < run->geometry.batch_size_max; place++) {
        atomic_store_explicit(im_run_batch_word(run, rank, batch, place), im_word(IM_EMPTY, 0, next),
                              memory_order_release);
        IM_FAULT("trainer.freeing");
    }
    IM_FAULT("trainer.freed");
    im_event_broadcast(&run->control->event_ready);
}

uint32_t im_batch_images(const struct im_run *run)
{
    const struct im_geometry *g = &run->geometry;
    const uint64_t words = (uint64_t)g->ranks * g->batches * g->batch_size_max;
    uint32_t images = 0;

    for (uint64_t i = 0; i < words; i++)
        images += im_word_state(atomic_load_explicit(&run->batch_word[i], memory_order_relaxed)) == IM_DONE;
    return images;
}

/* Given back before its step has ended. */
static bool is_back(const struct im_run *run, uint32_t rank, uint64_t batch)
{
    return im_word_number(
               atomic_load_explicit(im_run_batch_word(run, rank, batch, 0), memory_order_relaxed)) > batch;
}

uint32_t im_batch_ready_count(const struct im_run *run, const struct im_plan *plan, uint32_t rank,
                              uint64_t next)
{
    uint32_t ready = 0;

    for (uint64_t batch = next; batch < next + run->geometry.batches && batch < plan->batches; batch++) {
        uint32_t count = im_plan_batch_count(plan, batch, rank);

        if (ready == 0 && is_back(run, rank, batch))
            continue;
        if (im_batch_done(run, rank, batch, 0, count) < count)
            break;
        ready++;
    }
    return ready;
}
