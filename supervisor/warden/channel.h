/* What warden and supervisor say to each other: fixed-size messages over a SOCK_SEQPACKET socket pair. */
#ifndef SUPERVISOR_WARDEN_CHANNEL_H
#define SUPERVISOR_WARDEN_CHANNEL_H

#include <stdint.h>

enum sv_message_type {
    SV_SPAWN = 1,    /* to warden: start role/index as incarnation */
    SV_SPAWNED,      /* to supervisor: it runs as pid; its pidfd comes with the message */
    SV_SPAWN_FAILED, /* to supervisor: status is a negative errno */
    SV_EXITED,       /* to supervisor: incarnation ended with wait status `status` */
    SV_FORGET,       /* to warden: the supervisor has dealt with that end */
    SV_LISTED,       /* to supervisor: that were all children */
    SV_SIGNAL,       /* to supervisor: the user sent signal `status` */
    SV_FINISHED,     /* to warden: the run is over; leave with exit status `status` */
    SV_STOP,         /* to supervisor: the user has asked a predecessor to stop, by signal `status` */
    SV_SAVE,         /* to warden: have the snapshot written as a checkpoint; answered as SV_SPAWN is */
    SV_SENT,         /* to warden: somebody sent me the fatal signal `status` */
};

struct sv_message {
    uint32_t type; /* enum sv_message_type */
    uint32_t role; /* enum im_role */
    uint32_t index;
    uint32_t incarnation;
    int32_t pid;
    int32_t status;
};

/* Of the process that writes the snapshot as a checkpoint: it has no role, is in no process table, and there is
 * one at most. */
#define SV_SAVER_INCARNATION UINT32_MAX

/* A connected pair, close-on-exec. 0 or negative errno. */
int sv_channel_pair(int ret_fds[2]);

/* Sends; `pidfd` >= 0 travels along (the receiver gets its own). 0 or negative errno (-EPIPE: the other end
 * is gone). */
int sv_channel_send(int fd, const struct sv_message *m, int pidfd);

/* Receives without waiting. 1, 0 when there is nothing, -EPIPE when the other end is gone. *ret_pidfd is -1
 * or the caller's. */
int sv_channel_receive(int fd, struct sv_message *ret, int *ret_pidfd);

#endif
