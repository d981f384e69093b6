/* What a terminal is shown of bytes from outside. */
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "tests/unit/ipc/base/unit.h"

static const struct {
    const char *bytes, *shown;
} cases[] = {
    {"", ""},
    {"n01440764_10026.JPEG", "n01440764_10026.JPEG"},
    {"a b\\c\"d", "a b\\c\"d"},
    {"\xc3\xa9\xe4\xb8\xad\xf0\x9f\x90\x88", "\xc3\xa9\xe4\xb8\xad\xf0\x9f\x90\x88"},
    {"\x1b[2J\x1b]0;title\a.jpg", "\\x1b[2J\\x1b]0;title\\x07.jpg"},
    {"a\nb\rc\td\x7f", "a\\nb\\rc\\td\\x7f"},
    {"\xc2\x9b"
     "31m",
     "\\u009b31m"},
    {"\xc2\x80\xc2\x9f\xc2\xa0", "\\u0080\\u009f\xc2\xa0"},
    {"\xe2\x80\xae"
     "gpj.exe",
     "\\u202egpj.exe"},
    {"\xe2\x81\xa6x\xe2\x81\xa9", "\\u2066x\\u2069"},
    {"\xe2\x80\x8e\xe2\x80\x8f\xd8\x9c", "\\u200e\\u200f\\u061c"},
    {"\xe2\x80\xa8\xe2\x80\xa9\xef\xbb\xbf", "\\u2028\\u2029\\ufeff"},
    {"\xff\x80\xc3(", "\\xff\\x80\\xc3("},
    {"\xed\xa0\x80\xc0\x9b", "\\xed\\xa0\\x80\\xc0\\x9b"}, /* a surrogate; an overlong form */
};

static void harmful_characters_are_escaped(void **state)
{
    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_shown room;

        assert_string_equal(im_shown(&room, cases[i].bytes), cases[i].shown);
        assert_string_equal(im_shown(&(struct im_shown){""}, cases[i].shown), cases[i].shown); /* stays */
    }
}

static void every_byte_below_blank_is_escaped(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        const char s[2] = {(char)c, 0};
        char shown[16];

        im_printable(s, shown, sizeof shown);
        assert_int_equal(strlen(shown) > 1, c < 0x20 || c >= 0x7f);
        for (const char *at = shown; *at; at++)
            assert_true(*at >= 0x20 && *at < 0x7f);
    }
}

static void a_text_is_cut_after_a_whole_character(void **state)
{
    char room[8];

    (void)state;
    assert_string_equal(im_printable("abcdef\x1b", room, sizeof room), "abcdef");
    assert_string_equal(im_printable("abcde\xe4\xb8\xad", room, sizeof room), "abcde");
    assert_string_equal(im_printable("abcdefghi", room, sizeof room), "abcdefg");
    assert_string_equal(im_printable("abc", room, 1), "");
}

static void a_line_is_one_line(void **state)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    (void)state;
    assert_true(im_say(f, "%s: %d", "a\nb\x1b", 7) > 0);
    fclose(f);
    assert_string_equal(text, "a\\nb\\x1b: 7\n");
    free(text);
}

static void errors_are_printable(void **state)
{
    struct im_text text, outer;

    (void)state;
    assert_int_equal(im_fail(&text, -2, "cannot open %s", "x\x1b[2J\n"), -2);
    assert_string_equal(text.s, "cannot open x\\x1b[2J\\n");
    im_fail(&outer, -2, "no data: %s", text.s);
    assert_string_equal(outer.s, "no data: cannot open x\\x1b[2J\\n");
}

static void json_is_printable_and_reads_back(void **state)
{
    static const char value[] = "a\x1b\x7f\xc2\x9b\xe2\x80\xae\xc3\xa9\n";
    struct im_json *j = im_json_object(), *again = NULL;
    char *line;

    (void)state;
    im_json_set_str(j, "name", value);
    line = im_json_dump(j);
    assert_string_equal(line, "{\"name\":\"a\\u001B\\u007f\\u009b\\u202e\xc3\xa9\\n\"}");
    assert_int_equal(im_json_parse(line, strlen(line), &again, NULL), 0);
    assert_string_equal(im_json_str_or(again, "name", ""), value);
    im_json_free(&j);
    im_json_free(&again);
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(harmful_characters_are_escaped),
        cmocka_unit_test(every_byte_below_blank_is_escaped),
        cmocka_unit_test(a_text_is_cut_after_a_whole_character),
        cmocka_unit_test(a_line_is_one_line),
        cmocka_unit_test(errors_are_printable),
        cmocka_unit_test(json_is_printable_and_reads_back),
    };

    return cmocka_run_group_tests_name("printable", tests, NULL, NULL);
}
