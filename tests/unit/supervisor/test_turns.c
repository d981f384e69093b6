/* One turn of the supervisor over a small run with real processes: who is ended, and who is not. */
#include "tests/unit/ipc/small_run.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/process.h"
#include "supervisor/cli/temporary.h"
#include "supervisor/super.h"

#define LONG_NS (100 * IM_SECOND) /* longer than any limit */

struct turn {
    struct small_run *small;
    struct sv_super s;
    char folder[64];
};

static int setup(void **state)
{
    struct turn *t = calloc(1, sizeof *t);
    void *small = NULL;

    if (!t || small_setup(&small) < 0)
        return -1;
    t->small = small;
    snprintf(t->folder, sizeof t->folder, "/tmp/imsuper-turns.XXXXXX");
    if (!mkdtemp(t->folder))
        return -1;
    im_conf_defaults(&t->s.conf);
    snprintf(t->s.conf.run_dir, sizeof t->s.conf.run_dir, "%s", t->folder);
    t->s.run = t->small->run;
    t->s.plan = t->small->plan;
    sv_children_init(&t->s.children, &t->s.run, &t->s.plan, -1);
    sv_screen_init(&t->s.screen, 0, true, true, 0);
    if (sv_journal_open(&t->s.journal, &t->s.conf, -1, &t->s.screen, 0, NULL) < 0)
        return -1;
    atomic_store_explicit(&t->s.run.control->run_state, IM_RUN_RUNNING, memory_order_relaxed);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct turn *t = *state;
    void *small = t->small;

    for (uint32_t i = 0; i < t->s.children.count; i++)
        sv_child_kill(&t->s.children.child[i], SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
    sv_journal_close(&t->s.journal, IM_SECOND);
    sv_screen_close(&t->s.screen, IM_SECOND);
    sv_temporary_remove(t->folder);
    small_teardown(&small);
    free(t);
    return 0;
}

/* A process that does nothing, in the place of one of the run's that entered it. */
static struct sv_child *begin(struct turn *t, enum im_role role, uint32_t index)
{
    struct sv_child *child = sv_child_at(&t->s.children, role, index);
    struct im_process *entry = &t->s.run.process[child->slot];

    child->incarnation = im_process_announce(&t->s.run, role, index);
    assert_int_not_equal(child->incarnation, 0);
    child->pid = fork();
    if (child->pid == 0)
        for (;;)
            pause();
    assert_true(child->pid > 0);
    child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    assert_true(child->pidfd >= 0);
    assert_int_equal(im_process_enter(&t->s.run, child->slot, child->incarnation), 0);
    atomic_store_explicit(&entry->turned_ns, 1, memory_order_relaxed);
    return child;
}

/* Which of its incarnations; 0: none. */
static uint32_t asked_to_leave(struct turn *t, const struct sv_child *child)
{
    return atomic_load_explicit(&t->s.run.process[child->slot].retire, memory_order_relaxed);
}

static bool is_killed(const struct sv_child *child)
{
    return child->killed_at != 0;
}

/* It gave its last sign of life long ago. */
static void silence(struct turn *t, struct sv_child *child)
{
    const struct im_process *entry = &t->s.run.process[child->slot];

    child->progress.incarnation = child->incarnation;
    child->progress.count = atomic_load_explicit(&entry->turned_ns, memory_order_relaxed);
    child->progress.since = im_now() - LONG_NS;
}

static void time_of_a_sleeping_supervisor_does_not_count(void **state)
{
    struct turn *t = *state;
    struct sv_child *reader = begin(t, IM_ROLE_READER, 0), *other = begin(t, IM_ROLE_READER, 1);

    silence(t, reader);
    silence(t, other);
    t->s.stalls_checked = im_now() - LONG_NS;
    sv_check_stalls(&t->s);
    assert_false(is_killed(reader));
    assert_false(is_killed(other));
    silence(t, reader);
    sv_check_stalls(&t->s);
    assert_true(is_killed(reader));
    assert_int_equal(reader->killed_for, SV_KILL_STALL);
    assert_false(is_killed(other));
}

/* No work takes time in a process that somebody has stopped. */
static void who_is_stopped_is_not_waited_for_as_long_as_who_may_work(void **state)
{
    struct turn *t = *state;
    struct sv_child *stopped = begin(t, IM_ROLE_READER, 0), *works = begin(t, IM_ROLE_READER, 1);
    const im_ns quiet[] = {3 * IM_SECOND, 10 * IM_SECOND}; /* the limit of others is a minute */
    int status;

    kill(stopped->pid, SIGSTOP);
    assert_int_equal(waitpid(stopped->pid, &status, WUNTRACED), stopped->pid);
    assert_true(WIFSTOPPED(status));
    for (int i = 0; i < 2; i++) {
        assert_false(is_killed(stopped));
        silence(t, stopped);
        silence(t, works);
        stopped->progress.since = works->progress.since = im_now() - quiet[i];
        sv_check_stalls(&t->s);
    }
    assert_true(is_killed(stopped));
    assert_int_equal(stopped->killed_for, SV_KILL_STALL);
    assert_false(is_killed(works));
}

/* Two trainers would write to the same files; a reader holds only cells. */
static void a_trainer_that_does_not_die_is_waited_for_while_the_run_goes_on(void **state)
{
    struct turn *t = *state;
    struct sv_child *reader = begin(t, IM_ROLE_READER, 0), *trainer = begin(t, IM_ROLE_TRAINER, 0);

    kill(reader->pid, SIGKILL); /* whoever is let go is no child of ours any more */
    kill(trainer->pid, SIGKILL);
    reader->killed_at = trainer->killed_at = im_now() - LONG_NS;
    sv_check_stalls(&t->s);
    assert_int_equal(reader->incarnation, 0);
    assert_int_not_equal(trainer->incarnation, 0);
    t->s.ending.stage = SV_CLEARING;
    sv_check_stalls(&t->s);
    assert_int_equal(trainer->incarnation, 0);
}

static void a_trainer_that_failed_and_stays_is_ended(void **state)
{
    struct turn *t = *state;
    struct sv_child *trainer = begin(t, IM_ROLE_TRAINER, 1);

    sv_check_stalls(&t->s);
    assert_int_equal(trainer->failed_at, 0);
    atomic_store_explicit(&t->s.run.process[trainer->slot].failed, 79, memory_order_relaxed);
    sv_check_stalls(&t->s);
    assert_int_not_equal(trainer->failed_at, 0);
    assert_false(is_killed(trainer));
    trainer->failed_at = im_now() - LONG_NS;
    t->s.stalls_checked = im_now() - LONG_NS; /* we slept, and it did, too */
    sv_check_stalls(&t->s);
    assert_false(is_killed(trainer));
    trainer->failed_at = im_now() - LONG_NS;
    sv_check_stalls(&t->s);
    assert_int_equal(trainer->killed_for, SV_KILL_FAILED);
    assert_true(is_killed(trainer));
}

static void who_hangs_does_not_hold_up_the_end(void **state)
{
    struct turn *t = *state;
    struct sv_child *reader = begin(t, IM_ROLE_READER, 0), *trainer = begin(t, IM_ROLE_TRAINER, 0);

    t->s.finished = true;
    sv_check_stalls(&t->s);
    assert_false(is_killed(reader));
    t->s.finished_at = im_now() - LONG_NS;
    sv_check_stalls(&t->s);
    assert_true(is_killed(reader));
    assert_false(is_killed(trainer)); /* it may be writing */
}

static void who_was_asked_to_leave_and_stays_is_ended(void **state)
{
    struct turn *t = *state;
    struct sv_child *augmenter = begin(t, IM_ROLE_AUGMENTER, 1);

    sv_scale(&t->s);
    assert_int_equal(augmenter->retire_by, 0);
    sv_scale_restart(&t->s, augmenter);
    augmenter->retire_by = 0; /* its predecessor asked for it, and died */
    sv_scale(&t->s);
    assert_true(augmenter->retire_by > im_now());
    assert_false(is_killed(augmenter));
    augmenter->retire_by = im_now() - 1;
    sv_scale(&t->s);
    assert_true(is_killed(augmenter));
    assert_int_equal(augmenter->killed_for, SV_KILL_LATE);
}

/* The supervisor that was asked died between the number and the processes. */
static void a_number_without_its_processes_is_made_true(void **state)
{
    struct turn *t = *state;
    struct sv_child *first = begin(t, IM_ROLE_AUGMENTER, 0), *third = begin(t, IM_ROLE_AUGMENTER, 2);

    atomic_store_explicit(&t->s.run.control->wanted[IM_ROLE_AUGMENTER], 1, memory_order_relaxed);
    sv_scale(&t->s);
    assert_int_equal(asked_to_leave(t, first), 0);
    assert_int_equal(asked_to_leave(t, third), third->incarnation);
    assert_true(third->retire_by > 0);
}

/* It has died, and whoever was told how has died, too: the snapshot is saved in its place. */
static void a_trainer_that_nobody_tells_of_is_not_waited_for(void **state)
{
    struct turn *t = *state;

    t->s.ending.stage = SV_SAVING;
    t->s.ending.since = t->s.watch.clock.now = LONG_NS;
    sv_ending_advance(&t->s);
    assert_int_equal(t->s.ending.stage, SV_SAVING);
    t->s.watch.clock.now = 2 * LONG_NS;
    sv_ending_advance(&t->s);
    assert_int_equal(t->s.ending.stage, SV_CLEARING);
}

int main(void)
{
#define TURN(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TURN(time_of_a_sleeping_supervisor_does_not_count),
        TURN(who_is_stopped_is_not_waited_for_as_long_as_who_may_work),
        TURN(a_trainer_that_does_not_die_is_waited_for_while_the_run_goes_on),
        TURN(a_trainer_that_failed_and_stays_is_ended),
        TURN(who_hangs_does_not_hold_up_the_end),
        TURN(who_was_asked_to_leave_and_stays_is_ended),
        TURN(a_trainer_that_nobody_tells_of_is_not_waited_for),
        TURN(a_number_without_its_processes_is_made_true),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
