/* The head of many nodes: how long until all have joined and shown their cards, what it does a second then, and how much
 * memory and processor it takes. The members are links too, all in one other process, over the loopback interface.
 *
 *     bench_link [NODES [BYTES OF A CARD [SECONDS]]] */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/cluster/link.h"

struct node {
    struct sv_meeting meeting;
    struct sv_link *link;
    uint32_t over, number, members, values;
};

static uint32_t nodes = 256, card_bytes = 1024;

static void fail(const char *what, const struct im_text *text)
{
    fprintf(stderr, "bench_link: %s: %s\n", what, text->s);
    exit(1);
}

static void open_node(struct node *n, uint32_t node, uint32_t port)
{
    const struct sv_meet_config config = {
        .nodes = nodes, .node = node, .head = "127.0.0.1", .port = port, .pmi_fd = -1, .patience = IM_SECOND};
    struct sv_link_config link = {
        .meeting = &n->meeting, .ranks = 1, .build = "bench", .patience = 600 * IM_SECOND};
    struct im_text text = {""};

    if (sv_meet(&config, &n->meeting, &text) < 0)
        fail("cannot meet", &text);
    if (sv_link_open(&link, &n->link, &text) < 0)
        fail("cannot open a link", &text);
}

static void exchange(struct node *n, const struct sv_link_news *news)
{
    unsigned char card[SV_LINK_VALUE_MAX] = {0};
    char key[32];

    n->number = news->generation.number;
    snprintf(key, sizeof key, "card/%u", n->meeting.node);
    sv_link_publish(n->link, n->number, key, card, card_bytes);
    for (uint32_t i = 0; i < nodes; i++) {
        snprintf(key, sizeof key, "card/%u", i);
        sv_link_fetch(n->link, n->number, key);
    }
}

static void turn(struct node *n)
{
    struct sv_link_news news;

    sv_link_turn(n->link);
    while (sv_link_news(n->link, &news)) {
        if (news.kind == SV_LINK_OVER)
            sv_link_ready(n->link, news.number, NULL, 0, SV_LINK_NOWHERE);
        if (news.kind == SV_LINK_BEGIN)
            exchange(n, &news);
        n->values += news.kind == SV_LINK_VALUE;
    }
}

/* All other nodes, until it is killed. */
static void run_members(uint32_t port)
{
    struct node *all = calloc(nodes, sizeof *all);
    struct pollfd *wait = calloc(nodes, sizeof *wait);

    if (!all || !wait)
        exit(1);
    for (uint32_t i = 1; i < nodes; i++) {
        open_node(&all[i], i, port);
        wait[i - 1] = (struct pollfd){.fd = sv_link_fd(all[i].link), .events = POLLIN};
    }
    for (;;) {
        poll(wait, nodes - 1, 1000);
        for (uint32_t i = 1; i < nodes; i++)
            if (wait[i - 1].revents)
                turn(&all[i]);
    }
}

static double seconds_of(const struct rusage *u)
{
    return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
           (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6;
}

static void turn_for(struct node *head, im_ns duration)
{
    const im_ns until = im_now() + duration;

    while (im_now() < until) {
        struct pollfd wait = {.fd = sv_link_fd(head->link), .events = POLLIN};

        poll(&wait, 1, 100);
        turn(head);
    }
}

static bool all_have_values(const struct node *head)
{
    struct sv_node node;

    for (uint32_t i = 0; i < nodes; i++)
        if (!sv_link_node(head->link, i, &node) || node.state != SV_NODE_THERE)
            return false;
    return head->values == nodes;
}

static void measure(struct node *head, im_ns duration)
{
    const struct sv_link_counts before = sv_link_counts(head->link);
    const double s = (double)duration / IM_SECOND;
    struct sv_link_counts after;
    struct rusage u, v;

    getrusage(RUSAGE_SELF, &u);
    turn_for(head, duration);
    getrusage(RUSAGE_SELF, &v);
    after = sv_link_counts(head->link);
    printf("steady state: %.0f messages/s received, %.0f/s sent, %.1f KiB/s received, %.1f KiB/s sent; "
           "%.1f %% of a processor; %.1f MiB at most\n",
           (double)(after.received - before.received) / s, (double)(after.sent - before.sent) / s,
           (double)(after.bytes_received - before.bytes_received) / s / 1024,
           (double)(after.bytes_sent - before.bytes_sent) / s / 1024,
           100 * (seconds_of(&v) - seconds_of(&u)) / s, (double)v.ru_maxrss / 1024);
}

int main(int argc, char **argv)
{
    const im_ns began = im_now();
    im_ns joined = 0;
    uint32_t port = 26000 + (uint32_t)(getpid() % 800);
    im_ns duration = 20 * IM_SECOND;
    struct node head = {.link = NULL};
    pid_t members;

    nodes = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : nodes;
    card_bytes = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : card_bytes;
    duration = argc > 3 ? strtoull(argv[3], NULL, 10) * IM_SECOND : duration;
    if (nodes < 2 || nodes > SV_NODES_MAX || card_bytes > SV_LINK_VALUE_MAX)
        return 2;
    members = fork();
    if (members == 0)
        run_members(port);
    open_node(&head, 0, port);
    while (!all_have_values(&head) && im_now() - began < 300 * IM_SECOND) {
        turn_for(&head, 10 * IM_MS);
        if (!joined && head.number)
            joined = im_now();
    }
    printf("%u nodes: all joined and generation %u began after %.2f s; the head had all cards of %u bytes "
           "%.2f s later\n",
           nodes, head.number, (double)(joined - began) / IM_SECOND, card_bytes,
           (double)(im_now() - joined) / IM_SECOND);
    turn_for(&head, 5 * IM_SECOND); /* the others' cards */
    measure(&head, duration);
    kill(members, SIGKILL);
    waitpid(members, NULL, 0);
    sv_link_close(&head.link, 0);
    sv_meeting_fini(&head.meeting);
    return head.values == nodes ? 0 : 1;
}
