/* Fault points: each rule's effect, counted passings, filters, and that a mistyped rule never
 * passes in silence. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "ipc/base/fault.h"
#include "ipc/base/log.h"
#include "tests/unit/ipc/base/unit.h"

static void arm(const char *rules)
{
    struct im_text text = {""};

    assert_int_equal(im_fault_arm(rules, &text), 0);
}

static int disarm(void **state)
{
    (void)state;
    return im_fault_arm("", NULL);
}

static int pass_five_times(void *arg)
{
    for (int i = 0; i < 5; i++)
        IM_FAULT((const char *)arg);
    return 9;
}

static void kill_fires_at_the_given_passing(void **state)
{
    int status;

    (void)state;
    arm("p=kill@5");
    status = in_child(pass_five_times, "p");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    arm("p=kill@6");
    status = in_child(pass_five_times, "p");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
}

static void segv_dies_of_the_signal(void **state)
{
    int status;

    (void)state;
    arm("p=segv");
    status = in_child(pass_five_times, "p");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void exit_leaves_with_its_code(void **state)
{
    int status;

    (void)state;
    arm("p=exit:37@2");
    status = in_child(pass_five_times, "p");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 37);
}

static void stop_stops_until_continued(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    arm("p=stop@3");
    pid = fork();
    if (pid == 0)
        _exit(pass_five_times("p"));
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
}

static void sleep_waits_as_long_as_told(void **state)
{
    struct timespec from, to;

    (void)state;
    arm("p=sleep:50");
    clock_gettime(CLOCK_MONOTONIC, &from);
    IM_FAULT("p");
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_true((to.tv_sec - from.tv_sec) * 1000000000L + to.tv_nsec - from.tv_nsec >= 50000000L);
}

static void fail_injects_its_errno_once(void **state)
{
    (void)state;
    arm("p=fail:ENOSPC@2");
    assert_int_equal(IM_FAULT_ERR("p"), 0);
    assert_int_equal(IM_FAULT_ERR("p"), -ENOSPC);
    assert_int_equal(IM_FAULT_ERR("p"), 0);
    arm("p=fail:5");
    assert_int_equal(IM_FAULT_ERR("p"), -5);
}

static void every_fires_at_each_multiple(void **state)
{
    (void)state;
    arm("p=fail:EIO@2/every");
    for (int i = 1; i <= 6; i++)
        assert_int_equal(IM_FAULT_ERR("p"), i % 2 == 0 ? -EIO : 0);
}

static void other_points_are_not_touched(void **state)
{
    (void)state;
    arm("p=fail:EIO,q=fail:ENOMEM");
    assert_int_equal(IM_FAULT_ERR("pq"), 0);
    assert_int_equal(IM_FAULT_ERR("q"), -ENOMEM);
    assert_int_equal(IM_FAULT_ERR("p"), -EIO);
}

static void the_filter_matches_role_and_id(void **state)
{
    (void)state;
    im_log_identity("augmenter", 1);
    arm("augmenter#1:p=fail:EIO");
    assert_int_equal(IM_FAULT_ERR("p"), -EIO);
    arm("augmenter:p=fail:EIO");
    assert_int_equal(IM_FAULT_ERR("p"), -EIO);
    arm("augmenter#2:p=fail:EIO,reader:p=fail:EIO");
    assert_int_equal(IM_FAULT_ERR("p"), 0);
}

static void malformed_rules_are_refused(void **state)
{
    static const char *const rules[] = {
        "p",         "p=",         "p=die",     "=kill",        "p=kill@",       "p=kill@0",
        "p=kill@x",  "p=sleep",    "p=sleep:x", "p=kill:3",     "p=kill@3/all",  "#1:p=kill",
        "a#:p=kill", "a#x:p=kill", "p=fail:0",  "p=fail:EWHAT", "p=kill,,q=kill"};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rules); i++) {
        struct im_text text = {""};

        assert_int_equal(im_fault_arm(rules[i], &text), -EINVAL);
        assert_non_null(strstr(text.s, "expected [role[#id]:]point=action[@K[/every]]"));
    }
}

static void *pass_many_times(void *arg)
{
    int *fired = arg;

    for (int i = 0; i < 10000; i++)
        *fired += IM_FAULT_ERR("p") != 0;
    return NULL;
}

static void threads_share_one_count(void **state)
{
    pthread_t threads[4];
    int fired[4] = {0};

    (void)state;
    arm("p=fail:EIO@40000,q=fail:EIO");
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pass_many_times, &fired[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(fired[0] + fired[1] + fired[2] + fired[3], 1);
}

static void a_rule_can_follow_one_item(void **state)
{
    (void)state;
    arm("p.7=fail:EIO@1/every");
    assert_int_equal(im_fault_pass_item("p", 7), -EIO);
    assert_int_equal(im_fault_pass_item("p", 70), 0);
    assert_int_equal(im_fault_pass_item("q", 7), 0);
    assert_int_equal(im_fault_pass_item("p", 7), -EIO);
    assert_int_equal(IM_FAULT_ERR("p"), 0);
}

/* The environment is read at the first passing: needs a process that has not passed yet, so this
 * program runs itself. */
static void the_environment_gives_the_rules(void **state)
{
    static const struct {
        const char *rules;
        int signal;
    } cases[] = {{"first=kill", SIGKILL}, {"first=kil", SIGABRT}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
            setenv("IMSUPER_FAULT", cases[i].rules, 1);
            freopen("/dev/null", "w", stderr);
            execl("/proc/self/exe", "base_fault", "first", (char *)NULL);
            _exit(1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), cases[i].signal);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(kill_fires_at_the_given_passing, disarm),
        cmocka_unit_test_teardown(segv_dies_of_the_signal, disarm),
        cmocka_unit_test_teardown(exit_leaves_with_its_code, disarm),
        cmocka_unit_test_teardown(stop_stops_until_continued, disarm),
        cmocka_unit_test_teardown(sleep_waits_as_long_as_told, disarm),
        cmocka_unit_test_teardown(fail_injects_its_errno_once, disarm),
        cmocka_unit_test_teardown(every_fires_at_each_multiple, disarm),
        cmocka_unit_test_teardown(other_points_are_not_touched, disarm),
        cmocka_unit_test_teardown(a_rule_can_follow_one_item, disarm),
        cmocka_unit_test_teardown(the_filter_matches_role_and_id, disarm),
        cmocka_unit_test_teardown(malformed_rules_are_refused, disarm),
        cmocka_unit_test_teardown(threads_share_one_count, disarm),
        cmocka_unit_test(the_environment_gives_the_rules),
    };

    if (argc > 1) {
        IM_FAULT(argv[1]);
        return 0;
    }
    if (im_fault_arm("", NULL) == -ENOTSUP) {
        puts("skipped: this build has no fault points");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
