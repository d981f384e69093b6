/* The keys of the learning rate's course and of progressive resizing: what is refused, and
 * lists taken apart. */
#include <errno.h>

#include "ipc/config/conf.h"
#include "tests/unit/ipc/base/unit.h"

static void a_course_that_cannot_be_is_refused(void **state)
{
    static const struct {
        const char *flags[8];
        const char *sentence;
    } cases[] = {
        {{"--schedule", "onecycle", "--pct-start", "0"}, "pct-start"},
        {{"--schedule", "onecycle", "--pct-start", "1"}, "pct-start"},
        {{"--schedule", "onecycle", "--pct-start", "0.6", "--three-phase"}, "pct-start"},
        {{"--schedule", "onecycle", "--base-momentum", "0.96"}, "base-momentum"},
        {{"--schedule", "triangular", "--lr-peak-epoch", "90"}, "lr-peak-epoch"},
        {{"--schedule", "multistep", "--milestones", "30,30"}, "milestones:"},
        {{"--schedule", "exponential"}, "schedule exponential"},
        {{"--pct-start", "0.3", "--schedule", "cosine"}, "pct-start"},
        {{"--schedule", "onecycle", "--lr-min", "0.01"}, "lr-min"},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        char *argv[10] = {(char[]){"x"}};
        struct im_text text = {""};
        struct im_conf conf;
        int argc = 1;

        for (; cases[i].flags[argc - 1]; argc++)
            argv[argc] = (char *)(uintptr_t)cases[i].flags[argc - 1];
        im_conf_defaults(&conf);
        assert_int_equal(im_conf_parse_args(&conf, IM_FOR_START, argc, argv, &text), argc);
        assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
        assert_begins(text.s, cases[i].sentence);
    }
}

static void milestones_are_taken_apart(void **state)
{
    static const char *const wrong[] = {"", "0", "3,,", ",3", "3,2", "3,3", "1.5", "-1", "1234567", "a"};
    uint32_t epochs[IM_CONF_MILESTONES_MAX];

    (void)state;
    assert_int_equal(im_conf_milestones("7", epochs), 1);
    assert_int_equal(im_conf_milestones("7,", epochs), 1); /* a list of one in YAML */
    assert_int_equal(epochs[0], 7);
    assert_int_equal(im_conf_milestones("30,60,80", epochs), 3);
    assert_true(epochs[0] == 30 && epochs[1] == 60 && epochs[2] == 80);
    for (size_t i = 0; i < IM_COUNT(wrong); i++)
        assert_int_equal(im_conf_milestones(wrong[i], epochs), -EINVAL);
}

static struct im_conf conf_of(int64_t epochs, const char *schedule)
{
    struct im_conf conf;

    im_conf_defaults(&conf);
    conf.epochs = epochs;
    assert_int_equal(im_conf_set(&conf, "resize-schedule", schedule, NULL), 0);
    return conf;
}

static void assert_sizes(int64_t epochs, const char *schedule, const struct im_conf_sizes *want)
{
    struct im_conf conf = conf_of(epochs, schedule);
    struct im_text text = {""};
    struct im_conf_resize r;

    if (im_conf_resize(&conf, &r, &text) < 0)
        fail_msg("%s", text.s);
    for (uint32_t epoch = 0; epoch < epochs; epoch++) {
        struct im_conf_sizes got = im_conf_resize_at(&r, epoch);

        if (got.image_size != want[epoch].image_size || got.batch_size != want[epoch].batch_size)
            fail_msg("%s, epoch %u: %ux%u, expected %ux%u", schedule, epoch + 1, got.image_size,
                     got.batch_size, want[epoch].image_size, want[epoch].batch_size);
    }
}

static void sizes_of_each_epoch_follow_the_entries(void **state)
{
    (void)state;
    assert_sizes(2, "", (struct im_conf_sizes[]){{224, 256}, {224, 256}});
    assert_sizes(4, "1:32,2-3:64x128,4-:128x64",
                 (struct im_conf_sizes[]){{32, 256}, {64, 128}, {64, 128}, {128, 64}});
    assert_sizes(2, "1-:32,", (struct im_conf_sizes[]){{32, 256}, {32, 256}}); /* a list of one in YAML */
    assert_sizes(2, "1:32,2-30:64x128,31-40:128x64", (struct im_conf_sizes[]){{32, 256}, {64, 128}});
}

/* get_resolution() of ffcv-imagenet for epochs 0 .. 15: start_ramp 11, end_ramp 13; then 3, 10, 128 to 224
 * (176 px is 5.5 steps: np.round goes to the even 6); then a ramp down between sizes that are no multiples
 * of 32. */
static void ramps_are_ffcvs(void **state)
{
    static const uint32_t usual[] = {160, 160, 160, 160, 160, 160, 160, 160,
                                     160, 160, 160, 160, 192, 192, 192, 192};
    static const uint32_t long_one[] = {128, 128, 128, 128, 128, 160, 160, 192, 192, 224, 224, 224};
    static const uint32_t down[] = {100, 96, 64, 50};
    struct im_conf_sizes want[16];

    (void)state;
    for (int i = 0; i < 16; i++)
        want[i] = (struct im_conf_sizes){usual[i], 256};
    assert_sizes(16, "1-11:160,12-14:160..192,15-:192", want);
    for (int i = 0; i < 12; i++)
        want[i] = (struct im_conf_sizes){long_one[i], 512};
    assert_sizes(12, "1-3:128x512,4-11:128..224x512,12:224x512", want);
    for (int i = 0; i < 4; i++)
        want[i] = (struct im_conf_sizes){down[i], 256};
    assert_sizes(4, "1-4:100..50", want);
    /* Where no multiple of 32 lies between the two, one of them is taken. */
    assert_sizes(3, "1-3:40..50", (struct im_conf_sizes[]){{40, 256}, {40, 256}, {50, 256}});
}

