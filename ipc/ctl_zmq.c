/* ipc/ctl.h over libzmq: the only file that includes its header.
 *
 * A context and a socket per object, used by one thread. The process that opens one must not fork
 * afterwards: contexts do not survive it. Messages are bounded (IM_CTL_MESSAGE_MAX), the queues short,
 * LINGER never unbounded. */
#include "ipc/ctl.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zmq.h>

#include "ipc/base/count.h"

struct im_ctl {
    void *context;
    void *socket;
    int is_server;
    char path[128]; /* of the server's socket file; libzmq leaves it behind */
};

static void set_int(void *socket, int option, int value)
{
    zmq_setsockopt(socket, option, &value, sizeof value);
}

static void *await_lock(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

int im_ctl_try_threads(void)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t thread[2];
    sigset_t all, before;
    size_t n = 0;
    int err = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&lock);
    while (n < IM_COUNT(thread) && err == 0) {
        err = -pthread_create(&thread[n], NULL, await_lock, &lock);
        n += err == 0;
    }
    pthread_mutex_unlock(&lock);
    while (n > 0)
        pthread_join(thread[--n], NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

static int open_socket(const char *path, int type, struct im_ctl **ret, struct im_text *text)
{
    struct im_ctl *ctl = calloc(1, sizeof *ctl);
    char address[256];
    int64_t message_max = IM_CTL_MESSAGE_MAX;
    int err = im_ctl_try_threads();

    if (err < 0) {
        free(ctl);
        return im_fail(text, err, "cannot start a thread for the control socket: %s (see ulimit -u)",
                       strerror(-err));
    }
    err = -ENOMEM;
    if (!ctl)
        return err;
    ctl->is_server = type == ZMQ_ROUTER;
    snprintf(address, sizeof address, "ipc://%s", path);
    ctl->context = zmq_ctx_new();
    if (ctl->context)
        ctl->socket = zmq_socket(ctl->context, type);
    if (!ctl->socket)
        goto fail;
    set_int(ctl->socket, ZMQ_LINGER, 0);
    set_int(ctl->socket, ZMQ_SNDHWM, 256);
    set_int(ctl->socket, ZMQ_RCVHWM, 256);
    set_int(ctl->socket, ZMQ_RECONNECT_IVL, 20);
    set_int(ctl->socket, ZMQ_RECONNECT_IVL_MAX, 500);
    zmq_setsockopt(ctl->socket, ZMQ_MAXMSGSIZE, &message_max, sizeof message_max);
    if (ctl->is_server) {
        set_int(ctl->socket, ZMQ_ROUTER_MANDATORY, 1);
        set_int(ctl->socket, ZMQ_ROUTER_HANDOVER, 1);
    }
    if ((ctl->is_server ? zmq_bind : zmq_connect)(ctl->socket, address) < 0)
        goto fail;
    if (ctl->is_server) {
        chmod(path, 0600);
        snprintf(ctl->path, sizeof ctl->path, "%s", path);
    }
    *ret = ctl;
    return 0;
fail:
    err = errno ? -errno : err;
    im_ctl_close(&ctl, 0);
    return im_fail(text, err, "cannot open the control socket %s: %s", path, zmq_strerror(-err));
}

int im_ctl_serve(const char *path, struct im_ctl **ret, struct im_text *text)
{
    return open_socket(path, ZMQ_ROUTER, ret, text);
}

int im_ctl_connect(const char *path, struct im_ctl **ret, struct im_text *text)
{
    return open_socket(path, ZMQ_DEALER, ret, text);
}

void im_ctl_close(struct im_ctl **ctl, int linger_ms)
{
    struct im_ctl *c = *ctl;

    *ctl = NULL;
    if (!c)
        return;
    if (c->socket) {
        set_int(c->socket, ZMQ_LINGER, linger_ms);
        zmq_close(c->socket);
    }
    if (c->context)
        zmq_ctx_term(c->context);
    if (c->path[0])
        unlink(c->path);
    free(c);
}

int im_ctl_fd(struct im_ctl *ctl)
{
    int fd = -1;
    size_t n = sizeof fd;

    if (!ctl)
        return -1;
    zmq_getsockopt(ctl->socket, ZMQ_FD, &fd, &n);
    return fd;
}

int im_ctl_send(struct im_ctl *ctl, const struct im_ctl_peer *to, struct im_json *message)
{
    char *text = message ? im_json_dump(message) : NULL;
    int err = 0;

    im_json_free(&message);
    if (!text)
        return -ENOMEM;
    if (strlen(text) > IM_CTL_MESSAGE_MAX) /* the other end would hang up on us without a word */
        err = -EMSGSIZE;
    else if (to && zmq_send(ctl->socket, to->id, to->bytes, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        err = -errno;
    else if (zmq_send(ctl->socket, text, strlen(text), ZMQ_DONTWAIT) < 0)
        err = -errno;
    free(text);
    return err;
}

/* Reads one frame into buffer; its length (cut to n), or -1. Says in *more whether frames follow. */
static long receive_frame(struct im_ctl *ctl, void *buffer, size_t n, int *more)
{
    size_t size = sizeof *more;
    int got = zmq_recv(ctl->socket, buffer, n, ZMQ_DONTWAIT);

    *more = 0;
    if (got < 0)
        return -1;
    zmq_getsockopt(ctl->socket, ZMQ_RCVMORE, more, &size);
    return (size_t)got > n ? (long)n + 1 : (long)got;
}

static void drop_rest(struct im_ctl *ctl, int more)
{
    char ignored[256];

    while (more && receive_frame(ctl, ignored, sizeof ignored, &more) >= 0)
        ;
}

static int receive_now(struct im_ctl *ctl, struct im_ctl_peer *from, struct im_json **ret)
{
    struct im_ctl_peer peer = {0};
    char *body = malloc(IM_CTL_MESSAGE_MAX);
    int more = 1, err = -EBADMSG;
    long n;

    if (!body)
        return -ENOMEM;
    if (ctl->is_server) {
        n = receive_frame(ctl, peer.id, sizeof peer.id, &more);
        if (n < 0) {
            free(body);
            return 0;
        }
        peer.bytes = (size_t)n;
    }
    n = more ? receive_frame(ctl, body, IM_CTL_MESSAGE_MAX, &more) : -2;
    drop_rest(ctl, more);
    if (n == -1)
        err = 0;
    else if (n > 0 && n <= IM_CTL_MESSAGE_MAX && peer.bytes <= sizeof peer.id &&
             im_json_parse(body, (size_t)n, ret, NULL) == 0)
        err = im_json_is_object(*ret) ? 1 : -EBADMSG;
    if (err == -EBADMSG && n > 0)
        im_json_free(ret);
    if (err == 1 && from)
        *from = peer;
    free(body);
    return err;
}

int im_ctl_receive(struct im_ctl *ctl, int timeout_ms, struct im_ctl_peer *from, struct im_json **ret)
{
    zmq_pollitem_t item = {.socket = ctl->socket, .events = ZMQ_POLLIN};

    *ret = NULL;
    if (zmq_poll(&item, 1, timeout_ms) <= 0)
        return 0;
    return receive_now(ctl, from, ret);
}
