/* Command lines of other trainers. */
#include <errno.h>

#include "ipc/config/conf.h"
#include "tests/unit/ipc/base/unit.h"

/* Flags of other trainers' programs: what they choose, what is ignored and said. */
static struct im_conf load_flags(int argc, char **argv, struct im_text *notes)
{
    struct im_text text = {""};
    struct im_conf conf;

    if (im_conf_load(&conf, IM_FOR_START, argc, argv, notes, &text) != argc)
        fail_msg("%s", text.s);
    return conf;
}
#define LOAD(notes, ...)                                                                                     \
    load_flags((int)IM_COUNT(((char *[]){(char[]){"x"}, __VA_ARGS__})),                                      \
               (char *[]){(char[]){"x"}, __VA_ARGS__, NULL}, notes)

static void flags_of_other_programs_are_taken(void **state)
{
    struct im_text notes;
    struct im_conf conf = LOAD(&notes, "--ddp", "--world-size", "4", "--master-port", "1", "--lr", "3");

    (void)state;
    assert_true(conf.ranks == 4 && conf.lr == 3 && conf.schedule == IM_SCHEDULE_COSINE);
    assert_string_equal(
        notes.s,
        "--ddp was ignored: --gpus or --ranks sets the number of trainers; --master-port was ignored: "
        "trainers find each other through the supervisor and need no port");
    conf = LOAD(&notes, "--max-lr", "0.4", "--lr", "0.1", " ", "--accum-steps", "2");
    assert_true(conf.lr == 0.4 && conf.schedule == IM_SCHEDULE_ONECYCLE && conf.accumulate == 2);
    assert_string_equal(notes.s,
                        "an argument of blanks was ignored; --max-lr chooses --schedule onecycle; --lr was "
                        "ignored beside --max-lr: onecycle begins at --max-lr / --div-factor");
    conf = LOAD(&notes, "--max-lr=0.4", "--schedule", "step");
    assert_true(conf.lr == 0.4 && conf.schedule == IM_SCHEDULE_STEP && !notes.s[0]);
    conf = LOAD(&notes, "--anneal_strategy", "linear");
    assert_true(conf.schedule == IM_SCHEDULE_ONECYCLE && conf.anneal == IM_ANNEAL_LINEAR);
    conf = LOAD(&notes, "--lr-step-size", "10", "--lr-gamma", "0.2");
    assert_true(conf.schedule == IM_SCHEDULE_STEP && conf.step_epochs == 10 && conf.gamma == 0.2);
    assert_string_equal(notes.s, "--step-epochs chooses --schedule step");
    conf = LOAD(&notes, "--milestones", "3,5");
    assert_true(conf.schedule == IM_SCHEDULE_MULTISTEP);
    conf = LOAD(&notes, "--lr-scheduler", "CosineAnnealingLR", "--checkpoint-hist", "2");
    assert_true(conf.schedule == IM_SCHEDULE_COSINE && conf.checkpoint_keep == 2 && !notes.s[0]);
    conf = LOAD(&notes, "--mixup", "0.2", "--cutmix", "1", "--no-mixup", "--use-blurpool", "--no-blurpool");
    assert_true(conf.mixup == 0 && conf.cutmix == 0 && conf.blurpool == IM_CONF_BLURPOOL_NONE);
    assert_string_equal(notes.s,
                        "--mixup and --no-mixup set the same option: 0.2, then 0; the last is used; "
                        "--use-blurpool and --no-blurpool set the same option: zhang, then none; the last "
                        "is used");
    im_conf_defaults(&conf);
    assert_int_equal(
        im_conf_parse_args(&conf, IM_FOR_START, 2, (char *[]){(char[]){"x"}, (char[]){" \t"}, NULL}, &notes),
        -EINVAL);
    assert_begins(notes.s,
                  "the last argument is a blank: a blank behind a \\ at the end of a line ends the command");
}

/* Ultralytics, and values as Python's classes are called. */
static void names_of_ultralytics_are_taken(void **state)
{
    struct im_text notes;
    struct im_conf conf = LOAD(&notes, "--imgsz", "64", "--batch=8", "--lr0", "0.01", "--patience", "5",
                               "--cos-lr", "--optimizer", "AdamW", "--model", "ResNet50");

    (void)state;
    assert_true(conf.image_size == 64 && conf.batch_size == 8 && conf.lr == 0.01 && conf.early_stop == 5 &&
                conf.schedule == IM_SCHEDULE_COSINE && conf.opt == IM_OPTIMIZER_ADAMW &&
                conf.model == IM_MODEL_RESNET50 && !notes.s[0]);
}

/* PyTorch Lightning, accelerate, timm, torchvision, and scripts for torchrun. */
static void mixed_precision_has_many_names(void **state)
{
    static const struct {
        const char *flag, *value;
        enum im_conf_amp amp;
    } cases[] = {
        {"--amp", NULL, IM_AMP_AUTO},
        {"--use-amp", NULL, IM_AMP_AUTO},
        {"--use_amp", NULL, IM_AMP_AUTO},
        {"--no-amp", NULL, IM_AMP_NONE},
        {"--fp16", NULL, IM_AMP_FP16},
        {"--bf16", NULL, IM_AMP_BF16},
        {"--precision", "16-mixed", IM_AMP_FP16},
        {"--precision", "bf16-mixed", IM_AMP_BF16},
        {"--precision", "32", IM_AMP_NONE},
        {"--mixed_precision", "no", IM_AMP_NONE},
        {"--mixed_precision", "bf16", IM_AMP_BF16},
        {"--amp-dtype", "float16", IM_AMP_FP16},
        {"--amp", "true", IM_AMP_AUTO},
        {"--amp", "True", IM_AMP_AUTO},
        {"--amp", "False", IM_AMP_NONE},
        {"--precision", "BF16-mixed", IM_AMP_BF16},
        {"--amp", "BF16", IM_AMP_BF16},
        {"--native-amp", NULL, IM_AMP_AUTO},
        {"--apex-amp", NULL, IM_AMP_AUTO},
        {"--half", NULL, IM_AMP_FP16},
        {"--amp", "false", IM_AMP_NONE},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        char flag[32], value[32], x[] = "x", epochs[] = "-b", count[] = "3";
        char *with[] = {x, flag, value, epochs, count, NULL}, *bare[] = {x, flag, epochs, count, NULL};
        struct im_text notes;
        struct im_conf conf;

        snprintf(flag, sizeof flag, "%s", cases[i].flag);
        snprintf(value, sizeof value, "%s", cases[i].value ? cases[i].value : "");
        conf = load_flags(cases[i].value ? 5 : 4, cases[i].value ? with : bare, &notes);
        if ((enum im_conf_amp)conf.amp != cases[i].amp || conf.batch_size != 3)
            fail_msg("%s %s gives %d", flag, value, (int)conf.amp);
    }
}

/* In a file, which nobody pastes, they are wrong. */
static void they_are_no_keys_of_a_file(void **state)
{
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(im_conf_parse_yaml(&conf, "c.yaml", "ddp: true\n", 10, &text), -EINVAL);
    assert_string_equal(text.s,
                        "c.yaml:1: ddp: nothing is needed: --gpus or --ranks sets the number of trainers");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_of_other_programs_are_taken),
        cmocka_unit_test(names_of_ultralytics_are_taken),
        cmocka_unit_test(mixed_precision_has_many_names),
        cmocka_unit_test(they_are_no_keys_of_a_file),
    };

    return cmocka_run_group_tests_name("conf_foreign", tests, NULL, NULL);
}
