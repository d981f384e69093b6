/* The supervisor's own state, shared by its few files. All that must survive its death is elsewhere: in
 * shared memory, in the warden's list of children and in files.
 *
 * In this folder: the supervisor's loop (supervise), its reactions to events (react, guard, answer), the end of
 * a run (ending), the machines of a run (nodes), the process table (children), who stands still (progress, stalls, reads), which image is to blame
 * (blame), how many processes a stage has (scaler, scale), the seek index (seek), and the rules of restarts and
 * deadlines as pure functions (policy, pace). warden/ starts processes, report/ writes what the user sees, top/ is the
 * full screen, serving/ answers images over HTTP, cluster/ reads what launchers say, cli/ has the verbs. The supervisor
 * may die at any instant: it changes shared state in steps that a successor completes. It never waits for a child and
 * never touches pixels or tensors. */
#ifndef SUPERVISOR_SUPER_H
#define SUPERVISOR_SUPER_H

#include <pthread.h>

#include "ipc/config/conf.h"
#include "ipc/ctl.h"
#include "supervisor/children.h"
#include "supervisor/ending.h"
#include "supervisor/nodes.h"
#include "supervisor/progress.h"
#include "supervisor/report/journal.h"
#include "supervisor/report/observe.h"
#include "supervisor/report/screen.h"
#include "supervisor/scaler.h"
#include "supervisor/seek.h"

/* Since when the trainers have not moved on, for the search for contradictions. */
struct sv_quiet {
    uint64_t batch;     /* that they consume next */
    im_ns since, found; /* found: a contradiction, seen once; 0: none */
};

/* Resets because of contradictions before the same batch. */
struct sv_contradicted {
    uint64_t batch;
    uint32_t resets;
};

struct sv_super {
    struct im_run run;
    struct im_plan plan;
    struct im_conf conf;
    struct sv_children children;
    struct sv_screen screen;
    struct sv_journal journal;
    struct sv_observer observer;
    struct sv_view view;
    struct sv_progress_watch watch;
    struct sv_ending ending;
    struct sv_nodes nodes;
    struct im_ctl *ctl;
    im_ns trace_asked; /* when `imsuper trace` asked last; 0: never */
    bool trace_off;    /* no process keeps spans */
    bool warden_gone;
    bool resetting; /* everyone is being killed; then trainers go on from their last snapshot or checkpoint */
    struct sv_quiet quiet;
    struct sv_contradicted contradicted;
    struct im_header_copy header;
    im_ns repaired;            /* when it was last put back; 0: never */
    im_ns reset_at;            /* by the clock of the watch; 0: all that are left have the message */
    im_ns next_look_at_pixels; /* at the memory that a pixel cache in memory leaves */
    uint64_t reached; /* before the last reset: the batch that would have come next; 0: no reset was made */
    bool finished;
    bool hurry; /* a user does not wait for the last reports */
    int exit_status;
    bool left_resumable;    /* one of them has saved, but is not done */
    uint32_t trainers_done; /* that left with success or saved, in this generation */
    im_ns started;
    im_ns stalls_checked, finished_at;
    struct {
        bool waiting;               /* the storage is away; control.outage_ns says since when */
        im_ns told_at;              /* when that was reported */
        im_ns back_at;              /* when it was back last */
        im_ns probed_before;        /* when it went away: the latest probe that had succeeded */
        im_ns works_at;             /* since then: when another was seen first; 0: none */
        im_ns renew_at, renew_wait; /* readers that are refused: when others are started */
        struct {
            uint64_t key;
            uint32_t count;
        } hung[64]; /* samples whose read hung; a full table forgets the oldest */
        uint32_t hangs;
    } reads;
    im_ns stages_at, reported_at; /* when the stages were noted, and TensorBoard's file was asked for, last */
    struct {
        struct sv_listener *listener; /* NULL: not asked for, or it could not be opened */
        im_ns at;                     /* when to make the next text, or to try again */
        bool told;                    /* that it could not be opened */
    } serve;
    struct {
        double seconds; /* that the last checkpoint took: another value is another checkpoint */
        bool known;
    } save;
    bool rows_told;   /* the heading of the epochs' rows was printed ... */
    int rows_columns; /* ... for a terminal of this width */
    int64_t epochs_told;
    bool memory_told; /* what the trainers hold was printed */
    struct {
        struct im_ctl_record record; /* where the control socket is */
        uint64_t device, inode;      /* of its file */
        im_ns look_at;               /* when to look at it again */
        bool missing, was_missing, remade_told;
        pthread_mutex_t lock;       /* of shown */
        struct im_ctl_record shown; /* what .control must say; read by the journal's thread */
    } socket;
    struct sv_scaler scaler;
    struct sv_seek seek;
    uint32_t cores;     /* for readers and augmenters; 0: not counted yet */
    im_ns steady_since; /* everyone is there and works since then; 0: not now */
    im_ns restart_by;   /* trainers start again then at the latest; 0: not asked for */
    double time_limit;  /* seconds; 0: none */
};

