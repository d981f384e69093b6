/* Collectives: sums are right, the same bits on every rank and in every run; a rank that dies or does not
 * come makes the others fail in time; a process of others that connects is not taken for a rank. Ranks are processes,
 * their cards lie in shared memory. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "tests/unit/trainer/comm/forked.h"
#include "trainer/comm/comm.h"

enum { RANKS_MAX = 4, COUNT_MAX = 1200001 };

/* What the ranks of one test share. */
struct table {
    struct {
        _Atomic uint32_t bytes; /* release, after the card */
        unsigned char card[TR_CARD_BYTES_MAX];
        float result[COUNT_MAX];
        double seconds;
        char sentence[256];
    } rank[RANKS_MAX];
    _Atomic uint32_t met;
};

struct rank {
    struct table *table;
    int rank, ranks;
    const struct tr_comm_ops *ops;
    struct tr_comm *comm;
};

typedef int rank_main(struct rank *r);

static int publish(void *context, const void *card, size_t bytes)
{
    struct rank *r = context;

    memcpy(r->table->rank[r->rank].card, card, bytes);
    atomic_store_explicit(&r->table->rank[r->rank].bytes, (uint32_t)bytes, memory_order_release);
    return 0;
}

static int look(void *context, int rank, void *ret_card, size_t *ret_bytes)
{
    struct rank *r = context;
    im_ns began = im_now();
    uint32_t bytes;

    while ((bytes = atomic_load_explicit(&r->table->rank[rank].bytes, memory_order_acquire)) == 0)
        if (im_now() - began > 20 * IM_SECOND)
            return -ETIMEDOUT;
    memcpy(ret_card, r->table->rank[rank].card, bytes);
    *ret_bytes = bytes;
    return 0;
}

static int open_rank(struct rank *r, int64_t timeout_ms)
{
    const struct tr_comm_config config = {.rank = r->rank,
                                          .ranks = r->ranks,
                                          .timeout_ms = timeout_ms,
                                          .rendezvous = {.context = r, .publish = publish, .fetch = look}};
    struct im_text text = {""};
    int err = tr_comm_find(r->ranks, &r->ops, &text);

    if (err == 0)
        err = r->ops->open(&config, &r->comm, &text);
    snprintf(r->table->rank[r->rank].sentence, sizeof r->table->rank[0].sentence, "%.255s", text.s);
    return err;
}

/* What every rank of a test does. */
struct work {
    struct table *table;
    int ranks;
    rank_main *main_of_rank;
};

static int work_as(void *context, int rank)
{
    const struct work *work = context;

    return work->main_of_rank(&(struct rank){.table = work->table, .rank = rank, .ranks = work->ranks});
}

static void run_ranks(struct table *t, int ranks, rank_main *main_of_rank, int *ret_status)
{
    run_forked(ranks, work_as, &(struct work){t, ranks, main_of_rank}, ret_status);
}

static void run_all_well(struct table *t, int ranks, rank_main *main_of_rank)
{
    int status[RANKS_MAX];

    run_ranks(t, ranks, main_of_rank, status);
    for (int i = 0; i < ranks; i++)
        if (status[i] != 0)
            fail_msg("rank %d ended with %#x (step %d): %s", i, (unsigned)status[i], WEXITSTATUS(status[i]),
                     t->rank[i].sentence);
}

/* Values whose sum depends on the order of additions. */
static float value_of(int rank, size_t i)
{
    uint32_t x = (uint32_t)i * 2654435761u + (uint32_t)rank * 40503u;

    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return ((float)(int32_t)x / 2147483648.0f) * (i % 3 == 0 ? 1e4f : i % 3 == 1 ? 1.0f : 1e-4f);
}

static int sum_three_lengths(struct rank *r)
{
    static const size_t counts[] = {1, 3, COUNT_MAX};
    float *x = r->table->rank[r->rank].result;

    if (open_rank(r, 20000) != 0)
        return 1;
    for (size_t c = 0; c < IM_COUNT(counts); c++) {
        for (size_t i = 0; i < counts[c]; i++)
            x[i] = value_of(r->rank, i);
        if (r->ops->allreduce_sum(r->comm, x, counts[c], NULL) != 0)
            return 2;
    }
    r->ops->close(r->comm);
    return 0;
}

