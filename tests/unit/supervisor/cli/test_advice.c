/* What a start says of options that are allowed and rarely meant. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/child.h"
#include "supervisor/cli/advice.h"
#include "tests/unit/ipc/base/unit.h"

static const uint64_t samples[IM_SPLITS] = {1000, 100};

static struct im_conf with_ema(double decay, int64_t epochs)
{
    struct im_conf conf;

    im_conf_defaults(&conf);
    conf.ema = decay;
    conf.epochs = epochs;
    conf.batch_size = 64;
    conf.drop_last = false;
    return conf;
}

static uint64_t updates_of(const struct im_conf *conf)
{
    struct im_text text = {""};
    struct im_plan plan;
    uint64_t updates;

    if (im_plan_from_conf(conf, samples, &plan, &text) < 0)
        fail_msg("%s", text.s);
    updates = sv_advice_updates(conf, &plan);
    im_plan_fini(&plan);
    return updates;
}

static void updates_are_counted(void **state)
{
    struct im_conf conf = with_ema(0, 10);

    (void)state;
    assert_int_equal(updates_of(&conf), 160);
    conf.accumulate = 3;
    conf.drop_last = true; /* 15 batches of 64 are 5 updates */
    assert_int_equal(updates_of(&conf), 50);
}

/* The rule of trainer/optim/schedule.c, before any process is started. */
static int check_onecycle(double pct, int64_t epochs, double warmup)
{
    struct im_conf conf = with_ema(0, epochs);
    struct im_text text = {""};
    struct im_plan plan;
    int err;

    conf.schedule = IM_SCHEDULE_ONECYCLE;
    conf.pct_start = pct;
    conf.warmup_epochs = warmup;
    assert_int_equal(im_plan_from_conf(&conf, samples, &plan, &text), 0);
    err = sv_advice_onecycle(&conf, &plan, &text);
    im_plan_fini(&plan);
    if (err < 0)
        assert_non_null(strstr(text.s, "is less than two steps of rise; raise --pct-start or --epochs"));
    return err;
}

static void a_rise_of_less_than_two_steps_is_refused(void **state)
{
    (void)state;
    assert_int_equal(check_onecycle(0.1, 10, 0), 0);         /* 160 steps */
    assert_int_equal(check_onecycle(0.006, 10, 0), -EINVAL); /* 0.96 of a step */
    assert_int_equal(check_onecycle(0.007, 10, 0), 0);
    assert_int_equal(check_onecycle(0.007, 10, 2), -EINVAL); /* 128 steps */
    assert_int_equal(check_onecycle(0.01, 10, 2.5), 0);      /* 120 steps */
}

static void averages_that_forget_nothing_are_warned_of(void **state)
{
    struct im_conf conf = with_ema(0.9999, 10);
    struct im_text text = {""};

    (void)state;
    assert_true(sv_advice_ema(&conf, updates_of(&conf), &text));
    assert_non_null(
        strstr(text.s, "after 160 updates, the averages still hold 98 % of the weights they began with"));
    assert_non_null(strstr(text.s, "--ema-warmup tf"));
    assert_non_null(strstr(text.s, "a decay below 0.971")); /* 0.01 ^ (1/160) = 0.97163 */
    assert_true(sv_advice_ema(&conf, 46000, &text));        /* 1.005 % */
    assert_false(sv_advice_ema(&conf, 46100, &text));       /* 0.995 % */
    conf.ema = 0.971;
    assert_false(sv_advice_ema(&conf, 160, &text));
}

static void others_are_not(void **state)
{
    struct im_conf conf = with_ema(0.9999, 10);
    struct im_text text = {""};

    (void)state;
    conf.ema_warmup = IM_EMA_WARMUP_TF;
    assert_false(sv_advice_ema(&conf, 160, &text));
    conf.ema_warmup = IM_EMA_WARMUP_TIMM;
    assert_false(sv_advice_ema(&conf, 160, &text));
    conf = with_ema(0, 10);
    assert_false(sv_advice_ema(&conf, 160, &text));
    assert_string_equal(text.s, "");
}

static bool asks(bool (*advice)(const struct im_conf *, const struct im_plan *, uint64_t, struct im_text *),
                 const struct im_conf *conf, struct im_text *ret)
{
    struct im_plan plan;
    bool says;

    ret->s[0] = 0;
    if (im_plan_from_conf(conf, samples, &plan, ret) < 0)
        fail_msg("%s", ret->s);
    says = advice(conf, &plan, samples[IM_TRAIN], ret);
    im_plan_fini(&plan);
    return says;
}

