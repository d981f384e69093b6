/* The configuration: sources and their order, round trips, and every sentence that a wrong value gets. */
#include <errno.h>
#include <limits.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/log.h"
#include "ipc/config/conf.h"
#include "ipc/config/conf_table.h"
#include "tests/unit/ipc/base/unit.h"

static void assert_sentence(const struct im_text *text, const char *want)
{
    assert_string_equal(text->s, want);
}

/* Parses words as flags of `start`; "NULL"-terminated. */
static int parse(struct im_conf *conf, struct im_text *text, char **argv)
{
    int argc = 0;

    while (argv[argc])
        argc++;
    return im_conf_parse_args(conf, IM_FOR_START, argc, argv, text);
}

#define WORDS(...) ((char *[]){"imsuper", __VA_ARGS__, NULL})

static void assert_flag_refused(char **argv, const char *sentence)
{
    struct im_conf conf, before;
    struct im_text text = {""};

    im_conf_defaults(&conf);
    before = conf;
    assert_int_equal(parse(&conf, &text, argv), -EINVAL);
    assert_sentence(&text, sentence);
    assert_memory_equal(&conf.origin, &before.origin, sizeof conf.origin);
}

static int parse_yaml(struct im_conf *conf, const char *yaml, struct im_text *text)
{
    im_conf_defaults(conf);
    return im_conf_parse_yaml(conf, "c.yaml", yaml, strlen(yaml), text);
}

static void assert_yaml_refused(const char *yaml, const char *sentence)
{
    struct im_conf conf;
    struct im_text text = {""};

    assert_int_equal(parse_yaml(&conf, yaml, &text), -EINVAL);
    assert_sentence(&text, sentence);
}

static void defaults_are_those_of_the_table_and_pass_the_check(void **state)
{
    struct im_conf conf;
    struct im_text text = {""};

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(conf.batch_size, 256);
    assert_true(conf.lr == 0.1 && conf.rrc_ratio_max == 4.0 / 3);
    assert_int_equal(conf.model, IM_MODEL_RESNET50);
    assert_int_equal(conf.seed, 42);
    assert_string_equal(conf.workspace, "runs");
    assert_int_equal(im_conf_check(&conf, &text), 0);
    assert_int_equal(im_conf_eval_resize(&conf), 256);
}

/* Each default, set again as text, is in range and gives the same value. */
static void each_default_reads_back_from_its_text(void **state)
{
    struct im_conf conf, again;

    (void)state;
    im_conf_defaults(&conf);
    for (int key = 0; key < IM_KEY_COUNT; key++) {
        struct im_text text = {""};
        char value[IM_CONF_TEXT_BYTES], value_again[IM_CONF_TEXT_BYTES];

        im_conf_defaults(&again);
        im_conf_value(&conf, (enum im_conf_key_id)key, value);
        if (im_conf_set(&again, im_conf_name((enum im_conf_key_id)key), value, &text) < 0)
            fail_msg("%s", text.s);
        im_conf_value(&again, (enum im_conf_key_id)key, value_again);
        assert_string_equal(value, value_again);
        assert_int_equal(again.origin[key].source, IM_CONF_CODE);
    }
}

static void log_levels_have_the_values_of_the_log(void **state)
{
    (void)state;
    assert_int_equal(IM_CONF_LOG_DEBUG, IM_LOG_DEBUG);
    assert_int_equal(IM_CONF_LOG_INFO, IM_LOG_INFO);
    assert_int_equal(IM_CONF_LOG_WARN, IM_LOG_WARN);
    assert_int_equal(IM_CONF_LOG_ERROR, IM_LOG_ERROR);
}

static void flags_take_all_their_forms(void **state)
{
    struct im_conf conf;
    struct im_text text = {""};

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(
        parse(&conf, &text,
              WORDS("--batch-size", "32", "--lr=0.5", "--nesterov", "-o", "w", "--seed=18446744073709551615",
                    "--model", "resnet18", "--max-pixels", "1e6", "--rrc-ratio-min", "1/2",
                    "--drop-last=true", "--no-drop-last", "rest", "--lr", "9")),
        16);
    assert_int_equal(conf.batch_size, 32);
    assert_true(conf.lr == 0.5 && conf.nesterov && !conf.drop_last && conf.rrc_ratio_min == 0.5);
    assert_string_equal(conf.workspace, "w");
    assert_true(conf.seed == UINT64_MAX);
    assert_int_equal(conf.model, IM_MODEL_RESNET18);
    assert_int_equal(conf.max_pixels, 1000000);
    assert_int_equal(conf.origin[IM_KEY_lr].source, IM_CONF_FLAG);
    assert_int_equal(conf.origin[IM_KEY_momentum].source, IM_CONF_DEFAULT);
}