static void resize_schedules_that_cannot_be_are_refused(void **state)
{
    static const struct {
        const char *schedule, *sentence;
    } cases[] = {
        {"1-30:64,32-:128", "no entry covers epoch 31, before \"32-:128\""},
        {"2-:64", "no entry covers epoch 1, before \"2-:64\""},
        {"1-30:64,30-:128", "\"30-:128\" overlaps the entry before it"},
        {"1-:64,30-:128", "\"30-:128\" overlaps the entry before it"},
        {"1-50:64", "no entry covers epoch 51 of 90"},
        {"1-:16", "\"1-:16\": 16 pixels are fewer than the stride of resnet50, 32"},
        {"1-:2048", "\"1-:2048\": 2048 pixels are out of range (expected 8 to 1024)"},
        {"1-:64x0", "\"1-:64x0\": a batch of 0 is out of range (expected 1 to 65536)"},
        {"1-:64x65537", "\"1-:64x65537\": a batch of 65537 is out of range (expected 1 to 65536)"},
        {"0-90:64", "\"0-90:64\": epochs start at 1"},
        {"5-1:64", "\"5-1:64\": epochs start at 1"},
        {"1-90:64,,", "\"\" is not an entry such as"},
        {"1:64..128,2-:64", "\"1:64..128\": a ramp needs two epochs or more"},
        {"1-:64..128", "\"1-:64..128\": a ramp needs its last epoch"},
        {"1-90",
         "\"1-90\" is not an entry such as 1-30:64x256 (epochs:pixels[xbatch]) or 12-14:160..192 (a ramp)"},
        {"1-90:64x", "\"1-90:64x\" is not an entry such as"},
        {"1-90:64 ", "\"1-90:64 \" is not an entry such as"},
        {",", "\"\" is not an entry such as"},
        {"1-90:99999999", "\"1-90:99999999\" is not an entry such as"},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_conf conf = conf_of(90, cases[i].schedule);
        struct im_text text = {""};

        assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
        if (strncmp(text.s, "resize-schedule: ", 17) != 0 ||
            strncmp(text.s + 17, cases[i].sentence, strlen(cases[i].sentence)) != 0)
            fail_msg("\"%s\" is not \"%s\"", text.s, cases[i].sentence);
    }
}

static void more_entries_than_there_is_room_for_are_refused(void **state)
{
    struct im_conf conf = conf_of(100, "");
    struct im_text text = {""};
    struct im_conf_resize r;
    char *at = conf.resize_schedule;

    (void)state;
    for (int i = 1; i <= IM_CONF_RESIZE_MAX + 1; i++)
        at += snprintf(at, 16, "%d:64,", i);
    at[-1] = '\0';
    assert_int_equal(im_conf_resize(&conf, &r, &text), -EINVAL);
    assert_string_equal(text.s, "resize-schedule: more than 64 entries");
}

static void validation_follows_the_last_epoch(void **state)
{
    struct im_conf conf = conf_of(40, "1-30:64x256,31-50:128x128,51-:224x64");

    (void)state;
    assert_int_equal(im_conf_eval_image_size(&conf), 128);
    assert_int_equal(im_conf_last_sizes(&conf).batch_size, 128);
    conf.epochs = 51;
    assert_int_equal(im_conf_eval_image_size(&conf), 224);
    assert_int_equal(im_conf_eval_resize(&conf), 256);
    conf.eval_image_size = 256;
    assert_int_equal(im_conf_eval_image_size(&conf), 256);
    assert_int_equal(im_conf_smallest_image_size(&conf), 64);
}

static void flags_that_a_resize_schedule_replaces_are_refused(void **state)
{
    char *argv[] = {(char[]){"x"}, (char[]){"--resize-schedule"}, (char[]){"1-:64x32"}, NULL, (char[]){"64"}};
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    argv[3] = (char[]){"--image-size"};
    im_conf_defaults(&conf);
    assert_int_equal(im_conf_parse_args(&conf, IM_FOR_START, 5, argv, &text), 5);
    assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
    assert_non_null(strstr(text.s, "image-size has no effect"));
    argv[3] = (char[]){"--batch-size"};
    im_conf_defaults(&conf);
    assert_int_equal(im_conf_parse_args(&conf, IM_FOR_START, 5, argv, &text), 5);
    assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
    assert_non_null(strstr(text.s, "batch-size has no effect"));
    argv[2] = (char[]){"1-:64"};
    im_conf_defaults(&conf);
    assert_int_equal(im_conf_parse_args(&conf, IM_FOR_START, 5, argv, &text), 5);
    assert_int_equal(im_conf_check(&conf, &text), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_course_that_cannot_be_is_refused),
        cmocka_unit_test(milestones_are_taken_apart),
        cmocka_unit_test(sizes_of_each_epoch_follow_the_entries),
        cmocka_unit_test(ramps_are_ffcvs),
        cmocka_unit_test(resize_schedules_that_cannot_be_are_refused),
        cmocka_unit_test(more_entries_than_there_is_room_for_are_refused),
        cmocka_unit_test(validation_follows_the_last_epoch),
        cmocka_unit_test(flags_that_a_resize_schedule_replaces_are_refused),
    };

    return cmocka_run_group_tests_name("conf_schedule", tests, NULL, NULL);
}
