/* What --multi-label chooses, and what it cannot be combined with. */
#include <errno.h>

#include "ipc/config/conf.h"
#include "tests/unit/ipc/base/unit.h"

static int load(char *flag, char *value, struct im_conf *conf, struct im_text *text)
{
    char x[] = "x", several[] = "--multi-label";
    char *argv[] = {x, several, flag, value, NULL};
    int argc = 2 + (flag != NULL) + (value != NULL);
    int n = im_conf_load(conf, IM_FOR_START, argc, argv, NULL, text);

    return n < 0 ? n : im_conf_check(conf, text);
}

static void the_loss_is_binary(void **state)
{
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    assert_int_equal(load(NULL, NULL, &conf, &text), 0);
    assert_true(conf.multi_label && conf.loss == IM_CONF_LOSS_BCE);
    assert_int_equal(load((char[]){"--class-weights"}, (char[]){"balanced"}, &conf, &text), 0);
    assert_int_equal(load((char[]){"--bce-threshold"}, (char[]){"0.2"}, &conf, &text), 0);
    assert_int_equal(load((char[]){"--recipe"}, (char[]){"resnet50-onecycle-120"}, &conf, &text), 0);
    assert_true(conf.label_smoothing == 0); /* which is the recipe's, not the user's */
    assert_int_equal(load((char[]){"--mixup"}, (char[]){"0.2"}, &conf, &text), 0);
}

static void what_means_one_label_is_refused(void **state)
{
    static const char *const cases[][3] = {
        {"--loss", "ce", "multi-label asks one question for each class"},
        {"--label-smoothing", "0.1", "label-smoothing spreads the one label"},
        {"--sampler", "balanced", "sampler balanced draws as many images of each class"},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        char flag[32], value[32];
        struct im_text text = {""};
        struct im_conf conf;

        snprintf(flag, sizeof flag, "%s", cases[i][0]);
        snprintf(value, sizeof value, "%s", cases[i][1]);
        assert_int_equal(load(flag, value, &conf, &text), -EINVAL);
        assert_begins(text.s, cases[i][2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loss_is_binary),
        cmocka_unit_test(what_means_one_label_is_refused),
    };

    return cmocka_run_group_tests_name("conf_multi_label", tests, NULL, NULL);
}
