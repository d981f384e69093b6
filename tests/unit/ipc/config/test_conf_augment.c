/* Sets of transforms and the dotted aug keys: names in every source, what overrides what, and sentences. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/config/conf.h"
#include "tests/unit/ipc/base/unit.h"

enum { WORDS_MAX = 12 };

/* Loads flags as `start` does; NULL ends them. Fails the test unless they are taken and pass the checks. */
static struct im_conf load(const char *first, ...)
{
    char words[WORDS_MAX][128] = {"start"}, *argv[WORDS_MAX + 1] = {words[0]};
    struct im_text text = {""}, warning;
    struct im_conf conf;
    int argc = 1;
    va_list args;

    va_start(args, first);
    for (const char *word = first; word; word = va_arg(args, const char *)) {
        snprintf(words[argc], sizeof words[argc], "%s", word);
        argv[argc] = words[argc];
        argc++;
    }
    va_end(args);
    if (im_conf_load(&conf, IM_FOR_START, argc, argv, &warning, &text) != argc ||
        im_conf_check(&conf, &text) < 0)
        fail_msg("%s", text.s);
    return conf;
}

/* The sentence of im_conf_check() about light with one key set. */
static void assert_refused(const char *name, const char *value, const char *sentence)
{
    struct im_text text = {""};
    struct im_conf conf;

    im_conf_defaults(&conf);
    assert_int_equal(im_conf_set(&conf, name, value, &text), 0);
    im_conf_apply_set(&conf);
    assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
    assert_begins(text.s, sentence);
}

static void light_is_the_default_and_changes_nothing(void **state)
{
    struct im_conf conf = load(NULL), light = load("--augment", "light", NULL), defaults;

    (void)state;
    im_conf_defaults(&defaults);
    for (int key = 0; key < IM_KEY_COUNT; key++) {
        char a[IM_CONF_TEXT_BYTES], b[IM_CONF_TEXT_BYTES], c[IM_CONF_TEXT_BYTES];

        im_conf_value(&defaults, (enum im_conf_key_id)key, a);
        im_conf_value(&conf, (enum im_conf_key_id)key, b);
        im_conf_value(&light, (enum im_conf_key_id)key, c);
        assert_string_equal(a, b);
        assert_string_equal(a, c);
    }
}

static void none_is_the_centre_crop_without_a_flip(void **state)
{
    struct im_conf conf = load("--augment", "none", NULL);

    (void)state;
    assert_string_equal(conf.train_crop, "center");
    assert_true(conf.hflip == 0);
}

static void classic_turns_its_transforms_on(void **state)
{
    struct im_conf conf = load("--augment=classic", NULL);

    (void)state;
    assert_true(conf.hflip == 0.5 && conf.aug_affine_p == 0.5 && conf.aug_rotate_limit == 15);
    assert_true(conf.aug_brightness == 0.2 && conf.aug_contrast == 0.2 && conf.aug_saturation == 0.2);
    assert_true(conf.aug_hue == 0 && conf.aug_jitter_p == 0.3);
    assert_true(conf.aug_dropout_p == 0.5 && conf.aug_holes_min == 1 && conf.aug_holes_max == 1);
    assert_true(conf.aug_hole_height_min == 0.25 && conf.aug_hole_width_max == 0.25);
    assert_string_equal(conf.aug_dropout_fill, "123,116,103");
    assert_int_equal(conf.aug_policy, IM_AUG_POLICY_NONE);
    assert_int_equal(conf.origin[IM_KEY_aug_affine_p].source, IM_CONF_SET);
}

static void each_learned_set_names_its_policy(void **state)
{
    (void)state;
    assert_int_equal(load("--augment=autoaugment", NULL).aug_policy, IM_AUG_POLICY_IMAGENET);
    assert_int_equal(load("--augment=randaugment", NULL).aug_policy, IM_AUG_POLICY_RANDAUGMENT);
    assert_int_equal(load("--augment=trivial", NULL).aug_policy, IM_AUG_POLICY_TRIVIAL);
    assert_int_equal(load("--augment=heavy", NULL).aug_policy, IM_AUG_POLICY_TRIVIAL);
    assert_true(load("--augment=heavy", NULL).aug_erase_p == 0.1);
}

static void a_flag_beats_the_set_wherever_it_stands(void **state)
{
    struct im_conf before = load("--aug.rotate-limit", "45", "--aug.hue=0.1", "--augment", "classic", NULL);
    struct im_conf after = load("--augment", "classic", "--aug_rotate_limit", "45", "--aug-hue=0.1", NULL);

    (void)state;
    assert_true(before.aug_rotate_limit == 45 && before.aug_hue == 0.1 && before.aug_affine_p == 0.5);
    assert_true(after.aug_rotate_limit == 45 && after.aug_hue == 0.1 && after.aug_affine_p == 0.5);
}

static void the_environment_beats_the_set(void **state)
{
    struct im_conf conf;

    (void)state;
    setenv("IMSUPER_AUGMENT", "classic", 1);
    setenv("IMSUPER_AUG_ROTATE_LIMIT", "20", 1);
    conf = load("--aug.shift-limit=0.1", NULL);
    unsetenv("IMSUPER_AUGMENT");
    unsetenv("IMSUPER_AUG_ROTATE_LIMIT");
    assert_true(conf.aug_rotate_limit == 20 && conf.aug_shift_limit == 0.1 && conf.aug_affine_p == 0.5);
}