static void images_that_fill_no_batch_are_told(void **state)
{
    struct im_conf conf = with_ema(0, 10);
    struct im_text text;

    (void)state;
    conf.drop_last = true;
    assert_true(asks(sv_advice_left_out, &conf, &text)); /* 15 batches of 64, and 40 more */
    assert_string_equal(text.s,
                        "40 of 1,000 training images are left out of each epoch, others in each: they do not "
                        "fill a step of 64 (--no-drop-last trains on them)");
    conf.sampler = IM_SAMPLER_BALANCED; /* most images of a large class are not drawn at all */
    assert_true(asks(sv_advice_left_out, &conf, &text));
    assert_non_null(strstr(text.s, "40 of 1,000 draws (--sampler balanced) are left out"));
    conf.sampler = IM_SAMPLER_SHUFFLE;
    assert_false(asks(sv_advice_single, &conf, &text));
    conf.ranks = 3; /* 5 steps of 192 */
    assert_true(asks(sv_advice_left_out, &conf, &text));
    assert_non_null(strstr(text.s, "40 of 1,000"));
    conf.drop_last = false;
    assert_false(asks(sv_advice_left_out, &conf, &text));
    assert_false(asks(sv_advice_single, &conf, &text)); /* at least 13 for each trainer */
    conf.ranks = 1;
    conf.batch_size = 50;
    assert_false(asks(sv_advice_single, &conf, &text));
    conf.batch_size = 27; /* 37 batches and one image */
    assert_true(asks(sv_advice_single, &conf, &text));
    assert_non_null(strstr(text.s, "in the last step of epoch 1 a trainer has a batch of one image"));
    conf.drop_last = true;
    assert_true(asks(sv_advice_left_out, &conf, &text));
    assert_non_null(strstr(text.s, "1 of 1,000 training images is left out"));
    conf.batch_size = 100;
    assert_false(asks(sv_advice_left_out, &conf, &text));
}

static void fine_tuning_of_few_updates_is_told(void **state)
{
    struct im_conf conf = with_ema(0, 2);
    struct im_text text = {""};

    (void)state;
    assert_false(sv_advice_few_updates(&conf, 32, &text));
    assert_int_equal(im_conf_set(&conf, "finetune", "true", &text), 0);
    assert_true(sv_advice_few_updates(&conf, 32, &text));
    assert_non_null(strstr(text.s, "updates the weights 32 times"));
    assert_non_null(strstr(text.s, "--epochs 19 makes it 300"));
    assert_false(sv_advice_few_updates(&conf, 300, &text));
    assert_false(sv_advice_few_updates(&conf, 0, &text));
}

/* What nobody said is compared with what the weights say; what somebody said is meant. */
static void images_unlike_those_of_the_weights_are_told(void **state)
{
    struct im_json *metadata = im_json_object();
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    im_conf_defaults(&conf);
    snprintf(conf.init_from, sizeof conf.init_from, "w.safetensors");
    assert_false(sv_advice_weights(&conf, NULL, &text));
    assert_int_equal(im_json_set_str(metadata, "eval-image-size", "32"), 0);
    assert_int_equal(im_json_set_str(metadata, "eval-resize", "36"), 0);
    assert_int_equal(im_json_set_str(metadata, "mean", conf.mean), 0);
    assert_int_equal(im_json_set_str(metadata, "std", "0.25,0.25,0.25"), 0);
    assert_true(sv_advice_weights(&conf, metadata, &text));
    assert_non_null(strstr(text.s, "give --image-size 32 --eval-resize 36 --std 0.25,0.25,0.25, or"));
    assert_int_equal(im_conf_set(&conf, "image-size", "32", &text), 0);
    assert_int_equal(im_conf_set(&conf, "eval-resize", "36", &text), 0);
    assert_int_equal(im_conf_set(&conf, "std", "0.25,0.25,0.25", &text), 0);
    assert_false(sv_advice_weights(&conf, metadata, &text));
    im_json_free(&metadata);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates_are_counted),
        cmocka_unit_test(a_rise_of_less_than_two_steps_is_refused),
        cmocka_unit_test(averages_that_forget_nothing_are_warned_of),
        cmocka_unit_test(images_that_fill_no_batch_are_told),
        cmocka_unit_test(others_are_not),
        cmocka_unit_test(fine_tuning_of_few_updates_is_told),
        cmocka_unit_test(images_unlike_those_of_the_weights_are_told),
    };

    return cmocka_run_group_tests_name("advice", tests, NULL, NULL);
}
