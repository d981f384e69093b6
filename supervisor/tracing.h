/* The timeline of a run for `imsuper trace`, which reads the spans of all processes in the run's shared memory itself. */
#ifndef SUPERVISOR_TRACING_H
#define SUPERVISOR_TRACING_H

#include "ipc/base/json.h"
#include "supervisor/super.h"

/* The answer ("imsuper.spans/2"): `pid` and `descriptor` of the control segment. For two seconds from now on the processes
 * keep spans. */
struct im_json *sv_trace_answer(struct sv_super *s);

/* Each turn: those that have started meanwhile keep spans too; or nobody has asked for a while, and nobody does. */
void sv_trace_turn(struct sv_super *s);

#endif
