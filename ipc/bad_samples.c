#include "ipc/bad_samples.h"

#include <stdio.h>

#include "ipc/base/hash.h"
#include "ipc/base/verdict.h"

/* Samples are below 2^32 (run.c): the bits between them, the mark of
 * a hung read (62) and the split hold a check. */
#define CHECK_SHIFT 36
#define CHECK_MASK ((UINT64_C(1) << (62 - CHECK_SHIFT)) - 1)

/* The entry of this key: claimed before, or now. A killed claimer leaves an entry without a verdict; the next
 * one to render that sample completes it. */
static struct im_bad_entry *claim(struct im_run *run, uint64_t key)
{
    for (uint32_t i = 0; i < IM_BAD_MAX; i++) {
        struct im_bad_entry *entry = &run->bad_sample[i];
        uint64_t have = atomic_load_explicit(&entry->key, memory_order_relaxed);

        if (have == 0 && atomic_compare_exchange_strong_explicit(&entry->key, &have, key,
                                                                 memory_order_relaxed, memory_order_relaxed))
            return entry;
        if (have == key)
            return entry;
    }
    return NULL;
}

void im_bad_record(struct im_run *run, uint64_t key, uint32_t verdict, const char *name)
{
    struct im_bad_entry *entry = claim(run, key);

    if (!entry) {
        atomic_fetch_add_explicit(&run->control->bad_overflow, 1, memory_order_relaxed);
        return;
    }
    atomic_fetch_add_explicit(&entry->count, 1, memory_order_relaxed);
    if (atomic_load_explicit(&entry->verdict, memory_order_relaxed) != 0)
        return;
    snprintf(entry->name, sizeof entry->name, "%.*s", IM_NAME_BYTES - 1,
             name); /* names from cells may have no end */
    /* Release: the name is complete; pairs with the supervisor's acquire. */
    atomic_store_explicit(&entry->verdict, verdict, memory_order_release);
}

uint64_t im_bad_quarantine_word(uint64_t key)
{
    return key | (im_hash64(&key, sizeof key, IM_MAGIC) & CHECK_MASK) << CHECK_SHIFT;
}

bool im_bad_is_recorded(const struct im_run *run, uint64_t key)
{
    for (uint32_t i = 0; i < IM_BAD_MAX; i++) {
        uint64_t have = atomic_load_explicit(&run->bad_sample[i].key, memory_order_relaxed);

        if (have == key || have == 0)
            return have == key;
    }
    return false;
}

uint32_t im_bad_is_quarantined(const struct im_run *run, uint64_t key)
{
    const struct im_control *c = run->control;
    const uint64_t word = im_bad_quarantine_word(key);
    uint32_t count = atomic_load_explicit(&c->quarantine_count, memory_order_acquire), verdict;

    for (uint32_t i = 0; i < count && i < IM_QUARANTINE_MAX; i++)
        if (atomic_load_explicit(&c->quarantine[i], memory_order_relaxed) == word) {
            verdict = atomic_load_explicit(&c->quarantine_verdict[i], memory_order_relaxed);
            return verdict != IM_VERDICT_OK ? verdict : IM_VERDICT_KILLED;
        }
    return IM_VERDICT_OK;
}

bool im_bad_quarantine(struct im_run *run, uint64_t key, uint32_t verdict)
{
    struct im_control *c = run->control;
    uint32_t n = atomic_load_explicit(&c->quarantine_count, memory_order_relaxed);

    if (n >= IM_QUARANTINE_MAX)
        return false;
    atomic_store_explicit(&c->quarantine[n], im_bad_quarantine_word(key), memory_order_relaxed);
    atomic_store_explicit(&c->quarantine_verdict[n], verdict, memory_order_relaxed);
    /* Release: the entry is complete; pairs with the augmenters' acquire. */
    atomic_store_explicit(&c->quarantine_count, n + 1, memory_order_release);
    return true;
}
