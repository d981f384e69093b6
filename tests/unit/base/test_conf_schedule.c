/* The keys of the learning rate's course: what is refused, and lists taken apart. */
#include "ipc/base/conf.h"

#include "tests/unit/base/unit.h"

#include <errno.h>

static void a_course_that_cannot_be_is_refused(void **state)
{
    static const struct {
        const char *flags[8];
        const char *sentence;
    } cases[] = {
        {{"--schedule", "onecycle", "--pct-start", "0"},
         "pct-start 0 leaves onecycle no time to rise; it must be above 0 (0.3 is usual)"},
        {{"--schedule", "onecycle", "--pct-start", "1"},
         "pct-start 1 leaves onecycle no time to fall; it must be below 1 (0.3 is usual)"},
        {{"--schedule", "onecycle", "--pct-start", "0.6", "--three-phase"},
         "pct-start 0.6 leaves onecycle no time to fall; it must not be above 0.5 with three-phase"},
        {{"--schedule", "onecycle", "--base-momentum", "0.96"},
         "base-momentum 0.96 is larger than max-momentum 0.95"},
        {{"--schedule", "triangular", "--lr-peak-epoch", "90"},
         "lr-peak-epoch 90 is not before the end of the 90 epochs"},
        {{"--schedule", "multistep", "--milestones", "30,30"},
         "milestones: \"30,30\" is no list of ascending epochs such as 30,60,80 (64 at most)"},
        {{"--schedule", "exponential"},
         "schedule exponential wants a gamma, its factor after each epoch: 0.97 say"},
        {{"--pct-start", "0.3"},
         "pct-start does nothing with schedule cosine: it belongs to schedule onecycle"},
        {{"--schedule", "onecycle", "--lr-min", "0.01"},
         "lr-min does nothing with schedule onecycle: it belongs to schedule cosine"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *argv[10] = {(char[]){"x"}};
        struct im_text text = {""};
        struct im_conf conf;
        int argc = 1;

        for (; cases[i].flags[argc - 1]; argc++)
            argv[argc] = (char *)(uintptr_t)cases[i].flags[argc - 1];
        im_conf_defaults(&conf);
        assert_int_equal(im_conf_parse_args(&conf, IM_FOR_START, argc, argv, &text), argc);
        assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
        assert_string_equal(text.s, cases[i].sentence);
    }
}

static void milestones_are_taken_apart(void **state)
{
    static const char *const wrong[] = {"", "0", "3,", ",3", "3,2", "3,3", "1.5", "-1", "1234567", "a"};
    uint32_t epochs[IM_CONF_MILESTONES_MAX];

    (void)state;
    assert_int_equal(im_conf_milestones("7", epochs), 1);
    assert_int_equal(epochs[0], 7);
    assert_int_equal(im_conf_milestones("30,60,80", epochs), 3);
    assert_true(epochs[0] == 30 && epochs[1] == 60 && epochs[2] == 80);
    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(im_conf_milestones(wrong[i], epochs), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_course_that_cannot_be_is_refused),
        cmocka_unit_test(milestones_are_taken_apart),
    };

    return cmocka_run_group_tests_name("conf_schedule", tests, NULL, NULL);
}
