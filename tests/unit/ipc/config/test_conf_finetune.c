/* What of a network is trained, by epoch, and the flags of fine-tuning. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/config/conf.h"
#include "tests/unit/ipc/base/unit.h"

enum { FLAGS_MAX = 12 };

/* im_conf_load() of these flags, then im_conf_check(). */
static int load(struct im_conf *conf, const char *const *flags, struct im_text *text)
{
    char *argv[FLAGS_MAX + 1] = {(char[]){"start"}};
    struct im_text warning;
    int argc = 1, n;

    while (argc <= FLAGS_MAX && flags[argc - 1]) {
        argv[argc] = (char *)(uintptr_t)flags[argc - 1];
        argc++;
    }
    *text = (struct im_text){""};
    n = im_conf_load(conf, IM_FOR_START, argc, argv, &warning, text);
    if (n >= 0)
        assert_int_equal(n, argc);
    return n < 0 ? n : im_conf_check(conf, text);
}

static void good(struct im_conf *conf, const char *const *flags)
{
    struct im_text text;

    if (load(conf, flags, &text) < 0)
        fail_msg("%s", text.s);
}

static void bad(const char *const *flags, const char *says)
{
    struct im_text text;
    struct im_conf conf;

    assert_int_equal(load(&conf, flags, &text), -EINVAL);
    if (!strstr(text.s, says))
        fail_msg("\"%s\" does not say \"%s\"", text.s, says);
}

#define FLAGS(...) ((const char *const[]){"--init-from", "w", __VA_ARGS__, NULL})

static void stages_have_names_and_numbers(void **state)
{
    static const struct {
        const char *model, *freeze;
        uint32_t stages;
    } rows[] = {
        {"resnet50", "", 0},
        {"resnet50", "stem", 1},
        {"resnet50", "1", 3},
        {"resnet50", "4", 31},
        {"resnet50", "backbone", 31},
        {"resnet50", "layer2", 4},
        {"resnet50", "stem,layer1,layer4", 19},
        {"resnetv2_50", "stem,stages.0,stages.3", 19},
        {"resnet20", "backbone", 15},
        {"resnet20", "layer3,stem", 9},
    };
    struct im_conf conf;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        if (*rows[i].freeze)
            good(&conf, FLAGS("--model", rows[i].model, "--freeze", rows[i].freeze));
        else
            good(&conf, FLAGS("--model", rows[i].model));
        assert_int_equal(im_conf_frozen_stages(&conf, 0), rows[i].stages);
        assert_int_equal(im_conf_frozen_stages(&conf, 89), rows[i].stages);
    }
    bad(FLAGS("--freeze", "layer5"), "names no part of resnet50");
    bad(FLAGS("--freeze", "layer0"), "stem, layer1 to layer4");
    bad(FLAGS("--freeze", "fc"), "all but the classifier");
    bad(FLAGS("--freeze", "stem,"), "names no part");
    bad(FLAGS("--freeze", ",stem"), "names no part");
    bad(FLAGS("--freeze", "5"), "a number up to 4");
    bad(FLAGS("--freeze", "0"), "names no part");
    bad(FLAGS("--freeze", "layer1x"), "names no part");
    bad(FLAGS("--model", "resnet20", "--freeze", "layer4"), "layer1 to layer3");
}

static void stages_are_trained_one_after_the_other(void **state)
{
    static const uint32_t one_by_one[] = {31, 31, 15, 7, 7, 3, 1, 0, 0}, two_steps[] = {31, 31, 15, 0},
                          named[] = {9, 1, 0};
    struct im_conf conf;

    (void)state;
    good(&conf, FLAGS("--freeze", "backbone", "--unfreeze-epochs", "2,3,5,6,7", "--epochs", "9"));
    for (uint32_t e = 0; e < 9; e++)
        assert_int_equal(im_conf_frozen_stages(&conf, e), one_by_one[e]);
    good(&conf, FLAGS("--freeze", "backbone", "--unfreeze-epochs", "2,3", "--epochs", "9"));
    for (uint32_t e = 0; e < 4; e++)
        assert_int_equal(im_conf_frozen_stages(&conf, e), two_steps[e]);
    good(&conf, FLAGS("--freeze", "stem,layer3", "--unfreeze-epochs", "1,2"));
    for (uint32_t e = 0; e < 3; e++)
        assert_int_equal(im_conf_frozen_stages(&conf, e), named[e]);
    bad(FLAGS("--unfreeze-epochs", "2"), "no effect without freeze");
    bad(FLAGS("--freeze", "stem", "--unfreeze-epochs", "2,3"), "2 epochs for the 1 stages");
    bad(FLAGS("--freeze", "stem", "--unfreeze-epochs", "0"), "ascending whole numbers");
    bad(FLAGS("--freeze", "stem", "--unfreeze-epochs", "90"), "ends before epoch 91");
}

static void random_weights_are_not_frozen(void **state)
{
    (void)state;
    bad((const char *const[]){"--freeze", "stem", NULL}, "freeze without init-from");
    bad((const char *const[]){"--freeze-bn", NULL}, "freeze-bn without init-from");
}

static void finetune_is_a_recipe_and_a_file(void **state)
{
    struct im_conf conf;

    (void)state;
    good(&conf, FLAGS("--finetune", "--lr", "0.5"));
    assert_true(im_conf_finetunes(&conf) && !im_conf_finetune_file(&conf));
    assert_string_equal(conf.recipe, "finetune");
    assert_int_equal(conf.origin[IM_KEY_epochs].source, IM_CONF_RECIPE);
    assert_true(conf.lr == 0.5);
    good(&conf, (const char *const[]){"--finetune", "w2", NULL});
    assert_string_equal(conf.init_from, "w2");
    assert_string_equal(conf.recipe, "finetune");
    good(&conf, FLAGS("--finetune", "--recipe", "resnet50-a3"));
    assert_string_equal(conf.recipe, "resnet50-a3");
    assert_int_equal(conf.opt, IM_OPTIMIZER_LAMB);
    assert_true(im_conf_finetunes(&conf));
    good(&conf, FLAGS("--epochs", "3"));
    assert_false(im_conf_finetunes(&conf));
    bad((const char *const[]){"--finetune", NULL}, "needs the weights to begin with");
    bad(FLAGS("--finetune", "w2"), "finetune names w2, init-from w");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_have_names_and_numbers),
        cmocka_unit_test(stages_are_trained_one_after_the_other),
        cmocka_unit_test(random_weights_are_not_frozen),
        cmocka_unit_test(finetune_is_a_recipe_and_a_file),
    };

    return cmocka_run_group_tests_name("conf_finetune", tests, NULL, NULL);
}
