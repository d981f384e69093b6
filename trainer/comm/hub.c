/* A star of TCP connections with rank 0 in the middle. A round: each rank sends a frame with its numbers; when rank 0
 * has all of them it sends the table to each. So nobody can be two rounds ahead of another, and a connection holds at
 * most one frame in each direction: sockets never block a sender for long. Two hops, and what goes through rank 0 is
 * 64 bytes a rank. */
#include "trainer/comm/hub.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"

#define LOOK_MS 50                         /* between two looks whether to leave */
#define HELLO_WAIT_NS IM_SECOND            /* for the hello of a connection that rank 0 has accepted */
#define RETRY_NS (50 * IM_MS)              /* between two tries to connect */
#define MAGIC UINT64_C(0x31627568726d6973) /* "simrhub1" */

struct hello {
    uint64_t magic, rank;
    unsigned char secret[TR_HUB_SECRET_BYTES];
};

struct frame {
    uint64_t round;
    double value[TR_HUB_VALUES];
};

/* Sent as far as `round` and `ranks` values. */
struct table {
    uint64_t round;
    double value[TR_HUB_RANKS_MAX][TR_HUB_VALUES];
};

struct tr_hub {
    struct tr_hub_config config;
    int listener;             /* rank 0's; -1 */
    int fd[TR_HUB_RANKS_MAX]; /* rank 0: to each rank; others: [0] alone; -1: none */
    uint64_t round;
};

static struct tr_hub *make(void)
{
    struct tr_hub *hub = calloc(1, sizeof *hub);

    if (!hub)
        return NULL;
    hub->listener = -1;
    for (int r = 0; r < TR_HUB_RANKS_MAX; r++)
        hub->fd[r] = -1;
    return hub;
}

void tr_hub_close(struct tr_hub *hub)
{
    if (!hub)
        return;
    if (hub->listener >= 0)
        close(hub->listener);
    for (int r = 0; r < TR_HUB_RANKS_MAX; r++)
        if (hub->fd[r] >= 0)
            close(hub->fd[r]);
    free(hub);
}

static int should_leave(const struct tr_hub *hub)
{
    return hub->config.leave ? hub->config.leave(hub->config.context) : 0;
}

/* ---- bytes ---- */

static int lost(struct im_text *text, int err, int rank)
{
    const bool gone = err == 0 || err == -ECONNRESET || err == -EPIPE || err == -ETIMEDOUT ||
                      err == -EHOSTUNREACH || err == -ENETUNREACH || err == -ENETDOWN;

    return im_fail(text, gone ? -ECONNRESET : err,
                   "the connection between the trainers of rank 0 and rank %d: %s", rank,
                   err == 0 ? "closed by the other end" : strerror(-err));
}

/* Receives all of `bytes`; `deadline` 0: none. 0, negative errno (0 bytes: -ECONNRESET), a status to leave with. */
static int receive_all(struct tr_hub *hub, int fd, void *to, size_t bytes, im_ns deadline)
{
    size_t have = 0;

    while (have < bytes) {
        ssize_t n = recv(fd, (char *)to + have, bytes - have, MSG_DONTWAIT);
        int leave;

        if (n > 0) {
            have += (size_t)n;
            continue;
        }
        if (n == 0)
            return -ECONNRESET;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        leave = should_leave(hub);
        if (leave)
            return leave;
        if (deadline && im_now() > deadline)
            return -ETIMEDOUT;
        poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, LOOK_MS);
    }
    return 0;
}

