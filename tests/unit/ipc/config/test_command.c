/* The table of verbs: which one runs, with which configuration, and what is refused before it runs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/config/command.h"

static const char *ran; /* the verb that ran last */
static struct im_conf seen;

static int run_status(struct im_conf *conf)
{
    ran = "status";
    seen = *conf;
    return 7;
}

static int run_index(struct im_conf *conf)
{
    ran = "data index";
    seen = *conf;
    return 8;
}

static int run_train(struct im_conf *conf)
{
    ran = "train";
    seen = *conf;
    return 9;
}

static int take_words(int argc, char **argv)
{
    ran = argv[0];
    return argc;
}

static const struct im_command verbs[] = {
    {.name = "status",
     .typed = "x status",
     .what = "S.",
     .options = IM_FOR_STATUS,
     .operand = "run-name",
     .run = run_status},
    {.name = "data index",
     .typed = "x data index",
     .what = "I.",
     .options = IM_FOR_INDEX,
     .required = "data-dir",
     .run = run_index},
    {.name = "train",
     .typed = "x train",
     .what = "T.",
     .options = IM_FOR_START | IM_FOR_LR_FIND,
     .check = IM_CHECK_VALUES,
     .run = run_train},
    {.name = "scale",
     .typed = "x scale",
     .usual = "WORD...",
     .what = "C.",
     .options = IM_FOR_CONTROL | IM_FOR_SCALE,
     .operand = "counts",
     .operand_list = true,
     .operand_needed = true,
     .run = run_status},
    {.name = "copy",
     .typed = "x copy",
     .usual = "SRC DST",
     .what = "M.",
     .options = IM_FOR_ORGANISE,
     .operand = "data-dir",
     .second = "out",
     .run = run_status},
    {.name = "plain", .typed = "x plain", .what = "P.", .run = run_status},
    {.name = "words", .typed = "x words", .words = take_words},
};

/* x with these words, ended by NULL. */
static int call(char *first, ...)
{
    char *argv[12] = {"x", first};
    int argc = first ? 2 : 1;
    va_list words;

    va_start(words, first);
    while (first && (argv[argc] = va_arg(words, char *)) != NULL)
        argc++;
    va_end(words);
    ran = "nothing";
    return im_command_main("x", verbs, IM_COUNT(verbs), argc, argv);
}

/* `x stop "$RUN"` of a variable that is not set must not stop the newest run. */
static void an_empty_operand_is_refused(void **state)
{
    (void)state;
    assert_int_equal(call("status", "", NULL), 2);
    assert_int_equal(call("status", "--json", "", NULL), 2);
    assert_int_equal(call("scale", "readers=1", "", NULL), 2);
    assert_int_equal(call("copy", "a", "", NULL), 2);
    assert_int_equal(call("status", "  ", NULL), 2);
    assert_string_equal(ran, "nothing");
}

static void names_of_one_and_two_words_are_found(void **state)
{
    (void)state;
    assert_int_equal(call("status", NULL), 7);
    assert_int_equal(call("data", "index", "--data-dir", "d", "--json", NULL), 8);
    assert_string_equal(seen.data_dir, "d");
    assert_true(seen.json);
    assert_int_equal(call("words", "--help", "-x", NULL), 3); /* they go through as they are */
    assert_string_equal(ran, "words");
}

static void an_operand_stands_before_or_behind_the_flags(void **state)
{
    (void)state;
    assert_int_equal(call("status", "r1", "--workspace", "w", NULL), 7);
    assert_string_equal(seen.run_name, "r1");
    assert_string_equal(seen.workspace, "w");
    assert_int_equal(call("status", "--workspace", "w", "r2", NULL), 7);
    assert_string_equal(seen.run_name, "r2");
    assert_int_equal(call("status", "r1", "r2", NULL), IM_EXIT_USAGE);
    assert_int_equal(call("status", "--json", "r3", "--workspace", "w2", NULL), 7);
    assert_string_equal(seen.run_name, "r3");
    assert_string_equal(seen.workspace, "w2");
    assert_true(seen.json);
    assert_int_equal(call("status", "--workspace=w3", "r4", "--json", NULL), 7);
    assert_string_equal(seen.run_name, "r4");
    assert_string_equal(seen.workspace, "w3");
    assert_int_equal(call("status", "--json", "r1", "--workspace", "w", "r2", NULL), IM_EXIT_USAGE);
    assert_int_equal(call("status", "--json", "--", "r5", NULL), 7);
    assert_string_equal(seen.run_name, "r5");
}

