/* Head and members over a simulated network: what is decided in each case, and random schedules of lost, late, doubled and
 * overtaken messages, cut links, dead and replaced processes. CLUSTER_SCHEDULES=100000 makes a soak of it. */
#include <errno.h>
#include <stdio.h>

#include "ipc/base/count.h"
#include "supervisor/cluster/admit.h"
#include "tests/unit/ipc/base/unit.h"
#include "tests/unit/supervisor/cluster/net.h"

#define S IM_SECOND

static struct net net;

static void start_all(uint32_t nodes)
{
    net_init(&net, nodes, 1);
    for (uint32_t i = 0; i < nodes; i++)
        net_start(&net, i, false);
}

static void nodes_meet_and_begin(void **state)
{
    (void)state;
    start_all(3);
    net_run(&net, 2 * S);
    assert_true(net_all_run(&net));
    assert_int_equal(net.peer[0].running.number, 1);
    assert_int_equal(net.peer[2].running.nodes, 3);
    assert_int_equal(net.peer[2].running.ranks[1], 2);
    assert_true(net.peer[2].running.common == SV_LINK_NOWHERE);
    net_run(&net, 30 * S);
    for (int i = 0; i < 3; i++)
        assert_int_equal(net.peer[i].begins, 1);
    net_fini(&net);
}

static void the_newest_snapshot_that_all_hold_is_chosen(void **state)
{
    (void)state;
    net_init(&net, 3, 1);
    for (uint32_t i = 0; i < 3; i++) {
        net.peer[i].position[0] = 100 + (i == 1 ? 10 : 0); /* node 1 was faster with its last */
        net.peer[i].position[1] = 90 + (i == 1 ? 10 : 0);
        net_start(&net, i, false);
    }
    net_run(&net, 2 * S);
    assert_true(net_all_run(&net));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(net.peer[i].running.common, 100);
        assert_int_equal(net.peer[i].running.newest, 110);
        assert_int_equal(net.peer[i].running.newest_node, 1);
    }
    net_fini(&net);
}

static void a_dead_node_ends_the_generation_and_its_return_begins_another(void **state)
{
    (void)state;
    start_all(3);
    net_run(&net, 2 * S);
    net_kill(&net, 2, true); /* nothing says that the connection is closed: silence */
    net_run(&net, 9 * S);
    assert_int_equal(net.peer[0].overs, 1);
    net_run(&net, 3 * S);
    assert_int_equal(net.peer[0].overs, 2);
    assert_int_equal(net.peer[1].over, 2);
    assert_non_null(strstr(net.peer[1].last_over, "node 2 (host) has not been heard of for 10 s"));
    net_run(&net, 20 * S);
    assert_int_equal(net.peer[1].begins, 1);
    net_start(&net, 2, false);
    net_run(&net, 2 * S);
    assert_true(net_all_run(&net));
    assert_int_equal(net.peer[1].running.number, 2);
    assert_int_equal(net.peer[0].told_back, 1);
    net_fini(&net);
}

static void a_closed_connection_is_noticed_sooner(void **state)
{
    (void)state;
    start_all(3);
    net.tells_closed = true;
    net_run(&net, 2 * S);
    net_kill(&net, 1, true);
    net_run(&net, 4 * S);
    assert_int_equal(net.peer[2].over, 2);
    assert_non_null(strstr(net.peer[2].last_over, "node 1 (host) has closed its connection"));
    net_fini(&net);
}

static void a_short_cut_changes_nothing_and_a_long_one_begins_anew(void **state)
{
    struct sv_node node;

    (void)state;
    start_all(3);
    net_run(&net, 2 * S);
    net.cut[1] = true;
    net_run(&net, 6 * S);
    assert_true(sv_head_describe(net.peer[0].head, 1, &node));
    assert_int_equal(node.state, SV_NODE_SILENT);
    net.cut[1] = false;
    net_run(&net, 5 * S);
    assert_int_equal(net.peer[0].running.number, 1);
    net.cut[1] = true;
    net_run(&net, 12 * S);
    assert_int_equal(net.peer[0].over, 2);
    assert_true(net.peer[1].lost);
    assert_int_equal(net.peer[1].running.number, 1); /* it cannot know; its sums fail by themselves */
    net.cut[1] = false;
    net_run(&net, 3 * S);
    assert_false(net.peer[1].lost);
    assert_true(net_all_run(&net));
    assert_int_equal(net.peer[1].running.number, 2);
    net_fini(&net);
}

