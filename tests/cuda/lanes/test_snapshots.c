/* Snapshots of a network on a device that go on while it takes its next steps: each is of one state, the one that
 * a copy which the steps wait for has, to the byte. With TESTS_GPU on a real GPU, but for what takes its memory away. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/rng.h"
#ifndef TESTS_GPU
#include "tests/cuda/lanes/host.h"
#endif
#include "tests/support/gpu.h"
#include "trainer/backends/cuda/device.h"
#include "trainer/backends/step.h"
#include "trainer/checkpoint/snapshot.h"
#include "trainer/network/impl.h"

#ifdef TESTS_GPU
struct host_gpu_options {
    unsigned eager;
};
static void host_gpu_set(const struct host_gpu_options *options)
{
    (void)options; /* a GPU is as early and as late as it is */
}
#endif

enum { CLASSES = 5, BATCH = 4, SIZE = 8, BYTES = BATCH * SIZE * SIZE * 3 };

/* A trainer of rank 0, as far as a snapshot needs one. */
struct scene {
    struct im_conf conf;
    struct im_plan plan;
    struct im_stats stats;
    struct im_child child;
    struct tr_network *net;
    struct tr_state state;
    struct tr_snapshot snapshot;
    struct tr_position_text position;
    uint8_t pixels[BYTES];
    int steps;
};

struct bytes {
    char *at;
    size_t count, room;
};

static int append(void *context, const void *bytes, size_t n, struct im_text *text)
{
    struct bytes *b = context;

    (void)text;
    if (b->count + n >
        b->room) { /* a state has hundreds of parts: a copy for each would be seconds under a sanitizer */
        b->room = 2 * (b->count + n);
        b->at = realloc(b->at, b->room);
        assert_non_null(b->at);
    }
    memcpy(b->at + b->count, bytes, n);
    b->count += n;
    return 0;
}

/* What a snapshot holds that the steps wait for. */
static struct bytes plain_bytes(struct scene *s)
{
    struct bytes b = {0};
    const struct tr_sink sink = {.context = &b, .write = append};

    assert_int_equal(tr_state_put(&s->state, "a test", &sink, &s->position, NULL), 0);
    return b;
}

static struct bytes bytes_in_memory(const struct scene *s)
{
    struct bytes b = {0};
    int err = im_snapshot_read(s->child.snapshot_fd, &b.at, &b.count, NULL);

    assert_true(err == 0 || err == -ENOENT);
    return b;
}

static bool is_same(const struct bytes *a, const struct bytes *b)
{
    return a->count == b->count && a->count > 0 && memcmp(a->at, b->at, a->count) == 0;
}

static void train(struct scene *s, int steps)
{
    static const int32_t labels[BATCH] = {0, 3, 1, 4};

    for (int i = 0; i < steps; i++, s->steps++) {
        const struct tr_step how = {.divisor = BATCH,
                                    .number = (uint32_t)(s->steps % 2) + 1,
                                    .last = s->steps % 2 == 1,
                                    .hyper = {.lr = 0.02,
                                              .momentum = 0.9,
                                              .beta2 = 0.99,
                                              .eps = 1e-6,
                                              .unscale = 1,
                                              .loss_scale = 1,
                                              .ema_weight = 0.1,
                                              .updates = (uint64_t)(s->steps / 2)}};
        const struct tr_batch b = {
            .pixels = s->pixels, .labels = labels, .n = BATCH, .size = SIZE, .stride = 1};
        struct tr_outcome outcome;

        s->pixels[s->steps % BYTES]++;
        assert_int_equal(tr_network_step_begin(s->net, &b, &how, NULL), 0);
        assert_int_equal(tr_network_step_end(s->net, &outcome, NULL), 0);
    }
}

static void set_key(struct scene *s, const char *key, const char *value)
{
    assert_int_equal(im_conf_set(&s->conf, key, value, NULL), 0);
}

static struct scene *open_scene(const struct host_gpu_options *options)
{
    const struct tr_network_config config = {.model = "resnet20",
                                             .classes = CLASSES,
                                             .ops = &tr_backend_cuda,
                                             .seed = 3,
                                             .mean = {0.5f, 0.5f, 0.5f},
                                             .std = {0.25f, 0.25f, 0.25f},
                                             .optimizer = IM_OPTIMIZER_ADAMW,
                                             .accumulates = true,
                                             .averages = true};
    const uint64_t samples[IM_SPLITS] = {64, 16};
    struct scene *s = aligned_alloc(_Alignof(struct scene), sizeof *s);
    struct im_rng r = im_rng_at(8, IM_RNG_TEST, 1, 1);
    struct tr_position at;

