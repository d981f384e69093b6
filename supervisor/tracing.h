/* The timeline of a run for `imsuper trace`, which asks for the newest spans of all processes again and again. */
#ifndef SUPERVISOR_TRACING_H
#define SUPERVISOR_TRACING_H

#include "ipc/base/json.h"
#include "supervisor/super.h"

/* The answer ("imsuper.spans/1"); from now on the processes keep spans. `message` has `from`: for each slot that has
 * answered before the number that the next span has. */
struct im_json *sv_trace_answer(struct sv_super *s, const struct im_json *message);

/* Each turn: nobody has asked for a while, so that nothing more is kept. */
void sv_trace_turn(struct sv_super *s);

#endif