static void a_closed_port_of_the_head_is_as_good_as_silence(void **state)
{
    (void)state;
    start_all(3);
    net_run(&net, 2 * S);
    net_kill(&net, 0, true);
    net.peer[1].member.refusals = SV_LINK_REFUSALS - 1;
    net.peer[2].member.refusals = SV_LINK_REFUSALS;
    net_run(&net, S);
    assert_false(net.peer[1].lost);
    assert_true(net.peer[2].lost);
    assert_non_null(strstr(net.peer[2].text, "is gone: its machine refuses connections"));
    net_start(&net, 0, false);
    net.peer[2].member.refusals = 0;
    net_run(&net, 3 * S);
    assert_true(net_all_run(&net)); /* both are back */
    net_fini(&net);
}

static void check_place(const struct net_peer *p, uint32_t node, const char *address, uint32_t port)
{
    assert_string_equal(p->place[node].address, address);
    assert_int_equal(p->place[node].port, port);
}

/* Each where it is seen, with the head's port where no other of the same address has it. */
static void all_are_told_where_each_is(void **state)
{
    (void)state;
    net_init(&net, 4, 1);
    snprintf(net.peer[1].meeting.here, SV_ADDRESS_MAX, "10.0.0.2");
    snprintf(net.peer[3].meeting.here, SV_ADDRESS_MAX, "fd00::3");
    net_start(&net, 2, false); /* at the head's address, before it */
    net_start(&net, 1, false);
    net_run(&net, S);
    net_start(&net, 0, false);
    net_run(&net, 2 * S);
    for (uint32_t i = 0; i < 3; i++) {
        check_place(&net.peer[i], 0, "10.0.0.1", 29500);
        check_place(&net.peer[i], 1, "10.0.0.2", 29500);
        check_place(&net.peer[i], 2, "10.0.0.1", 29501);
        check_place(&net.peer[i], 3, "", 0);
    }
    net_start(&net, 3, false);
    net_run(&net, 2 * S);
    check_place(&net.peer[1], 3, "fd00::3", 29500);
    net_kill(&net, 1, true);
    snprintf(net.peer[1].meeting.here, SV_ADDRESS_MAX, "10.0.0.1"); /* it comes back elsewhere */
    net_start(&net, 1, false);
    net_run(&net, 8 * S);
    check_place(&net.peer[3], 1, "10.0.0.1", 29502);
    net_fini(&net);
}

static void a_lost_word_of_where_nodes_are_comes_again(void **state)
{
    (void)state;
    start_all(3);
    net.cut[2] = true;
    net_run(&net, S);
    net.cut[2] = false;
    net_run(&net, 2 * S);
    net.peer[2].places = 0;
    net_run(&net, 11 * S);
    assert_int_equal(net.peer[2].places, 1);
    net_fini(&net);
}

static void what_is_no_address_is_told_to_nobody(void **state)
{
    (void)state;
    net_init(&net, 3, 1);
    snprintf(net.peer[1].meeting.here, SV_ADDRESS_MAX, "node1;reboot");
    for (uint32_t i = 0; i < 3; i++)
        net_start(&net, i, false);
    net_run(&net, 2 * S);
    check_place(&net.peer[2], 1, "", 0);
    check_place(&net.peer[2], 2, "10.0.0.1", 29501);
    net_fini(&net);
}

/* A head that took over begins with what the machines were told before, in its own numbers. */
static void a_new_head_keeps_the_places_of_the_lost(void **state)
{
    (void)state;
    net_init(&net, 3, 1);
    net.peer[0].meeting.head_machine = 1;
    snprintf(net.peer[0].meeting.place[0].address, SV_ADDRESS_MAX, "10.0.0.9");
    net.peer[0].meeting.place[0].port = 29507;
    net_start(&net, 0, false); /* machine 1 */
    net_start(&net, 1, false); /* machine 2 */
    net_run(&net, 2 * S);
    check_place(&net.peer[1], 2, "10.0.0.9", 29507); /* machine 0 */
    check_place(&net.peer[1], 0, "10.0.0.1", 29500);
    net_fini(&net);
}