    assert_non_null(s);
    memset(s, 0, sizeof *s);
    host_gpu_set(options);
    im_conf_defaults(&s->conf);
    set_key(s, "batch-size", "16");
    set_key(s, "snapshot-interval", "1000");
    assert_int_equal(im_plan_from_conf(&s->conf, samples, &s->plan, NULL), 0);
    s->child = (struct im_child){.plan = &s->plan,
                                 .conf = &s->conf,
                                 .stats = &s->stats,
                                 .role = IM_ROLE_TRAINER,
                                 .snapshot_fd = im_segment_create_empty("a test", NULL)};
    for (int i = 0; i < BYTES; i++)
        s->pixels[i] = (uint8_t)im_rng_u32(&r);
    assert_int_equal(tr_network_new(&config, &s->net, NULL), 0);
    assert_int_equal(tr_network_prepare(s->net, BATCH, SIZE, true, NULL), 0);
    assert_int_equal(tr_state_init(&s->state, s->net), 0);
    tr_state_name_classes(&s->state, strdup("[\"a\"]"));
    at = tr_position_start(&s->conf);
    at.window_batches = 1; /* the sum of gradients is in it, too */
    tr_position_write(&at, &s->conf, &s->plan, samples, &s->position);
    assert_int_equal(tr_snapshot_open(&s->snapshot, &s->child, &s->state, &s->position, 0, false, NULL), 0);
    return s;
}

static void close_scene(struct scene *s)
{
    tr_snapshot_close(&s->snapshot);
    tr_state_fini(&s->state);
    tr_network_free(s->net);
    im_plan_fini(&s->plan);
    close(s->child.snapshot_fd);
    free(s);
    host_gpu_set(&(struct host_gpu_options){0});
}

static void begin(struct scene *s, uint64_t batch)
{
    assert_int_equal(tr_snapshot_begin(&s->snapshot, &s->state, &s->position, batch, NULL), 0);
}

/* Whichever lane is early: the device's copy is of the state before the steps, and stays it on its way to the host. */
static void one_is_of_one_state_while_steps_go_on(void **state)
{
    static const unsigned ways[] = {0, 1 << TR_GPU_COMPUTE, 1 << TR_GPU_COPY,
                                    1 << TR_GPU_COMPUTE | 1 << TR_GPU_COPY};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(ways); i++) {
        struct scene *s = open_scene(&(struct host_gpu_options){.eager = ways[i]});

        for (uint64_t batch = 1; batch < 3; batch++) { /* the second time in the same memory */
            struct bytes want, other, got;

            train(s, 3);
            want = plain_bytes(s);
            begin(s, batch);
            train(s, 4);
            other = plain_bytes(s);
            assert_false(is_same(&want, &other)); /* the steps changed what it is of */
            assert_int_equal(tr_snapshot_advance(&s->snapshot, true, NULL), 0);
            got = bytes_in_memory(s);
            if (!is_same(&want, &got))
                fail_msg("way %zu, snapshot %d: not the bytes of the state it is of", i, (int)batch);
            free(want.at), free(other.at), free(got.at);
        }
        close_scene(s);
    }
}

