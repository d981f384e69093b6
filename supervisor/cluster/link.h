/* The channel between the supervisors of several machines ("nodes"): ZeroMQ over TCP, encrypted and authenticated by CURVE
 * with the keys of a meeting (meet.h). Node 0 is the head and listens; the others are members and connect to it.
 * The interface is the same on all nodes: the head's own node is a member, too.
 *
 *   meeting -> sv_link_open() -> hello -> JOINED, or REFUSED with a sentence
 *           -> OVER(g)  "let no trainer run, then say that you are ready for generation g"
 *           -> sv_link_ready(g, positions) on every node -> BEGIN(g, members, positions) on every node
 *           -> sv_link_publish() / sv_link_fetch() of the cards of ranks, steps, sv_link_report() ...
 *           -> a death, a silent node, sv_link_ask_generation() -> OVER(g + 1) -> ...
 *           -> STOP on every node -> the head saves -> sv_link_finish(75) -> END(75) on every node
 *
 * Generations fence everything: what belongs to an old one is ignored by all, so a node that was taken for dead and is
 * not costs time and nothing else. Nothing here blocks; there is no thread but ZeroMQ's own. All functions are called by one thread.
 * The process that opens a link must not fork afterwards.
 *
 * What is decided, and what is sent when, is in head.h and member.h: pure functions of a state and an event. */
#ifndef SUPERVISOR_CLUSTER_LINK_H
#define SUPERVISOR_CLUSTER_LINK_H

#include "ipc/base/clock.h"
#include "supervisor/cluster/meet.h"

#define SV_LINK_KEY_MAX 32            /* of the name of a published value, with its 0 */
#define SV_LINK_VALUE_MAX 16384       /* bytes of one */
#define SV_LINK_VALUES_MAX 1024       /* of one generation */
#define SV_LINK_AGREE_MAX (96 * 1024) /* bytes of what nodes must agree on */
#define SV_LINK_TALK_MAX (96 * 1024)  /* bytes of a question to another node, or of its answer */
#define SV_LINK_REASON_MAX 256        /* bytes of a sentence that crosses the channel, with its 0 */
#define SV_LINK_POSITIONS 4           /* snapshots that a node may hold */
#define SV_LINK_NUMBERS 16            /* counters of a node, whose meaning is the caller's */
#define SV_LINK_NOWHERE UINT64_MAX    /* a position: there is none */
#define SV_LINK_BEAT_NS IM_SECOND     /* between two messages of a connection where nothing else is sent */
#define SV_LINK_SILENT_NS (3 * IM_SECOND) /* without a message: it is reported */
#define SV_LINK_DEAD_NS (10 * IM_SECOND)  /* without a message: the node is dead */
#define SV_LINK_GONE_NS (2 * IM_SECOND)   /* its connection is closed, and no other came: the node is dead */
#define SV_LINK_CUT_NS                                                                                       \
    (5 * IM_SECOND) /* what was sent was not acknowledged by its kernel: the node is dead (reach.h) */
#define SV_LINK_REFUSED_NS (400 * IM_MS) /* between two attempts of a member that has lost its connection: */
#define SV_LINK_REFUSALS 5               /* so many refused ones, and the head is dead: its port is closed */

/* The members of a generation, and where it starts. A plain value: keep it (for a supervisor that takes over) as it
 * is. */
struct sv_generation {
    uint32_t number;              /* 1 is the first; 0: none yet */
    uint32_t nodes;               /* machines of the run, members of this generation or not */
    uint16_t ranks[SV_NODES_MAX]; /* of each; 0: it is no member of this generation */
    uint64_t common;      /* the newest position that every member holds; SV_LINK_NOWHERE: there is none */
    uint64_t newest;      /* the newest that any member holds, */
    uint32_t newest_node; /* and which (the lowest such number) */
    uint64_t saved;       /* the newest checkpoint that any node reported (sv_link_ready()) */
};

