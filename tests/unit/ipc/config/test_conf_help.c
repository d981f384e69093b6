/* The help of a command: its options, its letters, its lines. */
#include <stdlib.h>

#include "ipc/config/conf.h"
#include "tests/unit/ipc/base/unit.h"

static void help_names_each_option_of_the_command_and_no_other(void **state)
{
    char *s;
    size_t n;
    FILE *f = open_memstream(&s, &n);

    (void)state;
    im_conf_help(f, IM_FOR_STATUS, 80);
    fclose(f);
    assert_non_null(strstr(s, "Output:\n"));
    assert_non_null(strstr(s, "-w, --workspace DIR"));
    assert_non_null(strstr(s, "--[no-]json"));
    assert_null(strstr(s, "--lr"));
    free(s);
}

/* -o is another key to lr-find, which takes the flags of start, too. */
static void a_letter_means_one_key_to_a_command(void **state)
{
    const im_conf_commands lr_find = IM_FOR_START | IM_FOR_LR_FIND;
    char *s, *line, *argv[] = {"imsuper", "-o", "x.png", NULL};
    struct im_conf conf;
    size_t n;
    FILE *f = open_memstream(&s, &n);

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(im_conf_parse_args(&conf, lr_find, 3, argv, NULL), 3);
    assert_string_equal(conf.output, "x.png");
    assert_string_equal(conf.workspace, "runs");
    assert_int_equal(im_conf_parse_args(&conf, IM_FOR_START, 3, argv, NULL), 3);
    assert_string_equal(conf.workspace, "x.png");
    argv[1] = "--output_dir";
    argv[2] = "plots";
    assert_int_equal(im_conf_parse_args(&conf, lr_find, 3, argv, NULL), 3);
    assert_string_equal(conf.output, "plots");
    assert_int_equal(im_conf_parse_args(&conf, IM_FOR_START, 3, argv, NULL), 3);
    assert_string_equal(conf.workspace, "plots");
    argv[1] = "--output"; /* of train_ddp.py */
    argv[2] = "checkpoints";
    assert_int_equal(im_conf_parse_args(&conf, IM_FOR_START, 3, argv, NULL), 3);
    assert_string_equal(conf.workspace, "checkpoints");
    im_conf_help(f, lr_find, 80);
    fclose(f);
    line = strstr(s, "-o, ");
    assert_non_null(line);
    assert_int_equal(strncmp(line, "-o, --output", 12), 0);
    assert_null(strstr(line + 1, "-o, "));
    free(s);
}

static void help_is_wrapped(void **state)
{
    char *s, *rest = NULL;
    size_t n;
    FILE *f = open_memstream(&s, &n);

    (void)state;
    im_conf_help(f, IM_FOR_ALL, 60);
    fclose(f);
    for (char *line = strtok_r(s, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (strlen(line) > 60 && strchr(line + 30, ' ')) /* one long word cannot be broken */
            fail_msg("%zu columns: %s", strlen(line), line);
    }
    free(s);
}

static void what_a_verb_does_is_wrapped(void **state)
{
    char *s;
    size_t n;
    FILE *f = open_memstream(&s, &n);

    (void)state;
    im_help_flow(f, "imsuper verb [--flag VALUE] [--another-flag VALUE] [--more-flags]", 8, 50);
    im_help_flow(f, "Words that go on behind the end of their line,\nand a sentence.\nAnother: \n  imsuper x",
                 0, 50);
    fclose(f);
    assert_string_equal(
        s, "imsuper verb [--flag VALUE] [--another-flag VALUE]\n        [--more-flags]\n"
           "Words that go on behind the end of their line, and\na sentence.\nAnother: \n  imsuper x\n");
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_names_each_option_of_the_command_and_no_other),
        cmocka_unit_test(a_letter_means_one_key_to_a_command),
        cmocka_unit_test(help_is_wrapped),
        cmocka_unit_test(what_a_verb_does_is_wrapped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
