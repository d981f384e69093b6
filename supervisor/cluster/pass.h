/* A meeting (meet.h) from the process that met to those that it starts: the first supervisor of a run and its successors.
 * It holds secrets, so it goes through memory that only a descriptor leads to. */
#ifndef SUPERVISOR_CLUSTER_PASS_H
#define SUPERVISOR_CLUSTER_PASS_H

#include "supervisor/cluster/meet.h"

/* A descriptor of sealed memory with a copy of all but the listener, which is a descriptor of its own. */
int sv_meeting_pass(const struct sv_meeting *meeting, int *ret_fd, struct im_text *text);

/* The other end; `listener` as it was passed, -1: none. The descriptors stay the caller's, and the meeting is freed by
 * sv_meeting_fini(), which closes a copy. -EBADMSG with a sentence: this is no such memory. */
int sv_meeting_take(int fd, int listener, struct sv_meeting *ret, struct im_text *text);

#endif