static void a_node_may_ask_for_a_new_generation_once(void **state)
{
    (void)state;
    start_all(2);
    net_run(&net, 2 * S);
    sv_member_ask_generation(&net.peer[1].member, 1, "trainer#3 died");
    sv_member_ask_generation(&net.peer[0].member, 1, "a sum failed");
    net_run(&net, 2 * S);
    assert_true(net_all_run(&net));
    assert_int_equal(net.peer[0].running.number, 2);
    assert_string_equal(net.peer[0].last_over, "node 0 (host): a sum failed");
    sv_member_ask_generation(&net.peer[1].member, 1, "late");
    net_run(&net, 5 * S);
    assert_int_equal(net.peer[0].running.number, 2);
    net_fini(&net);
}

static void stop_reaches_all_and_end_too(void **state)
{
    (void)state;
    start_all(3);
    net_run(&net, 2 * S);
    sv_member_ask_stop(&net.peer[2].member, SV_STOP_SAVE, "SIGTERM");
    net_run(&net, S);
    for (int i = 0; i < 3; i++)
        assert_true(net.peer[i].stopped && !net.peer[i].now && !net.peer[i].gave_up);
    assert_string_equal(net.peer[0].text, "SIGTERM");
    net_kill(&net, 1, true); /* no generation begins any more */
    net_run(&net, 15 * S);
    assert_int_equal(net.peer[0].overs, 1);
    sv_member_ask_stop(&net.peer[2].member, SV_STOP_NOW, "again");
    net_run(&net, S);
    assert_true(net.peer[0].now);
    sv_head_finish(net.peer[0].head, 75, "saved");
    net_run(&net, S);
    assert_true(net.peer[2].ended);
    assert_int_equal(net.peer[2].status, 75);
    assert_false(sv_head_is_over(net.peer[0].head));
    sv_member_finish(&net.peer[2].member, 75, "");
    net_run(&net, S);
    assert_true(sv_head_is_over(net.peer[0].head));
    assert_true(net.peer[2].member.is_over);
    net_fini(&net);
}

static void after_patience_the_run_stops_or_goes_on_with_fewer(void **state)
{
    (void)state;
    for (int enough = 0; enough < 2; enough++) {
        net_init(&net, 3, 1);
        net.peer[0].config.patience = 30 * S;
        net.peer[0].config.nodes_min = enough ? 2 : 0;
        net_start(&net, 0, false);
        net_start(&net, 1, false);
        net_run(&net, 29 * S);
        assert_int_equal(net.peer[0].begins, 0);
        assert_int_equal(net.peer[0].told, 3);
        net_run(&net, 3 * S);
        if (!enough) {
            assert_true(net.peer[1].stopped && net.peer[1].gave_up);
            assert_string_equal(net.peer[1].text, "node 2 has not come within 30 s");
        } else {
            assert_int_equal(net.peer[1].running.number, 1);
            assert_int_equal(net.peer[1].running.ranks[2], 0);
            net_start(&net, 2, false); /* it waits until somebody asks for the next */
            net_run(&net, 3 * S);
            assert_true(net.peer[2].joined);
            assert_int_equal(net.peer[2].begins, 0);
            assert_int_equal(net.peer[2].over, 1);
            sv_member_ask_generation(&net.peer[0].member, 1, "node 2 is there");
            net_run(&net, 3 * S);
            assert_true(net_all_run(&net));
        }
        net_fini(&net);
    }
}

