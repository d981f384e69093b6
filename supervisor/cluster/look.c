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
#include "supervisor/cluster/names.h"

#define ANSWER "imsuper looks for a head\n"
#define ZMTP_FIRST 0xff /* of ZeroMQ's greeting */
#define ROUND_NS (IM_SECOND / 2)
#define PAUSE_MS 200
#define SAY_NS (10 * IM_SECOND)
#define FIRST_SAY_NS (2 * IM_SECOND)
#define QUIET_NS (15 * IM_SECOND) /* in which one that is about to be the head is */
#define TURN_MS 100
#define OWN_NAME_NS IM_SECOND
#define NAMES_MS 10 /* between two looks at what threads have resolved */
#define FD_NONE (-1)
#define FD_KNOWN (-2)
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
            if (place[i].name[0] && place[i].port == place[k].port &&
                strcmp(place[i].name, place[k].name) == 0)
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

/* A socket that connects to it, or FD_KNOWN. */
static int connect_to(const struct sv_address *a)
{
    int fd = socket(a->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0 && connect(fd, (const struct sockaddr *)&a->at, a->bytes) < 0 && errno != EINPROGRESS) {
        close(fd);
        fd = -1;
    }
    return fd < 0 ? FD_KNOWN : fd;
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

/* Connects to those whose names have been resolved meanwhile. Of how many names or answers are not known yet. */
static uint32_t connect_all(struct sv_look *l, bool *ret_unresolved)
{
    uint32_t open = 0;

    *ret_unresolved = false;
    for (uint32_t i = 0; i < l->count; i++) {
        enum sv_name_state state = SV_NAME_KNOWN;
        struct sv_address a;

        if (l->fd[i] == FD_NONE) {
            state = l->names ? sv_names_get(l->names, i, &a) : SV_NAME_UNKNOWN;
            l->fd[i] = state == SV_NAME_KNOWN     ? connect_to(&a)
                       : state == SV_NAME_UNKNOWN ? FD_KNOWN
                                                  : FD_NONE;
        }
        *ret_unresolved |= l->fd[i] == FD_NONE;
        open += l->fd[i] != FD_KNOWN;
    }
    return open;
}

static void know(struct sv_look *l, uint32_t i)
{
    if (l->fd[i] >= 0)
        close(l->fd[i]);
    l->fd[i] = FD_KNOWN;
}

void sv_look_begin(struct sv_look *l, const struct sv_machine_at *place, uint32_t count, uint32_t self,
                   im_ns timeout)
{
    if (l->count != count || l->self != self || memcmp(l->place, place, count * sizeof *place) != 0) {
        sv_look_end(l);
        memcpy(l->place, place, count * sizeof *place);
        l->count = count;
        l->self = self;
    }
    if (!l->names && sv_names_open(l->place, count, self, &l->names) < 0)
        l->names = NULL; /* nothing is seen; it is tried again with the next look */
    for (uint32_t i = 0; i < count; i++) {
        l->seen[i] = SV_SEEN_NOTHING;
        l->fd[i] = i == self ? FD_KNOWN : FD_NONE;
    }
    l->until = im_now() + timeout;
}

bool sv_look_turn(struct sv_look *l, int listener, int wait_ms)
{
    struct pollfd p[SV_NODES_MAX + 1];
    bool unresolved;
    const uint32_t open = connect_all(l, &unresolved);
    const im_ns now = im_now(), left_ms = now < l->until ? (l->until - now) / IM_MS + 1 : 0;

    for (uint32_t i = 0; i < l->count; i++) /* POLLOUT once: it is connected */
        p[i] = (struct pollfd){.fd = l->fd[i],
                               .events = l->seen[i] == SV_SEEN_QUIET ? POLLIN : POLLIN | POLLOUT};
    p[l->count] = (struct pollfd){.fd = listener, .events = POLLIN};
    if (unresolved && wait_ms > NAMES_MS)
        wait_ms = NAMES_MS;
    if (left_ms < (im_ns)wait_ms)
        wait_ms = (int)left_ms;
    if (open > 0 && poll(p, l->count + 1, wait_ms) > 0) {
        if (listener >= 0 && p[l->count].revents)
            answer(listener);
        for (uint32_t i = 0; i < l->count; i++)
            if (l->fd[i] >= 0 && p[i].revents && hear(l->fd[i], p[i].revents, &l->seen[i]))
                know(l, i);
    }
    if (open > 0 && left_ms > 0)
        return false;
    for (uint32_t i = 0; i < l->count; i++)
        know(l, i);
    l->until = 0;
    return true;
}

void sv_look_end(struct sv_look *l)
{
    for (uint32_t i = 0; i < l->count && l->until; i++)
        know(l, i);
    sv_names_close(&l->names);
    l->count = 0;
    l->until = 0;
}

static void look_through(struct sv_look *l, int listener)
{
    while (!sv_look_turn(l, listener, TURN_MS))
        ;
}

void sv_look_once(struct sv_look *l, const struct sv_machine_at *place, uint32_t count, uint32_t self,
                  im_ns patience, bool (*leave)(void *context))
{
    const im_ns until = im_now() + patience;
    bool unresolved = true;

    while (unresolved && im_now() < until && !(leave && leave(NULL))) {
        sv_look_begin(l, place, count, self, ROUND_NS);
        look_through(l, -1);
        unresolved = false;
        for (uint32_t i = 0; i < count; i++) {
            struct sv_address ignored;

            unresolved |= i != self && l->names && sv_names_get(l->names, i, &ignored) == SV_NAME_ASKED;
        }
    }
}

/* ---- looking for a head ---- */

/* This machine's own name, where it resolves soon. */
static bool resolve_own(const struct sv_machine_at *own, struct sv_address *ret)
{
    const im_ns until = im_now() + OWN_NAME_NS;
    const struct timespec pause = {.tv_nsec = NAMES_MS * IM_MS};
    enum sv_name_state state = SV_NAME_ASKED;
    struct sv_names *names = NULL;

    if (sv_names_open(own, 1, UINT32_MAX, &names) < 0)
        return false;
    while ((state = sv_names_get(names, 0, ret)) == SV_NAME_ASKED && im_now() < until)
        nanosleep(&pause, NULL);
    sv_names_close(&names);
    return state == SV_NAME_KNOWN;
}

/* At all addresses where its own name leads elsewhere: to a service, to the loopback interface, or to none now. */
static int listen_here(const struct sv_machine_at *own, struct im_text *text)
{
    struct sv_address a;
    int fd = -EADDRNOTAVAIL;

    if (resolve_own(own, &a) && !sv_address_hides(&a, own->name))
        fd = sv_address_listen(&a);
    if (fd == -EADDRNOTAVAIL)
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

static int look_until(const struct sv_look_config *c, struct sv_look *l, int listener, struct im_text *text)
{
    const im_ns since = im_now();
    im_ns say_at = since + FIRST_SAY_NS, quiet = 0;
    uint32_t agreed = 0;

    for (;;) {
        struct pollfd p = {.fd = listener, .events = POLLIN};
        int head;

        sv_look_begin(l, c->place, c->count, c->self, ROUND_NS);
        look_through(l, listener);
        head = sv_takeover_choose(l->seen, c->count, c->min_nodes, c->self);
        quiet = quiet_since(c, l->seen, quiet);
        agreed = head == (int)c->self && (!quiet || im_now() - quiet > QUIET_NS) ? agreed + 1 : 0;
        if (head >= 0 && (head != (int)c->self || agreed >= AGREED))
            return head;
        if (im_now() - since > c->patience)
            return im_fail(text, -ETIMEDOUT,
                           "no head within %.0f s (--cluster-timeout): too few machines are there",
                           (double)c->patience / IM_SECOND);
        if (im_now() > say_at) {
            say_at = im_now() + SAY_NS;
            say_whom(c, l->seen, since);
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
    struct sv_look *l;
    int head;

    if (listener < 0)
        return listener;
    l = calloc(1, sizeof *l);
    head = l ? look_until(config, l, listener, text) : -ENOMEM;
    if (l)
        sv_look_end(l);
    free(l);
    close(listener);
    return head;
}
