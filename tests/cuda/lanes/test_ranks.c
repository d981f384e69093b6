/* Two ranks of the CUDA backend, each a process with a GPU that is the processor (host.h), which add up
 * through memory that they share. With batch norm over both they train what one rank trains with the whole
 * batch, however unevenly it is parted, a step in which one has no sample among them. Whole steps are
 * recorded; lanes run late and early. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/err.h"
#include "ipc/base/rng.h"
#include "tests/cuda/lanes/host.h"
#include "trainer/backends/step.h"
#include "trainer/network/network.h"

enum { CLASSES = 5, WHOLE = 4, SIZE = 8, STEPS = 6, ARENAS = 3, FLOATS_MAX = 1 << 19 };

static const enum tr_arena compared[ARENAS] = {TR_ARENA_PARAMS, TR_ARENA_MOMENTUM, TR_ARENA_STATS};

/* Samples of rank 0 in each step; the others are rank 1's. */
static const int parted[STEPS] = {3, 3, 3, 3, WHOLE, 3};

struct run {
    int ranks;
    bool synced, plain;
    bool apart;     /* gradients of weights on a stream of their own */
    unsigned ahead; /* bits of the ranks that begin a step before the end of the one before, where they can */
    unsigned eager;
    enum imk_dtype precision;
    double loss_scale;
    /* results */
    float *arenas[ARENAS];
    size_t floats[ARENAS];
    double loss[STEPS];
    int flown;
};

/* Where the ranks meet. */
struct shared {
    pthread_barrier_t barrier;
    struct {
        size_t count;
        unsigned char bytes[FLOATS_MAX * sizeof(float)];
    } told[2];
    float others[ARENAS][FLOATS_MAX]; /* rank 1's results */
    double loss[STEPS];
};

static struct shared *shared;
static uint8_t *pixels; /* [STEPS][WHOLE][SIZE][SIZE][3] */
static int32_t labels[STEPS * WHOLE];

static int draw(void **state)
{
    const size_t count = (size_t)STEPS * WHOLE * SIZE * SIZE * 3;
    struct im_rng r = im_rng_at(9, IM_RNG_TEST, 1, 1);
    pthread_barrierattr_t between;

    (void)state;
    pixels = malloc(count);
    for (size_t i = 0; i < count; i++)
        pixels[i] = (uint8_t)im_rng_u32(&r);
    for (int i = 0; i < STEPS * WHOLE; i++)
        labels[i] = (int32_t)im_rng_below(&r, CLASSES);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    pthread_barrierattr_init(&between);
    pthread_barrierattr_setpshared(&between, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->barrier, &between, 2);
    pthread_barrierattr_destroy(&between);
    return 0;
}

static int forget(void **state)
{
    (void)state;
    munmap(shared, sizeof *shared);
    free(pixels);
    return 0;
}

/* ---- sums over both ---- */

struct sum {
    int rank;
    void *x;
    size_t count;
    bool is_double;
};

static void run_sum(const void *args)
{
    const struct sum *s = args;
    const size_t bytes = s->count * (s->is_double ? sizeof(double) : sizeof(float));

    im_assert(bytes <= sizeof shared->told[0].bytes);
    memcpy(shared->told[s->rank].bytes, s->x, bytes);
    shared->told[s->rank].count = bytes;
    pthread_barrier_wait(&shared->barrier);
    im_assert(shared->told[0].count == shared->told[1].count); /* both are at the same sum */
    for (size_t i = 0; i < s->count; i++) {
        const void *a = shared->told[0].bytes, *b = shared->told[1].bytes;

        if (s->is_double)
            ((double *)s->x)[i] = ((const double *)a)[i] + ((const double *)b)[i];
        else
            ((float *)s->x)[i] = ((const float *)a)[i] + ((const float *)b)[i];
    }
    pthread_barrier_wait(&shared->barrier);
}

static int add_up(void *context, void *x, size_t count, bool is_double, struct CUstream_st *stream)
{
    const struct sum s = {.rank = *(const int *)context, .x = x, .count = count, .is_double = is_double};

    return host_gpu_enqueue(stream, run_sum, &s, sizeof s);
}