static void yaml_takes_dotted_flat_and_nested_names(void **state)
{
    static const char *const forms[] = {
        "augment: classic\naug: {rotate-limit: 15, dropout-fill: random}\n",
        "augment: classic\naug:\n  rotate_limit: 15\n  dropout_fill: random\n",
        "augment: classic\naug.rotate-limit: 15\naug-dropout-fill: random\n",
        "augmentation:\n  augment: classic\n  aug:\n    rotate-limit: 15\n    dropout-fill: random\n",
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(forms); i++) {
        struct im_text text = {""};
        struct im_conf conf;

        im_conf_defaults(&conf);
        if (im_conf_parse_yaml(&conf, "f.yaml", forms[i], strlen(forms[i]), &text) < 0)
            fail_msg("%s", text.s);
        im_conf_apply_set(&conf);
        assert_true(conf.aug_rotate_limit == 15 && conf.aug_affine_p == 0.5);
        assert_string_equal(conf.aug_dropout_fill, "random");
    }
}

static void the_effective_file_of_a_set_gives_the_same_run(void **state)
{
    struct im_conf conf = load("--augment=classic", "--aug.rotate-limit=20", NULL), again;
    char *yaml = im_conf_dump_yaml(&conf, IM_FOR_START);
    struct im_text text = {""};

    (void)state;
    assert_non_null(yaml);
    im_conf_defaults(&again);
    if (im_conf_parse_yaml(&again, "config.yaml", yaml, strlen(yaml), &text) < 0)
        fail_msg("%s", text.s);
    im_conf_apply_set(&again);
    assert_int_equal(im_conf_check(&again, &text), 0);
    assert_true(again.aug_rotate_limit == 20 && again.aug_hue == 0 && again.aug_holes_max == 1 &&
                again.aug_dropout_p == 0.5);
    assert_non_null(strstr(yaml, "aug-affine-p: 0.5  # set"));
    free(yaml);
}

static void what_would_do_nothing_is_refused(void **state)
{
    (void)state;
    assert_refused("aug.rotate-limit", "15",
                   "aug.rotate-limit has no effect while aug.affine-p is 0: add --aug.affine-p P");
    assert_refused("aug.erase-fill", "random", "aug.erase-fill");
}

/* A set with one of its transforms off still has that one's numbers, also as the file of a run. */
static void a_transform_of_a_set_may_be_off(void **state)
{
    struct im_conf conf = load("--augment=classic", "--aug.dropout-p=0", NULL), again;
    char *yaml = im_conf_dump_yaml(&conf, IM_FOR_START);
    struct im_text text = {""};

    (void)state;
    assert_int_equal(im_conf_check(&conf, &text), 0);
    im_conf_defaults(&again);
    assert_int_equal(im_conf_parse_yaml(&again, "config.yaml", yaml, strlen(yaml), &text), 0);
    im_conf_apply_set(&again);
    assert_int_equal(im_conf_check(&again, &text), 0);
    again.aug_holes_max = 2;
    assert_int_equal(im_conf_check(&again, &text), -EINVAL);
    assert_begins(text.s, "aug.holes-max has no effect while aug.dropout-p is 0: add --aug.dropout-p P");
    free(yaml);
}

static void values_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    assert_refused("aug.magnitude", "31", "aug.magnitude");
    assert_refused("aug.erase-ratio-min", "4", "aug.erase-ratio-min");
    assert_refused("aug.fill", "random", "aug.fill");
    assert_refused("aug.dropout-fill", "1,2,300", "aug.dropout-fill");
}

static void holes_are_all_pixels_or_all_shares(void **state)
{
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    conf = load("--augment=classic", "--aug.hole-height-min=0.1", "--aug.hole-height-max=0.2", NULL);
    assert_true(conf.aug_hole_height_max == 0.2);
    conf.aug_hole_height_max = 8;
    assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
    assert_begins(text.s, "aug.hole-height-min 0.1 and aug.hole-height-max 8: ");
    conf.aug_hole_height_min = conf.aug_hole_height_max = 7.5;
    assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
    assert_begins(text.s, "aug.hole-height: ");
}

static void fills_are_colours_or_random(void **state)
{
    uint8_t colour[3] = {9, 9, 9};
    bool is_random;

    (void)state;
    assert_int_equal(im_conf_fill("1,20,255", colour, &is_random), 0);
    assert_true(!is_random && colour[0] == 1 && colour[1] == 20 && colour[2] == 255);
    assert_int_equal(im_conf_fill("random", colour, &is_random), 0);
    assert_true(is_random);
    assert_int_equal(im_conf_fill("random", colour, NULL), -EINVAL);
    assert_int_equal(im_conf_fill("1,2", colour, &is_random), -EINVAL);
    assert_int_equal(im_conf_fill("1,2,3,", colour, &is_random), -EINVAL);
    assert_int_equal(im_conf_fill("1,2,-3", colour, &is_random), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(light_is_the_default_and_changes_nothing),
        cmocka_unit_test(none_is_the_centre_crop_without_a_flip),
        cmocka_unit_test(classic_turns_its_transforms_on),
        cmocka_unit_test(each_learned_set_names_its_policy),
        cmocka_unit_test(a_flag_beats_the_set_wherever_it_stands),
        cmocka_unit_test(the_environment_beats_the_set),
        cmocka_unit_test(yaml_takes_dotted_flat_and_nested_names),
        cmocka_unit_test(the_effective_file_of_a_set_gives_the_same_run),
        cmocka_unit_test(what_would_do_nothing_is_refused),
        cmocka_unit_test(a_transform_of_a_set_may_be_off),
        cmocka_unit_test(values_that_contradict_each_other_are_refused),
        cmocka_unit_test(holes_are_all_pixels_or_all_shares),
        cmocka_unit_test(fills_are_colours_or_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
