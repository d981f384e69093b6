/* A supervisor without trainers, for trials of the channel on real networks and under real launchers: meets the
 * others, joins, gets ready, shows a card and fetches those of all, reports a position that grows; prints what it is told.
 *
 *     link_node [--nodes N --node K --head HOST] [--port P] [--key FILE] [--patience S] [--agree TEXT]
 *               [--ask-stop-at POSITION] [--stay]
 *
 * Without --nodes the launcher's variables say who this is. On STOP the head finishes with 75, all others follow.
 * --stay: a member that has lost the head waits for it, instead of leaving with 75. */
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "supervisor/cluster/env.h"
#include "supervisor/cluster/link.h"

struct node {
    struct sv_meeting meeting;
    struct sv_link *link;
    im_ns began, ready_at, finish_at;
    uint32_t over, ready;
    struct sv_generation running;
    uint32_t values;
    uint64_t position, ask_stop_at;
    bool stays, has_asked;
    int status; /* -1: goes on */
};

static void show(const struct node *n, const char *what, const char *text)
{
    printf("%8.3f node %u: %s%s%s\n", (double)(im_now() - n->began) / IM_SECOND, n->meeting.node, what,
           *text ? ": " : "", text);
    fflush(stdout);
}

static void say(void *context, const char *line)
{
    show(context, "meeting", line);
}

static uint32_t members(const struct sv_generation *g)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < g->nodes; i++)
        count += g->ranks[i] > 0;
    return count;
}

static void begin(struct node *n, const struct sv_link_news *news)
{
    unsigned char card[12288];
    char key[24];

    n->running = news->generation;
    n->values = 0;
    memset(card, (int)n->meeting.node, sizeof card);
    snprintf(key, sizeof key, "card/%u", n->meeting.node);
    sv_link_publish(n->link, n->running.number, key, card, sizeof card);
    for (uint32_t i = 0; i < n->running.nodes; i++) {
        snprintf(key, sizeof key, "card/%u", i);
        if (n->running.ranks[i])
            sv_link_fetch(n->link, n->running.number, key);
    }
}

static void finish(struct node *n, int status, const char *reason)
{
    sv_link_finish(n->link, status, reason);
    n->status = status;
    n->finish_at = im_now();
}

static void take(struct node *n, const struct sv_link_news *news)
{
    static const char *const name[] = {
        [SV_LINK_TELL] = "tell", [SV_LINK_JOINED] = "joined", [SV_LINK_REFUSED] = "refused",
        [SV_LINK_OVER] = "over", [SV_LINK_BEGIN] = "begin",   [SV_LINK_STOP] = "stop",
        [SV_LINK_END] = "end",   [SV_LINK_LOST] = "lost",
    };
    char line[64];

    if (news->kind < IM_COUNT(name) && name[news->kind])
        show(n, name[news->kind], news->text);
    if (news->kind == SV_LINK_OVER) {
        n->over = news->number;
        n->ready_at = im_now() + 100 * IM_MS;
        n->running.number = 0;
    } else if (news->kind == SV_LINK_BEGIN) {
        begin(n, news);
    } else if (news->kind == SV_LINK_VALUE && ++n->values == members(&n->running)) {
        snprintf(line, sizeof line, "%u of %u", n->running.number, n->values);
        show(n, "exchanged", line);
    } else if (news->kind == SV_LINK_STOP && n->meeting.node == 0) {
        finish(n, IM_EXIT_RESUMABLE, "saved");
    } else if (news->kind == SV_LINK_END) {
        finish(n, news->status, "");
    } else if (news->kind == SV_LINK_REFUSED) {
        n->status = IM_EXIT_USAGE;
    } else if (news->kind == SV_LINK_LOST && !n->stays) {
        n->status = IM_EXIT_RESUMABLE;
    }
}

static void live(struct node *n)
{
    const uint64_t number[SV_LINK_NUMBERS] = {n->position};
    uint64_t snapshot = n->position / 10 * 10;

    if (n->over > n->ready && im_now() >= n->ready_at) {
        n->ready = n->over;
        sv_link_ready(n->link, n->over, &snapshot, 1, SV_LINK_NOWHERE);
    }
    n->position += n->running.number > 0;
    sv_link_report(n->link, n->position, &snapshot, 1, SV_LINK_NOWHERE, number);
    if (n->ask_stop_at && n->position >= n->ask_stop_at && !n->has_asked) {
        n->has_asked = true;
        sv_link_ask_stop(n->link, false, "far enough");
    }
}

static int run(struct node *n)
{
    struct sv_link_news news;

    while (n->status < 0 ||
           (n->finish_at && !sv_link_is_over(n->link) && im_now() - n->finish_at < 5 * IM_SECOND)) {
        struct pollfd wait = {.fd = sv_link_fd(n->link), .events = POLLIN};

        poll(&wait, 1, 200);
        sv_link_turn(n->link);
        while (sv_link_news(n->link, &news))
            take(n, &news);
        live(n);
    }
    return n->status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"nodes", 1, NULL, 'n'}, {"node", 1, NULL, 'k'},
                                            {"head", 1, NULL, 'h'},  {"port", 1, NULL, 'p'},
                                            {"key", 1, NULL, 'f'},   {"patience", 1, NULL, 'w'},
                                            {"agree", 1, NULL, 'a'}, {"ask-stop-at", 1, NULL, 's'},
                                            {"stay", 0, NULL, 'y'},  {NULL, 0, NULL, 0}};
    struct node n = {.status = -1, .began = im_now()};
    struct sv_meet_config config = {.pmi_fd = -1, .patience = 60 * IM_SECOND, .say = say, .context = &n};
    struct sv_link_config link = {.meeting = &n.meeting, .ranks = 1, .build = "link_node"};
    struct sv_launch at;
    struct im_text text = {""};

    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) > 0;)
        if (c == 'n')
            config.nodes = (uint32_t)strtoul(optarg, NULL, 10);
        else if (c == 'k')
            config.node = (uint32_t)strtoul(optarg, NULL, 10);
        else if (c == 'h')
            config.head = optarg;
        else if (c == 'p')
            config.port = (uint32_t)strtoul(optarg, NULL, 10);
        else if (c == 'f')
            config.key_file = optarg;
        else if (c == 'w')
            config.patience = (im_ns)(strtod(optarg, NULL) * 1e9);
        else if (c == 'a')
            link.agree = optarg;
        else if (c == 's')
            n.ask_stop_at = strtoull(optarg, NULL, 10);
        else if (c == 'y')
            n.stays = true;
        else
            return 2;
    if (config.nodes == 0) {
        if (sv_launch_find(getenv, &at, &text) < 0) {
            fprintf(stderr, "link_node: %s\n", text.s);
            return 2;
        }
        config.nodes =
            at.nodes > 1 ? at.nodes : at.tasks; /* Hydra with several processes on one machine, too */
        config.node = at.nodes > 1 ? at.node : at.task;
        config.head = config.head ? config.head : at.root;
        config.port = config.port ? config.port : at.port;
        config.job = at.job;
        config.pmi_fd = at.pmi_fd;
    }
    n.meeting.node = config.node;
    link.patience = config.patience;
    if (sv_meet(&config, &n.meeting, &text) < 0 ||
        (show(&n, "met", sv_meeting_describe(&n.meeting, &text)), sv_link_open(&link, &n.link, &text)) < 0) {
        fprintf(stderr, "link_node: node %u: %s\n", config.node, text.s);
        return 1;
    }
    run(&n);
    sv_link_close(&n.link, IM_SECOND);
    sv_meeting_fini(&n.meeting);
    return n.status;
}
