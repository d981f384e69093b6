/* A run that goes on with other options: no difference is silent, under whichever name the option was given. */
#include <errno.h>

#include "supervisor/cli/continue.h"
#include "tests/unit/ipc/base/unit.h"

/* Where the run lies, how it talks, and what a step's shape says in a line of its own (sv_continue_shape()). */
static bool may_be_silent(enum im_conf_key_id key)
{
    static const enum im_conf_key_id keys[] = {
        IM_KEY_resume,     IM_KEY_rebuild_index, IM_KEY_config,  IM_KEY_recipe,
        IM_KEY_workspace,  IM_KEY_run_name,      IM_KEY_color,   IM_KEY_plain,
        IM_KEY_quiet,      IM_KEY_log_level,     IM_KEY_ranks,   IM_KEY_gpus,
        IM_KEY_batch_size, IM_KEY_accumulate,    IM_KEY_dry_run, IM_KEY_json,
    };

    for (size_t i = 0; i < IM_COUNT(keys); i++)
        if (keys[i] == key)
            return true;
    return false;
}

/* A configuration of defaults, as a file has it. */
static struct im_conf written_default(void)
{
    struct im_text text = {""};
    struct im_conf conf, read;
    char *yaml;

    im_conf_defaults(&conf);
    yaml = im_conf_dump_yaml(&conf, IM_FOR_START);
    assert_non_null(yaml);
    im_conf_defaults(&read);
    if (im_conf_parse_yaml(&read, "config.yaml", yaml, strlen(yaml), &text) < 0)
        fail_msg("%s", text.s);
    free(yaml);
    return read;
}

/* Another value of any kind of option. False: none was found. */
static bool set_another(struct im_conf *conf, const char *name, enum im_conf_key_id key)
{
    static const char *const values[] = {
        "true",    "false",    "3",     "37",        "0.37",     "1.5",     "4096",     "1048576",
        "none",    "linear",   "step",  "ref",       "single",   "pread",   "small",    "conv",
        "zhang",   "bf16",     "adamw", "bce",       "tf",       "dynamic", "stop",     "heavy",
        "trivial", "constant", "debug", "always",    "resnet18", "nearest", "bilinear", "x",
        "sqrt",    "balanced", "loss",  "alternate", "sgd",      "edge",    "off",      "drop"};
    char before[IM_CONF_TEXT_BYTES], after[IM_CONF_TEXT_BYTES];
    const struct im_conf old = *conf;

    im_conf_value(&old, key, before);
    for (size_t i = 0; i < IM_COUNT(values); i++) {
        char flag[80];
        char *argv[] = {(char[]){"x"}, flag, NULL};

        *conf = old;
        snprintf(flag, sizeof flag, "--%s=%s", name, values[i]);
        if (im_conf_parse_args(conf, IM_FOR_START, 2, argv, NULL) < 0)
            continue;
        im_conf_value(conf, key, after);
        if (strcmp(before, after) != 0)
            return true;
    }
    return false;
}

static void every_option_that_differs_is_said_or_refused(void **state)
{
    const struct im_conf written = written_default();
    struct im_conf older; /* a configuration that lacks the option */
    int seen = 0;

    (void)state;
    im_conf_defaults(&older);
    for (int i = 0; i < IM_KEY_COUNT; i++) {
        const enum im_conf_key_id key = (enum im_conf_key_id)i;
        struct im_conf now;

        if (!im_conf_is_for(key, IM_FOR_START))
            continue;
        im_conf_defaults(&now);
        assert_int_equal(sv_continue_change(&written, &now, key), SV_CHANGE_NONE);
        if (!set_another(&now, im_conf_name(key), key))
            fail_msg("no other value of %s was found: add one to the list", im_conf_name(key));
        seen++;
        if ((sv_continue_change(&written, &now, key) == SV_CHANGE_NONE) != may_be_silent(key) ||
            (sv_continue_change(&older, &now, key) == SV_CHANGE_NONE) != may_be_silent(key))
            fail_msg("another %s is silent, or said although it should not", im_conf_name(key));
    }
    assert_true(seen > 100);
}

static void another_name_of_the_folder_is_no_change(void **state)
{
    struct im_conf then = written_default(), now;

    (void)state;
    im_conf_defaults(&now);
    snprintf(then.data_dir, sizeof then.data_dir, ".");
    snprintf(now.data_dir, sizeof now.data_dir, "/proc/self/cwd/");
    assert_int_equal(sv_continue_change(&then, &now, IM_KEY_data_dir), SV_CHANGE_NONE);
    snprintf(now.data_dir, sizeof now.data_dir, "/proc");
    assert_int_equal(sv_continue_change(&then, &now, IM_KEY_data_dir), SV_CHANGE_SAID);
}

/* A name of other trainers sets an option, which messages then call by its own name. */
static void so_is_every_alias(void **state)
{
#define NAMES(theirs, ours, value) {theirs, ours, value},
    static const char *const aliases[][3] = {IM_CONF_ALIASES(NAMES)};
    const struct im_conf written = written_default();
    int seen = 0;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(aliases); i++) {
        for (int k = 0; k < IM_KEY_COUNT; k++) {
            const enum im_conf_key_id key = (enum im_conf_key_id)k;
            struct im_conf now;

            im_conf_defaults(&now);
            if (strcmp(im_conf_name(key), aliases[i][1]) != 0 || !im_conf_is_for(key, IM_FOR_START) ||
                aliases[i][2] || !aliases[i][0][1] || !set_another(&now, aliases[i][0], key))
                continue;
            seen++;
            if ((sv_continue_change(&written, &now, key) == SV_CHANGE_NONE) != may_be_silent(key))
                fail_msg("another %s by the name %s is silent", aliases[i][1], aliases[i][0]);
        }
    }
    assert_true(seen > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_that_differs_is_said_or_refused),
        cmocka_unit_test(another_name_of_the_folder_is_no_change),
        cmocka_unit_test(so_is_every_alias),
    };

    return cmocka_run_group_tests_name("continue", tests, NULL, NULL);
}
