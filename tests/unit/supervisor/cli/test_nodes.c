/* Which machines a run has, and what they must agree on; how keys come to a supervisor. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "supervisor/cli/nodes.h"
#include "supervisor/cluster/pass.h"
#include "supervisor/nodes.h"
#include "tests/unit/ipc/base/unit.h"

static const struct sv_launch alone = {.tasks = 1, .tasks_here = 1, .nodes = 1, .pmi_fd = -1};

static struct im_conf with(const char *nodes, const char *node)
{
    struct im_text text = {""};
    struct im_conf conf;

    im_conf_defaults(&conf);
    assert_int_equal(im_conf_set(&conf, "nodes", nodes, &text), 0);
    if (node)
        assert_int_equal(im_conf_set(&conf, "node", node, &text), 0);
    return conf;
}

static void chosen(const char *nodes, const char *node, int64_t count, int64_t index)
{
    struct im_conf conf = with(nodes, node);
    struct im_text text = {""};

    assert_int_equal(sv_nodes_choose(&conf, &alone, &text), 0);
    assert_int_equal(conf.node_count, count);
    assert_int_equal(conf.node_index, index);
}

static void refused(const char *nodes, const char *node, const char *why)
{
    struct im_conf conf = with(nodes, node);
    struct im_text text = {""};

    assert_int_equal(sv_nodes_choose(&conf, &alone, &text), -EINVAL);
    if (!strstr(text.s, why))
        fail_msg("'%s' lacks '%s'", text.s, why);
}

static void test_nodes_by_hand(void **state)
{
    (void)state;
    chosen("", NULL, 1, 0);
    chosen("a,b", "1", 2, 1);
    chosen("node-1.x:29500,10.0.0.2,[fd00::1]", "2", 3, 2);
    chosen("[fd00::1]:29500,b", "0", 2, 0);
    chosen("fd00::1,fd00::2", "0", 2, 0);
}

static void test_wrong_nodes_are_named(void **state)
{
    (void)state;
    refused("a", "0", "names 1 machine");
    refused("a,b", NULL, "--node N on each machine");
    refused("a,b", "2", "--nodes names 2 machines");
    refused("a,,b", "0", "expected names or addresses");
    refused("a,b,", "0", "expected names or addresses");
    refused("a b,c", "0", "expected names or addresses");
    refused("a:0,c", "0", "expected names or addresses");
    refused("a:99999,c", "0", "expected names or addresses");
    refused("a:,c", "0", "expected names or addresses");
    refused("[fd00::1,c", "0", "expected names or addresses");
    refused(":29500,c", "0", "expected names or addresses");
}

static void test_a_launcher_says_the_nodes(void **state)
{
    struct sv_launch launch = alone;
    struct im_text text = {""};
    struct im_conf conf = with("", NULL);

    (void)state;
    launch.launcher = "Slurm";
    launch.nodes = launch.tasks = 4;
    launch.node = launch.task = 3;
    assert_int_equal(sv_nodes_choose(&conf, &launch, &text), 0);
    assert_int_equal(conf.node_count, 4);
    assert_int_equal(conf.node_index, 3);
    launch.nodes = 65;
    assert_int_equal(sv_nodes_choose(&conf, &launch, &text), -EINVAL);
}

static void test_an_option_of_several_nodes_alone_is_refused(void **state)
{
    struct im_text text = {""};
    struct im_conf conf = with("", "0");

    (void)state;
    conf.origin[IM_KEY_node].source = IM_CONF_FLAG;
    assert_int_equal(sv_nodes_choose(&conf, &alone, &text), -EINVAL);
    assert_non_null(strstr(text.s, "node has no effect"));
}

static void test_the_part_of_a_node(void **state)
{
    struct im_text text = {""};
    struct im_conf conf = with("a,b", "1");

    (void)state;
    assert_int_equal(sv_nodes_choose(&conf, &alone, &text), 0);
    assert_int_equal(sv_nodes_part(&conf, &text), -EINVAL);
    assert_non_null(strstr(text.s, "--run-name"));
    assert_int_equal(im_conf_set(&conf, "run-name", "demo", &text), 0);
    conf.lr_range_test = true;
    assert_int_equal(sv_nodes_part(&conf, &text), -EINVAL);
    assert_non_null(strstr(text.s, "LR range test"));
    conf.lr_range_test = false;
    conf.multi_label = true;
    assert_int_equal(sv_nodes_part(&conf, &text), 0);
    assert_string_equal(conf.workspace, "runs/demo/nodes");
    assert_string_equal(conf.run_name, "node1");
    conf.node_index = 0;
    assert_int_equal(im_conf_set(&conf, "run-name", "demo", &text), 0);
    assert_int_equal(sv_nodes_part(&conf, &text), 0);
    assert_string_equal(conf.run_name, "demo");
}

static char *agreed(const char *key, const char *value)
{
    static const uint64_t samples[IM_SPLITS] = {100, 10};
    struct im_text text = {""};
    struct im_conf conf = with("a,b", "1");
    char *lines;

    if (key && im_conf_set(&conf, key, value, &text) < 0)
        fail_msg("%s", text.s);
    lines = sv_nodes_agree(&conf, samples, 3, "image a=1 bytes\n");
    assert_non_null(lines);
    return lines;
}

/* What results depend on is in it; what a machine has of its own is not. */
static void test_what_nodes_agree_on(void **state)
{
    static const char *const same[][2] = {{"lr", "0.5"},       {"seed", "9"},          {"ranks", "3"},
                                          {"epochs", "7"},     {"image-size", "64"},   {"hflip", "0.1"},
                                          {"amp", "bf16"},     {"max-pixels", "5000"}, {"batch-size", "13"},
                                          {"sync-bn", "true"}, {"model", "resnet18"}};
    static const char *const own[][2] = {
        {"data-dir", "/x"},  {"readers", "3"},         {"augmenters", "5"},
        {"run-name", "z"},   {"trainer-threads", "9"}, {"node", "0"},
        {"workspace", "/w"}, {"color", "never"},       {"cluster-key", "/k"}};
    char *usual = agreed(NULL, NULL);

    (void)state;
    assert_non_null(
        strstr(usual, "train-images=100\nval-images=10\nclasses=3\nimage a=1 bytes\nindex-hash="));
    for (size_t i = 0; i < IM_COUNT(same); i++) {
        char *lines = agreed(same[i][0], same[i][1]);

        if (strcmp(lines, usual) == 0)
            fail_msg("nodes may differ in %s", same[i][0]);
        free(lines);
    }
    for (size_t i = 0; i < IM_COUNT(own); i++) {
        char *lines = agreed(own[i][0], own[i][1]);

        if (strcmp(lines, usual) != 0)
            fail_msg("nodes may not differ in %s", own[i][0]);
        free(lines);
    }
    free(usual);
}

