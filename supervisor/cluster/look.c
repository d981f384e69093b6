#include "supervisor/cluster/look.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "supervisor/cluster/address.h"

#define ANSWER "imsuper looks for a head\n"
#define ZMTP_FIRST 0xff /* of ZeroMQ's greeting */
#define ROUND_NS (IM_SECOND / 2)
#define PAUSE_MS 200
#define SAY_NS (10 * IM_SECOND)
#define FIRST_SAY_NS (2 * IM_SECOND)
#define QUIET_NS (15 * IM_SECOND) /* in which one that is about to be the head is */
#define AGREED 2 /* rounds that must say the same before this machine makes itself the head */

/* ---- lists ---- */

static bool read_port(const char *text, uint32_t *ret)
{
    char *end;
    const unsigned long port = strtoul(text, &end, 10);

    *ret = (uint32_t)port;
    return end != text && *end == '\0' && port >= 1 && port <= 65535;
}

/* One entry of n bytes; ret->port 0: it names none. */
static bool host_of(const char *entry, size_t n, struct sv_machine_at *ret)
{
    char *port = NULL, *host = ret->name;

    ret->port = 0;
    if (n == 0 || n >= SV_HOST_MAX)
        return false;
    memcpy(host, entry, n);
    host[n] = '\0';
    if (*host == '[') {
        port = strchr(host, ']');
        if (!port || (port[1] != '\0' && port[1] != ':'))
            return false;
        *port++ = '\0';
        port = *port == ':' ? port + 1 : NULL;
        memmove(host, host + 1, strlen(host));
    } else if (strchr(host, ':') && strchr(host, ':') == strrchr(host, ':')) { /* more are an IPv6 address */
        port = strchr(host, ':');
        *port++ = '\0';
    }
    return *host && (!port || read_port(port, &ret->port));
}

int sv_hosts_of(const char *list, uint32_t port, struct sv_machine_at *ret, uint32_t max)
{
    uint32_t count = 0;

    for (;; list++) {
        const size_t n = strcspn(list, ",");

        if (count == max || !host_of(list, n, &ret[count]))
            return -EINVAL;
        if (ret[count].port == 0)
            ret[count].port = count > 0 ? ret[0].port : port;
        count++;
        list += n;
        if (*list == '\0')
            return (int)count;
    }
}

bool sv_hosts_differ(const struct sv_machine_at *place, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (place[i].port == place[k].port && strcmp(place[i].name, place[k].name) == 0)
                return false;
    return true;
}

/* ---- one look ---- */

/* Answers whoever has connected. */
static void answer(int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        if (send(fd, ANSWER, strlen(ANSWER), MSG_NOSIGNAL) < 0) { /* it looks again */
            close(fd);
            continue;
        }
        close(fd);
    }
}

/* A socket that connects to it, or -1. */
static int begin(const struct sv_machine_at *place)
{
    struct im_text ignored;
    struct sv_address a;
    int fd;

    if (sv_address_of(place->name, place->port, &a, &ignored) < 0)
        return -1;
    fd = socket(a.at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&a.at, a.bytes) < 0 && errno != EINPROGRESS) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Of a socket on which something has happened. True: it is known. */