struct sv_link_config {
    const struct sv_meeting *meeting; /* borrowed until the link is closed */
    uint32_t ranks;                   /* of this node, 1 or more */
    const char *name;                 /* of this machine, for messages; NULL: gethostname() */
    const char *build;                /* im_build_id(): the nodes' must be equal */
    /* What must be the same on all nodes, as lines "name=value\n": options, counts and hashes of the index. A node
     * whose lines differ from the head's is refused, and the first such line is named with both values. The order
     * must be the same, too. NULL: nothing. */
    const char *agree;
    /* The first generation begins with as few members, once `patience` is over; later ones with as few as survivors_min,
     * once `wait` is over. 0: all must be there. */
    uint32_t nodes_min, survivors_min;
    im_ns wait;
    im_ns
        patience; /* how long a member waits for the head's first answer (LOST), and the head for nodes that are
                       missing. Then it begins without them, or, where too few are there, asks all to stop (STOP with
                       `gave_up`) */
    im_ns patience_back; /* the head: for a node that was there; 0: `patience` */
    uint32_t
        takeover_min; /* a head that took over: its first generation begins with as few, once `wait` is over; 0: it is
                              none */
    /* Of a supervisor that takes over from one that died: the generation that the trainers of this node run in. Zeroed
     * otherwise. */
    struct sv_generation running;
};

struct sv_link;

/* Binds or connects; succeeds also where nobody else is there yet. Negative errno with a sentence. */
int sv_link_open(const struct sv_link_config *config, struct sv_link **ret, struct im_text *text);

/* Closes; waits at most `linger` for what is under way. NULL is fine; nulls. */
void sv_link_close(struct sv_link **link, im_ns linger);

/* Readable when sv_link_turn() has something to do: a message, or a time that has come. Level-triggered, so it may
 * be polled in a loop with others. The same descriptor as long as the link is open. */
int sv_link_fd(const struct sv_link *link);

/* Receives, decides, sends; never waits. Then ask for news until there is none. */
void sv_link_turn(struct sv_link *link);

enum sv_link_news_kind {
    SV_LINK_TELL, /* a line for the user: text; `warning` */
    SV_LINK_JOINED, /* the head has accepted this node (on the head: at once). Comes again after the head was lost and is back */
    SV_LINK_REFUSED, /* never will it: text says why. The link is of no more use */
    SV_LINK_OVER, /* generation `number` - 1 is over, if there was one; reason: text. End the trainers of this node, then
                        call sv_link_ready(number). Also the first thing after JOINED, with 1 at the start of a run.
                        May come again with a higher number before the answer; the last one counts */
    SV_LINK_BEGIN, /* generation.number begins */
    SV_LINK_VALUE, /* what was fetched: key, bytes, n (borrowed until the next call) */
    SV_LINK_STOP, /* the run must stop and save (`now`: without waiting for the step); node asked for it; text. `gave_up`:
                        nodes are missing. From then on no generation begins. Comes once, also to whoever asked */
    SV_LINK_END, /* the head has finished: status (ipc/base/exit.h), text. Then call sv_link_finish() and close */
    SV_LINK_NODE, /* on the head: what is known of `node` has changed (sv_link_node()): joined, silent, dead, left */
    SV_LINK_ASKED, /* `node` asks this one: id, bytes, n. Answer soon with sv_link_answer(); it may come twice */
    SV_LINK_ANSWERED, /* `node` has answered: id, bytes, n; `gone`: it is not there, and nothing will come */
    SV_LINK_PLACES,   /* where the nodes are to be found: bytes: struct im_node_place[nodes] */
    SV_LINK_LOST /* on members: the head is dead (no message for SV_LINK_DEAD_NS, its port is closed, or its machine is cut off), or `never` answered within
                        `patience`; text. The link goes on trying: JOINED may come again */
};

struct sv_link_news {
    enum sv_link_news_kind kind;
    bool warning, now, gave_up, never, gone;
    uint32_t node;
    uint32_t number; /* of OVER */
    int status;
    char text[1024];
    struct sv_generation generation; /* of BEGIN */
    char key[SV_LINK_KEY_MAX];
    uint64_t id; /* of a question */
    const void *bytes;
    size_t n;
};

/* The next news, oldest first; false: there is none now. */
bool sv_link_news(struct sv_link *link, struct sv_link_news *ret);

/* No trainer of this node runs, and it may begin generation `number` (of the last OVER; another number is ignored).
 * positions: of the snapshots that this node holds, up to SV_LINK_POSITIONS, in any order; saved: of the checkpoint on
 * disk that it can read, SV_LINK_NOWHERE: none. A start from the beginning is no snapshot: common is SV_LINK_NOWHERE
 * then, and saved, too. */
