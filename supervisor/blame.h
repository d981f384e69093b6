/* Which samples are left out because augmenters ended on them. Rules first, pure but for the table in shared
 * memory, so that they can be tested without processes; and a supervisor that is replaced forgets nothing.
 *
 * A sample is left out after two deaths in a row that tell against it: a crash, memory that ran out, too much
 * processor time, no life. A signal that somebody sent tells nothing, and SIGKILL does not say who sent it; but
 * a sample on which augmenters are killed twelve times in a row, while nobody else dies, is left out too, or the
 * run would stand for ever. Restarts take longer from death to death (policy.h), so in a storm of signals somebody
 * else dies in between.
 *
 * In a row: a ticket is rendered again until it is delivered. So deaths count together that have the ticket in
 * common, and a sample that comes again in a later epoch was delivered in between. None of this depends on time
 * or load. */
#ifndef SUPERVISOR_BLAME_H
#define SUPERVISOR_BLAME_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/json.h"
#include "supervisor/children.h"

/* What an augmenter's end says about the sample in its hands. */
enum sv_end {
    SV_END_INNOCENT, /* nothing: it left, or the supervisor ended it for something else */
    SV_END_CRASH,
    SV_END_MEMORY,
    SV_END_WORK,
    SV_END_HANG,
    SV_END_SENT, /* by somebody, perhaps */
    SV_ENDS
};

struct sv_evidence {
    int wait_status;
    enum sv_kill_reason killed_for;
    uint32_t sent_signal; /* what the process itself reported; 0: nothing */
    bool memory_ran_out;  /* since the death before, the kernel killed for lack of memory */
    uint64_t need;        /* bytes that its sample takes; 0: not known */
};

enum sv_end sv_end_of(const struct sv_evidence *evidence);
const char *sv_end_name(enum sv_end end);     /* "crash"; in events.jsonl */
uint32_t sv_end_verdict(enum sv_end end);     /* enum im_verdict of a sample that is left out for it */
const char *sv_end_sentence(enum sv_end end); /* "its decoding crashed twice" */

/* Notes the end of an augmenter that held `ticket`, of the sample `key`. true: the sample is to be left out
 * from now on; told once. */
bool sv_blame_note(struct im_control *control, uint64_t key, uint64_t ticket, enum sv_end end);

/* Notes any other death of the run: then signals are being sent, to anyone. */
void sv_blame_stray(struct im_control *control);

/* Points of a sample under suspicion, for a report; 0: none. */
uint32_t sv_blame_points(struct im_control *control, uint64_t key);

/* Before the first death: remembers what the kernel has killed so far. */
void sv_blame_begin(struct im_control *control);

/* A process was ended by SIGKILL: im_oom_kills() now, and at the last such end or the beginning. A new
 * supervisor goes on from there. UINT64_MAX: not known. */
uint64_t sv_blame_look(struct im_control *control, uint64_t *ret_before);

struct sv_super;

/* The supervisor's part. A process has ended; its last sample is in child->last. */
void sv_blame_death(struct sv_super *s, const struct sv_child *child, int wait_status);
/* {"file": ..., "split": ..., "sample": ...} */
struct im_json *sv_sample_json(uint64_t key, const char *file);

#endif
