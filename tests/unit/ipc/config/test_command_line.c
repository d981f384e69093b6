/* What one program of ours writes as flags another reads as the same configuration. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/config/command_line.h"
#include "tests/unit/ipc/base/unit.h"

/* The configuration that a program with this command line has. */
static void read_back(struct im_conf *conf, const struct im_command_line *l)
{
    struct im_text text = {""};
    int n;

    im_conf_defaults(conf);
    assert_non_null(l->words);
    assert_null(l->words[l->count]);
    n = im_conf_parse_args(conf, IM_FOR_ANY, (int)l->count, l->words, &text);
    if (n < 0)
        fail_msg("%s", text.s);
    assert_int_equal(n, l->count);
}

static void assert_text_arrives(const char *value)
{
    struct im_conf *from = malloc(sizeof *from), *to = malloc(sizeof *to);
    struct im_command_line l;

    assert_non_null(from);
    assert_non_null(to);
    im_conf_defaults(from);
    snprintf(from->data_dir, sizeof from->data_dir, "%s", value);
    snprintf(from->labels, sizeof from->labels, "%s", value);
    im_command_line_begin(&l, "/a b/imsuper-reader");
    im_command_line_data(&l, from);
    read_back(to, &l);
    assert_string_equal(to->data_dir, value);
    assert_string_equal(to->labels, value);
    assert_string_equal(to->val_labels, "");
    assert_int_equal(to->origin[IM_KEY_val_labels].source, IM_CONF_DEFAULT);
    im_command_line_free(&l);
    free(from);
    free(to);
}

static void any_text_arrives_as_it_is(void **state)
{
    char longest[IM_CONF_TEXT_BYTES];

    (void)state;
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_text_arrives("plain");
    assert_text_arrives("two words and  blanks ");
    assert_text_arrives("a=b=c");
    assert_text_arrives("=");
    assert_text_arrives("--quiet");
    assert_text_arrives("-");
    assert_text_arrives("--");
    assert_text_arrives("\"quoted\" 'twice' $HOME `x` \\ %s");
    assert_text_arrives("\xc3\xa4");
    assert_text_arrives(longest);
    assert_text_arrives(""); /* left out: the default */
}

/* No option holds such a text; one that does comes to the other program as it is, which refuses it. */
static void a_line_end_is_refused_not_changed(void **state)
{
    struct im_conf *conf = malloc(sizeof *conf);
    struct im_text text = {""};
    struct im_command_line l;

    (void)state;
    assert_non_null(conf);
    im_conf_defaults(conf);
    im_command_line_begin(&l, "p");
    im_command_line_value(&l, IM_KEY_data_dir, "line\nbreak");
    assert_string_equal(l.words[1], "--data-dir=line\nbreak");
    assert_int_equal(im_conf_parse_args(conf, IM_FOR_ANY, (int)l.count, l.words, &text), -EINVAL);
    im_command_line_free(&l);
    free(conf);
}

static void numbers_arrive_to_the_bit(void **state)
{
    struct im_conf *from = malloc(sizeof *from), *to = malloc(sizeof *to);
    struct im_command_line l;

    (void)state;
    assert_non_null(from);
    assert_non_null(to);
    im_conf_defaults(from);
    from->val_split = 1.0 / 3;
    from->val_split_seed = 7;
    from->seed = UINT64_MAX;
    from->subset = true;
    im_command_line_begin(&l, "imsuper-reader");
    im_command_line_data(&l, from);
    im_command_line_flag(&l, from, IM_KEY_seed);
    im_command_line_flag(&l, from, IM_KEY_subset);
    im_command_line_value(&l, IM_KEY_subset_out, "/some where");
    read_back(to, &l);
    assert_memory_equal(&to->val_split, &from->val_split, sizeof to->val_split);
    assert_int_equal(to->val_split_seed, 7);
    assert_true(to->seed == UINT64_MAX);
    assert_true(to->subset);
    assert_string_equal(to->subset_out, "/some where");
    im_command_line_free(&l);
    im_command_line_free(&l);
    free(from);
    free(to);
}

static void words_come_first(void **state)
{
    struct im_command_line l;

    (void)state;
    im_command_line_begin(&l, "p");
    im_command_line_word(&l, "data");
    im_command_line_word(&l, "");
    assert_int_equal(l.count, 3);
    assert_string_equal(l.words[1], "data");
    assert_string_equal(l.words[2], "");
    im_command_line_free(&l);
    assert_null(l.words);
    im_command_line_word(&l, "after no memory"); /* stays without */
    assert_null(l.words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_text_arrives_as_it_is),
        cmocka_unit_test(a_line_end_is_refused_not_changed),
        cmocka_unit_test(numbers_arrive_to_the_bit),
        cmocka_unit_test(words_come_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