static void survivors_go_on_and_do_not_wait_twice_for_the_same_node(void **state)
{
    struct sv_node node;

    (void)state;
    net_init(&net, 3, 1);
    net.peer[0].config.survivors_min = 1;
    net.peer[0].config.wait = 5 * S;
    for (uint32_t i = 0; i < 3; i++)
        net_start(&net, i, false);
    net_run(&net, 2 * S);
    net_kill(&net, 2, true);
    net_run(&net, 12 * S); /* it is dead, and waited for */
    assert_int_equal(net.peer[1].over, 2);
    assert_int_equal(net.peer[1].begins, 1);
    net_run(&net, 5 * S);
    assert_int_equal(net.peer[1].running.number, 2);
    assert_int_equal(net.peer[1].running.ranks[1], 2);
    assert_int_equal(net.peer[1].running.ranks[2], 0);
    sv_member_ask_generation(&net.peer[1].member, 2, "a trainer died");
    net_run(&net, S);
    assert_int_equal(net.peer[1].running.number, 3);
    net_start(&net, 2, false);
    net_run(&net, 2 * S);
    assert_int_equal(net.peer[1].running.number, 3);
    assert_true(sv_head_describe(net.peer[0].head, 2, &node));
    assert_true(node.is_ready);
    assert_true(sv_head_describe(net.peer[0].head, 1, &node));
    assert_false(node.is_ready);
    net.lets_in = true;
    net_run(&net, 2 * S);
    assert_true(net_all_run(&net));
    net_kill(&net, 2, true); /* waited for again */
    net_run(&net, 14 * S);
    assert_int_equal(net.peer[1].running.number, 0);
    net_run(&net, 3 * S);
    assert_int_equal(net.peer[1].running.number, 5);
    net_kill(&net, 1, true);
    net_run(&net, 17 * S);
    assert_int_equal(net.peer[0].running.number, 6);
    net_fini(&net);
}

static void too_few_survivors_wait_longer_and_stop(void **state)
{
    (void)state;
    net_init(&net, 3, 1);
    net.peer[0].config.survivors_min = 2;
    net.peer[0].config.wait = 2 * S;
    net.peer[0].config.patience = 30 * S;
    for (uint32_t i = 0; i < 3; i++)
        net_start(&net, i, false);
    net_run(&net, 2 * S);
    net_kill(&net, 1, true);
    net_kill(&net, 2, true);
    net_run(&net, 38 * S);
    assert_int_equal(net.peer[0].over, 2);
    assert_false(net.peer[0].stopped);
    net_run(&net, 5 * S);
    assert_true(net.peer[0].stopped && net.peer[0].gave_up);
    net_fini(&net);
}

/* The first generation is that of a run whose machines were never together: all must come. */
static void the_start_waits_for_all(void **state)
{
    (void)state;
    net_init(&net, 2, 1);
    net.peer[0].config.survivors_min = 1;
    net.peer[0].config.wait = 2 * S;
    net_start(&net, 0, false);
    net_run(&net, 60 * S);
    assert_int_equal(net.peer[0].begins, 0);
    net_start(&net, 1, false);
    net_run(&net, 2 * S);
    assert_true(net_all_run(&net));
    net_fini(&net);
}

static void a_head_that_never_answers_is_given_up_after_patience(void **state)
{
    (void)state;
    net_init(&net, 2, 1);
    net.peer[1].config.patience = 30 * S;
    net_start(&net, 1, false);
    net_run(&net, 29 * S);
    assert_false(net.peer[1].lost);
    net_run(&net, 3 * S);
    assert_true(net.peer[1].lost);
    assert_string_equal(net.peer[1].text, "the head at head:1 has not answered for 30 s (--cluster-timeout)");
    net_fini(&net);
    /* One that has answered was there: its silence has another limit. */
    net_init(&net, 2, 1);
    net.peer[1].config.patience = 30 * S;
    net_start(&net, 1, false);
    net_start(&net, 0, false);
    net_run(&net, 60 * S);
    assert_false(net.peer[1].lost);
    net_fini(&net);
}

static void a_node_that_leaves_with_an_error_is_not_waited_for(void **state)
{
    (void)state;
    start_all(3);
    net_run(&net, 2 * S);
    sv_member_finish(&net.peer[1].member, 69, "no GPU");
    net_run(&net, 2 * S);
    assert_true(net.peer[2].stopped && net.peer[2].gave_up);
    assert_string_equal(net.peer[2].text, "node 1 (host) has left with exit status 69: no GPU");
    net_fini(&net);
}