/* A command executes itself again where its supervisor said so: not where a bit has flipped, not on one machine, not at another
 * end. */
static void test_only_a_lost_head_begins_the_command_again(void **state)
{
    struct im_control *c = calloc(1, sizeof *c);
    struct im_conf conf = with("", NULL);

    (void)state;
    assert_non_null(c);
    conf.node_count = 3;
    assert_false(sv_nodes_has_lost_head(&conf, c, 75));
    for (uint32_t bit = 0; bit < 32; bit++) {
        atomic_store_explicit(&c->node_lost, 1u << bit, memory_order_relaxed);
        assert_false(sv_nodes_has_lost_head(&conf, c, 75));
    }
    atomic_store_explicit(&c->node_lost, IM_NODE_LOST, memory_order_relaxed);
    assert_true(sv_nodes_has_lost_head(&conf, c, 75));
    assert_false(sv_nodes_has_lost_head(&conf, c, 0));
    assert_false(sv_nodes_has_lost_head(&conf, c, 130));
    conf.node_count = 1;
    assert_false(sv_nodes_has_lost_head(&conf, c, 75));
    free(c);
}

/* ---- where machines are ---- */

static void put_file(const char *folder, const char *bytes)
{
    char path[300];
    FILE *f;

    snprintf(path, sizeof path, "%s/places-1.txt", folder);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(bytes, f) >= 0);
    fclose(f);
}

