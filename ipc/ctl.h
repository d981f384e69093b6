/* Control messages: small JSON objects over ZeroMQ on a local socket, between the supervisor (ROUTER) and the
 * trainers and the user's commands (DEALER). They are requests and news, never the truth: that is in the
 * words of abi.h and in files, so a lost message costs a line on a screen and no sample. PROTOCOL.md says why
 * readers and augmenters need none. */
#ifndef IPC_CTL_H
#define IPC_CTL_H

#include <stddef.h>

#include "ipc/base/err.h"
#include "ipc/base/json.h"

#define IM_CTL_MESSAGE_MAX (64 * 1024)
#define IM_CTL_PEER_MAX 64

struct im_ctl;

/* Who sent a message, for the answer. */
struct im_ctl_peer {
    unsigned char id[IM_CTL_PEER_MAX];
    size_t bytes;
};

/* Where the run in `run_dir` (an existing directory) is spoken to: a socket file in a directory of mode 0700
 * that belongs to this user, named by a hash of the run directory's real path (socket paths are limited to
 * 107 bytes). -ENAMETOOLONG; -EPERM when the directory belongs to somebody else. */
int im_ctl_path(const char *run_dir, char *ret_path, size_t n, struct im_text *text);

/* The supervisor's end. Only with the run's lock held: ZeroMQ takes over an existing path without a word. */
int im_ctl_serve(const char *path, struct im_ctl **ret, struct im_text *text);

/* A client's end. Succeeds also when nobody serves yet. */
int im_ctl_connect(const char *path, struct im_ctl **ret, struct im_text *text);

/* Closes; waits at most linger_ms for messages that are under way. NULL is fine; nulls. */
void im_ctl_close(struct im_ctl **ctl, int linger_ms);

/* Becomes readable when im_ctl_receive() may have something; then call it until it returns 0 (the descriptor
 * is edge-triggered). */
int im_ctl_fd(struct im_ctl *ctl);

/* Sends; takes `message` in every case. `to` is NULL for a client. 0, -EAGAIN (queue full), -EHOSTUNREACH
 * (peer gone), -EMSGSIZE (over IM_CTL_MESSAGE_MAX). */
int im_ctl_send(struct im_ctl *ctl, const struct im_ctl_peer *to, struct im_json *message);

/* Waits up to timeout_ms for a message. 1: *ret is the caller's; 0: nothing; -EBADMSG: something that is no
 * JSON object was received and dropped. `from` may be NULL. */
int im_ctl_receive(struct im_ctl *ctl, int timeout_ms, struct im_ctl_peer *from, struct im_json **ret);

#endif
