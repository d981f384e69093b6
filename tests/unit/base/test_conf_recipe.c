/* The keys of the optimiser, the loss and resuming: what is refused, and --resume with and without a file. */
#include "ipc/base/conf.h"

#include "tests/unit/base/unit.h"

#include <errno.h>

/* Parses and checks; what im_conf_check() says. */
static int check(const char *const *flags, struct im_conf *conf, struct im_text *text)
{
    char *argv[12] = {(char[]){"x"}};
    int argc = 1;

    for (; flags[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)flags[argc - 1];
    im_conf_defaults(conf);
    assert_int_equal(im_conf_parse_args(conf, IM_FOR_START, argc, argv, text), argc);
    return im_conf_check(conf, text);
}

static void a_recipe_that_cannot_be_is_refused(void **state)
{
    static const struct {
        const char *flags[8];
        const char *sentence;
    } cases[] = {
        {{"--opt", "adamw"}, "opt adamw wants an lr of its own: 0.1 is SGD's (0.001 is usual)"},
        {{"--opt", "lamb"}, "opt lamb wants an lr of its own: 0.1 is SGD's (0.005 is usual)"},
        {{"--opt", "adamw", "--lr", "0.001", "--momentum", "0.8"},
         "momentum does nothing with opt adamw: it belongs to sgd"},
        {{"--opt", "adamw", "--lr", "0.001", "--nesterov"},
         "nesterov does nothing with opt adamw: it belongs to sgd"},
        {{"--beta2", "0.9"}, "beta2 does nothing with opt sgd: it belongs to adamw"},
        {{"--opt", "lars", "--beta1", "0.9"}, "beta1 does nothing with opt lars: it belongs to adamw"},
        {{"--lars-trust", "0.01"}, "lars-trust does nothing with opt sgd: it belongs to lars"},
        {{"--mixup", "0.2", "--batch-size", "1"},
         "mixup mixes each image with another of its batch; batch-size 1 has no other"},
        {{"--cutmix", "1", "--batch-size", "1"},
         "cutmix mixes each image with another of its batch; batch-size 1 has no other"},
        {{"--mix-p", "0.5"}, "mix-p does nothing without mixup or cutmix"},
        {{"--mixup", "0.2", "--mix-switch-p", "0.5"},
         "mix-switch-p does nothing unless mixup and cutmix are both on"},
        {{"--ema-warmup", "tf"}, "ema-warmup does nothing without ema"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct im_text text = {""};
        struct im_conf conf;

        assert_int_equal(check(cases[i].flags, &conf, &text), -EINVAL);
        assert_string_equal(text.s, cases[i].sentence);
    }
}

static void a_recipe_that_can_be_is_taken(void **state)
{
    static const char *const cases[][10] = {
        {"--opt", "adamw", "--lr", "0.001", "--beta1", "0.95", "--eps", "1e-6"},
        {"--opt", "lars", "--lr", "2", "--momentum", "0.8", "--nesterov", "--lars-trust", "0.01"},
        {"--mixup", "0.2", "--cutmix", "1", "--mix-switch-p", "0.3", "--batch-size", "3"},
        {"--ema", "0.999", "--ema-warmup", "timm", "--accumulate", "4", "--grad-clip", "1"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct im_text text = {""};
        struct im_conf conf;

        if (check(cases[i], &conf, &text) < 0)
            fail_msg("%s", text.s);
    }
}

static void resume_stands_with_and_without_a_file(void **state)
{
    static const struct {
        const char *flags[6], *value;
    } cases[] = {
        {{NULL}, ""},
        {{"--resume"}, "auto"},
        {{"--resume", "--epochs", "3"}, "auto"},
        {{"--epochs", "3", "--resume"}, "auto"},
        {{"--resume", "f.safetensors", "--epochs", "3"}, "f.safetensors"},
        {{"--resume=f.safetensors"}, "f.safetensors"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct im_text text = {""};
        struct im_conf conf;

        assert_int_equal(check(cases[i].flags, &conf, &text), 0);
        assert_string_equal(conf.resume, cases[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recipe_that_cannot_be_is_refused),
        cmocka_unit_test(a_recipe_that_can_be_is_taken),
        cmocka_unit_test(resume_stands_with_and_without_a_file),
    };

    return cmocka_run_group_tests_name("conf_recipe", tests, NULL, NULL);
}
