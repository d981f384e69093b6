/* The keys of the optimiser, the loss and resuming: what is refused, and --resume with and without a file. */
#include <errno.h>

#include "ipc/config/conf.h"
#include "tests/unit/ipc/base/unit.h"

/* Parses and checks; what im_conf_check() says, or im_conf_check_network(). */
static int check(const char *const *flags, struct im_conf *conf, struct im_text *text)
{
    char *argv[12] = {(char[]){"x"}};
    int argc = 1;

    for (; flags[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)flags[argc - 1];
    im_conf_defaults(conf);
    assert_int_equal(im_conf_parse_args(conf, IM_FOR_START, argc, argv, text), argc);
    return im_conf_check(conf, text) < 0 ? -EINVAL : im_conf_check_network(conf, text);
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
         "batch-size: mixup mixes each image with another of its batch; a batch of 1 has no other"},
        {{"--cutmix", "1", "--resize-schedule", "1-30:64x2,31-:224x1"},
         "resize-schedule: cutmix mixes each image with another of its batch; a batch of 1 has no other"},
        {{"--cutmix", "1", "--batch-size", "1", "--resize-schedule", "1-30:64x2,31-:224"},
         "resize-schedule: cutmix mixes each image with another of its batch; a batch of 1 has no other"},
        {{"--mixup", "1", "--cutmix", "1", "--mix-switch-p", "1"},
         "mix-switch-p 1 never takes mixup: leave that out instead"},
        {{"--lr", "0"}, "lr 0 changes no weight: it must be above 0"},
        {{"--mix-p", "0.5"}, "mix-p does nothing without mixup or cutmix"},
        {{"--mixup", "0.2", "--mix-switch-p", "0.5"},
         "mix-switch-p does nothing unless mixup and cutmix are both on"},
        {{"--ema-warmup", "tf"}, "ema-warmup does nothing without ema"},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_text text = {""};
        struct im_conf conf;

        assert_int_equal(check(cases[i].flags, &conf, &text), -EINVAL);
        assert_string_equal(text.s, cases[i].sentence);
    }
}

static void sizes_that_the_network_cannot_take_are_refused(void **state)
{
    static const struct {
        const char *flags[8];
        const char *sentence;
    } cases[] = {
        {{"--image-size", "16"},
         "image-size: 16 pixels are fewer than the stride of resnet50, 32: take 32 or more, or --stem small"},
        {{"--image-size", "31", "--model", "resnetv2_18"},
         "image-size: 31 pixels are fewer than the stride of resnetv2_18, 32: take 32 or more, or --stem "
         "small"},
        {{"--image-size", "8", "--model", "resnet20", "--stem", "imagenet"},
         "image-size: 8 pixels are fewer than the stride of resnet20, 16: take 16 or more, or --stem small"},
        {{"--eval-image-size", "31", "--image-size", "64"},
         "eval-image-size: 31 pixels are fewer than the stride of resnet50, 32: take 32 or more, or --stem "
         "small"},
        {{"--resize-schedule", "1-89:64,90:31"},
         "resize-schedule: \"90:31\": 31 pixels are fewer than the stride of resnet50, 32"},
        {{"--resize-schedule", "1-90:16..64"},
         "resize-schedule: \"1-90:16..64\": 16 pixels are fewer than the stride of resnet50, 32"},
        {{"--batch-size", "1", "--image-size", "32"},
         "batch-size: with 1 image of 32 pixels batch norm has one value a channel in the last layers of "
         "resnet50: take a batch of 2 or more, or larger images"},
    };
    static const char *const taken[][8] = {
        {"--image-size", "32"},
        {"--image-size", "8", "--stem", "small"},
        {"--image-size", "8", "--model", "resnet56"},
        {"--image-size", "16", "--model", "resnet20", "--stem", "imagenet"},
        {"--batch-size", "1", "--image-size", "33"},
        {"--batch-size", "1", "--image-size", "32", "--ranks", "2", "--sync-bn"},
        {"--batch-size", "3", "--image-size", "64", "--mixup", "0.2"},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_text text = {""};
        struct im_conf conf;

        assert_int_equal(check(cases[i].flags, &conf, &text), -EINVAL);
        assert_string_equal(text.s, cases[i].sentence);
    }
    for (size_t i = 0; i < IM_COUNT(taken); i++) {
        struct im_text text = {""};
        struct im_conf conf;

        if (check(taken[i], &conf, &text) < 0)
            fail_msg("%s", text.s);
    }
}

