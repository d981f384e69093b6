/* The transport between GPUs, against an NCCL and GPUs of this process (fake.h): what is ours of it, that is
 * meeting, waiting, giving up and saying why. What NCCL does on GPUs only GPUs can tell. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"
#include "tests/cuda/nccl/fake.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/backends/cuda/device.h"
#include "trainer/comm/comm.h"

enum { RANKS = 3 };

/* How the threads meet. */
struct table {
    pthread_mutex_t mutex;
    unsigned char card[TR_CARD_BYTES_MAX];
    size_t bytes;
    _Atomic int leave; /* what everyone is told who asks */
};

struct rank {
    struct table *table;
    int rank, ranks;
    int64_t timeout_ms;
    const char *address;
    int (*run)(struct rank *r);
    struct tr_comm *comm;
    struct im_text text;
    int result;
};

static int publish(void *context, const void *card, size_t bytes)
{
    struct rank *r = context;

    pthread_mutex_lock(&r->table->mutex);
    memcpy(r->table->card, card, bytes);
    r->table->bytes = bytes;
    pthread_mutex_unlock(&r->table->mutex);
    return 0;
}

static int leave(void *context)
{
    struct rank *r = context;

    return atomic_load_explicit(&r->table->leave, memory_order_relaxed);
}

static int look(void *context, int rank, void *ret_card, size_t *ret_bytes)
{
    struct rank *r = context;
    im_ns until = im_now() + (im_ns)r->timeout_ms * IM_MS;

    assert_int_equal(rank, 0);
    while (*ret_bytes == 0) {
        int status = leave(r);

        if (status)
            return status;
        if (im_now() > until)
            return -ETIMEDOUT;
        pthread_mutex_lock(&r->table->mutex);
        memcpy(ret_card, r->table->card, r->table->bytes);
        *ret_bytes = r->table->bytes;
        pthread_mutex_unlock(&r->table->mutex);
        poll(NULL, 0, 1);
    }
    return 0;
}

static int open_rank(struct rank *r)
{
    const struct tr_comm_config config = {.rank = r->rank,
                                          .ranks = r->ranks,
                                          .timeout_ms = r->timeout_ms,
                                          .device = r->rank,
                                          .address = r->address,
                                          .rendezvous = {r, publish, look, leave}};

    return tr_comm_nccl.open(&config, &r->comm, &r->text);
}

static void *thread(void *argument)
{
    struct rank *r = argument;

    r->result = open_rank(r);
    if (r->result == 0) {
        r->result = r->run(r);
        tr_comm_nccl.close(r->comm);
    }
    return NULL;
}

/* `come` of RANKS ranks, each in a thread. */
static void run(const struct fake_trouble *trouble, int come, int64_t timeout_ms, int (*f)(struct rank *r),
                struct table *table, struct rank ranks[RANKS])
{
    pthread_t threads[RANKS];

