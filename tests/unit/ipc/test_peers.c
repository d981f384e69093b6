/* What trainers say to each other: every rank gets every number of the same round, whoever is slow; a card of
 * a process that is gone is none; a wait ends when the process is no longer wanted. */
#include "tests/unit/ipc/small_run.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "ipc/peers.h"
#include "ipc/process.h"

enum { ROUNDS = 20000 };

struct rank {
    struct small_run *run;
    struct im_child child;
    pthread_t thread;
    int result;
    uint64_t wrong;
};

static struct im_child enter(struct small_run *s, uint32_t rank)
{
    struct im_child c = {
        .run = &s->run, .plan = &s->plan, .role = IM_ROLE_TRAINER, .index = rank, .lease_fd = -1};

    c.slot = im_run_slot(&s->run, IM_ROLE_TRAINER, rank);
    c.entry = &s->run.process[c.slot];
    c.incarnation = im_process_announce(&s->run, IM_ROLE_TRAINER, rank);
    assert_int_equal(im_process_enter(&s->run, c.slot, c.incarnation), 0);
    return c;
}

static void *exchange_often(void *argument)
{
    struct rank *r = argument;
    struct im_peers peers = {.child = &r->child};
    double all[SMALL_RANKS][IM_PEER_VALUES];

    for (uint32_t round = 0; round < ROUNDS && r->result == 0; round++) {
        const double mine[2] = {(double)round, r->child.index + 0.5};

        r->result = im_peers_exchange(&peers, mine, 2, all);
        for (uint32_t q = 0; q < SMALL_RANKS; q++)
            r->wrong += all[q][0] != (double)round || all[q][1] != q + 0.5;
    }
    return NULL;
}

static void test_every_rank_gets_the_numbers_of_each_round(void **state)
{
    struct rank ranks[SMALL_RANKS] = {0};

    for (uint32_t r = 0; r < SMALL_RANKS; r++) {
        ranks[r].child = enter(*state, r);
        assert_int_equal(pthread_create(&ranks[r].thread, NULL, exchange_often, &ranks[r]), 0);
    }
    for (uint32_t r = 0; r < SMALL_RANKS; r++) {
        pthread_join(ranks[r].thread, NULL);
        assert_int_equal(ranks[r].result, 0);
        assert_int_equal(ranks[r].wrong, 0);
    }
}

static void test_a_rank_alone_waits_until_it_is_no_longer_wanted(void **state)
{
    struct small_run *s = *state;
    struct rank alone = {.child = enter(s, 0)};

    assert_int_equal(pthread_create(&alone.thread, NULL, exchange_often, &alone), 0);
    while (atomic_load_explicit(&s->run.peer[0].round, memory_order_acquire) == 0)
        ;
    im_process_mark_dead(&s->run, alone.child.slot, alone.child.incarnation);
    pthread_join(alone.thread, NULL);
    assert_int_equal(alone.result, IM_EXIT_FENCED);
}

static void test_a_reset_begins_with_round_zero(void **state)
{
    struct small_run *s = *state;

    test_every_rank_gets_the_numbers_of_each_round(state);
    assert_int_equal(atomic_load_explicit(&s->run.peer[1].round, memory_order_relaxed), ROUNDS);
    im_run_reset(&s->run, &s->plan, 0);
    for (uint32_t r = 0; r < SMALL_RANKS; r++) {
        uint32_t slot = im_run_slot(&s->run, IM_ROLE_TRAINER, r);

        assert_int_equal(atomic_load_explicit(&s->run.peer[r].round, memory_order_relaxed), 0);
        im_process_mark_dead(&s->run, slot, im_process_incarnation(&s->run, slot));
        im_process_clear(&s->run, slot);
    }
    test_every_rank_gets_the_numbers_of_each_round(state);
}

static void test_a_card_comes_over_whole(void **state)
{
    static unsigned char card[IM_CARD_BYTES], got[IM_CARD_BYTES];
    struct im_child zero = enter(*state, 0), one = enter(*state, 1);
    size_t bytes = 0;

    for (size_t i = 0; i < sizeof card; i++)
        card[i] = (unsigned char)(i * 31 + 7);
    assert_int_equal(im_peers_publish(&one, card, sizeof card), 0);
    assert_int_equal(im_peers_look(&zero, 1, IM_SECOND, got, &bytes), 0);
    assert_int_equal(bytes, sizeof card);
    assert_memory_equal(got, card, sizeof card);
    assert_int_equal(im_peers_publish(&one, card, sizeof card + 1), -E2BIG);
}

static void test_the_card_of_a_predecessor_is_none(void **state)
{
    struct small_run *s = *state;
    struct im_child zero = enter(s, 0), dead = enter(s, 1), next;
    char got[IM_CARD_BYTES];
    size_t bytes = 0;

    assert_int_equal(im_peers_publish(&dead, "old", 4), 0);
    im_process_mark_dead(&s->run, dead.slot, dead.incarnation);
    assert_int_equal(im_peers_look(&zero, 1, IM_MS, got, &bytes), -ETIMEDOUT);
    im_process_clear(&s->run, dead.slot);
    next = enter(s, 1);
    assert_int_equal(im_peers_look(&zero, 1, IM_MS, got, &bytes), -ETIMEDOUT);
    assert_int_equal(im_peers_publish(&next, "new", 4), 0);
    assert_int_equal(im_peers_look(&zero, 1, IM_SECOND, got, &bytes), 0);
    assert_string_equal(got, "new");
}