/* A launcher that does not start a killed process again: not worth waiting for long. */
static void a_node_that_was_there_may_be_waited_for_less(void **state)
{
    (void)state;
    net_init(&net, 3, 1);
    net.peer[0].config.patience_back = 20 * S;
    for (uint32_t i = 0; i < 2; i++)
        net_start(&net, i, false);
    net_run(&net, 60 * S); /* node 2 has not come yet */
    assert_false(net.peer[1].stopped);
    net_start(&net, 2, false);
    net_run(&net, 3 * S);
    assert_true(net_all_run(&net));
    net_kill(&net, 2, true);
    net_run(&net, 25 * S);
    assert_false(net.peer[1].stopped);
    net_run(&net, 10 * S);
    assert_true(net.peer[1].stopped && net.peer[1].gave_up);
    assert_string_equal(net.peer[1].text, "node 2 (host) has not come back within 20 s");
    net_fini(&net);
}

static void nobody_waits_to_hear_that_a_stranger_leaves(void **state)
{
    (void)state;
    net_init(&net, 2, 1);
    net.peer[1].config.agree = "seed=2\n";
    net_start(&net, 1, false); /* without a head */
    net_run(&net, S);
    assert_false(sv_member_is_over(&net.peer[1].member));
    sv_member_finish(&net.peer[1].member, 75, "");
    assert_true(sv_member_is_over(&net.peer[1].member));
    net_kill(&net, 1, true);
    net_start(&net, 0, false);
    net_start(&net, 1, false);
    net_run(&net, 2 * S);
    assert_true(net.peer[1].refused);
    sv_member_finish(&net.peer[1].member, 2, "");
    assert_true(sv_member_is_over(&net.peer[1].member));
    sv_member_finish(&net.peer[0].member, 75, ""); /* the head hears it */
    assert_false(sv_member_is_over(&net.peer[0].member));
    net_fini(&net);
}

static void questions_go_to_any_node_and_answers_back(void **state)
{
    (void)state;
    start_all(3);
    net_run(&net, 2 * S);
    assert_int_equal(sv_member_talk(&net.peer[1].member, SV_ASK, 2, 7, "how?", 4), 0);
    net_run(&net, S);
    assert_int_equal(net.peer[2].asked, 7);
    assert_int_equal(net.peer[2].asked_by, 1);
    assert_string_equal(net.peer[2].talk, "how?");
    assert_int_equal(sv_member_talk(&net.peer[2].member, SV_ANSWER, 1, 7, "well", 4), 0);
    net_run(&net, S);
    assert_int_equal(net.peer[1].answered, 7);
    assert_string_equal(net.peer[1].talk, "well");
    assert_int_equal(sv_member_talk(&net.peer[2].member, SV_ASK, 0, 8, "you?", 4),
                     0); /* the head's own node */
    assert_int_equal(sv_member_talk(&net.peer[1].member, SV_ASK, 1, 9, "me?", 3), 0);
    net_run(&net, S);
    assert_int_equal(net.peer[0].asked, 8);
    assert_int_equal(net.peer[1].asked, 9);
    net_kill(&net, 2, true);
    net_run(&net, 15 * S);
    assert_int_equal(sv_member_talk(&net.peer[1].member, SV_ASK, 2, 10, "still?", 6), 0);
    net_run(&net, S);
    assert_int_equal(net.peer[1].answered, 10);
    assert_true(net.peer[1].talk_gone);
    assert_int_equal(sv_member_talk(&net.peer[1].member, SV_ASK, 2, 11, NULL, SV_LINK_TALK_MAX + 1), -E2BIG);
    net_kill(&net, 0, true);
    net_run(&net, 15 * S);
    assert_int_equal(sv_member_talk(&net.peer[1].member, SV_ASK, 2, 12, "?", 1), -EAGAIN);
    net_fini(&net);
}

/* ---- refusals ---- */

