/* The messages between head and members: their content, and their bytes.
 *
 * A message is a header (magic, version, kind, session of the sender, session of the receiver) and the fields of its kind,
 * little-endian, without padding; strings and bytes with their length before them. A message is decoded whole or
 * not at all: each number is checked against its range, each length against what is there, and no byte may be left over.
 *
 * A session is the number of one opened link: a node that was started again has another. Messages carry states
 * more than events ("ready for generation 4", not "became ready"), so one that is lost, late, doubled or
 * overtaken does no harm: the next beat repeats it, and an older one has a lower serial number. */
#ifndef SUPERVISOR_CLUSTER_MESSAGE_H
#define SUPERVISOR_CLUSTER_MESSAGE_H

#include <stddef.h>

#include "supervisor/cluster/link.h"

#define SV_MESSAGE_VERSION 2
#define SV_MESSAGE_MAX (128 * 1024) /* bytes of any */
#define SV_BUILD_MAX 128            /* of a build id with its 0 */
#define SV_NAME_MAX 64              /* of a machine's name with its 0 */

enum sv_message_kind {
    SV_HELLO = 1, /* member -> head: who I am; until it is welcome */
    SV_REPORT,    /* member -> head: all that this node has to say; the member's beat */
    SV_PUBLISH,   /* member -> head: a value; until it is kept */
    SV_FETCH,     /* member -> head: asks for a value; until it comes */
    SV_WELCOME,   /* head -> member: you are accepted */
    SV_REFUSE,    /* head -> member: you are not */
    SV_WHO,       /* head -> member: this session is not known (any more): say hello */
    SV_ORDER,     /* head -> member: all that the head has decided; the head's beat */
    SV_KEPT,      /* head -> member: a value was kept */
    SV_VALUE,     /* head -> member: a value */
    SV_TABLE,     /* head -> member: all nodes, to members that ask for it */
    SV_ASK,       /* member -> head -> member: what a user asks of another node */
    SV_ANSWER,    /* the same way back */
    SV_PLACES,    /* head -> member: where all nodes are to be found */
    SV_MESSAGE_KINDS
};

struct sv_hello {
    uint32_t node, nodes, ranks;
    uint32_t running; /* generation that trainers of this node run in; 0: none */
    uint32_t seen;    /* the highest generation that it heard of */
    char name[SV_NAME_MAX], address[SV_ADDRESS_MAX], build[SV_BUILD_MAX];
    const char *agree; /* [agree_bytes]; borrowed from the message's bytes, not ended by a 0 */
    size_t agree_bytes;
};

enum sv_stop { SV_STOP_NONE, SV_STOP_SAVE, SV_STOP_NOW };

struct sv_report {
    uint64_t serial;               /* grows with each report of a session */
    uint64_t order;                /* serial of the last order that it has followed */
    uint32_t seen, running, ready; /* generations: the highest heard of, as of a hello, ... */
    uint64_t ready_position[SV_LINK_POSITIONS], ready_saved; /* SV_LINK_NOWHERE: none */
    uint32_t want;                                           /* the generation that must end; 0: none */
    enum sv_stop stop;
    bool left, wants_table;
    int32_t status;                  /* if it has left */
    char reason[SV_LINK_REASON_MAX]; /* of leaving, stopping or wanting, the first of them that is */
    uint64_t position, snapshot[SV_LINK_POSITIONS], saved, number[SV_LINK_NUMBERS];
};

struct sv_order {
    uint64_t serial; /* grows with each order of a head's session */
    bool runs;       /* generation.number runs; else it is to begin, and only its number means something */
    struct sv_generation generation;
    char over[SV_LINK_REASON_MAX]; /* why the generation before is over */
    enum sv_stop stop;
    bool gave_up;
    uint32_t stop_node;
    char stop_reason[SV_LINK_REASON_MAX];
    bool ended, left_seen; /* the run is over; this member's leaving was heard */
    int32_t status;
    char end_reason[SV_LINK_REASON_MAX];
};

struct sv_value {
    uint32_t generation;
    char key[SV_LINK_KEY_MAX];
    const void *bytes; /* PUBLISH and VALUE; borrowed from the message's bytes */
    size_t n;
};

/* The head carries it; `from` is who its session is, whatever the sender says. */
struct sv_talk {
    uint32_t from, to; /* nodes */
    uint64_t id;       /* of the question, the asking node's */
    bool is_gone;      /* ANSWER of the head: there is no such node now */
    const void *bytes; /* borrowed from the message's bytes */
    size_t n;
};

struct sv_link_message {
    enum sv_message_kind kind;
    uint64_t from, to; /* sessions; to: 0, not known */
    union {
        struct sv_hello hello;
        struct sv_report report;
        struct sv_order order;
        struct sv_value value;             /* PUBLISH, FETCH, KEPT, VALUE */
        struct sv_talk talk;               /* ASK, ANSWER */
        char refusal[1024];                /* REFUSE */
        const struct sv_node *table;       /* TABLE, to encode: [nodes] */
        const struct im_node_place *place; /* PLACES, to encode: [nodes] */
        struct {
            const void *bytes;
            size_t n;
        } rows; /* TABLE and PLACES, decoded: for the functions below */
    };
    uint32_t nodes; /* TABLE and PLACES, to encode */
};

/* Bytes written, or -EMSGSIZE: it does not fit into `max`. */
long sv_message_encode(const struct sv_link_message *m, unsigned char *ret, size_t max);

/* 0; -EBADMSG: no message of this kind of program; -EPROTO: one of another version of it (from is set). */
int sv_message_decode(const void *bytes, size_t n, struct sv_link_message *ret);

/* The rows of a decoded TABLE; room for SV_NODES_MAX. How many, or -EBADMSG. */
int sv_table_decode(const struct sv_link_message *m, struct sv_node *ret);
/* The same of PLACES. Each address is one, or empty. */
int sv_places_decode(const struct sv_link_message *m, struct im_node_place *ret);

const char *sv_message_name(enum sv_message_kind kind);

#endif