static void two_dashes_and_a_single_one_end_the_flags(void **state)
{
    struct im_conf conf;
    struct im_text text = {""};

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(parse(&conf, &text, WORDS("--quiet", "--", "--lr")), 3);
    assert_int_equal(parse(&conf, &text, WORDS("--quiet", "-", "x")), 2);
    assert_int_equal(parse(&conf, &text, WORDS("--quiet")), 2);
}

static void other_trainers_names_are_understood(void **state)
{
    struct im_conf conf;
    struct im_text text = {""};

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(parse(&conf, &text,
                           WORDS("--workers", "8", "--max-lr", "0.4", "--save-dir", "s", "--world-size", "4",
                                 "--data_dir", "/d", "--no-color")),
                     12);
    assert_int_equal(conf.augmenters, 8);
    assert_true(conf.lr == 0.4);
    assert_string_equal(conf.workspace, "s");
    assert_int_equal(conf.ranks, 4);
    assert_string_equal(conf.data_dir, "/d");
    assert_int_equal(conf.color, IM_COLOR_NEVER);
}

static void wrong_flags_get_their_sentences(void **state)
{
    (void)state;
    assert_flag_refused(WORDS("--batchsize", "3"), "unknown flag --batchsize; did you mean --batch-size?");
    assert_flag_refused(WORDS("--xyzzy"), "unknown flag --xyzzy");
    assert_flag_refused(WORDS("--batch-siz", "3"), "unknown flag --batch-siz; did you mean --batch-size?");
    assert_flag_refused(WORDS("-x"), "unknown flag -x");
    assert_flag_refused(WORDS("-lr", "3"), "unknown flag -lr; did you mean --lr?");
    assert_flag_refused(WORDS("--b", "3"), "unknown flag --b");
    assert_flag_refused(WORDS("--lr"), "--lr needs a value: --lr RATE");
    assert_flag_refused(WORDS("--lr", "--epochs", "3"), "--lr needs a value: --lr RATE");
    assert_flag_refused(WORDS("--no-lr"), "unknown flag --no-lr: --lr RATE cannot be switched off");
    assert_flag_refused(WORDS("--no-nesterov=true"), "--no-nesterov takes no value");
    assert_flag_refused(WORDS("--follow"), "this command has no flag --follow");
    assert_flag_refused(WORDS("--epoch", "3"), "this command has no flag --epoch; did you mean --epochs?");
    assert_flag_refused(WORDS("--jsn"), "unknown flag --jsn; did you mean --json?");
}

/* A flag that may stand alone, and an option with a value that switches it off, has its --no-. */
static void every_switch_has_its_other_form(void **state)
{
#define ROW(name, value) name,
    static const char *const bare[] = {IM_CONF_BARE(ROW)}, *const off[] = {IM_CONF_OFF(ROW)};
#undef ROW
    struct im_text text = {""};
    struct im_conf conf;
    int switches = 0;

    (void)state;
    for (int key = 0; key < IM_KEY_COUNT; key++) {
        const struct im_conf_key *k = &im_conf_keys[key];
        bool is_switch = k->kind == IM_CONF_BOOL || strstr(k->metavar, "off|");
        char flag[IM_CONF_NAME_BYTES + 8], *words[] = {(char[]){"x"}, flag, NULL};

        for (const char *const *choice = k->choices; k->kind == IM_CONF_ENUM && *choice; choice++)
            is_switch |= strcmp(*choice, "off") == 0 || strcmp(*choice, "none") == 0;
        for (size_t i = 0; i < IM_COUNT(bare); i++)
            is_switch |= strcmp(bare[i], k->name) == 0;
        for (size_t i = 0; i < IM_COUNT(off); i++)
            is_switch |= strcmp(off[i], k->name) == 0;
        snprintf(flag, sizeof flag, "--no-%s", k->name);
        im_conf_defaults(&conf);
        if (is_switch && im_conf_parse_args(&conf, k->commands, 2, words, &text) != 2)
            fail_msg("%s: %s", flag, text.s);
        switches += is_switch;
    }
    assert_true(switches > 60);
    assert_int_equal(
        parse(&conf, &text,
              WORDS("--finetune", "--no-finetune", "--no-seek-index", "--no-use-amp", "--no-loss-scale")),
        6);
    assert_false(im_conf_finetunes(&conf));
    assert_string_equal(conf.seek_index, "off");
    assert_int_equal(conf.amp, IM_AMP_NONE);
}

