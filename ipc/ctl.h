/* Control messages: small JSON objects over ZeroMQ on a local socket, between the supervisor (ROUTER) and the
 * trainers and the user's commands (DEALER). They are requests and news, never the truth: that is in the
 * words of abi.h and in files, so a lost message costs a line on a screen and no sample. PROTOCOL.md says why
 * readers and augmenters need none. */
#ifndef IPC_CTL_H
#define IPC_CTL_H

#include <limits.h>
#include <stddef.h>

#include "ipc/base/err.h"
#include "ipc/base/json.h"

#define IM_CTL_MESSAGE_MAX (512 * 1024) /* the status of a run with the most processes that there can be */
#define IM_CTL_PEER_MAX 64

struct im_ctl;

/* Who sent a message, for the answer. */
struct im_ctl_peer {
    unsigned char id[IM_CTL_PEER_MAX];
    size_t bytes;
};

/* What the run directory says of the control socket (its file .control). */
enum { IM_CTL_PATH_BYTES = 108 }; /* of a socket path, with its NUL: sockaddr_un's limit */
struct im_ctl_record {
    char path[IM_CTL_PATH_BYTES]; /* of the socket; "": the run has none */
    int64_t pid;                  /* of the warden, which takes signals; 0: not known */
};
int im_ctl_read_record(const char *run_dir, struct im_ctl_record *ret);
int im_ctl_write_record(const char *run_dir, const struct im_ctl_record *record, struct im_text *text);

/* Opens the supervisor's end for the run in `run_dir`, in the first usable place: where the record says (only if it
 * is the run's own name in a directory that is private already: nothing there is made or changed), then
 * imsuper/ in XDG_RUNTIME_DIR (/run/user/UID where it is not set), then imsuper-UID or else a new directory in
 * TMPDIR, and in /tmp. All are directories of mode 0700 that belong to this user; the socket is named by a hash of the run
 * directory's real path. Only with the run's lock held. Negative errno with a sentence: there is no usable
 * place now. */
int im_ctl_serve_run(const char *run_dir, struct im_ctl **ret, char ret_path[IM_CTL_PATH_BYTES],
                     struct im_text *text);

/* Finds the socket of a run: by the record; without one that names a private place of the same user, in the
 * places that this process would take itself. -ENOTCONN: the run has none; ret->pid may be known even so.
 * -EACCES: record or socket belong to another user. */
int im_ctl_find(const char *run_dir, struct im_ctl_record *ret);

/* The first of the places above that is a directory of this user alone, or can be made one. -EACCES with a sentence. */
int im_ctl_directory(char ret[PATH_MAX], struct im_text *text);

/* libzmq makes two threads for a context, and aborts the process that gets none. 0, or negative errno where
 * there are no two to be had now. */
int im_ctl_try_threads(void);

/* Removes socket and record of a run that is over. Only with the run's lock held. */
void im_ctl_remove(const char *run_dir);

/* The supervisor's end at a path. Only with the run's lock held: ZeroMQ takes over an existing path without a
 * word. */
int im_ctl_serve(const char *path, struct im_ctl **ret, struct im_text *text);

/* A client's end. Succeeds also when nobody serves yet. */
int im_ctl_connect(const char *path, struct im_ctl **ret, struct im_text *text);

/* Closes; waits at most linger_ms for messages that are under way. NULL is fine; nulls. */
void im_ctl_close(struct im_ctl **ctl, int linger_ms);

/* -1 for NULL. Becomes readable when im_ctl_receive() may have something; then call it until it returns 0 (the descriptor
 * is edge-triggered). */
int im_ctl_fd(struct im_ctl *ctl);

/* Sends; takes `message` in every case. `to` is NULL for a client. 0, -EAGAIN (queue full), -EHOSTUNREACH
 * (peer gone), -EMSGSIZE (over IM_CTL_MESSAGE_MAX). */
int im_ctl_send(struct im_ctl *ctl, const struct im_ctl_peer *to, struct im_json *message);

/* Waits up to timeout_ms for a message. 1: *ret is the caller's; 0: nothing; -EBADMSG: something that is no
 * JSON object was received and dropped. `from` may be NULL. */
int im_ctl_receive(struct im_ctl *ctl, int timeout_ms, struct im_ctl_peer *from, struct im_json **ret);

#endif
