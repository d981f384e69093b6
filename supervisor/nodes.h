/* The machines ("nodes") of a run, as the supervisor of one of them sees them: the link to the other supervisors
 * (cluster/link.h) and what its news mean here. A run on one machine has none of this.
 *
 * A generation of the link is one life of all trainers. It is over when a trainer anywhere has died: each supervisor ends
 * all of its processes, says so, and starts trainers when the next one begins. The supervisor of node 0, the head, has the
 * run's folder, its snapshots and its end: it saves, and what it ends with, all end with. */
#ifndef SUPERVISOR_NODES_H
#define SUPERVISOR_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/abi.h"
#include "ipc/base/clock.h"
#include "ipc/base/err.h"
#include "supervisor/cluster/look.h"
#include "supervisor/cluster/meet.h"

struct im_conf;
struct im_json;
struct sv_link;
struct sv_super;

struct sv_nodes {
    struct sv_link *link; /* NULL: the run uses one machine */
    struct sv_meeting meeting;
    uint32_t number; /* the generation that has begun last; 0: none has */
    bool runs;       /* it is not over */
    im_ns began_at;  /* when it began; 0: before this supervisor */
    uint32_t
        let_in; /* on the head: request + 1 of the snapshot or checkpoint after which nodes are let in; 0: none */
    im_ns let_in_by;      /* then at the latest */
    uint32_t over;        /* to begin next, once no process is left; 0: it has been said, or none is */
    bool stop_asked;      /* the head has been asked to stop all */
    bool stopping;        /* it has told all */
    bool finish_told;     /* the link has been told that this node leaves */
    bool joined;          /* the head has answered */
    bool never_met;       /* this node gave up before it did */
    im_ns lost_at;        /* since when it waits for node 0, which it had; 0: it does not */
    bool elsewhere;       /* this command ends, to look for another node 0 */
    im_ns look_at;        /* when it looks for one next, before the first generation; 0: not set */
    struct sv_look *look; /* NULL: none was made */
    bool head_lost;       /* node 0 is gone: what this one has trained is saved here */
    char failure[160];    /* why this node leaves with an error; "": it does not */
    int own_status;       /* with which this node wanted to end; 0: as the run does */
    im_ns ended_at;       /* when the head told its end, or was lost; 0: it has not */
    im_ns done_at;        /* when a member that is done began to wait for that; 0: it has not */
    int end_status;       /* what it told */
    im_ns reported_at;
    struct {
        uint64_t life;            /* which start of its command; 0: none is known */
        uint64_t now[8], past[8]; /* its numbers, and the sums of those of its starts before */
    } counted[IM_RANKS_MAX];      /* on the head */
    struct sv_nodes_asks *asks;   /* nodes_ask.h; NULL: none was made */
    bool shown[IM_RANKS_MAX],
        asked[IM_RANKS_MAX]; /* cards of this generation: of ranks here, of ranks elsewhere */
};

/* Opens the link, where conf.node_count says that there are several. Negative errno with a sentence. */
int sv_nodes_open(struct sv_super *s, struct im_text *text);
/* The end: tells the others, waits for them for some seconds, closes. */
void sv_nodes_close(struct sv_super *s);

int sv_nodes_fd(const struct sv_super *s); /* -1: none */
void sv_nodes_turn(struct sv_super *s);

bool sv_nodes_are_used(const struct sv_super *s);
bool sv_nodes_is_member(const struct sv_super *s); /* another node has the run's folder */

/* nodes_share.c: this node's part of each step from now on, in a generation of which it is a member. Negative errno. */
struct sv_generation;
int sv_nodes_share(struct sv_super *s, const struct sv_generation *g);
/* On the head: nodes that are ready and take no part are let in, after a snapshot. */
void sv_nodes_let_in(struct sv_super *s);

/* May trainers be started? Without nodes always. */
bool sv_nodes_allow(const struct sv_super *s);

/* This node goes back to the last snapshot: so must all. */
void sv_nodes_on_reset(struct sv_super *s, const char *why);

/* nodes_takeover.c: who is node 0 where the one that was it is lost. Can another machine be it at all (cluster/takeover.h)? */
bool sv_nodes_may_take_over(const struct im_conf *conf);
/* Where machines are to be found, where another can take over: those of --nodes, or what is known of them; one without a name is
 * not known. 0: none can, or too few are known. place[IM_RANKS_MAX], by machine; NULL: nothing is known. */
uint32_t sv_nodes_hosts(const struct im_conf *conf, const struct im_node_place *place,
                        struct sv_machine_at ret[IM_RANKS_MAX]);
/* The channel says where the nodes are: kept in shared memory, and in a file for this command, should it be started again. */
void sv_nodes_on_places(struct sv_super *s, const struct im_node_place *place, uint32_t count);
/* That file: what was known of the machines of the run when its command ended. Its first words must be those of this start:
 * which job it was, and where its machine 0 is. 0, or how many machines. `machine`: this one. */
uint32_t sv_nodes_places_read(const char *folder, uint32_t machine, const char *start,
                              struct im_node_place ret[IM_RANKS_MAX]);
/* This command ends, saved, and executes itself again to look for another head, or to be it. */
void sv_nodes_look_elsewhere(struct sv_super *s, const char *why);
/* This machine's processes end, as if all of them had been killed. True: the others go on without it; false: they could not, and
 * nothing is done. */
bool sv_nodes_leave(struct sv_super *s, const char *why);
/* Looks elsewhere where this node is the head, and too few are left, or where there is another one before a generation has begun here. */
void sv_nodes_watch_others(struct sv_super *s);
/* Somebody asks to stop: it does not execute itself again. */
void sv_nodes_stay(struct sv_super *s);

/* The run is to end. True: the head has been asked, and tells all when to stop; nothing is to be done before. */
bool sv_nodes_ask_stop(struct sv_super *s, int status, const char *why);
/* This node cannot go on. True: the others can, and it leaves alone. */
bool sv_nodes_fail(struct sv_super *s, int status, const char *why);
void sv_nodes_stop_at_once(struct sv_super *s, const char *why); /* the others, too */

/* What a member says at its end. */
void sv_nodes_say_end(struct sv_super *s);

/* "nodes" of a status; nothing without. */
void sv_nodes_status(struct sv_super *s, struct im_json *ret);

/* What must be the same on all nodes, as lines "name=value\n": the options on which results depend and what identifies
 * the data; copies: sv_meeting.copies. malloc'ed; NULL: no memory. */
char *sv_nodes_agree(const struct im_conf *conf, const uint64_t samples[IM_SPLITS], uint32_t classes,
                     const char *copies);

#endif
