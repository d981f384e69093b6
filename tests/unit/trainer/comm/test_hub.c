/* Numbers through rank 0 over TCP: every rank gets those of each round, whoever is slow; a rank that dies is noticed at
 * once; whoever does not know the secrets is no rank, and neither is the hub that does not; waiting has no end but
 * leave()'s. Ranks are processes at loopback addresses of their own. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"
#include "tests/unit/trainer/comm/forked.h"
#include "trainer/comm/hub.h"

enum { RANKS_MAX = 5, ROUNDS = 2000, LEAVE = 75 };

struct table {
    struct tr_hub_card card;
    _Atomic uint32_t shown, flag;
    char sentence[RANKS_MAX][256];
};

struct rank {
    struct table *table;
    int rank, ranks;
    struct tr_hub *hub;
    struct im_text text;
};

typedef int rank_main(struct rank *r);

static int leaves_on_flag(void *context)
{
    return atomic_load_explicit(&((struct rank *)context)->table->flag, memory_order_acquire) ? LEAVE : 0;
}

/* `spoil`: the byte of this rank's card that is wrong, in one of the secrets; 0: none. */
static int join(struct rank *r, const char *address, int64_t timeout_ms, size_t spoil)
{
    const struct tr_hub_config config = {
        .rank = r->rank, .ranks = r->ranks, .timeout_ms = timeout_ms, .context = r, .leave = leaves_on_flag};
    struct tr_hub_card card;
    int err = 0;

    if (r->rank == 0) {
        err = tr_hub_listen(address, &r->hub, &r->table->card, &r->text);
        atomic_store_explicit(&r->table->shown, 1, memory_order_release);
    }
    while (atomic_load_explicit(&r->table->shown, memory_order_acquire) == 0)
        ;
    card = r->table->card;
    if (spoil)
        ((unsigned char *)&card)[spoil] ^= 1;
    return err ? err : tr_hub_join(&r->hub, &config, &card, &r->text);
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
    struct rank r = {.table = work->table, .rank = rank, .ranks = work->ranks};
    int status = work->main_of_rank(&r);

    snprintf(r.table->sentence[rank], sizeof r.table->sentence[rank], "%.255s", r.text.s);
    tr_hub_close(r.hub);
    return status;
}

static void run_ranks(struct table *t, int ranks, rank_main *main_of_rank, int *ret_status)
{
    run_forked(ranks, work_as, &(struct work){t, ranks, main_of_rank}, ret_status);
}

/* Which of the ranks ended with something else than 0, and why. */
static void run_all_well(int ranks, rank_main *main_of_rank)
{
    struct table *t = map_shared(sizeof(struct table));
    int status[RANKS_MAX];

    run_ranks(t, ranks, main_of_rank, status);
    for (int i = 0; i < ranks; i++)
        if (status[i] != 0)
            fail_msg("rank %d ended with %#x (step %d): %s", i, (unsigned)status[i], WEXITSTATUS(status[i]),
                     t->sentence[i]);
    munmap(t, sizeof *t);
}

static int exchange_often(struct rank *r)
{
    double all[RANKS_MAX][TR_HUB_VALUES];

    if (join(r, "127.0.0.2", 20000, 0) != 0)
        return 1;
    for (int round = 0; round < ROUNDS; round++) {
        const double mine[2] = {round, r->rank + 0.5};

        if (round % 500 == r->rank) /* others wait */
            poll(NULL, 0, 20);
        if (tr_hub_exchange(r->hub, mine, 2, all, &r->text) != 0)
            return 2;
        for (int q = 0; q < r->ranks; q++)
            if (all[q][0] != round || all[q][1] != q + 0.5 || all[q][2] != 0)
                return 3;
    }
    return 0;
}

static void every_rank_gets_the_numbers_of_each_round(void **state)
{
    (void)state;
    for (int ranks = 2; ranks <= RANKS_MAX; ranks++)
        run_all_well(ranks, exchange_often);
}

static int exchange_over_ipv6(struct rank *r)
{
    double all[RANKS_MAX][TR_HUB_VALUES];
    const double mine = r->rank;
    int err = join(r, "::1", 20000, 0);

    if (r->rank == 0 && err == -EAFNOSUPPORT)
        _exit(0);
    return err != 0 || tr_hub_exchange(r->hub, &mine, 1, all, &r->text) != 0 || all[1][0] != 1;
}