static void a_flag_that_does_nothing_is_refused(void **state)
{
    static const struct {
        const char *flags[8];
        const char *sentence;
    } cases[] = {
        {{"--warmup-factor", "0.1"}, "warmup-factor does nothing without warmup-epochs"},
        {{"--schedule-restarts"}, "schedule-restarts does nothing without resize-schedule"},
        {{"--schedule-restarts", "--schedule", "step"},
         "schedule-restarts does nothing but with schedule cosine, polynomial or onecycle"},
        {{"--bce-threshold", "0.2"}, "bce-threshold does nothing but with loss bce"},
        {{"--gamma", "0.5"}, "gamma does nothing but with schedule step, multistep or exponential"},
        {{"--schedule", "step", "--step-epochs", "30", "--epochs", "30"},
         "step-epochs does nothing in a run that ends before the first step: it wants fewer than epochs"},
        {{"--schedule", "multistep", "--milestones", "30,60", "--epochs", "30"},
         "milestones does nothing in a run that ends before the first milestone: it wants one below epochs"},
        {{"--schedule", "onecycle", "--momentum", "0.9"},
         "momentum does nothing with onecycle, which runs it between base-momentum and max-momentum: set "
         "those, or give --no-cycle-momentum"},
        {{"--schedule", "onecycle", "--no-cycle-momentum", "--max-momentum", "0.9"},
         "max-momentum does nothing without cycle-momentum"},
        {{"--mixup", "0.2", "--mix-p", "0"},
         "mix-p does nothing at 0, where no batch is mixed: leave mixup and cutmix out"},
        {{"--init-skip-head"}, "init-skip-head does nothing without init-from"},
        {{"--init-from", "x", "--zero-init-residual"},
         "zero-init-residual does nothing beside init-from, whose weights take the place of those it sets"},
        {{"--on-bad-sample", "stop", "--bad-sample-limit", "3"},
         "bad-sample-limit does nothing with on-bad-sample stop, which stops at the first one"},
        {{"--train-crop", "center", "--rrc-scale-min", "0.3"},
         "rrc-scale-min does nothing but with train-crop rrc"},
        {{"--aug-magnitude", "5"}, "aug-magnitude does nothing but with aug-policy randaugment"},
        {{"--aug-jitter-p", "0.5"},
         "aug-jitter-p does nothing without aug-brightness, aug-contrast, aug-saturation or aug-hue"},
    };
    static const char shorter[] = "schedule: step\nstep-epochs: 30\nepochs: 1\n";
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        assert_int_equal(check(cases[i].flags, &conf, &text), -EINVAL);
        assert_string_equal(text.s, cases[i].sentence);
    }
    /* In a file it may be left over: a recipe for 90 epochs serves a short run too. */
    im_conf_defaults(&conf);
    assert_int_equal(im_conf_parse_yaml(&conf, "f", shorter, strlen(shorter), &text), 0);
    assert_int_equal(im_conf_check(&conf, &text), 0);
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
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
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
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
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
        cmocka_unit_test(sizes_that_the_network_cannot_take_are_refused),
        cmocka_unit_test(a_flag_that_does_nothing_is_refused),
        cmocka_unit_test(a_recipe_that_can_be_is_taken),
        cmocka_unit_test(resume_stands_with_and_without_a_file),
    };

    return cmocka_run_group_tests_name("conf_recipe", tests, NULL, NULL);
}