/* Advice is of no use when the flag that it names was renamed, or when the other's name became a
 * flag of ours. */
static void advice_names_flags_that_exist(void **state)
{
#define THEIRS_AND_ADVICE(theirs, advice) {theirs, advice},
    static const char *const hints[][2] = {IM_CONF_HINTS(THEIRS_AND_ADVICE)};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(hints); i++) {
        const char *at = hints[i][1];
        const char *value;

        if (im_conf_find(hints[i][0], &value) >= 0)
            fail_msg("--%s is a flag, and there is advice for it", hints[i][0]);
        while ((at = strstr(at, "--"))) {
            char flag[IM_CONF_NAME_BYTES], name[IM_CONF_NAME_BYTES];
            size_t length = strspn(at += 2, "abcdefghijklmnopqrstuvwxyz0123456789-.");

            snprintf(flag, sizeof flag, "%.*s", (int)length, at);
            if (!im_conf_normal(flag, name) || im_conf_find_for(IM_FOR_START, name, &value) < 0)
                fail_msg("the advice for --%s names --%s, which start does not have", hints[i][0], flag);
        }
    }
}

static void wrong_values_get_their_sentences(void **state)
{
    (void)state;
    assert_flag_refused(WORDS("--batch-size", "65537"),
                        "--batch-size: 65537 is out of range (expected 0 to 65536)");
    assert_flag_refused(WORDS("--batch-size=-2"), "--batch-size: -2 is out of range (expected 0 to 65536)");
    assert_flag_refused(WORDS("--batch-size", "abc"),
                        "--batch-size: \"abc\" is not a whole number (expected 0 to 65536)");
    assert_flag_refused(WORDS("--batch-size", "1.5"),
                        "--batch-size: \"1.5\" is not a whole number (expected 0 to 65536)");
    assert_flag_refused(WORDS("--batch-size", ""),
                        "--batch-size: \"\" is not a whole number (expected 0 to 65536)");
    assert_flag_refused(WORDS("--batch-size", " 1"),
                        "--batch-size: \" 1\" is not a whole number (expected 0 to 65536)");
    assert_flag_refused(WORDS("--batch-size", "99999999999999999999"),
                        "--batch-size: \"99999999999999999999\" is not a whole number (expected 0 to 65536)");
    assert_flag_refused(WORDS("--hflip", "1.01"), "--hflip: 1.01 is out of range (expected 0 to 1)");
    assert_flag_refused(WORDS("--hflip", "nan"), "--hflip: \"nan\" is not a number (expected 0 to 1)");
    assert_flag_refused(WORDS("--hflip", "1/0"), "--hflip: \"1/0\" is not a number (expected 0 to 1)");
    assert_flag_refused(WORDS("--hflip", "0.5x"), "--hflip: \"0.5x\" is not a number (expected 0 to 1)");
    assert_flag_refused(WORDS("--seed", "-1"),
                        "--seed: \"-1\" is not a whole number (expected 0 to 18446744073709551615)");
    assert_flag_refused(WORDS("--opt", "adam"),
                        "--opt: \"adam\" is not a choice (expected sgd, adamw, lars, lamb or muon); "
                        "did you mean adamw?");
    assert_flag_refused(WORDS("--nesterov=maybe"), "--nesterov: \"maybe\" is not true or false");
    assert_flag_refused(WORDS("--data-dir", "a\nb"),
                        "--data-dir: contains a control character or invalid UTF-8 (byte 2 is 0x0a)");
    assert_flag_refused(WORDS("--data-dir", "caf\xe9"),
                        "--data-dir: contains a control character or invalid UTF-8 (byte 4 is 0xe9)");
}

static void a_text_too_long_is_refused(void **state)
{
    struct im_conf conf;
    struct im_text text = {""};
    char value[IM_CONF_TEXT_BYTES + 1];

    (void)state;
    im_conf_defaults(&conf);
    memset(value, 'x', sizeof value);
    value[IM_CONF_TEXT_BYTES - 1] = '\0';
    assert_int_equal(im_conf_set(&conf, "data-dir", value, &text), 0);
    value[IM_CONF_TEXT_BYTES - 1] = 'x';
    value[IM_CONF_TEXT_BYTES] = '\0';
    assert_int_equal(im_conf_set(&conf, "data-dir", value, &text), -EINVAL);
    assert_sentence(&text, "data-dir: 1024 bytes are too long (expected 1023 at most)");
}