/* react.c: what happened, and what follows. */
void sv_on_message(struct sv_super *s, const struct sv_message *m, int pidfd);
void sv_on_warden_gone(struct sv_super *s);
void sv_on_death_seen(struct sv_super *s, struct sv_child *child);
void sv_watch_trainers(struct sv_super *s);
void sv_set_state(struct sv_super *s, enum im_run_state state);
void sv_finish(struct sv_super *s, int exit_status); /* at once; nothing more is saved (ending.h) */
void sv_reset(struct sv_super *s, const char *why);
void sv_advance(struct sv_super *s); /* moves the run on: start what is wanted, end what is over */

/* guard.c: deadlines, stalls, bad samples. */
void sv_guard(struct sv_super *s);

/* contradiction.c: words that changed without a move of the protocol. */
void sv_find_contradictions(struct sv_super *s);
void sv_repair_header(struct sv_super *s);
bool sv_header_was_repaired(struct sv_super *s); /* just now, or a moment ago */
/* stalls.c: processes that do not go on. */
struct sv_stall_view {
    im_ns quiet, timeout;             /* no sign of life for; longest that is allowed */
    bool has_turned, trainers_starve; /* its loop went round once; all trainers wait for samples */
};
bool sv_is_stuck(const struct sv_stall_view *v);
void sv_check_stalls(struct sv_super *s);

/* reads.c: reads that hang, storage that is away. probed: when the latest probe that succeeded had begun; works:
 * when the first one of an outage was seen to succeed, 0: no outage, or none has. */
enum sv_read_state { SV_READ_LONG, SV_READ_HANGS, SV_READ_UNPROVEN };
/* How long files that are missing after an outage of this length are waited for. */
im_ns sv_settling_time(im_ns outage);
enum sv_read_state sv_judge_read(im_ns now, im_ns began, im_ns probed, im_ns works, im_ns deadline);
void sv_check_reads(struct sv_super *s);

/* outlook.c: where the run is; false: there is nothing to tell, for it is over. */
bool sv_outlook(const struct sv_super *s, struct sv_progress *ret);

/* recovery.c: how long the run was without a process that had died. */
void sv_note_recoveries(struct sv_super *s);

/* stages.c: what the stages do, as lines of stages.jsonl; and the reports that follow the run's files. */
void sv_note_stages(struct sv_super *s);
void sv_note_stages_now(struct sv_super *s);

/* serve.c: the numbers for Prometheus. */
void sv_serve_metrics(struct sv_super *s);
void sv_serve_end(struct sv_super *s);

/* answer.c: control messages. */
void sv_answer(struct sv_super *s);

/* control.c: the answer to a user's command; the caller's. NULL: there is no such command. */
struct im_json *sv_control(struct sv_super *s, const char *cmd, const struct im_json *message);

/* socket.c: the control socket comes and goes. */
void sv_socket_open(struct sv_super *s);
void sv_socket_check(struct sv_super *s);

/* scale.c: how many readers and augmenters there are. */
void sv_scale(struct sv_super *s);
void sv_scale_to(struct sv_super *s, enum im_role role, uint32_t count);
void sv_scale_set_automatic(struct sv_super *s, enum im_role role, bool automatic);
void sv_scale_tell(struct sv_super *s, enum im_role role, uint32_t from, uint32_t to, const char *why);
uint32_t sv_scale_max(const struct sv_super *s, enum im_role role);
void sv_scale_restart(struct sv_super *s, struct sv_child *child); /* when it holds nothing */
void sv_on_retired(struct sv_super *s, struct sv_child *child);    /* it has left, as asked */

/* pixels.c: a pixel cache in memory, when memory runs out. */
void sv_pixels_turn(struct sv_super *s);
void sv_pixels_on_want_of_memory(struct sv_super *s); /* the kernel has killed a process for it */

/* pause.c: pause, restart of the trainers, saving, the time limit. */
bool sv_is_paused(const struct sv_super *s);
void sv_pause(struct sv_super *s, bool paused);
bool sv_restart_trainers(struct sv_super *s); /* false: not in this state */
void sv_restart_turn(struct sv_super *s);
void sv_request_save(struct sv_super *s, const char *who);
void sv_check_time_limit(struct sv_super *s);
struct im_json *sv_status_json(struct sv_super *s);

/* The state of the run in a word, as shown to users. */
const char *sv_state_name(const struct sv_super *s);

#endif
