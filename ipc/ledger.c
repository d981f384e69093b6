#include "ipc/ledger.h"

#include <errno.h>

static void zero(_Atomic uint64_t *word)
{
    atomic_store_explicit(word, 0, memory_order_relaxed);
}

static void ledger_add(_Atomic uint64_t *word, uint64_t n)
{
    atomic_fetch_add_explicit(word, n, memory_order_relaxed);
}

void im_ledger_begin(struct im_run *run, enum im_split split)
{
    struct im_ledger *l = &run->control->ledger[split];

    zero(&l->delivered);
    zero(&l->duplicates);
    zero(&l->bad);
}

int im_ledger_enter(struct im_run *run, enum im_split split, uint32_t phase, const uint64_t *samples,
                    const uint32_t *verdicts, uint32_t count)
{
    struct im_ledger *l = &run->control->ledger[split];
    uint64_t duplicates = 0, bad = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (samples[i] >= run->geometry.samples[split])
            return -EBADMSG;
        duplicates += atomic_exchange_explicit(&run->stamp[split][samples[i]], phase + 1,
                                               memory_order_relaxed) == phase + 1;
        bad += verdicts[i] != 0;
    }
    ledger_add(&l->delivered, count);
    ledger_add(&l->duplicates, duplicates);
    ledger_add(&l->bad, bad);
    return 0;
}

bool im_ledger_end(struct im_run *run, enum im_split split, const struct im_ledger_pass *pass)
{
    struct im_ledger *l = &run->control->ledger[split];
    uint64_t delivered = atomic_load_explicit(&l->delivered, memory_order_relaxed);
    uint64_t before = pass->from > pass->start ? pass->from - pass->start : 0;
    bool exact = delivered == pass->total - pass->from &&
                 atomic_load_explicit(&l->duplicates, memory_order_relaxed) == 0;
    bool again = pass->has_ended || atomic_load_explicit(&l->ended, memory_order_relaxed) > pass->phase;

    if (again && exact)
        return true;
    ledger_add(&l->phases, 1);
    if (again) /* right the first time, wrong now: it stays one that is not exact */
        return false;
    ledger_add(&l->phases_exact, exact);
    ledger_add(&l->total_delivered, before + delivered);
    atomic_store_explicit(&l->ended, pass->phase + UINT64_C(1), memory_order_relaxed);
    return exact;
}