/* ---- training ---- */

static void land(struct run *run, struct tr_network *net, int number)
{
    struct tr_outcome outcome;
    struct im_text text = {{0}};

    if (tr_network_step_end(net, &outcome, &text) < 0)
        fail_msg("%s", text.s);
    assert_false(outcome.skipped);
    assert_int_equal(outcome.tally.valid, WHOLE);
    run->loss[number] = outcome.tally.loss_sum;
}

/* Leaves it in flight. */
static void step(struct run *run, struct tr_network *net, int rank, int number)
{
    const int from = rank == 0 ? 0 : parted[number];
    const int to = run->ranks == 2 && rank == 0 ? parted[number] : WHOLE;
    const struct tr_batch b = {.pixels = pixels + (size_t)(number * WHOLE + from) * SIZE * SIZE * 3,
                               .labels = labels + number * WHOLE + from,
                               .n = to - from,
                               .size = SIZE,
                               .step = (uint64_t)number,
                               .stride = 1};
    const struct tr_if_skipped none = {.divisor = 1}; /* no step is */
    struct tr_step how = {.label_smoothing = 0.1f,
                          .divisor = WHOLE / run->loss_scale,
                          .number = 1,
                          .last = true,
                          .hyper = {.lr = 0.02 / (1 + number),
                                    .momentum = 0.9,
                                    .weight_decay = 1e-3,
                                    .unscale = 1,
                                    .loss_scale = run->loss_scale,
                                    .clip_norm = 1,
                                    .updates = (uint64_t)number,
                                    .nesterov = true}};
    const bool flies = number > 0 && (run->ahead >> rank & 1) && tr_network_goes_ahead(net, &b);
    struct im_text text = {{0}};

    if (number > 0 && !flies)
        land(run, net, number - 1);
    how.if_skipped = flies ? &none : NULL;
    if (tr_network_step_begin(net, &b, &how, &text) < 0)
        fail_msg("%s", text.s);
    if (flies)
        land(run, net, number - 1);
    run->flown += flies;
}

static void train(struct run *run, int rank)
{
    const struct tr_bn_sync unused = {0};
    const struct tr_rank_sum sums = {.context = &rank, .sum = add_up};
    const struct tr_network_config config = {.model = "resnet20",
                                             .classes = CLASSES,
                                             .ops = &tr_backend_cuda,
                                             .precision = run->precision,
                                             .seed = 3,
                                             .mean = {0.5f, 0.5f, 0.5f},
                                             .std = {0.25f, 0.25f, 0.25f},
                                             .optimizer = IM_OPTIMIZER_SGD,
                                             .bn_sync = run->synced ? &unused : NULL,
                                             .rank_sum = run->ranks == 2 ? &sums : NULL,
                                             .device = {.dw_apart = run->apart},
                                             .plain_steps = run->plain};
    struct im_text text = {{0}};
    struct tr_network *net;

    host_gpu_set(&(struct host_gpu_options){.eager = run->eager});
    if (tr_network_new(&config, &net, &text) < 0)
        fail_msg("%s", text.s);
    for (int i = 0; i < STEPS; i++)
        step(run, net, rank, i);
    land(run, net, STEPS - 1);
    for (int i = 0; i < ARENAS; i++) {
        run->floats[i] = tr_network_floats(net, compared[i]);
        assert_true(run->floats[i] <= FLOATS_MAX);
        run->arenas[i] = malloc(run->floats[i] * sizeof(float));
        assert_int_equal(tr_network_read(net, compared[i], run->arenas[i]), 0);
    }
    tr_network_free(net);
}

/* The other rank. A failed assertion aborts it. */
static void be_second(struct run run)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    train(&run, 1);
    for (int i = 0; i < ARENAS; i++)
        memcpy(shared->others[i], run.arenas[i], run.floats[i] * sizeof(float));
    memcpy(shared->loss, run.loss, sizeof shared->loss);
    _exit(0);
}

