/* Several machines as pipelines of one process, each with shared memory and a run folder of its own, at a loopback
 * address of its own; what their supervisors do for the ranks, which is to carry their cards, a thread does here. They
 * train what as many ranks on one machine train, to the bit; their ledgers are the run's in parts; a stop on one stops
 * all; and whoever starts again has the state from the first, whose folder alone has files. */
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/peers.h"
#include "tests/support/dataset.h"
#include "tests/support/trained.h"
#include "trainer/checkpoint/checkpoint.h"

enum { NODES_MAX = 4, BATCH = 3, EPOCHS = 2 };

static struct dataset set;

struct node {
    struct im_conf conf;
    struct pipeline *pipeline;
    pthread_t thread;
    uint64_t stop_at;
    int status;
    struct im_text text;
    _Atomic int left;
};

static void configure(const char *run_name, int nodes, int node, int ranks, const char *sync,
                      struct im_conf *ret)
{
    char numbers[5][16], address[32];
    const char *const keys[][2] = {
        {"epochs", numbers[4]},
        {"image-size", "8"},
        {"model", "resnet20"},
        {"stem", "small"},
        {"lr", "0.01"},
        {"encoded-cells", "9"},
        {"cell-bytes", "4096"},
        {"queue-depth", "3"},
        {"batches-ahead", "2"},
        {"log-level", "error"},
        {"trainer-threads", "1"},
        {"readers", "1"},
        {"augmenters", "1"},
        {"seed", "5"},
        {"drop-last", "false"},
        {"drop-path-rate", "0.2"},
        {"mixup", "0.3"},
        {"accumulate", "2"},
        {"ema", "0.9"},
        {"backend", "ref"},
        {"ranks", numbers[0]},
        {"batch-size", numbers[1]},
        {"sync-bn", sync},
        {"node-count", numbers[2]},
        {"node-index", numbers[3]},
        {"node-address", nodes > 1 ? address : ""},
    };
    struct im_text text = {""};

    snprintf(numbers[0], sizeof numbers[0], "%d", ranks);
    snprintf(numbers[1], sizeof numbers[1], "%d", BATCH);
    snprintf(numbers[2], sizeof numbers[2], "%d", nodes);
    snprintf(numbers[3], sizeof numbers[3], "%d", node);
    snprintf(numbers[4], sizeof numbers[4], "%d", EPOCHS);
    snprintf(address, sizeof address, "127.0.0.%d", node + 2);
    im_conf_defaults(ret);
    trained_set_keys(ret, keys, IM_COUNT(keys));
    if (dataset_configure(&set, run_name, ret, &text) < 0)
        fail_msg("%s", text.s);
}

static void *run_node(void *argument)
{
    struct node *n = argument;

    n->status = pipeline_train(n->pipeline, n->stop_at, NULL, NULL, &n->text);
    atomic_store_explicit(&n->left, 1, memory_order_release);
    return NULL;
}

/* What supervisors do: show the cards of their ranks to the others'. */
static void carry_cards(struct node *nodes, int count)
{
    bool carried[IM_RANKS_MAX] = {false};
    int running = count;

    while (running > 0) {
        running = 0;
        for (int i = 0; i < count; i++) {
            const struct im_run *run = pipeline_run(nodes[i].pipeline);

            running += !atomic_load_explicit(&nodes[i].left, memory_order_acquire);
            for (uint32_t r = 0; r < run->geometry.ranks; r++) {
                const uint32_t rank = run->geometry.first_rank + r;
                const void *card;
                size_t bytes;

                if (carried[rank] || !im_peers_card(run, r, &card, &bytes))
                    continue;
                for (int other = 0; other < count; other++)
                    if (other != i)
                        assert_int_equal(
                            im_peers_show(pipeline_run(nodes[other].pipeline), rank, card, bytes), 0);
                carried[rank] = true;
            }
        }
        poll(NULL, 0, 1);
    }
}

/* Trains on all nodes; their exit statuses are the same. */
static int run_nodes(struct node *nodes, int count)
{
    for (int i = 0; i < count; i++) {
        nodes[i].pipeline = trained_open(&nodes[i].conf);
        nodes[i].left = 0;
        atomic_store_explicit(&pipeline_run(nodes[i].pipeline)->control->node_generation, 1,
                              memory_order_release);
    }
    for (int i = 0; i < count; i++)
        assert_int_equal(pthread_create(&nodes[i].thread, NULL, run_node, &nodes[i]), 0);
    carry_cards(nodes, count);
    for (int i = 0; i < count; i++)
        pthread_join(nodes[i].thread, NULL);
    for (int i = 0; i < count; i++)
        if (nodes[i].status != nodes[0].status)
            fail_msg("node %d ended with %d (%s), node 0 with %d (%s)", i, nodes[i].status, nodes[i].text.s,
                     nodes[0].status, nodes[0].text.s);
    return nodes[0].status;
}

static void configure_nodes(struct node *nodes, const char *name, int count, int ranks, const char *sync)
{
    memset(nodes, 0, (size_t)count * sizeof *nodes);
    for (int i = 0; i < count; i++) {
        char folder[64];

        snprintf(folder, sizeof folder, "%s-%d", name, i);
        configure(folder, count, i, ranks, sync, &nodes[i].conf);
        nodes[i].stop_at = UINT64_MAX;
    }
}

