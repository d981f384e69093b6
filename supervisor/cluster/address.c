#include "supervisor/cluster/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 512

int sv_address_of(const char *host, uint32_t port, struct sv_address *ret, struct im_text *text)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char service[16];
    int err;

    snprintf(service, sizeof service, "%u", port);
    err = getaddrinfo(host, service, &hints, &list);
    if (err != 0)
        return im_fail(text, err == EAI_AGAIN || err == EAI_NONAME || err == EAI_SYSTEM ? -EAGAIN : -EINVAL,
                       "the name %s does not resolve: %s", host, gai_strerror(err));
    memset(ret, 0, sizeof *ret);
    memcpy(&ret->at, list->ai_addr, list->ai_addrlen);
    ret->bytes = list->ai_addrlen;
    freeaddrinfo(list);
    return 0;
}

bool sv_address_is_numeric(const char *text)
{
    unsigned char bytes[16];

    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

bool sv_address_is_loopback(const struct sv_address *a)
{
    if (a->at.ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)&a->at)->sin_addr.s_addr) >> 24 == 127;
    return a->at.ss_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&a->at)->sin6_addr);
}

bool sv_address_hides(const struct sv_address *a, const char *name)
{
    return sv_address_is_loopback(a) && !sv_address_is_numeric(name) && strcmp(name, "localhost") != 0;
}

void sv_address_show(const struct sv_address *a, char ret[SV_ADDRESS_MAX])
{
    if (getnameinfo((const struct sockaddr *)&a->at, a->bytes, ret, SV_ADDRESS_MAX, NULL, 0,
                    NI_NUMERICHOST) != 0)
        snprintf(ret, SV_ADDRESS_MAX, "unknown");
}

int sv_address_listen(const struct sv_address *a)
{
    const int on = 1, off = 0;
    int fd = socket(a->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->at.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, (const struct sockaddr *)&a->at, a->bytes) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    err = -errno;
    close(fd);
    return err;
}

int sv_address_listen_everywhere(uint32_t port)
{
    struct sv_address six = {.bytes = sizeof(struct sockaddr_in6)},
                      four = {.bytes = sizeof(struct sockaddr_in)};
    int fd;

    *(struct sockaddr_in6 *)&six.at = (struct sockaddr_in6){
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_any};
    *(struct sockaddr_in *)&four.at = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_ANY)}};
    fd = sv_address_listen(&six);
    return fd == -EADDRINUSE || fd >= 0 ? fd : sv_address_listen(&four); /* a machine without IPv6 */
}

uint32_t sv_address_port(int listener)
{
    struct sv_address a = {.bytes = sizeof a.at};

    getsockname(listener, (struct sockaddr *)&a.at, &a.bytes);
    return sv_address_port_of(&a);
}

uint32_t sv_address_port_of(const struct sv_address *a)
{
    return ntohs(a->at.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&a->at)->sin6_port
                                             : ((const struct sockaddr_in *)&a->at)->sin_port);
}

void sv_address_set_port(struct sv_address *a, uint32_t port)
{
    if (a->at.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&a->at)->sin6_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in *)&a->at)->sin_port = htons((uint16_t)port);
}

int sv_address_towards(const struct sv_address *a, char ret[SV_ADDRESS_MAX])
{
    struct sv_address here = {.bytes = sizeof here.at};
    int fd = socket(a->at.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;

    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&a->at, a->bytes) < 0 ||
        getsockname(fd, (struct sockaddr *)&here.at, &here.bytes) < 0)
        err = -errno;
    close(fd);
    if (err == 0)
        sv_address_show(&here, ret);
    return err;
}

int sv_address_probe(const struct sv_address *a, im_ns timeout)
{
    int fd = socket(a->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = 0;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    socklen_t n = sizeof err;

    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&a->at, a->bytes) < 0)
        err = errno;
    if (err == EINPROGRESS) {
        err = 0;
        if (poll(&wait, 1, (int)(timeout / IM_MS)) <= 0)
            err = ETIMEDOUT;
        else
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n);
    }
    close(fd);
    return -err;
}

/* ---- what others may try ---- */

static void address_add(char *list, size_t n, const char *host)
{
    const size_t used = strlen(list);

    if (used + strlen(host) + 2 < n)
        snprintf(list + used, n - used, "%s%s", used ? ";" : "", host);
}

static void add_interfaces(char *list, size_t n, const struct ifaddrs *all, bool loopback)
{
    char name[SV_ADDRESS_MAX];

    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        struct sv_address a = {.bytes = 0};

        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || loopback != !!(i->ifa_flags & IFF_LOOPBACK))
            continue;
        if (i->ifa_addr->sa_family == AF_INET)
            a.bytes = sizeof(struct sockaddr_in);
        else if (i->ifa_addr->sa_family == AF_INET6 &&
                 !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr))
            a.bytes = sizeof(struct sockaddr_in6);
        if (a.bytes == 0)
            continue;
        memcpy(&a.at, i->ifa_addr, a.bytes);
        sv_address_show(&a, name);
        address_add(list, n, name);
    }
}

void sv_address_candidates(char *ret, size_t n)
{
    struct ifaddrs *all = NULL;
    char name[256] = "";

    ret[0] = '\0';
    if (gethostname(name, sizeof name - 1) == 0 && name[0])
        address_add(ret, n, name);
    if (getifaddrs(&all) < 0)
        return;
    add_interfaces(ret, n, all, false);
    add_interfaces(ret, n, all, true);
    freeifaddrs(all);
}
