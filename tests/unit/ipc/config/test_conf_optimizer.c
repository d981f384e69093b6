/* The keys of the optimiser, the loss and resuming: what is refused, and --resume with and without a file. */
#include <errno.h>
#include <math.h>

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
        const char *flags[10];
        const char *sentence;
    } cases[] = {
        {{"--opt", "adamw"}, "opt adamw"},
        {{"--opt", "lamb"}, "opt lamb"},
        {{"--opt", "adamw", "--lr", "0.001", "--momentum", "0.8"}, "momentum"},
        {{"--opt", "adamw", "--lr", "0.001", "--nesterov"}, "nesterov"},
        {{"--beta2", "0.9"}, "beta2"},
        {{"--opt", "lars", "--beta1", "0.9"}, "beta1"},
        {{"--lars-trust", "0.01"}, "lars-trust"},
        {{"--mixup", "0.2", "--batch-size", "1"}, "batch-size:"},
        {{"--cutmix", "1", "--resize-schedule", "1-30:64x2,31-:224x1"}, "resize-schedule:"},
        {{"--cutmix", "1", "--batch-size", "1", "--resize-schedule", "1-30:64x2,31-:224"},
         "resize-schedule:"},
        {{"--mixup", "1", "--cutmix", "1", "--mix-switch-p", "1"}, "mix-switch-p"},
        {{"--lr", "0"}, "lr"},
        {{"--mix-p", "0.5"}, "mix-p"},
        {{"--mixup", "0.2", "--mix-switch-p", "0.5"}, "mix-switch-p"},
        {{"--ema-warmup", "tf"}, "ema-warmup"},
        {{"--opt", "muon"}, "opt muon needs lr"},
        {{"--muon-rest", "sgd"}, "muon-rest"},
        {{"--opt", "muon", "--lr", "0.02", "--momentum", "0.8"}, "momentum"},
        {{"--opt", "muon", "--lr", "0.02", "--muon-rest", "sgd", "--beta1", "0.8"}, "beta1"},
        {{"--opt", "muon", "--lr", "0.02", "--no-nesterov"}, "opt muon always has Nesterov"},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_text text = {""};
        struct im_conf conf;

        assert_int_equal(check(cases[i].flags, &conf, &text), -EINVAL);
        assert_begins(text.s, cases[i].sentence);
    }
}

static void sizes_that_the_network_cannot_take_are_refused(void **state)
{
    static const struct {
        const char *flags[8];
        const char *sentence;
    } cases[] = {
        {{"--image-size", "16"}, "image-size:"},
        {{"--image-size", "31", "--model", "resnetv2_18"}, "image-size:"},
        {{"--image-size", "8", "--model", "resnet20", "--stem", "imagenet"}, "image-size:"},
        {{"--eval-image-size", "31", "--image-size", "64"}, "eval-image-size:"},
        {{"--resize-schedule", "1-89:64,90:31"}, "resize-schedule: \"90:31\":"},
        {{"--resize-schedule", "1-90:16..64"}, "resize-schedule: \"1-90:16..64\":"},
        {{"--batch-size", "1", "--image-size", "32"}, "batch-size:"},
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
        assert_begins(text.s, cases[i].sentence);
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
        {{"--warmup-factor", "0.1"}, "warmup-factor"},
        {{"--schedule-restarts"}, "schedule-restarts"},
        {{"--schedule-restarts", "--schedule", "step"}, "schedule-restarts"},
        {{"--bce-threshold", "0.2"}, "bce-threshold"},
        {{"--gamma", "0.5"}, "gamma"},
        {{"--schedule", "step", "--step-epochs", "30", "--epochs", "30"}, "step-epochs"},
        {{"--schedule", "multistep", "--milestones", "30,60", "--epochs", "30"}, "milestones"},
        {{"--schedule", "onecycle", "--momentum", "0.9"}, "momentum"},
        {{"--schedule", "onecycle", "--no-cycle-momentum", "--max-momentum", "0.9"}, "max-momentum"},
        {{"--mixup", "0.2", "--mix-p", "0"}, "mix-p"},
        {{"--init-skip-head"}, "init-skip-head"},
        {{"--init-from", "x", "--zero-init-residual"}, "zero-init-residual"},
        {{"--on-bad-sample", "stop", "--bad-sample-limit", "3"}, "bad-sample-limit"},
        {{"--train-crop", "center", "--rrc-scale-min", "0.3"}, "rrc-scale-min"},
        {{"--aug-magnitude", "5"}, "aug-magnitude"},
        {{"--muon-fixed-norm"}, "muon-fixed-norm"},
        {{"--model", "airbench94", "--blurpool", "zhang"}, "blurpool belongs to residual networks"},
        {{"--model", "airbench94", "--stem", "imagenet"}, "stem imagenet belongs to residual networks"},
        {{"--model", "airbench94", "--drop-path-rate", "0.1"}, "drop-path-rate belongs to"},
        {{"--model", "airbench94", "--image-size", "24"},
         "image-size: 24 pixels are fewer than the stride of"},
        {{"--aug-jitter-p", "0.5"}, "aug-jitter-p"},
    };
    static const char shorter[] = "schedule: step\nstep-epochs: 30\nepochs: 1\n";
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        assert_int_equal(check(cases[i].flags, &conf, &text), -EINVAL);
        assert_begins(text.s, cases[i].sentence);
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
        {"--opt", "muon", "--lr", "0.02", "--muon-momentum", "0.9", "--beta1", "0.8"},
        {"--opt", "muon", "--lr", "0.02", "--muon-fixed-norm", "--norm-lr-scale", "64"},
        {"--opt", "muon", "--lr", "0.02", "--nesterov", "--muon-rest", "sgd", "--momentum", "0.8"},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_text text = {""};
        struct im_conf conf;

        if (check(cases[i], &conf, &text) < 0)
            fail_msg("%s", text.s);
    }
}

