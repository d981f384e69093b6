/* The supervisor's own state, shared by its few files. All that must survive its death is elsewhere: in
 * shared memory, in the warden's list of children and in files.
 *
 * In this folder: the supervisor's loop (supervise), its reactions to events (react, guard, answer), the
 * process table (children) and the rules of restarts as pure functions (policy). warden/ starts processes,
 * report/ writes what the user sees, cli/ has the verbs. The supervisor may die at any instant: it changes
 * shared state in steps that a successor completes. It never waits for a child and never touches pixels or
 * tensors. */
#ifndef SUPERVISOR_SUPER_H
#define SUPERVISOR_SUPER_H

#include "ipc/config/conf.h"
#include "ipc/ctl.h"
#include "supervisor/children.h"
#include "supervisor/report/journal.h"
#include "supervisor/report/observe.h"
#include "supervisor/report/screen.h"

struct sv_super {
    struct im_run run;
    struct im_plan plan;
    struct im_conf conf;
    struct sv_children children;
    struct sv_screen screen;
    struct sv_journal journal;
    struct sv_observer observer;
    struct sv_view view;
    struct im_ctl *ctl;
    bool warden_gone;
    bool resetting; /* everyone is being killed; then trainers go on from their last snapshot or checkpoint */
    uint64_t reached; /* before the last reset: the batch that would have come next; 0: no reset was made */
    bool finished;
    int exit_status;
    uint32_t trainers_done; /* that left with success or saved, in this generation */
    im_ns started;
    bool rows_told;   /* the heading of the epochs' rows was printed */
    bool memory_told; /* what the trainers hold was printed */
};

/* react.c: what happened, and what follows. */
void sv_on_message(struct sv_super *s, const struct sv_message *m, int pidfd);
void sv_on_warden_gone(struct sv_super *s);
void sv_on_death_seen(struct sv_super *s, struct sv_child *child);
void sv_request_stop(struct sv_super *s, const char *why);
void sv_stop_at_once(struct sv_super *s, const char *why);
void sv_finish(struct sv_super *s, int exit_status);
void sv_reset(struct sv_super *s, const char *why);
void sv_advance(struct sv_super *s); /* moves the run on: start what is wanted, end what is over */

/* guard.c: deadlines, stalls, bad samples. */
void sv_guard(struct sv_super *s);

/* answer.c: control messages. */
void sv_answer(struct sv_super *s);
struct im_json *sv_status_json(struct sv_super *s);

/* The state of the run in a word, as shown to users. */
const char *sv_state_name(const struct sv_super *s);

#endif