static void ipv6_is_an_address_too(void **state)
{
    struct tr_hub_card card;
    struct tr_hub *hub = NULL;
    struct im_text text = {""};

    (void)state;
    if (tr_hub_listen("::1", &hub, &card, &text) < 0) {
        print_message("this machine has no IPv6: %s\n", text.s);
        skip();
    }
    tr_hub_close(hub);
    run_all_well(2, exchange_over_ipv6);
}

static int exchange_until_it_fails(struct rank *r)
{
    double all[RANKS_MAX][TR_HUB_VALUES];
    const double mine = 1;
    int err = join(r, "127.0.0.2", 20000, 0);

    if (err)
        return 1;
    for (int i = 0; err == 0; i++) {
        if (r->rank == r->ranks - 2 && i == 3)
            raise(SIGKILL);
        err = tr_hub_exchange(r->hub, &mine, 1, all, &r->text);
    }
    return err == -ECONNRESET ? 0 : 2;
}

/* Of rank 0 with two ranks, of rank 1 with three. */
static void a_death_makes_the_others_fail(void **state)
{
    (void)state;
    for (int ranks = 2; ranks <= 3; ranks++) {
        struct table *t = map_shared(sizeof(struct table));
        int status[RANKS_MAX];

        run_ranks(t, ranks, exchange_until_it_fails, status);
        for (int i = 0; i < ranks; i++)
            if (i == ranks - 2)
                assert_true(WIFSIGNALED(status[i]));
            else
                assert_int_equal(status[i], 0);
        munmap(t, sizeof *t);
    }
}

/* Rank 1 has another secret than the others, and rank 0 waits for it in vain. */
static int show_a_wrong_secret(struct rank *r)
{
    int err = join(r, "127.0.0.2", r->rank == 0 ? 300 : 20000,
                   r->rank == 1 ? offsetof(struct tr_hub_card, of_ranks) : 0);

    return err == (r->rank == 0 ? -ETIMEDOUT : r->rank == 1 ? -ECONNRESET : err) ? 0 : 1;
}

static void a_stranger_is_not_taken_for_a_rank(void **state)
{
    (void)state;
    run_all_well(3, show_a_wrong_secret);
}

static int see_a_wrong_secret(struct rank *r)
{
    int err = join(r, "127.0.0.2", 5000, r->rank == 1 ? offsetof(struct tr_hub_card, of_hub) : 0);

    return err == (r->rank == 1 ? -EACCES : 0) ? 0 : 1;
}

static void a_stranger_is_not_taken_for_rank_0(void **state)
{
    (void)state;
    run_all_well(2, see_a_wrong_secret);
}

/* Rank 1 is told to leave while it waits for rank 0, which never comes. */
static int wait_until_told(struct rank *r)
{
    double all[RANKS_MAX][TR_HUB_VALUES];
    const double mine = 1;

    if (join(r, "127.0.0.2", 20000, 0) != 0)
        return 1;
    if (r->rank == 0) {
        poll(NULL, 0, 300);
        atomic_store_explicit(&r->table->flag, 1, memory_order_release);
        pause();
    }
    return tr_hub_exchange(r->hub, &mine, 1, all, &r->text);
}

static int wait_for_flag(struct rank *r)
{
    if (r->rank == 0) {
        alarm(3); /* ends the pause() */
        signal(SIGALRM, SIG_DFL);
    }
    return wait_until_told(r);
}

static void a_wait_ends_when_its_process_is_to_leave(void **state)
{
    struct table *t = map_shared(sizeof(struct table));
    int status[RANKS_MAX];

    (void)state;
    run_ranks(t, 2, wait_for_flag, status);
    assert_true(WIFEXITED(status[1]) && WEXITSTATUS(status[1]) == LEAVE);
    munmap(t, sizeof *t);
}

static void a_strange_address_is_named(void **state)
{
    struct tr_hub_card card;
    struct tr_hub *hub = NULL;
    struct im_text text = {""};

    (void)state;
    assert_int_equal(tr_hub_listen("node1", &hub, &card, &text), -EINVAL);
    assert_non_null(strstr(text.s, "'node1'"));
    assert_true(tr_hub_listen("192.0.2.1", &hub, &card, &text) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rank_gets_the_numbers_of_each_round),
        cmocka_unit_test(ipv6_is_an_address_too),
        cmocka_unit_test(a_death_makes_the_others_fail),
        cmocka_unit_test(a_stranger_is_not_taken_for_a_rank),
        cmocka_unit_test(a_stranger_is_not_taken_for_rank_0),
        cmocka_unit_test(a_wait_ends_when_its_process_is_to_leave),
        cmocka_unit_test(a_strange_address_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
