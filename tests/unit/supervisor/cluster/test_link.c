/* Links over real sockets on the loopback interface: several nodes in one process, each with its own. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

#include "supervisor/cluster/address.h"
#include "supervisor/cluster/link.h"
#include "supervisor/cluster/transport.h"
#include "tests/unit/ipc/base/unit.h"

#define NODES 3

struct end {
    struct sv_meeting meeting;
    struct sv_link *link;
    struct sv_link_config config;
    struct sv_generation running;
    uint32_t over;
    int values;
    bool joined, refused, stopped, ended, lost, is_told_of_key;
    char text[1024], lost_text[1024];
};

static struct end end[NODES];
static char key_file[200];
static uint32_t port;

/* Its link is not turned: the process is stopped, and its kernel is not. -1: none. */
static int stopped = -1;

/* What a busy machine does between two closings: libzmq's own thread works on meanwhile. */
static int after_close; /* milliseconds */
int zmq_close(void *socket);
int zmq_close(void *socket)
{
    int (*real)(void *) = NULL;
    int ret;

    *(void **)&real = dlsym(RTLD_NEXT, "zmq_close");
    assert_non_null(real);
    ret = real(socket);
    poll(NULL, 0, after_close);
    return ret;
}

/* A port that nobody has now. */
static uint32_t free_port(void)
{
    int fd = sv_address_listen_everywhere(0);
    const uint32_t ret = sv_address_port(fd);

    assert_true(fd >= 0);
    close(fd);
    return ret;
}

static void meet(struct end *e, uint32_t node, const char *key)
{
    const struct sv_meet_config config = {.nodes = NODES,
                                          .node = node,
                                          .head = "127.0.0.1",
                                          .port = port,
                                          .pmi_fd = -1,
                                          .key_file = key,
                                          .patience = IM_SECOND};
    struct im_text text = {""};

    if (sv_meet(&config, &e->meeting, &text) < 0)
        fail_msg("%s", text.s);
    e->config = (struct sv_link_config){
        .meeting = &e->meeting, .ranks = 1, .build = "b", .agree = "a=1\n", .patience = 60 * IM_SECOND};
}

static void open_link(struct end *e)
{
    struct im_text text = {""};

    if (sv_link_open(&e->config, &e->link, &text) < 0)
        fail_msg("%s", text.s);
}

static void begin(struct end *e, uint32_t node, const struct sv_generation *g)
{
    char key[24], card[SV_LINK_VALUE_MAX];

    e->running = *g;
    e->values = 0;
    memset(card, 'a' + (int)node, sizeof card);
    snprintf(key, sizeof key, "card/%u", node);
    assert_int_equal(sv_link_publish(e->link, g->number, key, card, sizeof card), 0);
    for (int i = 0; i < NODES; i++) {
        snprintf(key, sizeof key, "card/%d", i);
        assert_int_equal(sv_link_fetch(e->link, g->number, key), 0);
    }
}

static void take(struct end *e, const struct sv_link_news *news)
{
    const uint32_t node = (uint32_t)(e - end);

    if (getenv("LINK_SHOW"))
        printf("node %u: news %d %s\n", node, news->kind, news->text);
    e->joined |= news->kind == SV_LINK_JOINED;
    e->refused |= news->kind == SV_LINK_REFUSED;
    e->stopped |= news->kind == SV_LINK_STOP;
    e->ended |= news->kind == SV_LINK_END;
    e->lost |= news->kind == SV_LINK_LOST;
    if (news->kind == SV_LINK_REFUSED || news->kind == SV_LINK_STOP || news->kind == SV_LINK_END)
        snprintf(e->text, sizeof e->text, "%s", news->text);
    if (news->kind == SV_LINK_LOST)
        snprintf(e->lost_text, sizeof e->lost_text, "%s", news->text);
    e->is_told_of_key |=
        strstr(news->text, node == 0 ? "because of the key" : "does not take this machine's key") != NULL;
    if (news->kind == SV_LINK_OVER) {
        e->over = news->number;
        e->running.number = 0;
        sv_link_ready(e->link, news->number, (const uint64_t[]){10}, 1, SV_LINK_NOWHERE);
    }
    if (news->kind == SV_LINK_BEGIN)
        begin(e, node, &news->generation);
    if (news->kind == SV_LINK_VALUE) {
        assert_int_equal(news->n, SV_LINK_VALUE_MAX);
        assert_int_equal(((const char *)news->bytes)[news->n - 1], 'a' + (news->key[5] - '0'));
        e->values++;
    }
}