static void test_places_are_read_from_the_same_start_only(void **state)
{
    struct im_node_place place[IM_RANKS_MAX];
    char folder[] = "/tmp/places.XXXXXX", path[300], *long_file = malloc(100000);

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(sv_nodes_places_read(folder, 1, "machines=3", place), 0);
    put_file(folder, "machines=3\n0 10.0.0.1 29500\n2 fd00::3 29501\n");
    assert_int_equal(sv_nodes_places_read(folder, 1, "machines=3", place), 2);
    assert_string_equal(place[0].address, "10.0.0.1");
    assert_string_equal(place[1].address, "");
    assert_string_equal(place[2].address, "fd00::3");
    assert_int_equal(place[2].port, 29501);
    assert_int_equal(sv_nodes_places_read(folder, 1, "machines=4", place), 0);
    assert_string_equal(place[0].address, "");
    put_file(folder, "machines=3\nx\n64 10.0.0.1 1\n-1 10.0.0.1 1\n1 name 29500\n1 10.0.0.1 0\n1 10.0.0.1 "
                     "65536\n2 10.0.0.3 7");
    assert_int_equal(sv_nodes_places_read(folder, 1, "machines=3", place), 1);
    assert_int_equal(place[2].port, 7);
    put_file(folder, "");
    assert_int_equal(sv_nodes_places_read(folder, 1, "machines=3", place), 0);
    memset(long_file, '1', 99999);
    long_file[99999] = '\0';
    put_file(folder, long_file);
    assert_int_equal(sv_nodes_places_read(folder, 1, "machines=3", place), 0);
    snprintf(path, sizeof path, "%s/places-1.txt", folder);
    unlink(path);
    rmdir(folder);
    free(long_file);
}

static void test_hosts_are_those_of_the_list_or_known_places(void **state)
{
    struct im_node_place place[IM_RANKS_MAX] = {{.port = 0}};
    struct sv_machine_at at[IM_RANKS_MAX];
    struct im_conf conf = with("a,b:7,c", "1");

    (void)state;
    conf.node_count = 3;
    conf.node_port = 29500;
    assert_int_equal(sv_nodes_hosts(&conf, place, at), 3);
    assert_string_equal(at[2].name, "c");
    assert_int_equal(at[1].port, 7);
    conf = with("a,b,a", "1");
    conf.node_count = 3;
    assert_int_equal(sv_nodes_hosts(&conf, NULL, at), 0);
    assert_false(sv_nodes_may_take_over(&conf));
    conf = with("", NULL);
    conf.node_count = 3;
    assert_true(sv_nodes_may_take_over(&conf));
    assert_int_equal(sv_nodes_hosts(&conf, NULL, at), 0);
    place[0] = (struct im_node_place){"10.0.0.1", 29500};
    assert_int_equal(sv_nodes_hosts(&conf, place, at), 0); /* too few to be half */
    place[2] = (struct im_node_place){"10.0.0.1", 29501};
    assert_int_equal(sv_nodes_hosts(&conf, place, at), 3);
    assert_string_equal(at[1].name, "");
    assert_int_equal(at[2].port, 29501);
    place[2].port = 29500; /* as a flipped bit makes it */
    assert_int_equal(sv_nodes_hosts(&conf, place, at), 0);
    place[2].port = 70000;
    assert_int_equal(sv_nodes_hosts(&conf, place, at), 0);
    memset(place[2].address, '1', sizeof place[2].address); /* without an end */
    place[2].port = 29501;
    assert_int_equal(sv_nodes_hosts(&conf, place, at), 0);
    conf.cluster_min_nodes = 1;
    assert_false(sv_nodes_may_take_over(&conf));
}