static void yaml_is_flat_nested_or_by_group(void **state)
{
    struct im_conf conf;
    struct im_text text = {""};

    (void)state;
    assert_int_equal(
        parse_yaml(&conf,
                   "# a comment\nbatch_size: 8\ntraining:\n  lr: 0.25\n  seed: 7\nrrc:\n  scale: {min: 0.5}\n"
                   "gpus: [0, 2]\nmean: [0.1, 0.2, 0.3]\ndrop-last: yes\nworkers: 3\nrun-name: \"a b\"\n",
                   &text),
        0);
    assert_int_equal(conf.batch_size, 8);
    assert_true(conf.lr == 0.25 && conf.rrc_scale_min == 0.5 && conf.drop_last);
    assert_int_equal(conf.seed, 7);
    assert_int_equal(conf.augmenters, 3);
    assert_string_equal(conf.gpus, "0,2");
    assert_string_equal(conf.mean, "0.1,0.2,0.3");
    assert_string_equal(conf.run_name, "a b");
    assert_int_equal(conf.origin[IM_KEY_lr].source, IM_CONF_FILE);
    assert_int_equal(conf.origin[IM_KEY_lr].line, 4);
}

static void a_yaml_list_of_one_device_stays_a_list(void **state)
{
    struct im_conf conf;
    struct im_conf_gpus gpus;

    (void)state;
    assert_int_equal(parse_yaml(&conf, "gpus: [3]\n", NULL), 0);
    assert_int_equal(im_conf_parse_gpus(conf.gpus, &gpus), 0);
    assert_true(gpus.is_list && gpus.count == 1 && gpus.devices[0] == 3);
}

static void empty_yaml_changes_nothing(void **state)
{
    static const char *const files[] = {"", "# only this\n", "---\n", "---\n# x\n...\n", "{}\n"};
    struct im_conf conf, defaults;

    (void)state;
    im_conf_defaults(&defaults);
    for (size_t i = 0; i < IM_COUNT(files); i++) {
        assert_int_equal(parse_yaml(&conf, files[i], NULL), 0);
        assert_memory_equal(conf.origin, defaults.origin, sizeof conf.origin);
    }
}

static void wrong_yaml_gets_its_sentence_with_the_line(void **state)
{
    (void)state;
    assert_yaml_refused("lr: 0.1\nbatchsize: 3\n",
                        "c.yaml:2: unknown key batchsize; did you mean batch-size?");
    assert_yaml_refused(
        "epochs: x\nfoo: 3\n", /* all at once */
        "c.yaml:1: epochs: \"x\" is not a whole number (expected 1 to 100000); c.yaml:2: unknown key foo");
    assert_yaml_refused("lr: 0.1\n\nepochs: 0\n",
                        "c.yaml:3: epochs: 0 is out of range (expected 1 to 100000)");
    assert_yaml_refused("lr: 0.1\nlr: 0.2\n", "c.yaml:2: lr is given twice (also in line 1)");
    assert_yaml_refused("training: {lr: 1}\nlr: 0.2\n", "c.yaml:2: lr is given twice (also in line 1)");
    assert_yaml_refused("data: {lr: 1}\n", "c.yaml:1: lr does not belong under this section");
    assert_yaml_refused("lr:\n", "c.yaml:1: lr has no value");
    assert_yaml_refused("lr: ~\n", "c.yaml:1: lr has no value");
    assert_yaml_refused("b: 3\n", "c.yaml:1: unknown key b");
    assert_yaml_refused(
        "num-classes: 10\n",
        "c.yaml:1: num-classes: nothing is needed: the number of classes comes from the data");
    assert_yaml_refused("no-color: true\n", "c.yaml:1: no-color exists as a flag only; write color: never");
    assert_yaml_refused("config: x\n", "c.yaml:1: a file cannot name another file");
    assert_yaml_refused("gpus: [[0]]\n", "c.yaml:1: a list may hold plain values only");
    assert_yaml_refused("x: &a 1\n", "c.yaml:1: unknown key x");
    assert_yaml_refused("lr: &a 1\nlr-min: *a\n", "c.yaml:2: aliases (*name) are not supported");
    assert_yaml_refused("[1]: 2\n", "c.yaml:1: a key must be a plain name");
    assert_yaml_refused("\"\": 2\n", "c.yaml:1: a key is empty or too long");
    assert_yaml_refused("- 1\n", "c.yaml:1: expected \"key: value\" lines");
    assert_yaml_refused("lr: 1\n---\nlr: 2\n", "c.yaml:2: a second document; only one is allowed");
    assert_yaml_refused("a: {b: {c: {d: {e: 1}}}}\n", "c.yaml:1: nested too deeply");
    assert_yaml_refused("lr: \"a\\0b\"\n", "c.yaml:1: a name or value holds a NUL byte");
}