/* Turns all that are open until `done` or the time is over. */
static bool turn_until(bool (*done)(void), im_ns most)
{
    const im_ns until = im_now() + most;
    struct pollfd wait[NODES];
    struct sv_link_news news;

    while (!done() && im_now() < until) {
        nfds_t n = 0;

        for (int i = 0; i < NODES; i++)
            if (end[i].link && i != stopped)
                wait[n++] = (struct pollfd){.fd = sv_link_fd(end[i].link), .events = POLLIN};
        assert_true(poll(wait, n, 1000) > 0); /* it wakes by itself */
        for (int i = 0; i < NODES; i++) {
            if (!end[i].link || i == stopped)
                continue;
            sv_link_turn(end[i].link);
            while (end[i].link && sv_link_news(end[i].link, &news))
                take(&end[i], &news);
        }
    }
    return done();
}

static bool all_have_values(void)
{
    for (int i = 0; i < NODES; i++)
        if (end[i].link && (end[i].running.number == 0 || end[i].values < NODES))
            return false;
    return true;
}

static bool first_is_over_twice(void)
{
    return end[0].over == 2;
}

static bool all_stopped(void)
{
    return end[0].stopped && end[1].stopped && end[2].stopped;
}

static bool members_ended(void)
{
    return end[1].ended && end[2].ended;
}

static bool is_over(void)
{
    return sv_link_is_over(end[0].link);
}

static bool second_is_refused(void)
{
    return end[1].refused;
}

static bool is_turned_away(void)
{
    return end[0].is_told_of_key && end[1].is_told_of_key;
}

static int set_up(void **state)
{
    (void)state;
    memset(end, 0, sizeof end);
    port = free_port();
    for (uint32_t i = 0; i < NODES; i++)
        meet(&end[i], i, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < NODES; i++) {
        sv_link_close(&end[i].link, 0);
        sv_meeting_fini(&end[i].meeting);
    }
    return 0;
}

static void nodes_join_exchange_values_stop_and_end(void **state)
{
    struct sv_node node;

    (void)state;
    assert_int_equal(end[0].meeting.way, SV_MEET_LOOPBACK);
    assert_string_equal(end[1].meeting.here, "127.0.0.1");
    for (int i = NODES - 1; i >= 0; i--) /* the head last */
        open_link(&end[i]);
    assert_true(turn_until(all_have_values, 20 * IM_SECOND));
    assert_int_equal(end[2].running.common, 10);
    assert_true(sv_link_node(end[0].link, 2, &node));
    assert_int_equal(node.state, SV_NODE_THERE);
    sv_link_ask_generation(end[1].link, 1, "a trainer died");
    assert_true(turn_until(first_is_over_twice, 20 * IM_SECOND));
    assert_true(turn_until(all_have_values, 20 * IM_SECOND));
    sv_link_ask_stop(end[2].link, false, "enough");
    assert_true(turn_until(all_stopped, 20 * IM_SECOND));
    sv_link_finish(end[0].link, 75, "saved");
    assert_true(turn_until(members_ended, 20 * IM_SECOND));
    assert_string_equal(end[1].text, "saved");
    sv_link_finish(end[1].link, 75, "");
    sv_link_finish(end[2].link, 75, "");
    assert_true(turn_until(is_over, 20 * IM_SECOND));
    assert_int_equal(sv_link_counts(end[0].link).strangers, 0);
}

static void a_process_that_is_gone_ends_the_generation(void **state)
{
    im_ns since;

    (void)state;
    for (int i = 0; i < NODES; i++)
        open_link(&end[i]);
    assert_true(turn_until(all_have_values, 20 * IM_SECOND));
    since = im_now();
    sv_link_close(&end[2].link, 0);
    assert_true(turn_until(first_is_over_twice, 60 * IM_SECOND)); /* by silence where the machine is slow */
    assert_true(im_now() - since > SV_LINK_GONE_NS);
}

static bool members_lost(void)
{
    return end[1].lost && end[2].lost;
}