/* Both ranks hold the same, but for the statistics of a step in which one had no sample. */
static void train_two(struct run *run)
{
    pid_t second = fork();
    int status;

    assert_true(second >= 0);
    run->ranks = 2;
    if (second == 0)
        be_second(*run);
    train(run, 0);
    assert_int_equal(waitpid(second, &status, 0), second);
    assert_int_equal(status, 0);
    for (int i = 0; i < 2; i++)
        assert_memory_equal(run->arenas[i], shared->others[i], run->floats[i] * sizeof(float));
    assert_memory_equal(run->loss, shared->loss, sizeof run->loss);
}

static void release(struct run *run)
{
    for (int i = 0; i < ARENAS; i++)
        free(run->arenas[i]);
}

static double nmse(const float *a, const float *b, size_t count)
{
    double error = 0, power = 1e-30;

    for (size_t i = 0; i < count; i++) {
        double d = (double)a[i] - (double)b[i];

        error += d * d;
        power += (double)b[i] * (double)b[i];
    }
    return error / power;
}

static double difference(const struct run *a, const struct run *b)
{
    double worst = 0;

    for (int i = 0; i < ARENAS; i++) {
        double d = nmse(a->arenas[i], b->arenas[i], a->floats[i]);

        worst = fmax(worst, d);
    }
    return worst;
}

/* ---- tests ---- */

/* fp32: only the order of sums differs. */
static void two_ranks_train_what_one_does_with_the_whole_batch(void **state)
{
    struct run one = {.ranks = 1, .loss_scale = 1}, two = {.synced = true, .loss_scale = 1};
    struct run apart = {.loss_scale = 1};

    (void)state;
    train(&one, 0);
    train_two(&two);
    train_two(&apart);
    print_message("synced: %.3g; each for itself: %.3g\n", difference(&two, &one), difference(&apart, &one));
    assert_true(difference(&two, &one) < 1e-6);
    assert_true(difference(&apart, &one) > 1e-3); /* the batches are told apart by their statistics */
    for (int i = 0; i < STEPS; i++)
        assert_true(fabs(two.loss[i] - one.loss[i]) < 1e-3 * one.loss[i]);
    release(&one);
    release(&two);
    release(&apart);
}

/* What lacks a wait, or is not in the recording, differs. */
static void recorded_or_not_and_however_lanes_run_the_bits_are_the_same(void **state)
{
    const struct run base = {.synced = true, .precision = IMK_F16, .loss_scale = 256, .plain = true};
    struct run want = base;

    (void)state;
    train_two(&want);
    for (unsigned way = 0; way < 3; way++) {
        static const unsigned eager[] = {0, 1 << TR_GPU_COMM, 1 << TR_GPU_COMM};
        struct run got = base;

        got.plain = false;
        got.eager = eager[way];
        got.apart = way == 2;
        train_two(&got);
        for (int i = 0; i < ARENAS; i++)
            assert_memory_equal(got.arenas[i], want.arenas[i], want.floats[i] * sizeof(float));
        release(&got);
    }
    release(&want);
}

/* They add up in the same order, whichever of them goes ahead. */
static void steps_ahead_are_the_same_of_one_rank_or_both(void **state)
{
    const struct run base = {.synced = true, .precision = IMK_F16, .loss_scale = 256};
    struct run want = base;

    (void)state;
    train_two(&want);
    for (unsigned ahead = 1; ahead <= 3; ahead += 2) {
        struct run got = base;

        got.ahead = ahead;
        got.eager = ahead == 1 ? 1 << TR_GPU_COMM : 0;
        train_two(&got);
        assert_int_equal(got.flown, 2);
        for (int i = 0; i < ARENAS; i++)
            assert_memory_equal(got.arenas[i], want.arenas[i], want.floats[i] * sizeof(float));
        assert_memory_equal(got.loss, want.loss, sizeof got.loss);
        release(&got);
    }
    release(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_ranks_train_what_one_does_with_the_whole_batch),
        cmocka_unit_test(recorded_or_not_and_however_lanes_run_the_bits_are_the_same),
        cmocka_unit_test(steps_ahead_are_the_same_of_one_rank_or_both),
    };

    return cmocka_run_group_tests(tests, draw, forget);
}