static void check_sums(const struct table *t, int ranks)
{
    for (size_t i = 0; i < COUNT_MAX; i++) {
        double sum = 0, size = 0;

        for (int r = 0; r < ranks; r++) {
            sum += (double)value_of(r, i);
            size += fabs((double)value_of(r, i));
        }
        if (fabs((double)t->rank[0].result[i] - sum) > 4e-7 * size)
            fail_msg("element %zu: %.9g, expected %.9g", i, (double)t->rank[0].result[i], sum);
    }
    for (int r = 1; r < ranks; r++)
        assert_memory_equal(t->rank[r].result, t->rank[0].result, sizeof t->rank[0].result);
}

static void sums_are_right_and_the_same_bits_on_all_ranks(void **state)
{
    (void)state;
    for (int ranks = 2; ranks <= RANKS_MAX; ranks++) {
        struct table *t = map_shared(sizeof(struct table));

        run_all_well(t, ranks, sum_three_lengths);
        check_sums(t, ranks);
        munmap(t, sizeof *t);
    }
}

static void sums_are_the_same_bits_in_every_run(void **state)
{
    struct table *first = map_shared(sizeof(struct table)), *second = map_shared(sizeof(struct table));

    (void)state;
    run_all_well(first, RANKS_MAX, sum_three_lengths);
    run_all_well(second, RANKS_MAX, sum_three_lengths);
    assert_memory_equal(first->rank[0].result, second->rank[0].result, sizeof first->rank[0].result);
    munmap(first, sizeof *first);
    munmap(second, sizeof *second);
}

/* Sums of two parts, of which the last one has one element more than slices, and of fewer ranks than there are. */
static int sum_in_order(struct rank *r)
{
    float *x = r->table->rank[r->rank].result, *before = malloc(COUNT_MAX * sizeof *before);

    if (!before || open_rank(r, 20000) != 0)
        return 1;
    for (size_t i = 0; i < COUNT_MAX; i++) {
        before[i] = value_of(RANKS_MAX, i);
        x[i] = value_of(r->rank, i);
    }
    if (r->ops->sum_in_order(r->comm, x, NULL, 5, 1, NULL) != 0 ||
        r->ops->sum_in_order(r->comm, x + 5, before + 5, COUNT_MAX - 5, (uint32_t)r->ranks, NULL) != 0)
        return 2;
    free(before);
    r->ops->close(r->comm);
    return 0;
}

static void sums_in_order_have_the_bits_of_one_rank(void **state)
{
    (void)state;
    for (int ranks = 2; ranks <= RANKS_MAX; ranks++) {
        struct table *t = map_shared(sizeof(struct table));

        run_all_well(t, ranks, sum_in_order);
        for (size_t i = 0; i < COUNT_MAX; i++) {
            float sum = i < 5 ? value_of(0, i) : value_of(RANKS_MAX, i);

            for (int r = 0; r < ranks && i >= 5; r++)
                sum += value_of(r, i);
            if (t->rank[0].result[i] != sum)
                fail_msg("element %zu of %d ranks: %.9g, expected %.9g", i, ranks,
                         (double)t->rank[0].result[i], (double)sum);
        }
        for (int r = 1; r < ranks; r++)
            assert_memory_equal(t->rank[r].result, t->rank[0].result, sizeof t->rank[0].result);
        munmap(t, sizeof *t);
    }
}

static int gather_and_broadcast(struct rank *r)
{
    enum { N = 1000 };
    float mine[N], all[RANKS_MAX * N];
    int64_t number = r->rank == 1 ? 123456789012345 : 0;

    if (open_rank(r, 20000) != 0)
        return 1;
    for (size_t i = 0; i < N; i++)
        mine[i] = value_of(r->rank, i);
    if (r->ops->allgather(r->comm, mine, N, all, NULL) != 0)
        return 2;
    for (int q = 0; q < r->ranks; q++)
        for (size_t i = 0; i < N; i++)
            if (all[(size_t)q * N + i] != value_of(q, i))
                return 3;
    if (r->ops->broadcast(r->comm, &number, sizeof number, 1, NULL) != 0 || number != 123456789012345)
        return 4;
    r->ops->close(r->comm);
    return 0;
}

static void everyone_gets_what_the_others_gave(void **state)
{
    (void)state;
    for (int ranks = 2; ranks <= RANKS_MAX; ranks++) {
        struct table *t = map_shared(sizeof(struct table));

        run_all_well(t, ranks, gather_and_broadcast);
        munmap(t, sizeof *t);
    }
}

/* Sums until it fails; rank 1 dies in the middle of it. */
static int sum_until_it_fails(struct rank *r)
{
    float *x = r->table->rank[r->rank].result;
    im_ns began;
    int err = 0;

    if (open_rank(r, 20000) != 0)
        return 1;
    for (int i = 0; err == 0; i++) {
        if (r->rank == 1 && i == 3)
            raise(SIGKILL);
        began = im_now();
        err = r->ops->allreduce_sum(r->comm, x, COUNT_MAX, NULL);
    }
    r->table->rank[r->rank].seconds = (double)(im_now() - began) / 1e9;
    r->ops->close(r->comm);
    return err == -ECONNRESET ? 0 : 2;
}