/* The head's process is gone, and its machine says so: its port is closed. While another process holds the port (the warden, for
 * the next supervisor), that is no death. */
static void a_closed_port_is_noticed_before_ten_seconds(void **state)
{
    im_ns since;

    (void)state;
    for (int i = 0; i < NODES; i++)
        open_link(&end[i]);
    assert_true(turn_until(all_have_values, 20 * IM_SECOND));
    sv_link_close(&end[0].link, 0);
    assert_false(turn_until(members_lost, 4 * IM_SECOND));
    assert_false(end[1].lost || end[2].lost);
    since = im_now();
    sv_meeting_fini(&end[0].meeting);
    assert_true(turn_until(members_lost, 20 * IM_SECOND));
    assert_true(im_now() - since >= 4 * SV_LINK_REFUSED_NS); /* not at the first refusal */
    assert_true(im_now() - since < 5 * IM_SECOND);           /* 10 s of silence are over 6 s after it */
}

/* ---- a cut: nothing that comes for these sockets of this process gets to them, and nothing is acknowledged ---- */

enum { CONNECTIONS = 1, LISTENERS = 2 };

static void cut(int which, bool is_cut)
{
    struct sock_filter nothing = {BPF_RET | BPF_K, 0, 0, 0};
    const struct sock_fprog program = {1, &nothing};
    int found = 0;

    for (int fd = 3; fd < 256; fd++) {
        struct sv_address a = {.bytes = sizeof a.at};
        int listens = 0;
        socklen_t n = sizeof listens;

        if (getsockname(fd, (struct sockaddr *)&a.at, &a.bytes) < 0 || a.at.ss_family == AF_UNIX ||
            getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) < 0 ||
            !(which & (listens ? LISTENERS : CONNECTIONS)))
            continue;
        found++;
        if (is_cut)
            assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
        else
            setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &program, sizeof program);
    }
    assert_true(found > 0);
}

static bool never(void)
{
    return false;
}

static bool all_know(void)
{
    return members_lost() && first_is_over_twice();
}

static bool nothing_has_happened(void)
{
    return end[0].over == 1 && !end[1].lost && !end[2].lost;
}

static void all_joined(void)
{
    for (int i = 0; i < NODES; i++)
        open_link(&end[i]);
    assert_true(turn_until(all_have_values, 20 * IM_SECOND));
}

static void a_cut_network_is_noticed_after_five_seconds(void **state)
{
    im_ns since;

    (void)state;
    all_joined();
    since = im_now();
    cut(CONNECTIONS | LISTENERS, true);
    assert_true(turn_until(all_know, 20 * IM_SECOND));
    assert_true(im_now() - since >= SV_LINK_CUT_NS);
    assert_true(im_now() - since < 9 * IM_SECOND); /* before the silence is long enough */
    assert_non_null(strstr(end[1].lost_text, "is cut off: its machine has acknowledged nothing for 5 s"));
    end[1].lost = end[2].lost = false;
    cut(CONNECTIONS | LISTENERS, false);
    assert_true(turn_until(all_have_values, 20 * IM_SECOND)); /* of the next generation */
}

/* TCP itself sends again after 6 s only. */
static void a_cut_that_heals_after_four_seconds_changes_nothing(void **state)
{
    (void)state;
    all_joined();
    cut(CONNECTIONS | LISTENERS, true);
    turn_until(never, 4 * IM_SECOND);
    cut(CONNECTIONS | LISTENERS, false);
    turn_until(never, 4 * IM_SECOND);
    assert_true(nothing_has_happened());
}

static void a_process_that_is_stopped_has_ten_seconds(void **state)
{
    (void)state;
    all_joined();
    stopped = 2;
    turn_until(never, 8 * IM_SECOND);
    stopped = -1;
    assert_true(nothing_has_happened());
    assert_true(turn_until(all_have_values, 10 * IM_SECOND));
}

/* As on a link that loses packets: one connection has bad luck for long. */
static void a_machine_that_answers_new_connections_is_not_cut_off(void **state)
{
    (void)state;
    all_joined();
    cut(CONNECTIONS, true);
    turn_until(never, 9 * IM_SECOND);
    assert_true(nothing_has_happened());
}