static void the_rest_of_muon_has_its_own_rate(void **state)
{
    static const char *const cases[][8] = {{"--opt", "muon", "--lr", "0.02"},
                                           {"--opt", "muon", "--lr", "0.02", "--muon-rest", "sgd"},
                                           {"--opt", "muon", "--lr", "0.02", "--muon-rest-lr", "0.04"},
                                           {"--opt", "adamw", "--lr", "0.02"}};
    static const double rates[] = {0.05, 5, 2, 1};
    static const enum im_optimizer opts[] = {IM_OPTIMIZER_ADAMW, IM_OPTIMIZER_SGD, IM_OPTIMIZER_ADAMW,
                                             IM_OPTIMIZER_ADAMW};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_text text = {""};
        struct im_conf conf;

        assert_int_equal(check(cases[i], &conf, &text), 0);
        assert_int_equal(im_conf_rest_opt(&conf), opts[i]);
        assert_true(fabs(im_conf_rest_rate(&conf) - rates[i]) < 1e-12);
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

/* "--resume=$FILE" of a variable that is not set must not begin another run. */
static void resume_with_an_empty_value_is_refused(void **state)
{
    char *cases[][5] = {{(char[]){"x"}, (char[]){"--resume="}},
                        {(char[]){"x"}, (char[]){"--resume"}, (char[]){""}},
                        {(char[]){"x"}, (char[]){"--resume"}, (char[]){""}, (char[]){"--plain"}}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_text text = {""};
        struct im_conf conf;

        im_conf_defaults(&conf);
        assert_int_equal(im_conf_parse_args(&conf, IM_FOR_START, (int)i + 2, cases[i], &text), -EINVAL);
        assert_non_null(strstr(text.s, "--resume: the value is empty"));
    }
}

/* "--run-name $NAME" and its like: another run than was meant, in silence. Blanks come from a \\ at the end of a line. */
static void texts_that_are_empty_or_blank_are_refused(void **state)
{
    static const char *const names[] = {"--run-name",   "--workspace",  "--data-dir",       "--labels",
                                        "--val-labels", "--init-from",  "--resume",         "--recipe",
                                        "--config",     "--time-limit", "--gpus",           "--train-crop",
                                        "--mean",       "--milestones", "--resize-schedule"};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(names); i++) {
        char program[] = "x", name[32], empty[] = "", blank[] = "  ";
        char *with_empty[] = {program, name, empty, NULL}, *with_blank[] = {program, name, blank, NULL};
        struct im_text text = {""};
        struct im_conf conf;

        snprintf(name, sizeof name, "%s", names[i]);
        im_conf_defaults(&conf);
        assert_int_equal(im_conf_parse_args(&conf, IM_FOR_START, 3, with_empty, &text), -EINVAL);
        assert_non_null(strstr(text.s, ": the value is empty (a variable that is not set?)"));
        assert_int_equal(im_conf_parse_args(&conf, IM_FOR_START, 3, with_blank, &text), -EINVAL);
        assert_non_null(strstr(text.s, ": the value consists of blanks"));
    }
}