static void broken_yaml_names_the_line(void **state)
{
    struct im_conf conf;
    struct im_text text = {""};

    (void)state;
    assert_int_equal(parse_yaml(&conf, "lr: 1\nx: [1\n", &text), -EINVAL);
    assert_memory_equal(text.s, "c.yaml:3: not YAML: ", 20);
}

static void environment_sets_keys_and_warns_of_near_misses(void **state)
{
    char *environment[] = {"HOME=/",
                           "IMSUPER_DATA_DIR=/d",
                           "IMSUPER_SUBSET=1",
                           "IMSUPER_LR=",
                           "IMSUPER_DATA=x",
                           "IMSUPER_FAULT=a=kill",
                           "IMSUPER_BACH_SIZE=4",
                           "IMSUPER_SOMETHING_ELSE=1",
                           NULL};
    struct im_text warning = {"x"}, text = {""};
    struct im_conf conf;

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(im_conf_load_env(&conf, environment, &warning, &text), 0);
    assert_string_equal(conf.data_dir, "/d");
    assert_true(conf.subset && conf.lr == 0.1);
    assert_int_equal(conf.origin[IM_KEY_data_dir].source, IM_CONF_ENVIRONMENT);
    assert_sentence(&warning, "environment variable IMSUPER_BACH_SIZE is not an option and was ignored; did "
                              "you mean IMSUPER_BATCH_SIZE?");
}

static void a_wrong_variable_gets_its_sentence(void **state)
{
    char *environment[] = {"IMSUPER_EPOCHS=0", NULL};
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(im_conf_load_env(&conf, environment, NULL, &text), -EINVAL);
    assert_sentence(&text, "IMSUPER_EPOCHS: 0 is out of range (expected 1 to 100000)");
}

static void flags_win_over_environment_over_file_over_defaults(void **state)
{
    static const char yaml[] = "epochs: 1\nbatch-size: 1\nlr: 1\n";
    struct im_text warning, text = {""};
    char path[PATH_MAX];
    struct im_conf conf;

    snprintf(path, sizeof path, "%s/c.yaml", (char *)*state);
    assert_int_equal(im_file_replace(path, yaml, strlen(yaml), &text), 0);
    setenv("IMSUPER_EPOCHS", "2", 1);
    setenv("IMSUPER_BATCH_SIZE", "2", 1);
    assert_int_equal(
        im_conf_load(&conf, IM_FOR_START, 5, WORDS("--config", path, "--epochs", "3"), &warning, &text), 5);
    unsetenv("IMSUPER_EPOCHS");
    unsetenv("IMSUPER_BATCH_SIZE");
    assert_int_equal(conf.epochs, 3);
    assert_int_equal(conf.batch_size, 2);
    assert_true(conf.lr == 1 && conf.momentum == 0.9);
    assert_string_equal(conf.config, path);
}

static void a_missing_file_says_so(void **state)
{
    struct im_text warning, text = {""};
    struct im_conf conf;

    (void)state;
    assert_int_equal(im_conf_load(&conf, IM_FOR_START, 3, WORDS("--config", "/none.yaml"), &warning, &text),
                     -ENOENT);
    assert_sentence(&text, "cannot open /none.yaml: No such file or directory");
}

static void set_all_sorts(struct im_conf *conf)
{
    im_conf_defaults(conf);
    conf->lr = 0.1 + 0.2;
    conf->weight_decay = 1.0 / 3;
    conf->seed = UINT64_MAX;
    conf->schedule = IM_SCHEDULE_CONSTANT;
    conf->nesterov = true;
    conf->origin[IM_KEY_lr] = (struct im_conf_origin){IM_CONF_FILE, 3};
    assert_int_equal(im_conf_set(conf, "data-dir", "/a \"b\" \\ c=d # \xc3\xa9", NULL), 0);
    assert_int_equal(im_conf_set(conf, "run-name", "null", NULL), 0);
}