static void check_refused(void (*change)(struct sv_link_config *config), const char *why)
{
    net_init(&net, 3, 1);
    change(&net.peer[2].config);
    for (uint32_t i = 0; i < 3; i++)
        net_start(&net, i, false);
    net_run(&net, 3 * S);
    assert_true(net.peer[2].refused);
    if (!strstr(net.peer[2].refusal, why))
        fail_msg("refused with \"%s\", not \"%s\"", net.peer[2].refusal, why);
    assert_true(net.peer[1].joined);
    assert_int_equal(net.peer[1].begins, 0);
    net_fini(&net);
}

static void another_build(struct sv_link_config *config)
{
    config->build = "b2";
}

static void another_count(struct sv_link_config *config)
{
    static struct sv_meeting four;

    four = *config->meeting;
    four.nodes = 4;
    config->meeting = &four;
}

static void another_rate(struct sv_link_config *config)
{
    config->agree = "seed=1\nlr=0.2\n";
}

static void another_option(struct sv_link_config *config)
{
    config->agree = "seed=1\nlr=0.1\nema=0.9\n";
}

static void what_is_different_is_refused_by_name(void **state)
{
    (void)state;
    check_refused(another_build, "it runs another build of imsuper, b2; the head runs b1");
    check_refused(another_count, "it was started as one of 4 nodes, the head as one of 3");
    check_refused(another_rate, "lr is 0.2 there and 0.1 on the head");
    check_refused(another_option, "ema is known to it only");
}

static void differences_are_found_in_any_text(void **state)
{
    static const struct {
        const char *head, *other, *says;
    } cases[] = {
        {"", "", NULL},
        {"a=1\n", "a=1\n", NULL},
        {"a=1\n", "", "a is known to the head only"},
        {"a=1\nb=2\n", "a=1\nc=2\n", "where the head has b=2, it has c=2"},
        {"a=1\nb=2", "a=1\nb=22", "b is 22 there and 2 on the head"},
        {"ab\n", "ab=\n", "ab is  there and  on the head"},
        {"a=\n", "a=1\n", "a is 1 there and  on the head"},
        {"a=?\nb=2\n", "a=1\nb=2\n", NULL}, /* not known there */
        {"a=1\nb=2\n", "a=?\nb=3\n", "b is 3 there and 2 on the head"},
        {"a=??\n", "a=1\n", "a is 1 there and ?? on the head"},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_text text = {""};
        const bool differs =
            sv_first_difference(cases[i].head, cases[i].other, strlen(cases[i].other), &text);

        assert_int_equal(differs, cases[i].says != NULL);
        if (differs)
            assert_string_equal(text.s, cases[i].says);
    }
}

static void two_machines_with_one_number_are_told_apart_from_a_restart(void **state)
{
    struct net_peer *p = &net.peer[2];
    struct sv_member other;
    struct sv_port port;

    (void)state;
    start_all(3);
    net_run(&net, 2 * S);
    /* A restart that comes before the silence of the one before is noticed. */
    net_kill(&net, 2, true);
    net_start(&net, 2, false);
    net_run(&net, 6 * S);
    assert_true(net_all_run(&net));
    assert_int_equal(net.peer[0].running.number, 2);
    /* Another process, while this one goes on: node 1's says that it is node 2. */
    net_kill(&net, 1, true);
    net.peer[1].meeting.node = 2;
    net_start(&net, 1, false);
    net_run(&net, 8 * S);
    assert_true(net.peer[1].refused);
    assert_non_null(
        strstr(net.peer[1].refusal, "two machines say that they are node 2: host (10.0.0.1) and host"));
    (void)p;
    (void)other;
    (void)port;
    net_fini(&net);
}

static void the_keys_say_which_node_it_is(void **state)
{
    struct sv_link_message m = {
        .kind = SV_HELLO, .from = 77, .hello = {.node = 1, .nodes = 3, .ranks = 1, .build = "b1"}};

    (void)state;
    start_all(3);
    m.hello.agree = net.peer[0].config.agree;
    m.hello.agree_bytes = strlen(m.hello.agree);
    net_run(&net, S / 2);
    sv_head_message(net.peer[0].head, net.now, 2, &m);
    assert_non_null(strstr(net.peer[0].text, "its key is that of node 2, but it says that it is node 1"));
    net_fini(&net);
}