    fake_reset(trouble);
    *table = (struct table){.mutex = PTHREAD_MUTEX_INITIALIZER, .leave = table->leave};
    for (int i = 0; i < come; i++) {
        ranks[i] =
            (struct rank){.table = table, .rank = i, .ranks = RANKS, .timeout_ms = timeout_ms, .run = f};
        assert_int_equal(pthread_create(&threads[i], NULL, thread, &ranks[i]), 0);
    }
    for (int i = 0; i < come; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(fake_open_comms(), 0);
}

static void all_return(const struct rank *ranks, int result)
{
    for (int i = 0; i < RANKS; i++)
        if (ranks[i].result != result)
            fail_msg("rank %d: %d: %s", i, ranks[i].result, ranks[i].text.s);
}

/* Every kind, twice with different sizes; the numbers are exact. Returns how many are wrong. */
static int use_all(struct rank *r)
{
    int wrong = 0;

    for (size_t n = 5; n <= 500; n *= 100) {
        float x[500], all[RANKS * 500];
        double d[500];
        struct tr_gpu *gpu = NULL;
        int err;

        for (size_t i = 0; i < n; i++)
            x[i] = (float)(r->rank + 1) * (float)(i + 1);
        err = tr_comm_nccl.allgather(r->comm, x, n, all, &r->text);
        err |= tr_comm_nccl.allreduce_sum(r->comm, x, n, &r->text);
        for (size_t i = 0; i < n; i++) {
            wrong += x[i] != 6.0f * (float)(i + 1);
            for (size_t k = 0; k < RANKS; k++)
                wrong += all[k * n + i] != (float)(k + 1) * (float)(i + 1);
        }
        for (size_t i = 0; i < n; i++)
            x[i] = (float)r->rank, d[i] = r->rank + 1;
        err |= tr_comm_nccl.broadcast(r->comm, x, n * sizeof *x, 2, &r->text);
        for (size_t i = 0; i < n; i++)
            wrong += x[i] != 2;
        err |= tr_gpu_open(0, &gpu, &r->text);
        err |= tr_comm_nccl.reduce_on(r->comm, d, n, TR_COMM_DOUBLE, tr_gpu_stream(gpu, TR_GPU_COMPUTE),
                                      &r->text);
        err |= tr_comm_nccl.watch(r->comm, &r->text);
        {
            struct tr_gpu_event *e;

            tr_gpu_event_new(gpu, TR_GPU_ORDER, &e);
            tr_gpu_event_record(gpu, e, TR_GPU_COMPUTE);
            while (tr_gpu_event_done(gpu, e) == 0)
                poll(NULL, 0, 1);
            tr_gpu_event_free(gpu, e);
        }
        tr_gpu_close(gpu);
        for (size_t i = 0; i < n; i++)
            wrong += d[i] != 6;
        if (err)
            return err;
    }
    return wrong;
}

static int sum_twice(struct rank *r)
{
    float x[4] = {1, 2, 3, 4};
    int err = tr_comm_nccl.allreduce_sum(r->comm, x, 4, &r->text);

    return err ? err : tr_comm_nccl.allreduce_sum(r->comm, x, 4, &r->text);
}

static int sum_unless_last(struct rank *r)
{
    return r->rank == RANKS - 1 ? 0 : sum_twice(r);
}

static void collectives_give_all_ranks_the_same(void **state)
{
    struct rank ranks[RANKS];
    struct table table = {0};

    (void)state;
    run(&(struct fake_trouble){.slow_polls = 50}, RANKS, 20000, use_all, &table, ranks);
    all_return(ranks, 0);
    assert_int_equal(fake_aborted_comms(), 0);
}

static void a_rank_that_never_comes_ends_the_meeting(void **state)
{
    struct rank ranks[RANKS];
    struct table table = {0};

    (void)state;
    run(&(struct fake_trouble){0}, RANKS - 1, 300, sum_twice, &table, ranks);
    for (int i = 0; i < RANKS - 1; i++) {
        assert_int_equal(ranks[i].result, -ETIMEDOUT);
        assert_non_null(
            strstr(ranks[i].text.s, "cannot connect to each other: timeout: not all ranks joined within"));
    }
    assert_int_equal(fake_aborted_comms(), RANKS - 1);
}

static void without_rank_0_nobody_has_its_card(void **state)
{
    struct table table = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct rank r = {.table = &table, .rank = 1, .ranks = RANKS, .timeout_ms = 100};

    (void)state;
    fake_reset(&(struct fake_trouble){0});
    assert_int_equal(open_rank(&r), -ETIMEDOUT);
    assert_non_null(strstr(r.text.s, "rank 0 did not join"));
    assert_int_equal(fake_open_comms(), 0);
}

/* One machine: nothing of the run is on a network. Several: the interface that the others reach. */
static void sockets_are_on_the_interface_of_the_address(void **state)
{
    static const struct {
        const char *address, *set, *want;
    } cases[] = {{NULL, NULL, "lo"},
                 {"127.0.0.1", NULL, "=lo"},
                 {"192.0.2.1", NULL, NULL},
                 {"127.0.0.1", "eth9", "eth9"}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct table table = {.mutex = PTHREAD_MUTEX_INITIALIZER};
        struct rank r = {
            .table = &table, .rank = 1, .ranks = RANKS, .timeout_ms = 20, .address = cases[i].address};
        const char *chosen;

        fake_reset(&(struct fake_trouble){0});
        unsetenv("NCCL_SOCKET_IFNAME");
        if (cases[i].set)
            setenv("NCCL_SOCKET_IFNAME", cases[i].set, 1);
        assert_int_equal(open_rank(&r), -ETIMEDOUT);
        chosen = getenv("NCCL_SOCKET_IFNAME");
        if (!cases[i].want)
            assert_null(chosen); /* no interface has it: NCCL chooses */
        else
            assert_string_equal(chosen ? chosen : "", cases[i].want);
    }
    unsetenv("NCCL_SOCKET_IFNAME");
}

static void a_rank_that_stays_away_from_a_sum_ends_it(void **state)
{
    struct rank ranks[RANKS];
    struct table table = {0};

    (void)state;
    run(&(struct fake_trouble){0}, RANKS, 300, sum_unless_last, &table, ranks);
    assert_int_equal(ranks[0].result, -ETIMEDOUT);
    assert_non_null(
        strstr(ranks[0].text.s, "summing over the trainers: timeout: not all ranks joined within"));
    assert_int_equal(ranks[RANKS - 1].result, 0);
}

static void whoever_is_no_longer_wanted_leaves_at_once(void **state)
{
    struct rank ranks[RANKS];
    struct table table = {.leave = 75};
    im_ns began = im_now();

    (void)state;
    run(&(struct fake_trouble){0}, RANKS - 1, 600000, sum_twice, &table, ranks);
    assert_int_equal(ranks[0].result, 75);
    assert_int_equal(ranks[1].result, 75);
    assert_true(im_now() - began < 60 * IM_SECOND);
}

static void a_lost_peer_is_a_reset_connection(void **state)
{
    struct rank ranks[RANKS];
    struct table table = {0};

    (void)state;
    run(&(struct fake_trouble){.fails_at = 2, .error = ncclRemoteError}, RANKS, 500, sum_twice, &table,
        ranks);
    assert_int_equal(ranks[1].result, -ECONNRESET);
    assert_non_null(strstr(ranks[1].text.s, "remote process exited"));
    assert_non_null(strstr(ranks[1].text.s, "of the fake"));
    assert_int_equal(fake_aborted_comms(), 1); /* it cannot be finalised */
}

static void an_error_of_the_gpu_is_said_in_its_words(void **state)
{
    struct rank ranks[RANKS];
    struct table table = {0};

    (void)state;
    run(&(struct fake_trouble){.fails_at = 1, .error = ncclUnhandledCudaError}, RANKS, 500, sum_twice, &table,
        ranks);
    assert_int_equal(ranks[1].result, -EIO);
    assert_non_null(strstr(ranks[1].text.s, "fallen off the bus"));
}

static void broken_versions_are_refused(void **state)
{
    static const struct {
        int version, err;
    } cases[] = {{22802, -ETIMEDOUT}, {22803, -ENODEV}, {22808, -ENODEV}, {22809, -ETIMEDOUT}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct table table = {.mutex = PTHREAD_MUTEX_INITIALIZER};
        struct rank r = {.table = &table, .rank = 1, .ranks = RANKS, .timeout_ms = 20};

        fake_reset(&(struct fake_trouble){.version = cases[i].version});
        assert_int_equal(tr_comm_nccl.check(&r.text), cases[i].err == -ENODEV ? -ENODEV : 0);
        assert_int_equal(open_rank(&r), cases[i].err);
        if (cases[i].err == -ENODEV)
            assert_non_null(strstr(r.text.s, "install 2.28.9 or newer"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collectives_give_all_ranks_the_same),
        cmocka_unit_test(a_rank_that_never_comes_ends_the_meeting),
        cmocka_unit_test(without_rank_0_nobody_has_its_card),
        cmocka_unit_test(sockets_are_on_the_interface_of_the_address),
        cmocka_unit_test(a_rank_that_stays_away_from_a_sum_ends_it),
        cmocka_unit_test(whoever_is_no_longer_wanted_leaves_at_once),
        cmocka_unit_test(a_lost_peer_is_a_reset_connection),
        cmocka_unit_test(an_error_of_the_gpu_is_said_in_its_words),
        cmocka_unit_test(broken_versions_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
