/* The supervisor's side of the process table: which processes it has asked for, which live, what
 * a death means. */
#ifndef SUPERVISOR_CHILDREN_H
#define SUPERVISOR_CHILDREN_H

#include "ipc/reclaim.h"
#include "ipc/run.h"
#include "supervisor/deadline.h"
#include "supervisor/policy.h"
#include "supervisor/warden/channel.h"

/* Why the supervisor itself killed a process: such an end says nothing about the program. */
enum sv_kill_reason {
    SV_KILL_NONE,     /* it did not: the process ended by itself, or another process ended it */
    SV_KILL_DEADLINE, /* too much processor time on one image */
    SV_KILL_HANG,     /* none at all on one image */
    SV_KILL_STALL,    /* no sign of life */
    SV_KILL_READ,     /* a file that it reads hangs */
    SV_KILL_LATE,     /* asked to leave, it did not */
    SV_KILL_FAILED,   /* said that it leaves with a failure, it did not: what it said counts */
};

/* One slot of the process table. */
struct sv_child {
    enum im_role role;
    uint32_t index, slot;
    uint32_t incarnation; /* 0: none is alive or starting */
    int pidfd;            /* -1: not known yet */
    int32_t pid;
    bool wanted; /* start one when none is there */
    enum sv_kill_reason killed_for;
    bool ended_by_reset; /* its end is no news */
    im_ns lost_at;       /* when one that was ready died, and none has been ready since; 0: it is not so */
    im_ns dead_since;    /* when its death was seen, and its status was not known; 0: it lives */
    im_ns killed_at;     /* when SIGKILL was sent first; 0: it was not */
    im_ns start_at;      /* earliest time of the next start */
    im_ns retire_by;     /* it is asked to leave, and killed then; 0: not asked by us */
    im_ns failed_at;     /* when it was first seen to leave with a failure; 0: it was not */
    struct sv_tally tally;
    struct {
        uint32_t incarnation;
        uint64_t count; /* items finished */
        im_ns since;
    } progress; /* as last seen */
    struct sv_work work;

    /* The last one that died here, until the warden tells its wait status. */
    struct {
        uint32_t incarnation; /* 0: nothing to tell */
        int32_t pid;
        bool was_ready, ended_by_reset, retired;
        bool blamed; /* what its end says of its sample has been noted */
        enum sv_kill_reason killed_for;
        uint32_t failed;                      /* im_process.failed */
        uint64_t active_sample;               /* im_bad_key() of what it was rendering; 0: nothing */
        uint64_t active_ticket;               /* its ticket + 1 */
        uint64_t active_need;                 /* bytes of memory that it takes */
        uint32_t sent_signal;                 /* that somebody sent to the process */
        char active_name[IM_NAME_BYTES];      /* its file */
        uint64_t oom_kills_before, oom_kills; /* of a SIGKILL: im_oom_kills() at the one before, and at it */
        uint64_t position;                    /* a trainer's: next batch + 1 */
        im_ns died_at;
        struct im_reclaimed returned;
    } last;
};

struct sv_children {
    struct im_run *run;
    const struct im_plan *plan;
    int channel;
    struct sv_child child[IM_SLOTS_MAX];
    uint32_t count;
};

void sv_children_init(struct sv_children *c, struct im_run *run, const struct im_plan *plan, int channel);

struct sv_child *sv_child_at(struct sv_children *c, enum im_role role, uint32_t index);
struct sv_child *sv_child_by_incarnation(struct sv_children *c, uint32_t incarnation);

/* Asks the warden for a new process in this slot. 0 or negative errno. */
int sv_child_start(struct sv_children *c, struct sv_child *child);

/* The process in this slot is dead: fills child->last. Its cells are still its own. */
void sv_child_remember(struct sv_children *c, struct sv_child *child);

/* Does that, marks it, returns its cells, frees the slot. Idempotent. */
void sv_child_finalize(struct sv_children *c, struct sv_child *child);

/* The wait status that counts: of a process that had to be killed after it had said with what it leaves, that. */
int sv_child_end(const struct sv_child *child, int wait_status);

void sv_child_kill(struct sv_child *child, int signo);

/* Switches the processes of a role on or off: those switched off are not restarted. */
void sv_children_want(struct sv_children *c, enum im_role role, bool wanted);
/* How many of a role there should be while it is switched on. */
uint32_t sv_children_count(const struct sv_children *c, enum im_role role);
uint32_t sv_children_alive(const struct sv_children *c, enum im_role role);

/* A new supervisor: takes over what the table says against what the warden listed (the children that have a
 * pidfd); entries without a process are freed. */
void sv_children_adopt(struct sv_children *c);

#endif
