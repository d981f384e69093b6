/* What a new supervisor takes over: processes that the warden listed stay, entries without one are freed and their
 * cells returned. */
#include "tests/unit/ipc/small_run.h"

#include <signal.h>
#include <string.h>

#include "ipc/encoded.h"
#include "ipc/process.h"
#include "supervisor/children.h"

enum { PIDFD = 1000 }; /* of a listed process; adopting opens and closes none */

static uint32_t reader_with_a_cell(struct small_run *s, struct im_encoded *ret)
{
    uint32_t incarnation = im_process_announce(&s->run, IM_ROLE_READER, 0);

    assert_int_equal(im_encoded_claim(&s->run, incarnation, UINT64_MAX, ret), 1);
    return incarnation;
}

static void expect_freed(struct small_run *s, struct sv_children *c)
{
    struct sv_child *reader = sv_child_at(c, IM_ROLE_READER, 0);
    struct im_encoded e;

    assert_int_equal(im_process_state(&s->run, reader->slot), IM_PROCESS_NONE);
    assert_int_equal(reader->incarnation, 0);
    assert_int_equal(reader->last.incarnation, 0); /* the warden has nothing to tell of it */
    assert_int_equal(small_encoded_word(s, 0), im_word(IM_FREE, 0, 0));
    assert_int_equal(
        im_encoded_claim(&s->run, im_process_announce(&s->run, IM_ROLE_READER, 0), UINT64_MAX, &e), 1);
    assert_int_equal(e.ticket, 0);
}

static void entries_without_a_process_are_freed(void **state)
{
    struct small_run *s = *state;
    struct sv_children c;
    struct im_encoded e;

    sv_children_init(&c, &s->run, &s->plan, -1);
    reader_with_a_cell(s, &e);
    sv_children_adopt(&c);
    expect_freed(s, &c);
}

/* The predecessor was killed between marking it dead and freeing its entry. */
static void half_finalized_entries_are_freed(void **state)
{
    struct small_run *s = *state;
    struct sv_children c;
    struct im_encoded e;

    sv_children_init(&c, &s->run, &s->plan, -1);
    im_process_mark_dead(&s->run, im_run_slot(&s->run, IM_ROLE_READER, 0), reader_with_a_cell(s, &e));
    sv_children_adopt(&c);
    expect_freed(s, &c);
}

static void listed_processes_stay(void **state)
{
    struct small_run *s = *state;
    struct sv_children c;
    struct sv_child *reader;
    struct im_encoded e;
    uint32_t incarnation;

    sv_children_init(&c, &s->run, &s->plan, -1);
    incarnation = reader_with_a_cell(s, &e);
    reader = sv_child_at(&c, IM_ROLE_READER, 0);
    reader->incarnation = incarnation;
    reader->pidfd = PIDFD;
    sv_children_adopt(&c);
    assert_int_equal(im_process_state(&s->run, reader->slot), IM_PROCESS_SPAWN);
    assert_int_equal(reader->incarnation, incarnation);
    assert_int_equal(small_encoded_word(s, 0), im_word(IM_FILLING, incarnation, 0));
}

/* Whoever dies may have written where it should not. One that was asked to leave has not. */
static void bytes_are_compared_once_a_process_has_died(void **state)
{
    struct small_run *s = *state;
    const struct im_encoded e = {.ticket = 1};

    for (int is_retired = 1; is_retired >= 0; is_retired--) {
        const uint32_t incarnation = im_process_announce(&s->run, IM_ROLE_AUGMENTER, 0);
        struct sv_children c;
        struct sv_child *child;

        sv_children_init(&c, &s->run, &s->plan, -1);
        child = sv_child_at(&c, IM_ROLE_AUGMENTER, 0);
        child->incarnation = incarnation;
        atomic_store_explicit(&s->run.process[child->slot].retire, is_retired ? incarnation : 0,
                              memory_order_relaxed);
        sv_child_finalize(&c, child);
        assert_int_equal(im_encoded_must_compare(&s->run, &e), !is_retired);
    }
}

/* A trainer that says that it fails, and is then killed because it stays, ended as it said. */
static void what_a_failed_process_said_counts(void **state)
{
    struct sv_child child = {0};

    (void)state;
    child.last.failed = 78 + 1;
    assert_int_equal(sv_child_end(&child, SIGKILL), SIGKILL); /* somebody else was faster */
    child.last.killed_for = SV_KILL_FAILED;
    assert_int_equal(sv_child_end(&child, SIGKILL), 78 << 8);
    child.last.failed = 0;
    assert_int_equal(sv_child_end(&child, SIGKILL), SIGKILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(entries_without_a_process_are_freed, small_setup, small_teardown),
        cmocka_unit_test_setup_teardown(half_finalized_entries_are_freed, small_setup, small_teardown),
        cmocka_unit_test_setup_teardown(bytes_are_compared_once_a_process_has_died, small_setup,
                                        small_teardown),
        cmocka_unit_test_setup_teardown(listed_processes_stay, small_setup, small_teardown),
        cmocka_unit_test(what_a_failed_process_said_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