static void a_death_makes_the_others_fail_at_once(void **state)
{
    struct table *t = map_shared(sizeof(struct table));
    int status[RANKS_MAX];

    (void)state;
    run_ranks(t, 3, sum_until_it_fails, status);
    assert_true(WIFSIGNALED(status[1]));
    assert_int_equal(status[0], 0);
    assert_int_equal(status[2], 0);
    assert_true(t->rank[0].seconds < 5 && t->rank[2].seconds < 5);
    munmap(t, sizeof *t);
}

/* Rank 1 meets the others and then does nothing, until they are done. */
static int wait_in_vain(struct rank *r)
{
    float x = 1;
    im_ns began;
    int err;

    if (open_rank(r, 500) != 0)
        return 1;
    if (r->rank == 1) {
        while (atomic_load_explicit(&r->table->met, memory_order_acquire) == 0)
            ;
        r->ops->close(r->comm);
        return 0;
    }
    began = im_now();
    err = r->ops->allreduce_sum(r->comm, &x, 1, NULL);
    r->table->rank[0].seconds = (double)(im_now() - began) / 1e9;
    atomic_store_explicit(&r->table->met, 1, memory_order_release);
    r->ops->close(r->comm);
    return err == -ETIMEDOUT ? 0 : 2;
}

static void a_rank_that_does_not_come_is_waited_for_until_the_time_limit(void **state)
{
    struct table *t = map_shared(sizeof(struct table));

    (void)state;
    run_all_well(t, 2, wait_in_vain);
    assert_true(t->rank[0].seconds > 0.3 && t->rank[0].seconds < 5);
    munmap(t, sizeof *t);
}

/* A process of others has the address, but not the secret: the last 16 bytes of what rank 0 shows
 * to rank 1. */
static int look_without_the_secret(void *context, int rank, void *ret_card, size_t *ret_bytes)
{
    int err = look(context, rank, ret_card, ret_bytes);

    if (err == 0)
        ((unsigned char *)ret_card)[*ret_bytes - 1] ^= 1;
    return err;
}

static int meet_a_stranger(struct rank *r)
{
    const struct tr_comm_config config = {
        .rank = r->rank,
        .ranks = r->ranks,
        .timeout_ms = 20000,
        .rendezvous = {
            .context = r, .publish = publish, .fetch = r->rank == 1 ? look_without_the_secret : look}};
    int err = tr_comm_find(r->ranks, &r->ops, NULL);

    if (err == 0)
        err = r->ops->open(&config, &r->comm, NULL);
    return r->rank == 1 || err == -EACCES ? 0 : 1;
}

static void a_stranger_is_not_taken_for_a_rank(void **state)
{
    struct table *t = map_shared(sizeof(struct table));

    (void)state;
    run_all_well(t, 2, meet_a_stranger);
    munmap(t, sizeof *t);
}

static void one_rank_needs_nobody(void **state)
{
    const struct tr_comm_config config = {.rank = 0, .ranks = 1};
    const struct tr_comm_ops *ops;
    struct tr_comm *comm = NULL;
    float x[2] = {3, -4}, all[2] = {0};

    (void)state;
    assert_int_equal(tr_comm_find(1, &ops, NULL), 0);
    assert_int_equal(ops->open(&config, &comm, NULL), 0);
    assert_int_equal(ops->allreduce_sum(comm, x, 2, NULL), 0);
    assert_int_equal(ops->allgather(comm, x, 2, all, NULL), 0);
    assert_true(x[0] == 3 && all[1] == -4);
    assert_int_equal(ops->sum_in_order(comm, x, all, 2, 1, NULL), 0);
    assert_true(x[0] == 6 && x[1] == -8);
    ops->close(comm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rank_needs_nobody),
        cmocka_unit_test(sums_are_right_and_the_same_bits_on_all_ranks),
        cmocka_unit_test(sums_are_the_same_bits_in_every_run),
        cmocka_unit_test(sums_in_order_have_the_bits_of_one_rank),
        cmocka_unit_test(everyone_gets_what_the_others_gave),
        cmocka_unit_test(a_death_makes_the_others_fail_at_once),
        cmocka_unit_test(a_rank_that_does_not_come_is_waited_for_until_the_time_limit),
        cmocka_unit_test(a_stranger_is_not_taken_for_a_rank),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