void sv_link_ready(struct sv_link *link, uint32_t number, const uint64_t *positions, uint32_t count,
                   uint64_t saved);

/* Shows bytes to all members of the running generation, until it is over. The name is the caller's; a second
 * value of the same name is ignored. 0; -EAGAIN: no generation runs, or it is not this number; -E2BIG; -ENOSPC. */
int sv_link_publish(struct sv_link *link, uint32_t number, const char *key, const void *bytes, size_t n);

/* Asks for a value; it comes as VALUE, once, when it was published, or never where the generation is over before. Asked
 * again: it comes again. Results as above. */
int sv_link_fetch(struct sv_link *link, uint32_t number, const char *key);

/* The trainers of generation `number` cannot go on (one died, a sum failed): all nodes must begin another. Ignored where
 * it is over already. */
void sv_link_ask_generation(struct sv_link *link, uint32_t number, const char *reason);

/* The run must stop, on all nodes. From any node, at any time. */
void sv_link_ask_stop(struct sv_link *link, bool now, const char *reason);

/* A question to another node, or to this one, through the head. May be lost: ask again with the same id, which is not 0.
 * -EAGAIN: the head has not accepted this node; -E2BIG. */
int sv_link_ask(struct sv_link *link, uint32_t node, uint64_t id, const void *bytes, size_t n);
int sv_link_answer(struct sv_link *link, uint32_t node, uint64_t id, const void *bytes, size_t n);

/* What this node shows of itself: goes with the next beat (at once would be no use: call it as often as convenient). */
void sv_link_report(struct sv_link *link, uint64_t position, const uint64_t *positions, uint32_t count,
                    uint64_t saved, const uint64_t number[SV_LINK_NUMBERS]);

/* This node leaves, with this exit status. On the head: the run is over for all (END). Nothing but turns and close() may
 * follow. */
void sv_link_finish(struct sv_link *link, int status, const char *reason);

/* After sv_link_finish(). On the head: every node that lives has left, or got END and is gone. On members: the
 * head has heard that this node leaves, or it is none of the run's: never accepted, refused, or without a head. A caller waits for it for a few seconds and then closes. */
bool sv_link_is_over(const struct sv_link *link);

enum sv_node_state {
    SV_NODE_MISSING, /* never seen */
    SV_NODE_THERE,
    SV_NODE_SILENT,
    SV_NODE_DEAD,
    SV_NODE_LEFT, /* sv_link_finish() there */
    SV_NODE_STATES
};
const char *sv_node_state_name(enum sv_node_state state);

/* What is known of a node. On the head: always. On members: what the last table said, 2 s old at most once
 * sv_link_want_table() was called, MISSING before. */
struct sv_node {
    enum sv_node_state state;
    bool
        is_ready; /* for the generation that is to begin, or, where one runs without it, for the one after that */
    uint32_t ranks;
    char name[64];                        /* of the machine */
    char address[SV_ADDRESS_MAX];         /* `here` of its meeting */
    double silent_s;                      /* since its last message */
    int status;                           /* LEFT */
    uint64_t position;                    /* sv_link_report() */
    uint64_t snapshot[SV_LINK_POSITIONS]; /* newest first; SV_LINK_NOWHERE */
    uint64_t saved;
    uint64_t number[SV_LINK_NUMBERS];
};
/* false: there is no such node, or, on a member, no table has come from the head yet. */
bool sv_link_node(const struct sv_link *link, uint32_t node, struct sv_node *ret);

/* Members: be sent the table of all nodes every second from now on, or no longer. Nothing on the head. */
void sv_link_want_table(struct sv_link *link, bool wanted);

/* The generation that runs; NULL: none does (one is to begin, or the run is over). */
const struct sv_generation *sv_link_generation(const struct sv_link *link);

/* What the channel itself did, for status and benchmarks. */
struct sv_link_counts {
    uint64_t received, sent,
        dropped; /* messages; dropped: malformed, of an old generation, or not to be sent now */
    uint64_t bytes_received, bytes_sent;
    uint64_t strangers; /* connections without the right key */
};
struct sv_link_counts sv_link_counts(const struct sv_link *link);

#endif