static void a_second_operand_is_another_option(void **state)
{
    (void)state;
    assert_int_equal(call("copy", "a b", "c", "--dry-run", NULL), 7);
    assert_string_equal(seen.data_dir, "a b");
    assert_string_equal(seen.out, "c");
    assert_int_equal(call("copy", "a", "--dry-run", "c", NULL), 7);
    assert_string_equal(seen.data_dir, "a");
    assert_string_equal(seen.out, "c");
    assert_int_equal(call("copy", "--dry-run", "a", "--val-split", "0.1", "c", NULL), 7);
    assert_string_equal(seen.out, "c");
    assert_int_equal(call("copy", "a", NULL), 7);
    assert_string_equal(seen.out, "");
    assert_int_equal(call("copy", "a", "b", "c", NULL), IM_EXIT_USAGE);
    assert_int_equal(call("copy", "a", "--dry-run", "b", "c", NULL), IM_EXIT_USAGE);
}

static void a_list_of_operands_is_joined(void **state)
{
    (void)state;
    assert_int_equal(call("scale", "a=1", "b=2", "--workspace", "w", "c=3", NULL), 7);
    assert_string_equal(seen.counts, "a=1 b=2 c=3");
    assert_string_equal(seen.workspace, "w");
    assert_int_equal(call("scale", "a=1", "--json", "b=2", "--workspace", "w", "c=3", NULL), 7);
    assert_string_equal(seen.counts, "a=1 b=2 c=3");
    assert_int_equal(call("scale", "--workspace", "w", NULL), IM_EXIT_USAGE);
    assert_string_equal(ran, "nothing");
}

static void wrong_use_is_refused_before_the_verb_runs(void **state)
{
    (void)state;
    assert_int_equal(call(NULL), IM_EXIT_USAGE);
    assert_int_equal(call("data", NULL), IM_EXIT_USAGE);
    assert_int_equal(call("data", "indx", NULL), IM_EXIT_USAGE);
    assert_int_equal(call("data", "index", NULL), IM_EXIT_USAGE); /* --data-dir is required */
    assert_int_equal(call("data", "index", "--data-dir", "d", "--lr", "1", NULL), IM_EXIT_USAGE);
    assert_int_equal(call("plain", "word", NULL), IM_EXIT_USAGE);
    assert_int_equal(call("plain", "--json", NULL), IM_EXIT_USAGE);
    assert_int_equal(call("train", "--epochs", "2", "--warmup-epochs", "5", NULL), IM_EXIT_USAGE);
    assert_string_equal(ran, "nothing");
    assert_int_equal(call("train", "--epochs", "5", "--warmup-epochs", "2", NULL), 9);
    assert_true(seen.lr_range_test); /* set by lr-find */
}

static void help_and_version_run_no_verb(void **state)
{
    (void)state;
    assert_int_equal(call("--help", NULL), IM_EXIT_OK);
    assert_int_equal(call("--version", NULL), IM_EXIT_OK);
    assert_int_equal(call("data", "index", "--help", NULL), IM_EXIT_OK);
    assert_string_equal(ran, "nothing");
}

static void an_error_becomes_the_exit_status_of_its_kind(void **state)
{
    (void)state;
    assert_int_equal(im_command_fail(-EINVAL, &(struct im_text){"a"}), IM_EXIT_USAGE);
    assert_int_equal(im_command_fail(-EBADMSG, &(struct im_text){"b"}), IM_EXIT_BAD_DATA);
    assert_int_equal(im_command_fail(-ENODEV, &(struct im_text){"c"}), IM_EXIT_UNAVAILABLE);
    assert_int_equal(im_command_fail(-ENOMEM, &(struct im_text){""}), IM_EXIT_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_one_and_two_words_are_found),
        cmocka_unit_test(an_empty_operand_is_refused),
        cmocka_unit_test(an_operand_stands_before_or_behind_the_flags),
        cmocka_unit_test(a_second_operand_is_another_option),
        cmocka_unit_test(a_list_of_operands_is_joined),
        cmocka_unit_test(wrong_use_is_refused_before_the_verb_runs),
        cmocka_unit_test(help_and_version_run_no_verb),
        cmocka_unit_test(an_error_becomes_the_exit_status_of_its_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
