#include "supervisor/cluster/transport.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <zmq.h>

#include "ipc/ctl.h"
#include "supervisor/cluster/address.h"
#include "supervisor/cluster/message.h"
#include "supervisor/cluster/reach.h"

#define ZAP "inproc://zeromq.zap.01"
#define DOMAIN "imsuper"
#define ROUTING_BYTES 9       /* 'n' and the session */
#define FAR_ENDS SV_NODES_MAX /* others, and room for one that was started anew */
#define QUEUE 4096            /* messages to, or from, one connection; more are lost, and sent again later */
#define EVENTS                                                                                               \
    (ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_DISCONNECTED |                              \
     ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |                                  \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

/* The other end of a connection. */
struct far_end {
    uint64_t session; /* 0 on members */
    struct sv_reach reach;
    bool is_cut; /* and not told yet */
};

struct sv_transport {
    const struct sv_meeting *meeting;
    void *context, *socket, *zap, *monitor;
    int epoll, timer;
    bool is_head, is_open; /* is_open: the exchange of keys has succeeded */
    bool is_answered;      /* something has accepted the last attempt to connect */
    char trouble[256];
    struct sv_address peer; /* of the last connection; no bytes: there was none */
    int probe;              /* an attempt to connect that is under way; -1: none */
    im_ns probe_at;
    uint32_t refusals;
    uint64_t strangers;
    char stranger[SV_ADDRESS_MAX];
    struct far_end far[FAR_ENDS];
    uint32_t fars;
};

static void set_int(void *socket, int option, int value)
{
    zmq_setsockopt(socket, option, &value, sizeof value);
}

static void set_text(void *socket, int option, const char *value)
{
    zmq_setsockopt(socket, option, value, strlen(value));
}

static void routing_of(uint64_t session, unsigned char ret[ROUTING_BYTES])
{
    ret[0] = 'n';
    for (int i = 0; i < 8; i++)
        ret[1 + i] = (unsigned char)(session >> (8 * i));
}

static uint64_t session_of(const unsigned char *routing, size_t n)
{
    uint64_t session = 0;

    if (n != ROUTING_BYTES || routing[0] != 'n')
        return 0;
    for (int i = 0; i < 8; i++)
        session |= (uint64_t)routing[1 + i] << (8 * i);
    return session;
}

/* ---- open and close ---- */

static void set_options(struct sv_transport *s, uint64_t session)
{
    const struct sv_keys *keys = &s->meeting->keys;
    int64_t most = SV_MESSAGE_MAX;
    unsigned char routing[ROUTING_BYTES];

    set_int(s->socket, ZMQ_LINGER, 0);
    set_int(s->socket, ZMQ_SNDHWM, QUEUE);
    set_int(s->socket, ZMQ_RCVHWM, QUEUE);
    zmq_setsockopt(s->socket, ZMQ_MAXMSGSIZE, &most, sizeof most);
    set_int(s->socket, ZMQ_HANDSHAKE_IVL, 10000);
    /* A connection that a cut leaves behind is given up: TCP alone would try for minutes, ever more seldom. */
    set_int(s->socket, ZMQ_HEARTBEAT_IVL, 1000);
    set_int(s->socket, ZMQ_HEARTBEAT_TIMEOUT, 5000);
    set_text(s->socket, ZMQ_CURVE_SECRETKEY, keys->secret);
    set_text(s->socket, ZMQ_CURVE_PUBLICKEY, keys->open);
    if (s->is_head) {
        set_int(s->socket, ZMQ_CURVE_SERVER, 1);
        set_text(s->socket, ZMQ_ZAP_DOMAIN, DOMAIN);
        set_int(s->socket, ZMQ_ROUTER_MANDATORY, 1);
        set_int(s->socket, ZMQ_ROUTER_HANDOVER, 1);
        return;
    }
    routing_of(session, routing);
    zmq_setsockopt(s->socket, ZMQ_ROUTING_ID, routing, sizeof routing);
    set_text(s->socket, ZMQ_CURVE_SERVERKEY, keys->head);
    set_int(s->socket, ZMQ_IMMEDIATE, 1);
    set_int(s->socket, ZMQ_RECONNECT_IVL, 200);
    set_int(s->socket, ZMQ_RECONNECT_IVL_MAX, 1000);
    set_int(s->socket, ZMQ_CONNECT_TIMEOUT, 3000);
}

/* The head's socket works on a duplicate of the meeting's listener. */
static int listen_there(struct sv_transport *s)
{
    int fd = dup(s->meeting->listener), err = 0;
    char address[64];

    if (fd < 0)
        return -errno;
    set_int(s->socket, ZMQ_USE_FD, fd);
    snprintf(address, sizeof address, "tcp://127.0.0.1:%" PRIu32,
             s->meeting->port); /* only for its form: see ZMQ_USE_FD */
    if (zmq_bind(s->socket, address) < 0) {
        err = -errno;
        close(fd);
    }
    return err;
}

static int connect_there(struct sv_transport *s)
{
    const bool six = strchr(s->meeting->head, ':') != NULL;
    char address[SV_HOST_MAX + 32];

    snprintf(address, sizeof address, six ? "tcp://[%s]:%" PRIu32 : "tcp://%s:%" PRIu32, s->meeting->head,
             s->meeting->port);
    set_int(s->socket, ZMQ_IPV6, six);
    return zmq_connect(s->socket, address) < 0 ? -errno : 0;
}

static int watch_connections(struct sv_transport *s)
{
    char address[64];

    snprintf(address, sizeof address, "inproc://link-%p", (void *)s);
    if (zmq_socket_monitor(s->socket, address, EVENTS) < 0)
        return -errno;
    s->monitor = zmq_socket(s->context, ZMQ_PAIR);
    if (!s->monitor)
        return -errno;
    set_int(s->monitor, ZMQ_LINGER, 0);
    return zmq_connect(s->monitor, address) < 0 ? -errno : 0;
}

static int add_descriptor(struct sv_transport *s, void *socket)
{
    struct epoll_event e = {.events = EPOLLIN};
    size_t n = sizeof e.data.fd;

    if (zmq_getsockopt(socket, ZMQ_FD, &e.data.fd, &n) < 0)
        return -errno;
    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, e.data.fd, &e) < 0 ? -errno : 0;
}