/* ---- supervisors that are replaced ---- */

static void supervisors_are_replaced_while_trainers_go_on(void **state)
{
    (void)state;
    start_all(3);
    net_run(&net, 2 * S);
    net_kill(&net, 1, false);
    net_run(&net, S);
    net_start(&net, 1, true);
    net_run(&net, 5 * S);
    net_kill(&net, 0, false);
    net_run(&net, 2 * S);
    net_start(&net, 0, true);
    net_run(&net, 20 * S);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(net.peer[i].running.number, 1);
        assert_int_equal(net.peer[i].begins, 1);
        assert_non_null(sv_member_generation(&net.peer[i].member));
    }
    net_fini(&net);
}

static void a_head_that_knows_nothing_takes_higher_numbers(void **state)
{
    (void)state;
    start_all(3);
    net_run(&net, 2 * S);
    sv_member_ask_generation(&net.peer[1].member, 1, "");
    net_run(&net, 2 * S);
    net_kill(&net, 0, true);
    net_start(&net, 0, false);
    net_run(&net, 5 * S);
    assert_true(net_all_run(&net));
    assert_int_equal(net.peer[1].running.number, 3);
    net_fini(&net);
}

static void a_head_that_took_over_does_not_wait_for_ever(void **state)
{
    (void)state;
    start_all(3);
    net_run(&net, 2 * S);
    net_kill(&net, 0, false);
    net_kill(&net, 2, true);
    net_start(&net, 0, true);
    net_run(&net, 12 * S);
    assert_int_equal(net.peer[1].over, 2);
    assert_string_equal(net.peer[1].last_over, "node 2 has not come back");
    net_fini(&net);
}

static void a_head_that_was_stopped_takes_nobody_for_dead(void **state)
{
    (void)state;
    start_all(3);
    net_run(&net, 2 * S);
    net.now += 60 * S; /* nobody ran: a suspended laptop */
    net_run(&net, 20 * S);
    assert_true(net_all_run(&net));
    assert_int_equal(net.peer[0].begins, 1);
    net_fini(&net);
}

/* ---- any schedule ---- */

#define GENERATIONS 4096
static struct {
    uint64_t head;
    struct sv_generation g;
} seen[GENERATIONS];

/* A generation is the same for all who begin it, and all its members were ready for it. */
static void check_begun(struct net_peer *p, const struct sv_generation *g)
{
    const uint64_t head = p->member.head;

    assert_true(g->number < GENERATIONS);
    if (seen[g->number].head != head) {
        seen[g->number].head = head;
        seen[g->number].g = *g;
    }
    assert_memory_equal(&seen[g->number].g, g, sizeof *g);
}

static void misbehave(struct net *n)
{
    const uint32_t node = (uint32_t)im_rng_below(&n->rng, n->nodes);
    struct net_peer *p = &n->peer[node];
    const double what = im_rng_unit(&n->rng);

    if (what < 0.02)
        net_kill(n, node, im_rng_unit(&n->rng) < 0.5);
    else if (what < 0.05 && !p->up)
        net_start(n, node, p->running.number > 0);
    else if (what < 0.06 && node > 0)
        n->cut[node] = true;
    else if (what < 0.09)
        n->cut[node] = false;
    else if (what < 0.10 && p->up)
        sv_member_ask_generation(&p->member, p->running.number, "test");
}