static void another_key_is_turned_away_and_both_say_so(void **state)
{
    struct im_text text = {""};

    (void)state;
    sv_meeting_fini(&end[1].meeting);
    assert_int_equal(sv_key_file_make(key_file, &text), 0);
    meet(&end[1], 1, key_file);
    unlink(key_file);
    open_link(&end[0]);
    open_link(&end[1]);
    assert_true(turn_until(is_turned_away, 40 * IM_SECOND));
    assert_false(end[1].joined);
}

/* Serves both until the member says that. */
static bool says_within(struct sv_transport *head, struct sv_transport *member, const char *trouble,
                        im_ns most)
{
    const im_ns until = im_now() + most;

    while (im_now() < until) {
        if (head)
            sv_transport_serve(head);
        sv_transport_serve(member);
        if (strstr(sv_transport_trouble(member), trouble) && (*trouble || sv_transport_is_open(member)))
            return true;
        poll(NULL, 0, 20);
    }
    return false;
}

/* What was wrong with a head is not said of what comes after it. */
static void the_trouble_is_that_of_the_last_attempt(void **state)
{
    struct sv_transport *head, *member;
    struct sv_meeting other;
    struct im_text text = {""};

    (void)state;
    assert_int_equal(sv_key_file_make(key_file, &text), 0);
    other = end[0].meeting;
    sv_meeting_fini(&end[1].meeting);
    meet(&end[1], 1, key_file);
    assert_int_equal(sv_transport_open(&other, 1, &head, &text), 0);
    assert_int_equal(sv_transport_open(&end[1].meeting, 2, &member, &text), 0);
    assert_true(says_within(head, member, "does not take this machine's key", 30 * IM_SECOND));
    sv_transport_close(&head, 0);
    sv_meeting_fini(&end[0].meeting); /* the listener */
    assert_true(says_within(NULL, member, "nothing accepts connections", 30 * IM_SECOND));
    meet(&end[0], 0, key_file); /* the right key */
    unlink(key_file);
    assert_int_equal(sv_transport_open(&end[0].meeting, 1, &head, &text), 0);
    assert_true(says_within(head, member, "", 30 * IM_SECOND));
    assert_string_equal(sv_transport_trouble(member), "");
    sv_transport_close(&head, 0);
    sv_transport_close(&member, 0);
}

static void a_difference_is_refused_over_the_wire(void **state)
{
    (void)state;
    end[1].config.agree = "a=2\n";
    open_link(&end[0]);
    open_link(&end[1]);
    assert_true(turn_until(second_is_refused, 20 * IM_SECOND));
    assert_string_equal(end[1].text,
                        "it would train something else than the head: a is 2 there and 1 on the head");
}

static void a_taken_port_is_said(void **state)
{
    const struct sv_meet_config config = {.nodes = 2, .head = "127.0.0.1", .port = port, .pmi_fd = -1};
    struct sv_meeting m;
    struct im_text text = {""};

    (void)state;
    assert_int_equal(sv_meet(&config, &m, &text), -EADDRINUSE);
    assert_non_null(strstr(text.s, "is taken"));
}

static void a_link_closes_while_its_connection_does(void **state)
{
    (void)state;
    for (int i = 0; i < NODES; i++)
        open_link(&end[i]);
    assert_true(turn_until(all_have_values, 20 * IM_SECOND));
    sv_link_close(&end[0].link, 0);
    after_close = 500; /* connections are tried again, and fail */
    alarm(30);
    sv_link_close(&end[1].link, 0);
    alarm(0);
    after_close = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nodes_join_exchange_values_stop_and_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_process_that_is_gone_ends_the_generation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_closed_port_is_noticed_before_ten_seconds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_network_is_noticed_after_five_seconds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_that_heals_after_four_seconds_changes_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_process_that_is_stopped_has_ten_seconds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_machine_that_answers_new_connections_is_not_cut_off, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(another_key_is_turned_away_and_both_say_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_trouble_is_that_of_the_last_attempt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_difference_is_refused_over_the_wire, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_link_closes_while_its_connection_does, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_taken_port_is_said, set_up, tear_down),
    };
    char folder[] = "/tmp/imsuper-link-XXXXXX";
    int failed;

    if (!mkdtemp(folder))
        return 1;
    setenv("XDG_RUNTIME_DIR", folder, 1);
    snprintf(key_file, sizeof key_file, "%s/other.key", folder);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    return failed;
}