static void assert_same_values(const struct im_conf *a, const struct im_conf *b)
{
    struct im_conf x = *a, y = *b;

    memset(x.origin, 0, sizeof x.origin);
    memset(y.origin, 0, sizeof y.origin);
    for (int key = 0; key < IM_KEY_COUNT; key++) {
        char s[IM_CONF_TEXT_BYTES], t[IM_CONF_TEXT_BYTES];

        im_conf_value(&x, (enum im_conf_key_id)key, s);
        im_conf_value(&y, (enum im_conf_key_id)key, t);
        assert_string_equal(s, t);
    }
    assert_true(x.lr == y.lr && x.weight_decay == y.weight_decay && x.rrc_ratio_max == y.rrc_ratio_max);
}

static void freeze_and_thaw_are_exact(void **state)
{
    char frozen[IM_CONF_FROZEN_BYTES];
    struct im_text text = {""};
    struct im_conf conf, thawed;

    (void)state;
    set_all_sorts(&conf);
    assert_int_equal(im_conf_freeze(&conf, frozen, sizeof frozen), 0);
    assert_int_equal(im_conf_thaw(&thawed, frozen, &text), 0);
    assert_same_values(&conf, &thawed);
    assert_int_equal(thawed.origin[IM_KEY_lr].source, IM_CONF_FROZEN);
}

static void the_longest_configuration_fits_its_frozen_form(void **state)
{
    char frozen[IM_CONF_FROZEN_BYTES], longest[IM_CONF_TEXT_BYTES];
    struct im_conf conf;

    (void)state;
    im_conf_defaults(&conf);
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    for (int key = 0; key < IM_KEY_COUNT; key++) {
        char value[IM_CONF_TEXT_BYTES];

        im_conf_value(&conf, (enum im_conf_key_id)key, value);
        im_conf_set(&conf, im_conf_name((enum im_conf_key_id)key), longest, NULL); /* only texts take it */
    }
    assert_int_equal(strlen(conf.data_dir), IM_CONF_TEXT_BYTES - 1);
    assert_int_equal(im_conf_freeze(&conf, frozen, sizeof frozen), 0);
    assert_int_equal(im_conf_freeze(&conf, frozen, 1000), -ENOSPC);
}

static void damaged_frozen_text_is_refused(void **state)
{
    char frozen[IM_CONF_FROZEN_BYTES], damaged[IM_CONF_FROZEN_BYTES + 64];
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(im_conf_freeze(&conf, frozen, sizeof frozen), 0);
    assert_int_equal(im_conf_thaw(&conf, strchr(frozen, '\n') + 1, &text), -EBADMSG);
    assert_sentence(&text, "frozen configuration: data-dir is missing");
    snprintf(damaged, sizeof damaged, "%sepochs=1\n", frozen);
    assert_int_equal(im_conf_thaw(&conf, damaged, &text), -EBADMSG);
    assert_sentence(&text, "frozen configuration: epochs stands twice");
    snprintf(damaged, sizeof damaged, "%swhat=1\n", frozen);
    assert_int_equal(im_conf_thaw(&conf, damaged, &text), -EBADMSG);
    assert_sentence(&text, "frozen configuration: unknown key what");
    assert_int_equal(im_conf_thaw(&conf, "epochs=0\n", &text), -EBADMSG);
    assert_sentence(&text, "epochs: 0 is out of range (expected 1 to 100000)");
    assert_int_equal(im_conf_thaw(&conf, "epochs\n", &text), -EBADMSG);
    assert_sentence(&text, "frozen configuration: a line is not key=value");
    assert_int_equal(im_conf_thaw(&conf, "epochs=1", &text), -EBADMSG);
    assert_sentence(&text, "frozen configuration: the last line is cut off");
    assert_int_equal(conf.epochs, 90);
}

static void the_effective_yaml_reads_back_the_same(void **state)
{
    struct im_text text = {""};
    struct im_conf conf, again;
    char *yaml;

    (void)state;
    set_all_sorts(&conf);
    yaml = im_conf_dump_yaml(&conf, IM_FOR_START);
    assert_non_null(strstr(yaml, "\nlr: 0.30000000000000004  # file, line 3\n"));
    assert_non_null(strstr(yaml, "\nepochs: 90  # default\n"));
    assert_null(strstr(yaml, "\nper-class:"));
    im_conf_defaults(&again);
    if (im_conf_parse_yaml(&again, "again", yaml, strlen(yaml), &text) < 0)
        fail_msg("%s", text.s);
    assert_same_values(&conf, &again);
    free(yaml);
}