static void run_schedule(uint64_t seed)
{
    const uint32_t nodes = 2 + (uint32_t)(seed % (NET_NODES - 1));

    memset(seen, 0, sizeof seen);
    net_init(&net, nodes, seed);
    net.begun = check_begun;
    net.loss = (double)(seed % 4) * 0.1;
    net.doubled = (double)(seed % 3) * 0.1;
    net.jitter = (seed % 5) * 400 * IM_MS;
    net.tells_closed = seed % 2;
    net.lets_in = seed % 7 < 4;
    if (net.lets_in) {
        net.peer[0].config.survivors_min = 1 + seed % 2;
        net.peer[0].config.wait = 2 * S;
    }
    for (uint32_t i = 0; i < nodes; i++)
        if (im_rng_unit(&net.rng) < 0.7)
            net_start(&net, i, false);
    for (int i = 0; i < 1200; i++) {
        misbehave(&net);
        net_run(&net, 50 * IM_MS);
    }
    net.loss = net.doubled = 0;
    net.jitter = 0;
    for (uint32_t i = 0; i < nodes; i++) {
        net.cut[i] = false;
        if (!net.peer[i].up)
            net_start(&net, i, false);
    }
    for (int i = 0; i < 60 && !net_all_run(&net); i++)
        net_run(&net, S);
    if (!net_all_run(&net))
        fail_msg("schedule %llu: not all run in the end", (unsigned long long)seed);
    sv_member_ask_stop(&net.peer[nodes - 1].member, SV_STOP_SAVE, "enough");
    net_run(&net, 3 * S);
    sv_head_finish(net.peer[0].head, 75, "");
    net_run(&net, 3 * S);
    for (uint32_t i = 0; i < nodes; i++)
        if (!net.peer[i].stopped || !net.peer[i].ended)
            fail_msg("schedule %llu: node %u does not end", (unsigned long long)seed, i);
    net_fini(&net);
}

static void any_schedule_ends_in_one_generation(void **state)
{
    const char *wanted = getenv("CLUSTER_SCHEDULES"), *first = getenv("CLUSTER_SEED");
    const uint64_t from = first ? strtoull(first, NULL, 10) : 1,
                   n = wanted ? strtoull(wanted, NULL, 10) : 150;

    (void)state;
    for (uint64_t seed = from; seed < from + n; seed++)
        run_schedule(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_meet_and_begin),
        cmocka_unit_test(the_newest_snapshot_that_all_hold_is_chosen),
        cmocka_unit_test(a_dead_node_ends_the_generation_and_its_return_begins_another),
        cmocka_unit_test(a_closed_connection_is_noticed_sooner),
        cmocka_unit_test(a_short_cut_changes_nothing_and_a_long_one_begins_anew),
        cmocka_unit_test(a_closed_port_of_the_head_is_as_good_as_silence),
        cmocka_unit_test(all_are_told_where_each_is),
        cmocka_unit_test(a_lost_word_of_where_nodes_are_comes_again),
        cmocka_unit_test(what_is_no_address_is_told_to_nobody),
        cmocka_unit_test(a_new_head_keeps_the_places_of_the_lost),
        cmocka_unit_test(a_node_may_ask_for_a_new_generation_once),
        cmocka_unit_test(stop_reaches_all_and_end_too),
        cmocka_unit_test(after_patience_the_run_stops_or_goes_on_with_fewer),
        cmocka_unit_test(survivors_go_on_and_do_not_wait_twice_for_the_same_node),
        cmocka_unit_test(too_few_survivors_wait_longer_and_stop),
        cmocka_unit_test(the_start_waits_for_all),
        cmocka_unit_test(a_head_that_never_answers_is_given_up_after_patience),
        cmocka_unit_test(a_node_that_leaves_with_an_error_is_not_waited_for),
        cmocka_unit_test(a_node_that_was_there_may_be_waited_for_less),
        cmocka_unit_test(nobody_waits_to_hear_that_a_stranger_leaves),
        cmocka_unit_test(questions_go_to_any_node_and_answers_back),
        cmocka_unit_test(what_is_different_is_refused_by_name),
        cmocka_unit_test(differences_are_found_in_any_text),
        cmocka_unit_test(two_machines_with_one_number_are_told_apart_from_a_restart),
        cmocka_unit_test(the_keys_say_which_node_it_is),
        cmocka_unit_test(supervisors_are_replaced_while_trainers_go_on),
        cmocka_unit_test(a_head_that_knows_nothing_takes_higher_numbers),
        cmocka_unit_test(a_head_that_took_over_does_not_wait_for_ever),
        cmocka_unit_test(a_head_that_was_stopped_takes_nobody_for_dead),
        cmocka_unit_test(any_schedule_ends_in_one_generation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
