/* A run's control socket as `imsuper top` sees it. Nothing here waits, and nothing keeps the supervisor waiting: it
 * answers in its loop, and drops what is not taken. */
#ifndef SUPERVISOR_TOP_CLIENT_H
#define SUPERVISOR_TOP_CLIENT_H

#include <limits.h>
#include <stdbool.h>

#include "ipc/base/clock.h"
#include "ipc/ctl.h"

struct sv_top_client {
    char run_dir[PATH_MAX];
    struct im_ctl *ctl;
    struct im_ctl_record at;
    im_ns looked, asked; /* for the socket; for the status; 0: never */
    bool waits;          /* for the answer */
};

/* Turns to a run; closes the connection to the one before. */
void sv_top_client_point(struct sv_top_client *c, const char *run_dir);
void sv_top_client_close(struct sv_top_client *c); /* zeroed is fine */

/* Looks for the socket, which may move, once a second, and asks for the status twice a second. */
void sv_top_client_turn(struct sv_top_client *c, im_ns now);

/* A message, the caller's, or NULL: there is none now. */
struct im_json *sv_top_client_receive(struct sv_top_client *c);

/* Sends a command; takes it. False: nobody can be asked. */
bool sv_top_client_send(struct sv_top_client *c, struct im_json *command);

#endif
