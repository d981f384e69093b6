/* What the supervisor watches for on its own: processes that make no progress, and files that could not be
 * used. A heartbeat alone proves nothing, so it looks at held cells. */
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "ipc/bad_samples.h"
#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "ipc/base/verdict.h"
#include "ipc/encoded.h"
#include "ipc/process.h"
#include "supervisor/blame.h"
#include "supervisor/super.h"

static void tell_bad_sample(struct sv_super *s, const struct im_bad_entry *bad, uint32_t verdict)
{
    uint64_t key = atomic_load_explicit(&bad->key, memory_order_relaxed);
    char name[IM_NAME_BYTES];
    struct im_json *fields;

    memcpy(name, bad->name, sizeof name);
    name[sizeof name - 1] = 0;
    fields = sv_sample_json(key, name);
    im_json_set_str(fields, "verdict", im_verdict_name(verdict));
    sv_journal_event(&s->journal, "sample.bad", fields);
    if (!*s->conf.image_list) /* `imsuper predict` has a line for each image, with the user's name of it */
        sv_screen_warn(&s->screen, SV_WARN, "skipped %s: %s", name, im_verdict_sentence(verdict));
    if (s->conf.on_bad_sample == IM_BAD_SAMPLE_STOP) {
        sv_screen_warn(&s->screen, SV_ERROR, "stopping because of --on-bad-sample stop");
        sv_end(s, IM_EXIT_BAD_DATA, "a file cannot be used, and --on-bad-sample is stop");
    }
}

static void check_bad_samples(struct sv_super *s)
{
    _Atomic uint32_t *told = &s->run.control->bad_told;

    for (uint32_t i; (i = atomic_load_explicit(told, memory_order_relaxed)) < IM_BAD_MAX;) {
        const struct im_bad_entry *bad = &s->run.bad_sample[i];
        uint32_t verdict = atomic_load_explicit(&bad->verdict, memory_order_acquire);

        if (verdict == 0)
            return;
        atomic_store_explicit(told, i + 1, memory_order_relaxed);
        tell_bad_sample(s, bad, verdict);
    }
}

/* Also those for which the table has no room. */
static void check_bad_limit(struct sv_super *s)
{
    uint64_t bad = (uint64_t)atomic_load_explicit(&s->run.control->bad_told, memory_order_relaxed) +
                   atomic_load_explicit(&s->run.control->bad_overflow, memory_order_relaxed);

    if (s->conf.bad_sample_limit == 0 || bad < (uint64_t)s->conf.bad_sample_limit || s->finished ||
        s->ending.stage != SV_GOING_ON || s->nodes.stop_asked)
        return;
    sv_screen_warn(&s->screen, SV_ERROR,
                   "%" PRIu64 " files could not be used; stopping (--bad-sample-limit). See events.jsonl",
                   bad);
    sv_end(s, IM_EXIT_BAD_DATA, "more files cannot be used than --bad-sample-limit allows");
}

void sv_guard(struct sv_super *s)
{
    sv_repair_header(s);
    sv_find_contradictions(s);
    sv_check_deadlines(s);
    sv_check_stalls(s);
    sv_check_reads(s);
    check_bad_samples(s);
    check_bad_limit(s);
}