static void contradictions_get_their_sentences(void **state)
{
    static const struct {
        const char *key, *value, *sentence;
    } cases[] = {
        {"train-crop", "pad:x", "train-crop:"},
        {"train-crop", "pad:224", "train-crop:"},
        {"rrc-scale-max", "0.01", "rrc-scale-min"},
        {"rrc-ratio-max", "0.5", "rrc-ratio-min"},
        {"eval-image-size", "3", "eval-image-size:"},
        {"eval-resize", "100", "eval-resize"},
        {"mean", "1,2", "mean:"},
        {"std", "1,0,1", "std:"},
        {"warmup-epochs", "91", "warmup-epochs"},
        {"lr-min", "0.2", "lr-min"},
        {"subset-size", "5", "subset-size"},
        {"run-name", "a/b", "run-name:"},
        {"run-name", "..", "run-name:"},
        {"workspace", "", "workspace:"},
        {"gpus", "some", "gpus:"},
        {"side-min", "100", "side-min"},
        {"seek-index", "auot", "seek-index: \"auot\": did you mean auto? (./auot names a folder)"},
        {"seek-index", "none", "seek-index: \"none\" is neither auto nor off; did you mean off?"},
        {"pixel-cache", "rma", "pixel-cache: \"rma\": did you mean ram? (./rma names a folder)"},
        {"pixel-cache", "none", "pixel-cache: \"none\" is neither off, ram nor disk; did you mean off?"},
        {"seek-index", "True", "seek-index: \"True\" is neither auto nor off; did you mean auto?"},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_text text = {""};
        struct im_conf conf;

        im_conf_defaults(&conf);
        assert_int_equal(im_conf_set(&conf, cases[i].key, cases[i].value, &text), 0);
        assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
        assert_begins(text.s, cases[i].sentence);
    }
}

static void pairs_that_contradict_get_their_sentences(void **state)
{
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    im_conf_defaults(&conf);
    conf.nesterov = true;
    conf.momentum = 0;
    assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
    assert_begins(text.s, "nesterov ");
    im_conf_defaults(&conf);
    conf.backend = IM_BACKEND_CUDA;
    snprintf(conf.gpus, sizeof conf.gpus, "0");
    assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
    assert_sentence(&text, "backend cuda and gpus 0 contradict each other");
    im_conf_defaults(&conf);
    conf.virtual_ranks = 4;
    conf.sync_bn = true;
    assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
    assert_begins(text.s, "virtual-ranks and sync-bn contradict each other");
    conf.sync_bn = false;
    conf.elastic = IM_ELASTIC_DROP;
    assert_int_equal(im_conf_check(&conf, &text), -EINVAL);
    assert_begins(text.s, "virtual-ranks and elastic drop contradict each other");
}

static void durations_are_taken_apart(void **state)
{
    static const struct {
        const char *text;
        double seconds; /* 0: refused */
    } cases[] = {
        {"3h30m", 12600},
        {"90s", 90},
        {"1d12h", 129600},
        {"1.5h", 5400},
        {"1d2h3m4s", 93784},
        {"366d", 366 * 86400.0},
        {"90", 0},
        {"", 0},
        {"h", 0},
        {"3h30", 0},
        {"30m3h", 0},
        {"1h1h", 0},
        {"-3h", 0},
        {"3 h", 0},
        {"3h ", 0},
        {"0s", 0},
        {"367d", 0},
        {"1.2.3h", 0},
        {"nan", 0},
        {"1e3s", 0},
        {"3H", 0},
        {"0x3h", 0},
        {"12345678901234s", 0},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        double seconds = -1;
        int err = im_conf_duration(cases[i].text, &seconds);

        if (err != (cases[i].seconds > 0 ? 0 : -EINVAL) || (err == 0 && seconds != cases[i].seconds))
            fail_msg("\"%s\": %d, %g s", cases[i].text, err, seconds);
    }
}

static void auto_is_a_word_for_a_number(void **state)
{
    struct im_conf conf;
    struct im_text text = {""};

    (void)state;
    im_conf_defaults(&conf);
    conf.augmenters = 7;
    assert_int_equal(im_conf_set(&conf, "augmenters", "auto", &text), 0);
    assert_int_equal(conf.augmenters, 0);
    assert_int_equal(im_conf_set(&conf, "readers", "auto", &text), 0);
    assert_int_equal(im_conf_set(&conf, "ranks", "auto", &text), -EINVAL);
}

