/* Which deaths tell against a sample, and how many it takes: tables over ends that have been thought of. */
#include <signal.h>
#include <stdlib.h>

#include "ipc/base/exit.h"
#include "ipc/base/rng.h"
#include "ipc/base/verdict.h"
#include "supervisor/blame.h"
#include "tests/unit/ipc/base/unit.h"

#define MIB ((uint64_t)1 << 20)
#define EXITED(code) ((code) << 8)

static void an_end_is_told_by_its_evidence(void **state)
{
    static const struct {
        const char *what;
        struct sv_evidence evidence;
        enum sv_end end;
    } rows[] = {
        {"segmentation fault", {.wait_status = SIGSEGV}, SV_END_CRASH},
        {"... with a core file", {.wait_status = SIGSEGV | 0x80}, SV_END_CRASH},
        {"abort", {.wait_status = SIGABRT}, SV_END_CRASH},
        {"forbidden call", {.wait_status = SIGSYS}, SV_END_CRASH},
        {"kill -SEGV", {.wait_status = SIGSEGV, .sent_signal = SIGSEGV}, SV_END_SENT},
        {"kill -SEGV, and then a crash of its own",
         {.wait_status = SIGBUS, .sent_signal = SIGSEGV},
         SV_END_CRASH},
        {"kill -9", {.wait_status = SIGKILL, .need = 900 * MIB}, SV_END_SENT},
        {"kill -TERM", {.wait_status = SIGTERM}, SV_END_SENT},
        {"memory ran out over a large image",
         {.wait_status = SIGKILL, .need = 600 * MIB, .memory_ran_out = true},
         SV_END_MEMORY},
        {"... over a small one",
         {.wait_status = SIGKILL, .need = 2 * MIB, .memory_ran_out = true},
         SV_END_SENT},
        {"... before its size was known", {.wait_status = SIGKILL, .memory_ran_out = true}, SV_END_SENT},
        {"... and the crash is another thing",
         {.wait_status = SIGSEGV, .need = 600 * MIB, .memory_ran_out = true},
         SV_END_CRASH},
        {"too much work", {.wait_status = SIGKILL, .killed_for = SV_KILL_DEADLINE}, SV_END_WORK},
        {"no life", {.wait_status = SIGKILL, .killed_for = SV_KILL_HANG}, SV_END_HANG},
        {"ended for a stall", {.wait_status = SIGKILL, .killed_for = SV_KILL_STALL}, SV_END_INNOCENT},
        {"... while memory ran out",
         {.wait_status = SIGKILL, .killed_for = SV_KILL_STALL, .memory_ran_out = true, .need = 600 * MIB},
         SV_END_INNOCENT},
        {"a library's exit()", {.wait_status = EXITED(1)}, SV_END_CRASH},
        {"fenced", {.wait_status = EXITED(IM_EXIT_FENCED)}, SV_END_INNOCENT},
        {"the run ended", {.wait_status = EXITED(IM_EXIT_RESUMABLE)}, SV_END_INNOCENT},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++)
        if (sv_end_of(&rows[i].evidence) != rows[i].end)
            fail_msg("%s: %s", rows[i].what, sv_end_name(sv_end_of(&rows[i].evidence)));
}

static struct im_control *fresh(void)
{
    struct im_control *c = aligned_alloc(IM_PAGE, (sizeof *c + IM_PAGE - 1) / IM_PAGE * IM_PAGE);

    assert_non_null(c);
    memset(c, 0, sizeof *c);
    return c;
}

/* The number of deaths, each as the one before, after which the sample is left out; 0: after `most` it is not. */
static int deaths_until_left_out(enum sv_end end, int most)
{
    struct im_control *c = fresh();
    int n = 0;

    for (int i = 1; i <= most && n == 0; i++)
        if (sv_blame_note(c, 5, 100, end))
            n = i;
    assert_false(n && sv_blame_note(c, 5, 100, end)); /* told once */
    free(c);
    return n;
}

static void two_deaths_that_tell_or_twelve_that_do_not(void **state)
{
    (void)state;
    assert_int_equal(deaths_until_left_out(SV_END_CRASH, 100), 2);
    assert_int_equal(deaths_until_left_out(SV_END_MEMORY, 100), 2);
    assert_int_equal(deaths_until_left_out(SV_END_WORK, 100), 2);
    assert_int_equal(deaths_until_left_out(SV_END_HANG, 100), 2);
    assert_int_equal(deaths_until_left_out(SV_END_SENT, 100), 12);
    assert_int_equal(deaths_until_left_out(SV_END_INNOCENT, 1000), 0);
}

/* What happens, in letters, a death each: c crash, m memory, w work, h hang, s sent; upper case: the sample comes
 * again in the next epoch; '.' a death elsewhere; o a sent signal on another sample that was never seen; the
 * supervisor's death in between changes nothing, for it has no state. */
static int play(const char *letters)
{
    static const char names[] = "-cmwhs";
    struct im_control *c = fresh();
    uint64_t ticket = 7, other = 1000;
    int left_out = 0;

    for (int i = 0; letters[i] && !left_out; i++) {
        const char *at = strchr(names, letters[i] | 0x20);

        if (letters[i] == '.') {
            sv_blame_stray(c);
        } else if (letters[i] == 'o') {
            sv_blame_note(c, other, other, SV_END_SENT);
            other++;
        } else {
            ticket += !(letters[i] & 0x20) ? 500 : 0;
            if (sv_blame_note(c, 42, ticket, (enum sv_end)(at - names)))
                left_out = i + 1;
        }
    }
    free(c);
    return left_out;
}