static void names_of_runs_are_names_of_folders(void **state)
{
    static const char *const bad[] = {"a/b", ".",      "..",   ".a",       "-a",  " a",
                                      "a ",  "latest", "a\nb", "\033[31m", "\xff"};
    char longest[301];

    (void)state;
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    for (size_t i = 0; i <= IM_COUNT(bad); i++) {
        char program[] = "x", flag[] = "--run-name", name[sizeof longest];
        char *argv[] = {program, flag, name, NULL};
        struct im_text text = {""};
        struct im_conf conf;

        snprintf(name, sizeof name, "%s", i < IM_COUNT(bad) ? bad[i] : longest);
        im_conf_defaults(&conf);
        assert_true(im_conf_parse_args(&conf, IM_FOR_START, 3, argv, &text) < 0 ||
                    im_conf_check(&conf, &text) < 0);
        assert_non_null(strstr(text.s, "run-name: "));
    }
}

/* The words that are shown when a command line is taken; empty: none. */
static const char *warning_of(int argc, char **argv, struct im_text *warning)
{
    struct im_text text = {""};
    struct im_conf conf;

    warning->s[0] = 0;
    if (im_conf_load(&conf, IM_FOR_START, argc, argv, warning, &text) < 0)
        fail_msg("%s", text.s);
    return warning->s;
}

static void a_flag_given_twice_with_different_values_is_said(void **state)
{
    char x[] = "x", lr[] = "--lr", one[] = "0.1", two[] = "0.2", other[] = "--learning-rate=0.2",
         same[] = "1e-1", max[] = "--max-lr", ema[] = "--sync-bn", no_ema[] = "--no-sync-bn";
    char *twice[] = {x, lr, one, lr, two, NULL}, *alias[] = {x, lr, one, other, NULL},
         *equal[] = {x, lr, one, lr, same, NULL}, *once[] = {x, lr, one, NULL},
         *both[] = {x, lr, one, max, two, NULL}, *yes_no[] = {x, ema, no_ema, NULL};
    struct im_text w;

    (void)state;
    assert_string_equal(warning_of(5, twice, &w), "--lr given twice: 0.1, then 0.2; the last is used");
    assert_string_equal(warning_of(4, alias, &w),
                        "--lr and --learning-rate set the same option: 0.1, then 0.2; the last is used");
    assert_string_equal(warning_of(5, equal, &w), "");
    assert_string_equal(warning_of(3, once, &w), "");
    assert_null(strstr(warning_of(5, both, &w), "the last is used")); /* it says that --lr was ignored */
    assert_string_equal(warning_of(3, yes_no, &w),
                        "--sync-bn and --no-sync-bn set the same option: true, then false; the last is used");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recipe_that_cannot_be_is_refused),
        cmocka_unit_test(sizes_that_the_network_cannot_take_are_refused),
        cmocka_unit_test(a_flag_that_does_nothing_is_refused),
        cmocka_unit_test(a_recipe_that_can_be_is_taken),
        cmocka_unit_test(the_rest_of_muon_has_its_own_rate),
        cmocka_unit_test(resume_stands_with_and_without_a_file),
        cmocka_unit_test(resume_with_an_empty_value_is_refused),
        cmocka_unit_test(texts_that_are_empty_or_blank_are_refused),
        cmocka_unit_test(names_of_runs_are_names_of_folders),
        cmocka_unit_test(a_flag_given_twice_with_different_values_is_said),
    };

    return cmocka_run_group_tests_name("conf_recipe", tests, NULL, NULL);
}