static void train_crop_is_taken_apart(void **state)
{
    struct im_conf conf;
    enum im_crop crop;
    int padding;

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(im_conf_train_crop(&conf, &crop, &padding), 0);
    assert_true(crop == IM_CROP_RRC && padding == 0);
    im_conf_set(&conf, "train-crop", "pad:4", NULL);
    assert_int_equal(im_conf_train_crop(&conf, &crop, &padding), 0);
    assert_true(crop == IM_CROP_PAD && padding == 4);
    im_conf_set(&conf, "train-crop", "center", NULL);
    assert_int_equal(im_conf_train_crop(&conf, &crop, &padding), 0);
    assert_true(crop == IM_CROP_CENTER && padding == 0);
}

static void gpus_are_taken_apart(void **state)
{
    static const char *const wrong[] = {"", ",", "1,,2", "1,1", "-1", "65", "1x", "0, 1", "1234567,"};
    struct im_conf_gpus gpus;

    (void)state;
    assert_int_equal(im_conf_parse_gpus("auto", &gpus), 0);
    assert_int_equal(gpus.count, -1);
    assert_int_equal(im_conf_parse_gpus("0", &gpus), 0);
    assert_true(gpus.count == 0 && !gpus.is_list);
    assert_int_equal(im_conf_parse_gpus("4", &gpus), 0);
    assert_true(gpus.count == 4 && !gpus.is_list);
    assert_int_equal(im_conf_parse_gpus("2,0", &gpus), 0);
    assert_true(gpus.count == 2 && gpus.is_list && gpus.devices[0] == 2 && gpus.devices[1] == 0);
    for (size_t i = 0; i < IM_COUNT(wrong); i++)
        assert_int_equal(im_conf_parse_gpus(wrong[i], &gpus), -EINVAL);
}

static void validation_sizes_follow_the_image_size(void **state)
{
    struct im_conf conf;

    (void)state;
    im_conf_defaults(&conf);
    conf.image_size = 32;
    assert_int_equal(im_conf_eval_image_size(&conf), 32);
    assert_int_equal(im_conf_eval_resize(&conf), 37); /* 36.57 */
    conf.eval_image_size = 288;
    assert_int_equal(im_conf_eval_resize(&conf), 329); /* 329.14 */
    conf.eval_resize = 320;
    assert_int_equal(im_conf_eval_resize(&conf), 320);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_table_and_pass_the_check),
        cmocka_unit_test(each_default_reads_back_from_its_text),
        cmocka_unit_test(log_levels_have_the_values_of_the_log),
        cmocka_unit_test(flags_take_all_their_forms),
        cmocka_unit_test(two_dashes_and_a_single_one_end_the_flags),
        cmocka_unit_test(other_trainers_names_are_understood),
        cmocka_unit_test(wrong_flags_get_their_sentences),
        cmocka_unit_test(every_switch_has_its_other_form),
        cmocka_unit_test(advice_names_flags_that_exist),
        cmocka_unit_test(wrong_values_get_their_sentences),
        cmocka_unit_test(a_text_too_long_is_refused),
        cmocka_unit_test(yaml_is_flat_nested_or_by_group),
        cmocka_unit_test(a_yaml_list_of_one_device_stays_a_list),
        cmocka_unit_test(empty_yaml_changes_nothing),
        cmocka_unit_test(wrong_yaml_gets_its_sentence_with_the_line),
        cmocka_unit_test(broken_yaml_names_the_line),
        cmocka_unit_test(environment_sets_keys_and_warns_of_near_misses),
        cmocka_unit_test(a_wrong_variable_gets_its_sentence),
        cmocka_unit_test_setup_teardown(flags_win_over_environment_over_file_over_defaults, make_directory,
                                        remove_directory),
        cmocka_unit_test(a_missing_file_says_so),
        cmocka_unit_test(freeze_and_thaw_are_exact),
        cmocka_unit_test(the_longest_configuration_fits_its_frozen_form),
        cmocka_unit_test(damaged_frozen_text_is_refused),
        cmocka_unit_test(the_effective_yaml_reads_back_the_same),
        cmocka_unit_test(contradictions_get_their_sentences),
        cmocka_unit_test(pairs_that_contradict_get_their_sentences),
        cmocka_unit_test(durations_are_taken_apart),
        cmocka_unit_test(auto_is_a_word_for_a_number),
        cmocka_unit_test(train_crop_is_taken_apart),
        cmocka_unit_test(gpus_are_taken_apart),
        cmocka_unit_test(validation_sizes_follow_the_image_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