static int send_all(struct tr_hub *hub, int fd, const void *from, size_t bytes)
{
    size_t sent = 0;

    while (sent < bytes) {
        ssize_t n = send(fd, (const char *)from + sent, bytes - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        int leave;

        if (n > 0) {
            sent += (size_t)n;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        leave = should_leave(hub);
        if (leave)
            return leave;
        poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, LOOK_MS);
    }
    return 0;
}

static bool is_same(const unsigned char *a, const unsigned char *b)
{
    unsigned differs = 0;

    for (int i = 0; i < TR_HUB_SECRET_BYTES; i++)
        differs |= (unsigned)(a[i] ^ b[i]);
    return differs == 0;
}

static void tune(int fd)
{
    const int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

/* ---- connecting ---- */

struct place {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at;
    socklen_t size;
};

static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

/* A machine may have no IPv6. */
static struct place place_of(const struct tr_hub_card *card)
{
    struct place p = {.at.v6 = {.sin6_family = AF_INET6}, .size = sizeof p.at.v6};

    if (memcmp(card->address, mapped, sizeof mapped) == 0) {
        p = (struct place){.at.v4 = {.sin_family = AF_INET}, .size = sizeof p.at.v4};
        memcpy(&p.at.v4.sin_addr, card->address + sizeof mapped, sizeof p.at.v4.sin_addr);
        memcpy(&p.at.v4.sin_port, card->port, sizeof card->port);
    } else {
        memcpy(&p.at.v6.sin6_addr, card->address, sizeof card->address);
        memcpy(&p.at.v6.sin6_port, card->port, sizeof card->port);
    }
    return p;
}

static int parse_address(const char *address, struct tr_hub_card *card)
{
    memcpy(card->address, mapped, sizeof mapped);
    return inet_pton(AF_INET, address, card->address + sizeof mapped) == 1 ||
                   inet_pton(AF_INET6, address, card->address) == 1
               ? 0
               : -EINVAL;
}

/* Ends with the port in the card. */
static int listen_at(struct tr_hub *hub, struct tr_hub_card *card)
{
    struct place p = place_of(card);

    hub->listener = socket(p.at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (hub->listener < 0 || bind(hub->listener, &p.at.any, p.size) < 0 ||
        listen(hub->listener, TR_HUB_RANKS_MAX) < 0 || getsockname(hub->listener, &p.at.any, &p.size) < 0)
        return -errno;
    memcpy(card->port, p.at.any.sa_family == AF_INET ? &p.at.v4.sin_port : &p.at.v6.sin6_port,
           sizeof card->port);
    return 0;
}

static int draw(unsigned char secret[TR_HUB_SECRET_BYTES])
{
    return getrandom(secret, TR_HUB_SECRET_BYTES, 0) == TR_HUB_SECRET_BYTES ? 0 : -EIO;
}

int tr_hub_listen(const char *address, struct tr_hub **ret, struct tr_hub_card *ret_card,
                  struct im_text *text)
{
    struct tr_hub *hub = make();
    int err;

    if (!hub)
        return -ENOMEM;
    *ret_card = (struct tr_hub_card){0};
    err = parse_address(address, ret_card);
    if (err == 0)
        err = listen_at(hub, ret_card);
    if (err == 0)
        err = draw(ret_card->of_ranks);
    if (err == 0)
        err = draw(ret_card->of_hub);
    if (err < 0) {
        tr_hub_close(hub);
        return im_fail(text, err, "cannot listen at '%.100s' for the trainers of other machines: %s", address,
                       strerror(-err));
    }
    *ret = hub;
    return 0;
}

/* One that does not say at once what a rank says is none, and is forgotten. */
static int greet(struct tr_hub *hub, int fd, const struct tr_hub_card *card)
{
    struct hello hello;
    int err = receive_all(hub, fd, &hello, sizeof hello, im_now() + HELLO_WAIT_NS);

    if (err == 0 && hello.magic == MAGIC && hello.rank >= 1 && hello.rank < (uint64_t)hub->config.ranks &&
        hub->fd[hello.rank] < 0 && is_same(hello.secret, card->of_ranks)) {
        struct hello answer = {.magic = MAGIC};

        memcpy(answer.secret, card->of_hub, sizeof answer.secret);
        err = send_all(hub, fd, &answer, sizeof answer);
        if (err == 0) {
            tune(fd);
            hub->fd[hello.rank] = fd;
            return 1;
        }
    }
    close(fd);
    return err > 0 ? -err : 0;
}

static int first_missing(const struct tr_hub *hub)
{
    int r = 1;

    while (r < hub->config.ranks && hub->fd[r] >= 0)
        r++;
    return r;
}

static int accept_ranks(struct tr_hub *hub, const struct tr_hub_card *card, im_ns deadline,
                        struct im_text *text)
{
    int missing = hub->config.ranks - 1;

    while (missing > 0) {
        int fd = accept4(hub->listener, NULL, NULL, SOCK_CLOEXEC), leave;

        if (fd >= 0) {
            int got = greet(hub, fd, card);

            if (got < 0) /* a status */
                return -got;
            missing -= got;
            continue;
        }
        leave = should_leave(hub);
        if (leave)
            return leave;
        if (im_now() > deadline)
            return im_fail(text, -ETIMEDOUT,
                           "the trainer of rank %d has not connected to that of rank 0 within %.0f s",
                           first_missing(hub), (double)hub->config.timeout_ms / 1000);
        poll(&(struct pollfd){.fd = hub->listener, .events = POLLIN}, 1, LOOK_MS);
    }
    close(hub->listener);
    hub->listener = -1;
    return 0;
}

static int try_to_connect(struct tr_hub *hub, const struct tr_hub_card *card, im_ns deadline, int *ret)
{
    const struct place p = place_of(card);
    int fd = socket(p.at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), failed = 0, leave = 0;
    socklen_t size = sizeof failed;

    if (fd < 0)
        return -errno;
    if (connect(fd, &p.at.any, p.size) < 0 && errno != EINPROGRESS)
        failed = errno;
    while (failed == 0) {
        if (poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, LOOK_MS) > 0) {
            if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) < 0)
                failed = errno;
            break;
        }
        leave = should_leave(hub);
        if (leave)
            break;
        if (im_now() > deadline)
            failed = ETIMEDOUT;
    }
    if (leave || failed) {
        close(fd);
        return leave ? leave : -failed;
    }
    *ret = fd;
    return 0;
}

