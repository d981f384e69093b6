/* The model of several machines, against sums done by hand. */
#include "supervisor/cli/cluster_model.h"
#include "tests/unit/ipc/base/unit.h"

/* 8 trainers a machine, 100 MB of gradients, 12.5 GB/s, 10 us. */
static struct sv_cluster_model usual(void)
{
    return (struct sv_cluster_model){
        .ranks = 8, .batch = 100, .step = 0.1, .bytes = 100e6, .bandwidth = 12.5e9, .latency = 10e-6};
}

#define assert_near(a, b) assert_true((a) > (b) * (1 - 1e-9) && (a) < (b) * (1 + 1e-9))

static void one_machine_is_as_measured(void **state)
{
    const struct sv_cluster_model m = usual();
    struct sv_cluster_point p;

    (void)state;
    sv_cluster_at(&m, 1, &p);
    assert_true(p.ring == 0 && p.tree == 0 && p.exposed == 0);
    assert_near(p.rate, 8000);
    assert_near(p.efficiency, 1);
    assert_near(p.gain, 1);
    assert_int_equal(p.limit, SV_CLUSTER_STEP);
}

static void sums_take_what_the_formulas_say(void **state)
{
    struct sv_cluster_model m = usual();
    struct sv_cluster_point p;

    (void)state;
    sv_cluster_at(&m, 4, &p);
    assert_near(p.ring, 62 * (10e-6 + 100e6 / (32 * 12.5e9)));
    assert_near(p.tree, 4 * 10e-6 + 0.016);
    assert_near(p.exposed, p.tree < p.ring ? p.tree : p.ring);
    assert_near(p.step, 0.1 + p.exposed + 20e-6);
    assert_near(p.rate, 3200 / p.step);
    assert_near(p.efficiency, p.rate / 32000);
    m.ring = true;
    sv_cluster_at(&m, 256, &p); /* its latency grows with the machines, a tree's does not */
    assert_near(p.exposed, p.ring);
    assert_true(p.ring > 2 * p.tree);
    m.overlap = 1;
    sv_cluster_at(&m, 4, &p);
    assert_true(p.exposed == 0);
}

static void scaling_stops_where_data_or_network_end(void **state)
{
    struct sv_cluster_model m = usual();
    struct sv_cluster_point p;

    (void)state;
    assert_int_equal(sv_cluster_end(&m, 1, 64), 0);
    m.storage_rate = 30000;
    sv_cluster_at(&m, 8, &p);
    assert_near(p.rate, 30000);
    assert_int_equal(p.limit, SV_CLUSTER_STORAGE);
    assert_int_equal(sv_cluster_end(&m, 1, 64), 5);
    m.storage_rate = 0;
    m.node_rate = 4000;
    sv_cluster_at(&m, 8, &p);
    assert_near(p.rate, 32000);
    assert_near(p.efficiency, 1); /* of machines that are held up alone, too */
    assert_int_equal(p.limit, SV_CLUSTER_DATA);
    m = usual();
    m.bandwidth = 0.1e9;
    sv_cluster_at(&m, 2, &p);
    assert_int_equal(p.limit, SV_CLUSTER_NETWORK);
    assert_int_equal(sv_cluster_end(&m, 1, 64), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_machine_is_as_measured),
        cmocka_unit_test(sums_take_what_the_formulas_say),
        cmocka_unit_test(scaling_stops_where_data_or_network_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
