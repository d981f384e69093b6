/* What the state machines of head and members do: send a message, tell news. They have no other effect. */
#ifndef SUPERVISOR_CLUSTER_PORT_H
#define SUPERVISOR_CLUSTER_PORT_H

#include "supervisor/cluster/message.h"

struct sv_port {
    void *context;
    /* `m->from` and `m->to` are set. May be lost. What it points to is the sender's, and read at once. */
    void (*send)(void *context, const struct sv_link_message *m);
    void (*news)(void *context, const struct sv_link_news *news);
};

#endif