static int connect_to_hub(struct tr_hub *hub, const struct tr_hub_card *card, im_ns deadline,
                          struct im_text *text)
{
    struct hello hello = {.magic = MAGIC, .rank = (uint64_t)hub->config.rank}, answer;
    int err;

    while ((err = try_to_connect(hub, card, deadline, &hub->fd[0])) < 0 && err != -ETIMEDOUT &&
           im_now() < deadline) {
        int leave = should_leave(hub);

        if (leave)
            return leave;
        poll(NULL, 0, (int)(RETRY_NS / IM_MS));
    }
    if (err)
        return err > 0 ? err
                       : im_fail(text, err == -ETIMEDOUT ? err : -ECONNRESET,
                                 "the trainer of rank %d cannot connect to that of rank 0: %s",
                                 hub->config.rank, strerror(-err));
    tune(hub->fd[0]);
    memcpy(hello.secret, card->of_ranks, sizeof hello.secret);
    err = send_all(hub, hub->fd[0], &hello, sizeof hello);
    if (err == 0)
        err = receive_all(hub, hub->fd[0], &answer, sizeof answer, deadline);
    if (err == 0 && (answer.magic != MAGIC || !is_same(answer.secret, card->of_hub)))
        return im_fail(text, -EACCES, "who answers at the address of rank 0 is not its trainer");
    return err < 0 ? lost(text, err, hub->config.rank) : err;
}

int tr_hub_join(struct tr_hub **hub, const struct tr_hub_config *config, const struct tr_hub_card *card,
                struct im_text *text)
{
    const im_ns deadline = im_now() + (im_ns)config->timeout_ms * IM_MS;

    if (!*hub)
        *hub = make();
    if (!*hub)
        return -ENOMEM;
    im_assert(config->ranks <= TR_HUB_RANKS_MAX);
    (*hub)->config = *config;
    return config->rank == 0 ? accept_ranks(*hub, card, deadline, text)
                             : connect_to_hub(*hub, card, deadline, text);
}

/* ---- rounds ---- */

static int check_round(const struct tr_hub *hub, uint64_t round, int rank, struct im_text *text)
{
    return round == hub->round
               ? 0
               : im_fail(text, -EPROTO,
                         "the trainer of rank %d is in round %" PRIu64 " of the exchanges, that of "
                         "rank %d in round %" PRIu64,
                         rank, round, hub->config.rank, hub->round);
}

static int lead_round(struct tr_hub *hub, const double *mine, uint32_t count, struct table *all,
                      struct im_text *text)
{
    const size_t bytes = offsetof(struct table, value) + (size_t)hub->config.ranks * sizeof all->value[0];

    all->round = hub->round;
    memset(all->value[0], 0, sizeof all->value[0]);
    memcpy(all->value[0], mine, count * sizeof *mine);
    for (int r = 1; r < hub->config.ranks; r++) {
        struct frame frame;
        int err = receive_all(hub, hub->fd[r], &frame, sizeof frame, 0);

        if (err == 0)
            err = check_round(hub, frame.round, r, text);
        else if (err < 0)
            err = lost(text, err == -ECONNRESET ? 0 : err, r);
        if (err)
            return err;
        memcpy(all->value[r], frame.value, sizeof frame.value);
    }
    for (int r = 1; r < hub->config.ranks; r++) {
        int err = send_all(hub, hub->fd[r], all, bytes);

        if (err)
            return err < 0 ? lost(text, err, r) : err;
    }
    return 0;
}

static int follow_round(struct tr_hub *hub, const double *mine, uint32_t count, struct table *all,
                        struct im_text *text)
{
    const size_t bytes = offsetof(struct table, value) + (size_t)hub->config.ranks * sizeof all->value[0];
    struct frame frame = {.round = hub->round};
    int err;

    memcpy(frame.value, mine, count * sizeof *mine);
    err = send_all(hub, hub->fd[0], &frame, sizeof frame);
    if (err == 0)
        err = receive_all(hub, hub->fd[0], all, bytes, 0);
    if (err < 0)
        return lost(text, err == -ECONNRESET ? 0 : err, hub->config.rank);
    return err ? err : check_round(hub, all->round, 0, text);
}

int tr_hub_exchange(struct tr_hub *hub, const double *mine, uint32_t count, double (*ret_all)[TR_HUB_VALUES],
                    struct im_text *text)
{
    struct table all;
    int err;

    im_assert(count <= TR_HUB_VALUES);
    err = hub->config.rank == 0 ? lead_round(hub, mine, count, &all, text)
                                : follow_round(hub, mine, count, &all, text);
    if (err)
        return err;
    memcpy(ret_all, all.value, (size_t)hub->config.ranks * sizeof all.value[0]);
    hub->round++;
    return 0;
}