static int make_descriptor(struct sv_transport *s)
{
    struct epoll_event e = {.events = EPOLLIN};
    int err;

    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    e.data.fd = s->timer;
    if (s->epoll < 0 || s->timer < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->timer, &e) < 0)
        return -errno;
    err = add_descriptor(s, s->socket);
    if (err == 0)
        err = add_descriptor(s, s->monitor);
    return err == 0 && s->zap ? add_descriptor(s, s->zap) : err;
}

static int open_all(struct sv_transport *s, uint64_t session)
{
    int err;

    s->context = zmq_ctx_new();
    if (!s->context)
        return -errno;
    if (s->is_head) {
        s->zap = zmq_socket(s->context, ZMQ_REP);
        if (!s->zap || zmq_bind(s->zap, ZAP) < 0)
            return -errno;
        set_int(s->zap, ZMQ_LINGER, 0);
    }
    s->socket = zmq_socket(s->context, s->is_head ? ZMQ_ROUTER : ZMQ_DEALER);
    if (!s->socket)
        return -errno;
    set_options(s, session);
    err = watch_connections(s);
    if (err == 0)
        err = s->is_head ? listen_there(s) : connect_there(s);
    return err == 0 ? make_descriptor(s) : err;
}

int sv_transport_open(const struct sv_meeting *m, uint64_t session, struct sv_transport **ret,
                      struct im_text *text)
{
    struct sv_transport *s;
    int err = sv_keys_available(text);

    if (err < 0)
        return err;
    err = im_ctl_try_threads();
    if (err < 0)
        return im_fail(text, err,
                       "cannot start a thread for the channel between machines: %s (see ulimit -u)",
                       strerror(-err));
    s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->meeting = m;
    s->is_head = m->node == 0;
    s->epoll = s->timer = s->probe = -1;
    err = open_all(s, session);
    if (err < 0) {
        sv_transport_close(&s, 0);
        return im_fail(text, err, "cannot open the channel between machines at %s port %" PRIu32 ": %s",
                       m->head, m->port, zmq_strerror(-err));
    }
    *ret = s;
    return 0;
}