static void test_a_card_that_is_too_long_is_refused(void **state)
{
    struct small_run *s = *state;
    struct im_child zero = enter(s, 0), one = enter(s, 1);
    char got[IM_CARD_BYTES];
    size_t bytes = 0;

    atomic_store_explicit(&s->run.peer[1].card, (uint64_t)one.incarnation << 32 | (IM_CARD_BYTES + 1),
                          memory_order_release);
    assert_int_equal(im_peers_look(&zero, 1, IM_SECOND, got, &bytes), -EBADMSG);
}

static void test_a_position_of_a_process_that_is_gone_is_not_waited_for(void **state)
{
    struct small_run *s = *state;
    struct im_child zero = enter(s, 0), one = enter(s, 1);

    atomic_store_explicit(&zero.entry->position, 5, memory_order_release);
    assert_int_equal(im_peers_await_position(&one, 0), 0);
    im_process_mark_dead(&s->run, zero.slot, zero.incarnation);
    atomic_store_explicit(&s->run.control->run_state, IM_RUN_ENDED, memory_order_release);
    assert_int_equal(im_peers_await_position(&one, 0), IM_EXIT_RESUMABLE);
}

static void *exchange_once(void *argument)
{
    struct rank *r = argument;
    struct im_peers peers = {.child = &r->child};
    double all[SMALL_RANKS][IM_PEER_VALUES];

    r->result = im_peers_exchange(&peers, &(double){3}, 1, all);
    return NULL;
}

/* Rank 1 has posted; then one bit of what it posted changes, and rank 0 must not take it. */
static void test_a_number_that_changed_is_not_taken(void **state)
{
    struct small_run *s = *state;
    struct rank zero = {.child = enter(s, 0)}, one = {.child = enter(s, 1)};

    for (int what = 0; what < 3; what++) {
        im_run_reset(&s->run, &s->plan, 0);
        assert_int_equal(pthread_create(&one.thread, NULL, exchange_once, &one), 0);
        while (atomic_load_explicit(&s->run.peer[1].round, memory_order_acquire) == 0)
            ;
        if (what == 1)
            atomic_fetch_xor(&s->run.peer[1].value[0][0], UINT64_C(1) << 52);
        else if (what == 2)
            atomic_fetch_xor(&s->run.peer[1].check[0], 1);
        exchange_once(&zero);
        pthread_join(one.thread, NULL);
        assert_int_equal(zero.result, what == 0 ? 0 : IM_EXIT_CONTRADICTION);
    }
}

/* The third of three nodes becomes the second of two: what the second had shown is not its card, whatever the numbers are. */
static void test_no_card_outlives_a_change_of_who_takes_part(void **state)
{
    struct im_geometry g = small_geometry();
    struct small_run s = {0};
    struct im_child mine;
    const void *card;
    size_t bytes;

    (void)state;
    g.slots -= g.ranks - 1;
    g.ranks = 1;
    g.remote_ranks = g.first_rank = 2;
    assert_int_equal(im_run_create(&g, "x=1\n", 5, &s.run, NULL), 0);
    assert_true(s.run.world == 3 && s.run.first_rank == 2);
    mine = enter(&s, 0);
    assert_int_equal(im_peers_publish(&mine, "mine", 4), 0);
    assert_true(im_peers_card(&s.run, 0, &card, &bytes));
    atomic_store_explicit(&s.run.control->node_generation, mine.incarnation, memory_order_relaxed);
    assert_int_equal(im_peers_show(&s.run, 1, "other", 5), 0);
    assert_int_equal(im_peers_show(&s.run, 2, "own", 3), -E2BIG);
    im_run_take_part(&s.run, 2, 1);
    assert_true(s.run.world == 2 && s.run.first_rank == 1);
    assert_false(im_peers_card(&s.run, 0, &card, &bytes));
    assert_int_equal(im_peers_show(&s.run, 2, "gone", 4), -E2BIG);
    assert_int_equal(im_peers_publish(&mine, "again", 5), 0);
    assert_true(im_peers_card(&s.run, 0, &card, &bytes) && bytes == 5);
    im_run_take_part(&s.run, 3, 2);
    assert_int_equal(atomic_load_explicit(&s.run.control->node_share, memory_order_relaxed), 0);
    assert_false(im_peers_card(&s.run, 0, &card, &bytes));
    im_run_close(&s.run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_rank_gets_the_numbers_of_each_round, small_setup,
                                        small_teardown),
        cmocka_unit_test_setup_teardown(test_a_rank_alone_waits_until_it_is_no_longer_wanted, small_setup,
                                        small_teardown),
        cmocka_unit_test_setup_teardown(test_a_number_that_changed_is_not_taken, small_setup, small_teardown),
        cmocka_unit_test_setup_teardown(test_a_reset_begins_with_round_zero, small_setup, small_teardown),
        cmocka_unit_test_setup_teardown(test_a_card_comes_over_whole, small_setup, small_teardown),
        cmocka_unit_test_setup_teardown(test_the_card_of_a_predecessor_is_none, small_setup, small_teardown),
        cmocka_unit_test_setup_teardown(test_a_card_that_is_too_long_is_refused, small_setup, small_teardown),
        cmocka_unit_test(test_no_card_outlives_a_change_of_who_takes_part),
        cmocka_unit_test_setup_teardown(test_a_position_of_a_process_that_is_gone_is_not_waited_for,
                                        small_setup, small_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