static void test_who_goes_on_is_said(void **state)
{
    struct im_conf conf = with("", NULL);
    struct im_text text;

    (void)state;
    conf.node_count = 1;
    assert_string_equal(sv_nodes_describe_succession(&conf, &text), "");
    conf.node_count = 2;
    assert_non_null(strstr(sv_nodes_describe_succession(&conf, &text), "waits for it"));
    conf.node_count = 5;
    assert_non_null(
        strstr(sv_nodes_describe_succession(&conf, &text), "takes over, if 3 of the 5 are there"));
    conf.cluster_min_nodes = 2;
    assert_non_null(strstr(sv_nodes_describe_succession(&conf, &text), "--cluster-min-nodes"));
    conf = with("a,b,a", "1");
    conf.node_count = 3;
    assert_non_null(strstr(sv_nodes_describe_succession(&conf, &text), "twice"));
}

static void test_a_meeting_is_passed_on(void **state)
{
    struct sv_meeting m = {.way = SV_MEET_PMI,
                           .nodes = 3,
                           .node = 0,
                           .head = "n0",
                           .port = 4711,
                           .here = "10.0.0.1"},
                      got;
    struct im_text text = {""};
    int fd, listener = dup(STDERR_FILENO);

    (void)state;
    snprintf(m.keys.secret, sizeof m.keys.secret, "secret");
    m.keys.members = 2;
    m.keys.member = calloc(2, sizeof *m.keys.member);
    assert_non_null(m.keys.member);
    snprintf(m.keys.member[1], sizeof m.keys.member[1], "the second");
    m.copies = strdup("image a=1 bytes\n");
    assert_int_equal(sv_meeting_pass(&m, &fd, &text), 0);
    for (int i = 0; i < 2; i++) { /* a supervisor, and its successor */
        assert_int_equal(sv_meeting_take(fd, listener, &got, &text), 0);
        assert_string_equal(got.head, "n0");
        assert_string_equal(got.keys.secret, "secret");
        assert_string_equal(got.keys.member[1], "the second");
        assert_string_equal(got.copies, "image a=1 bytes\n");
        assert_true(got.listener >= 0 && got.listener != listener);
        sv_meeting_fini(&got);
    }
    assert_int_equal(write(fd, "x", 1), -1);
    close(fd);
    m.keys.members = 3; /* more than are there */
    {
        struct sv_meeting lies = m;

        lies.keys.member = NULL;
        lies.copies = NULL;
        assert_int_equal(sv_meeting_pass(&lies, &fd, &text), 0);
        assert_int_equal(sv_meeting_take(fd, -1, &got, &text), 0); /* a member of the run keeps no list */
        assert_null(got.keys.member);
        sv_meeting_fini(&got);
        close(fd);
        lies.node = 7;
        assert_int_equal(sv_meeting_pass(&lies, &fd, &text), 0);
        assert_int_equal(sv_meeting_take(fd, -1, &got, &text), -EBADMSG);
        close(fd);
    }
    assert_true(sv_meeting_take(-1, -1, &got, &text) < 0);
    free(m.keys.member);
    free(m.copies);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes_by_hand),
        cmocka_unit_test(test_wrong_nodes_are_named),
        cmocka_unit_test(test_a_launcher_says_the_nodes),
        cmocka_unit_test(test_an_option_of_several_nodes_alone_is_refused),
        cmocka_unit_test(test_the_part_of_a_node),
        cmocka_unit_test(test_what_nodes_agree_on),
        cmocka_unit_test(test_only_a_lost_head_begins_the_command_again),
        cmocka_unit_test(test_places_are_read_from_the_same_start_only),
        cmocka_unit_test(test_hosts_are_those_of_the_list_or_known_places),
        cmocka_unit_test(test_who_goes_on_is_said),
        cmocka_unit_test(test_a_meeting_is_passed_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