void sv_transport_close(struct sv_transport **socket, im_ns linger)
{
    struct sv_transport *s = *socket;

    *socket = NULL;
    if (!s)
        return;
    /* First no more events, then nobody who takes them: libzmq's thread waits for ever, with a lock, to tell a
     * monitor that is closed. */
    if (s->socket)
        zmq_socket_monitor(s->socket, NULL, 0);
    if (s->monitor)
        zmq_close(s->monitor);
    if (s->socket) {
        set_int(s->socket, ZMQ_LINGER, (int)(linger / IM_MS));
        zmq_close(s->socket);
    }
    if (s->zap)
        zmq_close(s->zap);
    if (s->context)
        zmq_ctx_term(s->context);
    if (s->timer >= 0)
        close(s->timer);
    if (s->probe >= 0)
        close(s->probe);
    if (s->epoll >= 0)
        close(s->epoll);
    for (uint32_t i = 0; i < s->fars; i++)
        sv_reach_fini(&s->far[i].reach);
    free(s);
}

/* ---- is the other machine reached ---- */

/* That of a session. One that is not known takes the place of the one that was heard of longest ago: there are no more nodes than places. */
static struct far_end *far_end_of(struct sv_transport *s, uint64_t session)
{
    struct far_end *oldest = &s->far[0];

    for (uint32_t i = 0; i < s->fars; i++) {
        if (s->far[i].session == session)
            return &s->far[i];
        if (s->far[i].reach.heard < oldest->reach.heard)
            oldest = &s->far[i];
    }
    if (s->fars < FAR_ENDS)
        oldest = &s->far[s->fars++];
    else
        sv_reach_fini(&oldest->reach);
    *oldest = (struct far_end){.session = session};
    sv_reach_init(&oldest->reach);
    return oldest;
}

static void keep_connection(struct sv_transport *s, uint64_t session, int fd)
{
    sv_reach_take(&far_end_of(s, session)->reach, im_now(), fd, s->meeting->port);
}

static void look_at_far_ends(struct sv_transport *s)
{
    const im_ns now = im_now();

    for (uint32_t i = 0; i < s->fars; i++) {
        if (!sv_reach_is_cut(&s->far[i].reach, now))
            continue;
        s->far[i].is_cut = true;
        sv_reach_end(&s->far[i].reach);
    }
}

bool sv_transport_cut(struct sv_transport *s, uint64_t *ret_session)
{
    for (uint32_t i = 0; i < s->fars; i++) {
        if (!s->far[i].is_cut)
            continue;
        s->far[i].is_cut = false;
        *ret_session = s->far[i].session;
        return true;
    }
    return false;
}

/* ---- who may come in ---- */

/* All frames of a message, the first `max` of them kept. How many there were; -1: there is no message. */
static int take_frames(void *socket, unsigned char frame[][256], size_t bytes[], int max)
{
    int count = 0, more = 1;

    while (more) {
        unsigned char ignored[256];
        size_t size = sizeof more;
        const int n = zmq_recv(socket, count < max ? frame[count] : ignored, 256, ZMQ_DONTWAIT);

        if (n < 0)
            return -1;
        if (count < max)
            bytes[count] = n > 256 ? 256 : (size_t)n;
        count++;
        zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size);
    }
    return count;
}

/* The node whose key that is; -1: nobody's. */
static int member_of(const struct sv_transport *s, const unsigned char key[32])
{
    char text[SV_KEY_CHARS];

    sv_key_of_bytes(key, text);
    for (uint32_t i = 0; i < s->meeting->keys.members; i++)
        if (strcmp(text, s->meeting->keys.member[i]) == 0)
            return (int)i;
    return -1;
}