static void deaths_count_in_a_row_only(void **state)
{
    static const struct {
        const char *letters;
        int left_out; /* at which letter, from 1 on; 0: not */
    } rows[] = {
        {"cc", 2},
        {"cm", 2},
        {"hw", 2},
        {"cCCCCC", 0}, /* delivered in between, each time */
        {"cCc", 3},
        {"c....c", 6}, /* what tells is not taken back by deaths elsewhere */
        {"coooooc", 7},
        {"csssc", 5},
        {"cssss", 0},
        {"cssssss", 7},
        {"ssssssssssss", 12},
        {"sssssssssss.sssssssssss.", 0}, /* a storm */
        {"sssssssssssosssssssssss", 0},
        {"sSsSsSsSsSsSsSsSsSsSsSsS", 0},
        {"ss.c.c", 6},
        {"ss.cs.sss.s.sss.", 0},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++)
        if (play(rows[i].letters) != rows[i].left_out)
            fail_msg("%s: %d", rows[i].letters, play(rows[i].letters));
}

/* Two bad samples in the hands of two augmenters do not absolve each other. */
static void two_that_kill_by_turns_are_both_left_out(void **state)
{
    struct im_control *c = fresh();
    int left_out = 0;

    (void)state;
    for (int i = 0; i < 20; i++)
        for (uint64_t key = 1; key <= 2; key++)
            left_out += sv_blame_note(c, key, key + 10, SV_END_SENT);
    assert_int_equal(left_out, 2);
    free(c);
}

/* Kills at random, of augmenters and others. Each finds the augmenter with an image in its hands with the given
 * chance. It starts again after 0, 50, 200 ms, then a second, and in that time others die. Or nobody else is
 * there to die. Nobody is left out in an hour of 20 kills a second. */
static void play_storm(double chance, bool others)
{
    static const double others_live[] = {1, 0.6, 0.1, 0.0001}; /* through the delay */
    struct im_rng rng = im_rng_at(11, IM_RNG_TEST, 0, others);
    struct im_control *c = fresh();
    uint64_t ticket = 1;
    int deaths = 0;

    for (int i = 0; i < 72000; i++) {
        if (others && im_rng_unit(&rng) > others_live[deaths < 3 ? deaths : 3])
            sv_blame_stray(c);
        if (im_rng_unit(&rng) < chance) {
            assert_false(sv_blame_note(c, ticket % 1000 + 1, ticket, SV_END_SENT));
            deaths++;
        } else {
            sv_blame_stray(c); /* killed between two images */
            ticket++;
            deaths = 0;
        }
    }
    free(c);
}

/* The numbers are of this machine, on which others may be killed meanwhile: they only grow. */
static void kills_for_want_of_memory_are_told_from_one_supervisor_to_the_next(void **state)
{
    struct im_control *c = fresh();
    uint64_t before, now, word;

    (void)state;
    now = sv_blame_look(c, &before);
    assert_true(before == UINT64_MAX); /* nobody has looked */
    atomic_store_explicit(&c->oom_kills, 0, memory_order_relaxed);
    sv_blame_begin(c);
    word = atomic_load_explicit(&c->oom_kills, memory_order_relaxed);
    assert_true(word == 0 ? now == UINT64_MAX : word > now);
    atomic_store_explicit(
        &c->oom_kills, 1,
        memory_order_relaxed); /* another supervisor had seen none; then it was killed itself */
    sv_blame_begin(c);
    assert_true(sv_blame_look(c, &before) >= now || now == UINT64_MAX);
    assert_true(before == 0);
    free(c);
}

static void a_storm_of_kills_leaves_nobody_out(void **state)
{
    (void)state;
    play_storm(0.3, false);
    play_storm(0.9, true);
}

static void a_full_table_forgets_the_oldest(void **state)
{
    struct im_control *c = fresh();

    (void)state;
    for (uint64_t key = 1; key <= IM_BLAMES + 1; key++)
        assert_false(sv_blame_note(c, key, key, SV_END_CRASH));
    assert_int_equal(sv_blame_points(c, 1), 0);
    assert_true(sv_blame_note(c, 2, 2, SV_END_CRASH));
    assert_true(sv_blame_note(c, IM_BLAMES + 1, IM_BLAMES + 1, SV_END_CRASH));
    free(c);
}

static void every_end_has_words_and_a_verdict(void **state)
{
    (void)state;
    for (int end = SV_END_CRASH; end < SV_ENDS; end++) {
        assert_true(*sv_end_name((enum sv_end)end) && *sv_end_sentence((enum sv_end)end));
        assert_int_not_equal(sv_end_verdict((enum sv_end)end), IM_VERDICT_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_end_is_told_by_its_evidence),
        cmocka_unit_test(two_deaths_that_tell_or_twelve_that_do_not),
        cmocka_unit_test(deaths_count_in_a_row_only),
        cmocka_unit_test(two_that_kill_by_turns_are_both_left_out),
        cmocka_unit_test(kills_for_want_of_memory_are_told_from_one_supervisor_to_the_next),
        cmocka_unit_test(a_storm_of_kills_leaves_nobody_out),
        cmocka_unit_test(a_full_table_forgets_the_oldest),
        cmocka_unit_test(every_end_has_words_and_a_verdict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
