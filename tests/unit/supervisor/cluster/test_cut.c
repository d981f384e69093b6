/* Head and members over a simulated network: what they make of a machine that is found to be cut off (reach.h). */
#include "tests/unit/ipc/base/unit.h"
#include "tests/unit/supervisor/cluster/net.h"

#define S IM_SECOND

static struct net net;

static void a_machine_that_acknowledges_nothing_is_dead_at_once(void **state)
{
    (void)state;
    net_init(&net, 3, 1);
    for (uint32_t i = 0; i < 3; i++)
        net_start(&net, i, false);
    net_run(&net, 2 * S);
    net.cut[2] = true;
    sv_head_cut(net.peer[0].head, net.now, 12345); /* of a session that was before: nobody's */
    net_run(&net, S);
    assert_int_equal(net.peer[0].overs, 1);
    sv_head_cut(net.peer[0].head, net.now, net.peer[2].session);
    net.peer[2].member.is_cut = true;
    net_run(&net, S);
    assert_non_null(
        strstr(net.peer[1].last_over, "node 2 (host) is cut off: its machine has acknowledged nothing"));
    assert_true(net.peer[2].lost);
    assert_non_null(strstr(net.peer[2].text, "is cut off: its machine has acknowledged nothing for 5 s"));
    net.peer[2].member.is_cut = false;
    net.cut[2] = false;
    net_run(&net, 3 * S);
    assert_true(net_all_run(&net));
    assert_int_equal(net.peer[2].running.number, 2);
    net_run(&net, 20 * S);
    assert_int_equal(net.peer[2].running.number, 2); /* what was is forgotten */
    net_fini(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_that_acknowledges_nothing_is_dead_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