/* Until it is complete the one before counts, and no other is begun but where one is asked for. */
static void it_counts_once_it_is_complete(void **state)
{
    struct scene *s = open_scene(&(struct host_gpu_options){0});
    struct bytes got, first;

    (void)state;
    begin(s, 1);
    got = bytes_in_memory(s);
    assert_null(got.at);
    s->snapshot.due_at = 0;
    assert_false(tr_snapshot_is_due(&s->snapshot, 2));
    while (s->snapshot.job)
        assert_int_equal(tr_snapshot_advance(&s->snapshot, false, NULL), 0);
    first = bytes_in_memory(s);
    assert_non_null(first.at);
    assert_true(tr_snapshot_is_due(&s->snapshot, 2)); /* as was said meanwhile */
    begin(s, 1);
    assert_int_equal(tr_snapshot_advance(&s->snapshot, true, NULL), 0);
    assert_false(tr_snapshot_is_due(&s->snapshot, 2)); /* not before its interval */
    s->snapshot.due_at = 0;
    assert_true(tr_snapshot_is_due(&s->snapshot, 2));
    assert_false(tr_snapshot_is_due(&s->snapshot, 1)); /* nothing is new */

    train(s, 1);
    begin(s, 2);
    train(s, 1);
    assert_int_equal(tr_snapshot_take(&s->snapshot, &s->state, &s->position, 3, NULL), 0);
    assert_null(s->snapshot.job);
    assert_int_equal(atomic_load_explicit(&s->stats.counter[IM_C_SNAPSHOTS], memory_order_relaxed), 4);
    got = bytes_in_memory(s);
    assert_false(is_same(&first, &got));
    free(first.at);
    first = plain_bytes(s);
    assert_true(is_same(&first, &got));
    free(first.at), free(got.at);

    begin(s, 4);
    tr_snapshot_forget(&s->snapshot); /* also what is being made */
    assert_int_equal(tr_snapshot_advance(&s->snapshot, true, NULL), 0);
    got = bytes_in_memory(s);
    assert_null(got.at);
    begin(s, 5);
    close_scene(s); /* while one is being made */
}

#ifndef TESTS_GPU
/* The planner keeps the memory free: the largest batch that fits leaves room for it. */
static void its_memory_is_planned(void **state)
{
    struct scene *s = open_scene(&(struct host_gpu_options){.memory_bytes = (size_t)2 << 30});
    const struct tr_network_bytes bytes = tr_network_bytes(s->net);
    struct im_text text = {{0}};
    const char *largest;
    struct tr_state shadow;

    (void)state;
    assert_int_equal(bytes.shadow, bytes.arenas - bytes.parameters); /* all but a step's gradients */
    tr_snapshot_close(&s->snapshot);
    assert_int_equal(tr_network_bytes(s->net).shadow, 0);
    assert_int_equal(tr_network_prepare(s->net, 60000, 32, true, &text), -ENOMEM);
    largest = strstr(text.s, "the largest batch that fits is ");
    assert_non_null(largest);
    assert_int_equal(tr_network_prepare(s->net, (int)strtol(largest + 31, NULL, 10), 32, true, &text), 0);
    assert_true(s->net->ops->memory_left(s->net->backend) >= bytes.shadow); /* beside what engines may need */
    assert_int_equal(tr_state_init_shadow(&shadow, s->net, NULL), 0);
    tr_state_fini(&shadow);
    close_scene(s);
}

/* Another process has taken the memory meanwhile. */
static void without_memory_steps_wait(void **state)
{
    struct scene *s = open_scene(&(struct host_gpu_options){.memory_bytes = (size_t)2 << 30});
    const struct tr_backend_ops *ops = s->net->ops;
    const size_t bytes = ((size_t)2 << 30) - ((size_t)64 << 20);
    struct bytes want, got;
    void *taken[32] = {NULL};

    (void)state;
    train(s, 2); /* has what it needs */
    tr_snapshot_close(&s->snapshot);
    for (int i = 0; i < 32; i++) /* all of it */
        ops->buffer_new(s->net->backend, (bytes >> i) + 1, &taken[i]);
    assert_int_equal(tr_snapshot_open(&s->snapshot, &s->child, &s->state, &s->position, 0, false, NULL), 0);
    assert_null(s->snapshot.shadow.net);
    train(s, 1);
    want = plain_bytes(s);
    begin(s, 1);
    assert_null(s->snapshot.job);
    got = bytes_in_memory(s);
    assert_true(is_same(&want, &got));
    free(want.at), free(got.at);
    for (int i = 0; i < 32; i++)
        ops->buffer_free(s->net->backend, taken[i], 0);
    close_scene(s);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_is_of_one_state_while_steps_go_on),
        cmocka_unit_test(it_counts_once_it_is_complete),
#ifndef TESTS_GPU
        cmocka_unit_test(its_memory_is_planned),
        cmocka_unit_test(without_memory_steps_wait),
#endif
    };

#ifdef TESTS_GPU
    if (!has_gpu(&tr_backend_cuda))
        return 77;
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
