/* Looks for words that contradict each other once the trainers have stopped getting batches; a finding that stays
 * is put right by a reset. */
#include "ipc/contradiction.h"

#include <errno.h>

#include "supervisor/super.h"

#define QUIET_NS IM_SECOND          /* no batch in this time: worth a look */
#define REPAIRED_NS (2 * IM_SECOND) /* who starts while it is changed fails by it, and not by itself */
#define RESETS_MAX 3                /* before the same batch: more would not help either */
#define STAYS_NS (500 * IM_MS)      /* words on their way are where they belong by then */

static bool lives(void *context, enum im_role role, uint32_t incarnation)
{
    const struct sv_super *s = context;

    for (uint32_t i = 0; i < s->children.count; i++)
        if (s->children.child[i].role == role && incarnation != 0 &&
            s->children.child[i].incarnation == incarnation)
            return true;
    return false;
}

/* The batch that the trainers consume next, of the one that is behind: who is ahead waits for it before the next one.
 * 0: not all have told it. < 0 with a sentence: they contradict each other. */
static int next_batch(const struct sv_super *s, uint64_t *ret, struct im_text *text)
{
    uint64_t least = UINT64_MAX, most = 0;

    for (uint32_t r = 0; r < s->run.geometry.ranks; r++) {
        const struct im_process *p = &s->run.process[im_run_slot(&s->run, IM_ROLE_TRAINER, r)];
        uint64_t position = atomic_load_explicit(&p->position, memory_order_acquire);

        least = position < least ? position : least;
        most = position > most ? position : most;
    }
    *ret = least - 1;
    if (least == 0)
        return 0;
    if (most - least > 1 || least - 1 > s->plan.batches)
        return im_fail(text, -EBADMSG, "the positions of the trainers");
    return 1;
}

/* A reset that is of no use is not repeated for ever. False: enough of them. */
static bool may_reset(struct sv_super *s, uint64_t batch, const struct im_text *where)
{
    struct sv_contradicted *c = &s->contradicted;

    if (c->batch != batch)
        *c = (struct sv_contradicted){.batch = batch};
    if (c->resets == RESETS_MAX)
        sv_screen_warn(
            &s->screen, SV_ERROR,
            "words in shared memory still contradict each other after %d resets: %s; going on. This "
            "machine's memory may be faulty, or this is a fault of imsuper: please report it",
            RESETS_MAX, where->s);
    return c->resets++ < RESETS_MAX;
}

void sv_find_contradictions(struct sv_super *s)
{
    struct sv_quiet *q = &s->quiet;
    struct im_text where = {""}, why = {""};
    im_ns now = im_now();
    uint64_t batch;
    int has = next_batch(s, &batch, &where);

    if (im_run_state(&s->run) != IM_RUN_RUNNING || s->resetting || s->finished || has == 0) {
        *q = (struct sv_quiet){.since = now};
        return;
    }
    if (batch != q->batch) {
        *q = (struct sv_quiet){.batch = batch, .since = now};
        return;
    }
    if (now - q->since < QUIET_NS || (q->found && now - q->found < STAYS_NS))
        return;
    if (has > 0 && !im_run_contradicts(&s->run, &s->plan, batch, lives, s, &where)) {
        *q = (struct sv_quiet){.batch = batch, .since = now}; /* and again after some time */
        return;
    }
    if (!q->found) {
        q->found = now;
        return;
    }
    *q = (struct sv_quiet){.since = now};
    if (!may_reset(s, batch, &where))
        return;
    im_fail(&why, 0, "words in shared memory contradict each other: %s", where.s);
    sv_reset(s, why.s);
}

/* What is read once by each process that starts. Nobody writes it after the run's start. */
void sv_repair_header(struct sv_super *s)
{
    if (!im_run_repair_header(&s->run, &s->header))
        return;
    s->repaired = im_now();
    sv_journal_event(&s->journal, "memory.repaired", NULL);
    sv_screen_warn(
        &s->screen, SV_WARN,
        "the run's configuration in shared memory had changed and was put back: this machine's memory may "
        "be faulty");
}

bool sv_header_was_repaired(struct sv_super *s)
{
    sv_repair_header(s);
    return s->repaired && im_now() - s->repaired < REPAIRED_NS;
}
