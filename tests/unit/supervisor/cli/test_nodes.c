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
        cmocka_unit_test(test_a_meeting_is_passed_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
