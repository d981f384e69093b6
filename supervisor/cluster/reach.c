#include "supervisor/cluster/reach.h"

#include <errno.h>
#include <linux/tcp.h>
#include <poll.h>
#include <unistd.h>

#include "supervisor/cluster/link.h"

#define ESTABLISHED 1 /* TCP_ESTABLISHED of netinet/tcp.h, which cannot stand beside linux/tcp.h */
#define LOOK_NS (200 * IM_MS)
#define PROBE_NS (400 * IM_MS)        /* between two attempts */
#define DOUBT_NS (SV_LINK_CUT_NS / 2) /* without an acknowledgement: attempts begin */

void sv_reach_init(struct sv_reach *r)
{
    *r = (struct sv_reach){.fd = -1};
    for (int i = 0; i < SV_REACH_PROBES; i++)
        r->probe[i] = -1;
}

static void end_probe(struct sv_reach *r, int i)
{
    if (r->probe[i] >= 0)
        close(r->probe[i]);
    r->probe[i] = -1;
}

void sv_reach_fini(struct sv_reach *r)
{
    for (int i = 0; i < SV_REACH_PROBES; i++)
        end_probe(r, i);
    r->fd = -1;
}

/* 0: there is no such socket. */
static uint64_t cookie_of(int fd)
{
    uint64_t cookie = 0;
    socklen_t n = sizeof cookie;

    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &n) == 0 ? cookie : 0;
}

void sv_reach_take(struct sv_reach *r, im_ns now, int fd, uint32_t port)
{
    struct sv_address at = {.bytes = sizeof at.at};
    const uint64_t cookie = cookie_of(fd);

    if (cookie == 0 || cookie == r->cookie || getpeername(fd, (struct sockaddr *)&at.at, &at.bytes) < 0)
        return;
    sv_reach_fini(r);
    sv_address_set_port(&at, port);
    r->at = at;
    r->fd = fd;
    r->cookie = cookie;
    r->acked = 0;
    r->is_owed = false;
    r->heard = r->looked = now;
}

/* What cannot be sent, because this machine's own interface is down, is owed as well. Into a window that is full nothing is sent either, but there the other
 * kernel answers now and then. */
static void look_at_connection(struct sv_reach *r, im_ns now)
{
    struct tcp_info info;
    socklen_t n = sizeof info;

    if (r->fd < 0)
        return;
    /* Asked before and after: what is between is of this socket. */
    if (cookie_of(r->fd) != r->cookie || getsockopt(r->fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0 ||
        cookie_of(r->fd) != r->cookie || info.tcpi_state != ESTABLISHED) {
        r->fd = -1;
        return;
    }
    r->is_owed = info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0;
    if (!r->is_owed || info.tcpi_bytes_acked != r->acked)
        r->heard = now;
    r->acked = info.tcpi_bytes_acked;
    if (info.tcpi_unacked == 0 && now - info.tcpi_last_ack_recv * IM_MS > r->heard)
        r->heard = now - info.tcpi_last_ack_recv * IM_MS;
}

/* Its machine has answered, if only that nothing listens there. */
static bool is_answered(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t n = sizeof(int);
    int err = 0;

    return poll(&p, 1, 0) > 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n) == 0 &&
           (err == 0 || err == ECONNREFUSED);
}

static void look_at_probes(struct sv_reach *r, im_ns now)
{
    for (int i = 0; i < SV_REACH_PROBES; i++)
        if (r->probe[i] >= 0 && is_answered(r->probe[i]))
            r->heard = now;
}

static void begin_probe(struct sv_reach *r, im_ns now)
{
    const int i = (int)(r->probes++ % SV_REACH_PROBES);

    end_probe(r, i);
    r->probe_at = now + PROBE_NS;
    r->probe[i] = socket(r->at.at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (r->probe[i] < 0 || connect(r->probe[i], (const struct sockaddr *)&r->at.at, r->at.bytes) == 0 ||
        errno == EINPROGRESS)
        return;
    if (errno == ECONNREFUSED)
        r->heard = now;
    end_probe(r, i);
}

bool sv_reach_is_cut(struct sv_reach *r, im_ns now)
{
    const im_ns gap = now - r->looked;

    if (r->at.bytes == 0 || gap < LOOK_NS)
        return false;
    if (gap > SV_LINK_BEAT_NS) /* this process was stopped */
        r->heard = r->heard + gap < now ? r->heard + gap : now;
    r->looked = now;
    look_at_connection(r, now);
    look_at_probes(r, now);
    if (!r->is_owed || now - r->heard < DOUBT_NS) {
        for (int i = 0; i < SV_REACH_PROBES; i++)
            end_probe(r, i);
        return false;
    }
    if (now >= r->probe_at)
        begin_probe(r, now);
    return now - r->heard >= SV_LINK_CUT_NS;
}

void sv_reach_end(struct sv_reach *r)
{
    if (r->fd >= 0 && cookie_of(r->fd) == r->cookie)
        shutdown(r->fd, SHUT_RDWR);
    sv_reach_fini(r);
    r->is_owed = false;
}