static void close_nodes(struct node *nodes, int count)
{
    for (int i = 0; i < count; i++)
        pipeline_close(&nodes[i].pipeline);
}

/* Each pass exactly once on each node, and together each image. */
static void check_ledgers(struct node *nodes, int count)
{
    static const uint64_t images[IM_SPLITS] = {TRAINED_CLASSES * TRAINED_PER_CLASS,
                                               TRAINED_CLASSES * TRAINED_VAL_PER_CLASS};

    for (int s = 0; s < IM_SPLITS; s++) {
        uint64_t sum = 0;

        for (int i = 0; i < count; i++) {
            const struct im_ledger *l = &pipeline_run(nodes[i].pipeline)->control->ledger[s];

            assert_int_equal(atomic_load_explicit(&l->phases, memory_order_relaxed), EPOCHS);
            assert_int_equal(atomic_load_explicit(&l->phases_exact, memory_order_relaxed), EPOCHS);
            sum += atomic_load_explicit(&l->total_delivered, memory_order_relaxed);
        }
        assert_int_equal(sum, EPOCHS * images[s]);
    }
}

/* Every tensor of the two runs' last states is the same to the bit. */
static void assert_same_state(const struct im_conf *a, const struct im_conf *b)
{
    struct tr_safetensors *ours = trained_state(a), *theirs = trained_state(b);

    assert_true(tr_safetensors_count(ours) > 100);
    assert_int_equal(tr_safetensors_count(ours), tr_safetensors_count(theirs));
    for (size_t i = 0; i < tr_safetensors_count(ours); i++) {
        const struct tr_tensor *x = tr_safetensors_at(ours, i), *y = tr_safetensors_at(theirs, i);
        size_t bytes;

        assert_string_equal(x->name, y->name);
        assert_int_equal(tr_tensor_bytes(x, &bytes), 0);
        assert_memory_equal(x->data, y->data, bytes);
    }
    tr_safetensors_close(&ours);
    tr_safetensors_close(&theirs);
}

static bool has_files(const struct im_conf *conf)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%.900s/checkpoints/last.state.safetensors", conf->run_dir);
    return access(path, F_OK) == 0;
}

/* 27 images; with four ranks the last step has one for each of three, and none for the fourth. */
static void compare_with_one_machine(const char *name, int nodes, int ranks, const char *sync)
{
    struct node node[NODES_MAX];
    struct im_conf one;
    char alone[64];

    snprintf(alone, sizeof alone, "%s-alone", name);
    configure(alone, 1, 0, nodes * ranks, sync, &one);
    assert_int_equal(trained_run(&one, UINT64_MAX, NULL, NULL, EPOCHS), IM_EXIT_OK);
    configure_nodes(node, name, nodes, ranks, sync);
    assert_int_equal(run_nodes(node, nodes), IM_EXIT_OK);
    check_ledgers(node, nodes);
    close_nodes(node, nodes);
    assert_same_state(&one, &node[0].conf);
    for (int i = 1; i < nodes; i++)
        assert_false(has_files(&node[i].conf));
}

static void three_machines_train_what_one_trains(void **state)
{
    (void)state;
    compare_with_one_machine("three", 3, 2, "false");
}

static void four_machines_train_what_one_trains(void **state)
{
    (void)state;
    compare_with_one_machine("four", 4, 1, "true");
}

/* Stopped on the second machine, in the middle of a pass and of a window; continued by machines without files; then by
 * one machine with all ranks. */
static void a_stop_on_one_machine_stops_all(void **state)
{
    struct im_conf one;
    struct node node[2];

    (void)state;
    configure("stop-alone", 1, 0, 4, "false", &one);
    assert_int_equal(trained_run(&one, UINT64_MAX, NULL, NULL, EPOCHS), IM_EXIT_OK);
    configure_nodes(node, "stop", 2, 2, "false");
    node[1].stop_at = 1;
    assert_int_equal(run_nodes(node, 2), IM_EXIT_RESUMABLE);
    close_nodes(node, 2);
    assert_true(has_files(&node[0].conf) && !has_files(&node[1].conf));
    node[1].stop_at = UINT64_MAX;
    node[0].stop_at = 5;
    assert_int_equal(run_nodes(node, 2), IM_EXIT_RESUMABLE);
    close_nodes(node, 2);
    node[0].conf.node_count = 1;
    node[0].conf.ranks = 4;
    *node[0].conf.node_address = '\0';
    trained_run(&node[0].conf, UINT64_MAX, NULL, NULL, 0);
    assert_same_state(&one, &node[0].conf);
}

static int make_set(void **state)
{
    (void)state;
    trained_make_set(&set);
    return 0;
}

static int remove_set(void **state)
{
    (void)state;
    dataset_remove(&set);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_machines_train_what_one_trains),
        cmocka_unit_test(four_machines_train_what_one_trains),
        cmocka_unit_test(a_stop_on_one_machine_stops_all),
    };

    return cmocka_run_group_tests(tests, make_set, remove_set);
}