static bool hear(int fd, short events, enum sv_seen *ret)
{
    unsigned char first = 0;
    ssize_t n;

    if (events & POLLOUT && !(events & (POLLERR | POLLHUP)))
        *ret = SV_SEEN_QUIET;
    n = recv(fd, &first, 1, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return false;
    *ret = n == 1 && first == ZMTP_FIRST  ? SV_SEEN_HEAD
           : n == 1 && first == ANSWER[0] ? SV_SEEN_LOOKING
                                          : SV_SEEN_NOTHING;
    return true;
}

/* Polls until all are known, or `until`. The last of p is the listener. */
static void hear_all(struct pollfd *p, uint32_t count, im_ns until, enum sv_seen *ret)
{
    for (;;) {
        const im_ns now = im_now();
        uint32_t open = 0;

        for (uint32_t i = 0; i < count; i++)
            open += p[i].fd >= 0;
        if (open == 0 || now >= until || poll(p, count + 1, (int)((until - now) / IM_MS) + 1) < 0)
            return;
        if (p[count].fd >= 0 && p[count].revents)
            answer(p[count].fd);
        for (uint32_t i = 0; i < count; i++) {
            if (p[i].fd < 0 || p[i].revents == 0)
                continue;
            if (hear(p[i].fd, p[i].revents, &ret[i])) {
                close(p[i].fd);
                p[i].fd = -1;
            }
            p[i].events = POLLIN; /* it is connected */
        }
    }
}

void sv_look(const struct sv_machine_at *place, uint32_t count, uint32_t self, int listener, im_ns timeout,
             enum sv_seen *ret)
{
    struct pollfd p[SV_NODES_MAX + 1];

    for (uint32_t i = 0; i < count; i++) {
        ret[i] = SV_SEEN_NOTHING;
        p[i] = (struct pollfd){.fd = i == self ? -1 : begin(&place[i]), .events = POLLOUT};
    }
    p[count] = (struct pollfd){.fd = listener, .events = POLLIN};
    hear_all(p, count, im_now() + timeout, ret);
    for (uint32_t i = 0; i < count; i++)
        if (p[i].fd >= 0)
            close(p[i].fd);
}

/* ---- looking for a head ---- */

/* -EADDRNOTAVAIL: the machine's own name is another's address here, as that of a service. */
static int listen_here(const struct sv_machine_at *own, struct im_text *text)
{
    struct sv_address a;
    int fd = sv_address_of(own->name, own->port, &a, text);

    if (fd == 0)
        fd = sv_address_listen(&a);
    if (fd == -EADDRNOTAVAIL || fd == -EAGAIN)
        fd = sv_address_listen_everywhere(own->port);
    if (fd < 0)
        return im_fail(text, fd, "cannot listen at %s port %u for other machines that have lost node 0: %s",
                       own->name, own->port, strerror(-fd));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void say_whom(const struct sv_look_config *c, const enum sv_seen *seen, im_ns since)
{
    char there[512] = "";
    size_t used = 0;
    struct im_text line;

    for (uint32_t i = 0; i < c->count && used + SV_HOST_MAX + 2 < sizeof there; i++)
        if (i != c->self && seen[i] == SV_SEEN_LOOKING)
            used += (size_t)snprintf(there + used, sizeof there - used, "%s%s", used ? ", " : "",
                                     c->place[i].name);
    im_fail(&line, 0,
            "looking for node 0 since %.0f s, at %s port %u: there %s%s%s; another machine takes over where "
            "%u of %u are "
            "there",
            (double)(im_now() - since) / IM_SECOND, c->place[c->self].name, c->place[c->self].port,
            c->place[c->self].name, used ? ", " : "", there, sv_takeover_least(c->count, c->min_nodes, false),
            c->count);
    if (c->say)
        c->say(c->context, line.s);
}

/* Since when some machine is quiet; 0: none is. */
static im_ns quiet_since(const struct sv_look_config *c, const enum sv_seen *seen, im_ns before)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (i != c->self && seen[i] == SV_SEEN_QUIET)
            return before ? before : im_now();
    return 0;
}

static int look_until(const struct sv_look_config *c, int listener, struct im_text *text)
{
    const im_ns since = im_now();
    im_ns say_at = since + FIRST_SAY_NS, quiet = 0;
    enum sv_seen seen[SV_NODES_MAX];
    uint32_t agreed = 0;

    for (;;) {
        struct pollfd p = {.fd = listener, .events = POLLIN};
        int head;

        sv_look(c->place, c->count, c->self, listener, ROUND_NS, seen);
        head = sv_takeover_choose(seen, c->count, c->min_nodes, c->self);
        quiet = quiet_since(c, seen, quiet);
        agreed = head == (int)c->self && (!quiet || im_now() - quiet > QUIET_NS) ? agreed + 1 : 0;
        if (head >= 0 && (head != (int)c->self || agreed >= AGREED))
            return head;
        if (im_now() - since > c->patience)
            return im_fail(text, -ETIMEDOUT,
                           "no head within %.0f s (--cluster-timeout): too few machines are there",
                           (double)c->patience / IM_SECOND);
        if (im_now() > say_at) {
            say_at = im_now() + SAY_NS;
            say_whom(c, seen, since);
        }
        if (c->leave && c->leave(c->context))
            return im_fail(text, -EINTR, "asked to end while looking for node 0");
        if (poll(&p, 1, PAUSE_MS) > 0)
            answer(listener);
    }
}

int sv_look_for_head(const struct sv_look_config *config, struct im_text *text)
{
    const int listener = listen_here(&config->place[config->self], text);
    int head;

    if (listener < 0)
        return listener;
    head = look_until(config, listener, text);
    close(listener);
    return head;
}