/* ZeroMQ RFC 27: version, request, domain, address, identity, mechanism, credentials. */
static bool answer_one(struct sv_transport *s)
{
    enum { VERSION, REQUEST, DOMAIN_OF, ADDRESS, IDENTITY, MECHANISM, KEY, FRAMES };
    static const char *const code[] = {"400", "200"};
    unsigned char frame[FRAMES][256];
    size_t bytes[FRAMES] = {0};
    const int n = take_frames(s->zap, frame, bytes, FRAMES);
    char user[16] = "";
    int node = -1;

    if (n < 0)
        return false;
    if (n == FRAMES && bytes[MECHANISM] == 5 && memcmp(frame[MECHANISM], "CURVE", 5) == 0 && bytes[KEY] == 32)
        node = member_of(s, frame[KEY]);
    if (node >= 0)
        snprintf(user, sizeof user, "%d", s->meeting->keys.members > 1 ? node : -1);
    if (node < 0) {
        s->strangers++;
        snprintf(s->stranger, sizeof s->stranger, "%.*s", (int)bytes[ADDRESS], (char *)frame[ADDRESS]);
    }
    zmq_send(s->zap, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(s->zap, n > REQUEST ? (char *)frame[REQUEST] : "", bytes[REQUEST], ZMQ_SNDMORE);
    zmq_send(s->zap, code[node >= 0], 3, ZMQ_SNDMORE);
    zmq_send(s->zap, node >= 0 ? "OK" : "no key of this run", node >= 0 ? 2 : 18, ZMQ_SNDMORE);
    zmq_send(s->zap, user, strlen(user), ZMQ_SNDMORE);
    zmq_send(s->zap, "", 0, 0);
    return true;
}

/* ---- what became of connections ---- */

/* `fd` may have been closed meanwhile, and be another's. */
static void keep_peer(struct sv_transport *s, int fd)
{
    struct sv_address a = {.bytes = sizeof a.at};

    if (getpeername(fd, (struct sockaddr *)&a.at, &a.bytes) == 0 &&
        sv_address_port_of(&a) == s->meeting->port)
        s->peer = a;
}

static void explain(struct sv_transport *s, unsigned event, int value)
{
    const char *why = "";

    if (event == ZMQ_EVENT_CONNECTED) {
        keep_peer(s, value);
        keep_connection(s, 0, value);
        s->is_answered = true;
        return;
    }
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
        s->is_open = true;
    else if (event == ZMQ_EVENT_CONNECT_RETRIED)
        why = "nothing accepts connections there";
    else if (event == ZMQ_EVENT_DISCONNECTED && s->is_open)
        why = "the connection was closed";
    else
        why = "what listens there does not take this machine's key: is the key file the same on both, and is "
              "it this run?";
    if (event == ZMQ_EVENT_CONNECT_RETRIED) {
        /* What became of an attempt that was accepted says more than that there will be another. */
        const bool is_told = s->is_answered && s->trouble[0];

        s->is_answered = false;
        if (is_told)
            return;
    }
    if (event == ZMQ_EVENT_DISCONNECTED)
        s->is_open = false;
    snprintf(s->trouble, sizeof s->trouble, "%s", why);
}

static bool look_at_one(struct sv_transport *s)
{
    unsigned char frame[2][256];
    size_t bytes[2] = {0};
    const int n = take_frames(s->monitor, frame, bytes, 2);
    uint16_t event;
    int32_t value;

    if (n < 0)
        return false;
    if (n < 2 || bytes[0] < 6)
        return true;
    memcpy(&event, frame[0], sizeof event);
    memcpy(&value, frame[0] + sizeof event, sizeof value);
    if (!s->is_head)
        explain(s, event, value);
    else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) /* it took another key for the head's */
        s->strangers++;
    return true;
}

/* libzmq tells of an attempt that failed, and not why. */
static void begin_probe(struct sv_transport *s)
{
    s->probe_at = im_now() + SV_LINK_REFUSED_NS;
    s->probe = socket(s->peer.at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->probe < 0 || connect(s->probe, (const struct sockaddr *)&s->peer.at, s->peer.bytes) == 0 ||
        errno == EINPROGRESS)
        return;
    s->refusals = errno == ECONNREFUSED ? s->refusals + 1 : 0;
    close(s->probe);
    s->probe = -1;
}

static void end_probe(struct sv_transport *s)
{
    struct pollfd p = {.fd = s->probe, .events = POLLOUT};
    socklen_t n = sizeof(int);
    int err = 0;

    if (poll(&p, 1, 0) == 0) {
        if (im_now() < s->probe_at)
            return;
        err = ETIMEDOUT;
    } else if (getsockopt(s->probe, SOL_SOCKET, SO_ERROR, &err, &n) < 0) {
        err = errno;
    }
    s->refusals = err == ECONNREFUSED ? s->refusals + 1 : 0;
    close(s->probe);
    s->probe = -1;
}

static void probe(struct sv_transport *s)
{
    if (s->probe >= 0)
        end_probe(s);
    if (s->is_head || s->is_open || s->peer.bytes == 0)
        s->refusals = 0;
    else if (s->probe < 0 && im_now() >= s->probe_at)
        begin_probe(s);
}

void sv_transport_serve(struct sv_transport *s)
{
    uint64_t ignored;

    if (read(s->timer, &ignored, sizeof ignored) < 0)
        ignored = 0;
    while (s->zap && answer_one(s))
        ;
    while (look_at_one(s))
        ;
    probe(s);
    look_at_far_ends(s);
}

/* ---- messages ---- */

/* The rest of a message with more frames than ours have. */
static void drop_rest(void *socket)
{
    int more = 1;

    while (more) {
        size_t size = sizeof more;
        char ignored[16];

        zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size);
        if (more && zmq_recv(socket, ignored, sizeof ignored, ZMQ_DONTWAIT) < 0)
            return;
    }
}

long sv_transport_receive(struct sv_transport *s, void *ret, size_t max, uint64_t *ret_session,
                          uint32_t *ret_who)
{
    unsigned char routing[64];
    const char *user;
    zmq_msg_t m;
    size_t n;
    int got;

    *ret_session = 0;
    *ret_who = UINT32_MAX;
    if (s->is_head) {
        got = zmq_recv(s->socket, routing, sizeof routing, ZMQ_DONTWAIT);
        if (got < 0)
            return -EAGAIN;
        *ret_session = session_of(routing, (size_t)got);
    }
    zmq_msg_init(&m);
    if (zmq_msg_recv(&m, s->socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&m);
        return -EAGAIN;
    }
    drop_rest(s->socket);
    n = zmq_msg_size(&m) < max ? zmq_msg_size(&m) : max;
    memcpy(ret, zmq_msg_data(&m), n);
    if (*ret_session)
        keep_connection(s, *ret_session, zmq_msg_get(&m, ZMQ_SRCFD));
    user = s->is_head ? zmq_msg_gets(&m, "User-Id") : NULL;
    if (user && *user >= '0' && *user <= '9')
        *ret_who = (uint32_t)strtoul(user, NULL, 10);
    zmq_msg_close(&m);
    return (long)n;
}

int sv_transport_send(struct sv_transport *s, uint64_t session, const void *bytes, size_t n)
{
    unsigned char routing[ROUTING_BYTES];

    if (s->is_head) {
        routing_of(session, routing);
        if (zmq_send(s->socket, routing, sizeof routing, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
            return -errno;
    }
    return zmq_send(s->socket, bytes, n, ZMQ_DONTWAIT) < 0 ? -errno : 0;
}

bool sv_transport_has_more(struct sv_transport *s)
{
    void *const sockets[] = {s->socket, s->monitor, s->zap};

    for (int i = 0; i < 3; i++) {
        int events = 0;
        size_t n = sizeof events;

        if (sockets[i] && zmq_getsockopt(sockets[i], ZMQ_EVENTS, &events, &n) == 0 && (events & ZMQ_POLLIN))
            return true;
    }
    return false;
}

/* ---- the descriptor, and counters ---- */

int sv_transport_fd(const struct sv_transport *s)
{
    return s->epoll;
}

void sv_transport_wake(struct sv_transport *s, im_ns after)
{
    const struct itimerspec at = {.it_value = {.tv_sec = (time_t)(after / IM_SECOND),
                                               .tv_nsec = (long)(after % IM_SECOND) + (after == 0)}};

    timerfd_settime(s->timer, 0, &at, NULL);
}

bool sv_transport_is_open(const struct sv_transport *s)
{
    return s->is_open;
}

uint32_t sv_transport_refusals(const struct sv_transport *s)
{
    return s->refusals;
}

const char *sv_transport_trouble(const struct sv_transport *s)
{
    return s->trouble;
}

uint64_t sv_transport_strangers(const struct sv_transport *s, char ret_from[SV_ADDRESS_MAX])
{
    memcpy(ret_from, s->stranger, SV_ADDRESS_MAX);
    return s->strangers;
}
