/* The JSON wrapper: what is written, what is refused and in which words. */
#include <errno.h>
#include <float.h>
#include <math.h>

#include "ipc/base/json.h"
#include "tests/unit/ipc/base/unit.h"

static void assert_dump(const struct im_json *j, const char *want)
{
    char *s = im_json_dump(j);

    assert_string_equal(s, want);
    free(s);
}

static void assert_refused(const char *bytes, size_t n, const char *sentence)
{
    struct im_json *j = NULL;
    struct im_text text = {""};

    assert_int_equal(im_json_parse(bytes, n, &j, &text), -EBADMSG);
    assert_non_null(strstr(text.s, sentence));
    assert_null(j);
}

static struct im_json *parse(const char *s)
{
    struct im_json *j = NULL;
    struct im_text text = {""};

    assert_int_equal(im_json_parse(s, strlen(s), &j, &text), 0);
    return j;
}

static void dump_is_compact_and_in_order_of_setting(void **state)
{
    struct im_json *o = im_json_object(), *a = im_json_array(), *inner = im_json_object();

    (void)state;
    im_json_set_str(o, "zebra", "a\"b\n");
    im_json_set_int(o, "apple", INT64_MIN);
    im_json_set_real(o, "real", 0.1);
    im_json_set_bool(o, "yes", true);
    im_json_append_int(a, 1);
    im_json_append_str(a, "two");
    im_json_append_real(a, 3);
    im_json_append(a, inner);
    assert_int_equal(im_json_set(o, "list", a), 0);
    assert_dump(o, "{\"zebra\":\"a\\\"b\\n\",\"apple\":-9223372036854775808,\"real\":0.1,\"yes\":true,"
                   "\"list\":[1,\"two\",3.0,{}]}");
    im_json_free(&o);
    assert_null(o);
}

static void printed_is_a_line_or_why_not(void **state)
{
    struct im_json *o = parse("{\"a\":[1,null]}");
    FILE *full = fopen("/dev/full", "we");
    char *lines = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&lines, &n);

    (void)state;
    assert_non_null(full);
    assert_non_null(f);
    assert_int_equal(im_json_print(o, f), 0);
    assert_int_equal(im_json_print(o, f), 0);
    assert_string_equal(lines, "{\"a\":[1,null]}\n{\"a\":[1,null]}\n");
    assert_int_equal(im_json_print(o, full), -ENOSPC);
    fclose(f);
    fclose(full);
    free(lines);
    im_json_free(&o);
}

static void indented_dump_is_for_people(void **state)
{
    struct im_json *o = parse("{\"a\":[1,{\"b\":null}],\"c\":{}}");
    char *s = im_json_dump_indented(o);

    (void)state;
    assert_string_equal(s, "{\n  \"a\": [\n    1,\n    {\n      \"b\": null\n    }\n  ],\n  \"c\": {}\n}\n");
    free(s);
    im_json_free(&o);
}

static void setting_a_key_again_keeps_its_place(void **state)
{
    struct im_json *o = parse("{\"a\":1,\"b\":2}");

    (void)state;
    im_json_set_int(o, "a", 3);
    assert_dump(o, "{\"a\":3,\"b\":2}");
    im_json_free(&o);
}

static void doubles_that_are_not_finite_become_null(void **state)
{
    struct im_json *a = im_json_array();

    (void)state;
    im_json_append_real(a, NAN);
    im_json_append_real(a, INFINITY);
    im_json_append_real(a, -INFINITY);
    assert_dump(a, "[null,null,null]");
    im_json_free(&a);
}

static void doubles_read_back_the_same(void **state)
{
    const double values[] = {0,       -0.0,         1,       0.1,           1.0 / 3, 1e300,
                             DBL_MIN, DBL_TRUE_MIN, DBL_MAX, 123456789.125, 5e-324,  1e21};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(values); i++) {
        struct im_json *a = im_json_array(), *b;
        double value = -1;
        char *s;

        im_json_append_real(a, values[i]);
        s = im_json_dump(a);
        b = parse(s);
        assert_int_equal(im_json_as_real(im_json_at(b, 0), &value), 0);
        assert_memory_equal(&value, &values[i], sizeof value);
        free(s);
        im_json_free(&a);
        im_json_free(&b);
    }
}

static void bytes_that_are_no_utf8_are_repaired(void **state)
{
    struct im_json *o = im_json_object();

    (void)state;
    assert_int_equal(im_json_set_str(o, "path", "caf\xe9/\xc3\xa9\xff.jpg"), 0);
    assert_dump(o, "{\"path\":\"caf\xef\xbf\xbd/\xc3\xa9\xef\xbf\xbd.jpg\"}");
    im_json_free(&o);
}

static void a_missing_key_differs_from_a_wrong_type(void **state)
{
    struct im_json *o = parse("{\"n\":1,\"s\":\"x\",\"r\":1.5,\"b\":true,\"z\":null}");
    const char *s = "before";
    int64_t n = -1;
    double r = -1;
    bool b = false;

    (void)state;
    assert_int_equal(im_json_as_int(im_json_get(o, "none"), &n), -ENOENT);
    assert_int_equal(im_json_as_int(im_json_get(o, "s"), &n), -EINVAL);
    assert_int_equal(im_json_as_int(im_json_get(o, "r"), &n), -EINVAL);
    assert_int_equal(im_json_as_int(im_json_get(o, "z"), &n), -EINVAL);
    assert_int_equal(n, -1);
    assert_int_equal(im_json_as_str(im_json_get(o, "n"), &s), -EINVAL);
    assert_string_equal(s, "before");
    assert_int_equal(im_json_as_bool(im_json_get(o, "n"), &b), -EINVAL);
    assert_int_equal(im_json_as_real(im_json_get(o, "b"), &r), -EINVAL);
    assert_int_equal(im_json_as_real(im_json_get(o, "n"), &r), 0);
    assert_true(r == 1);
    im_json_free(&o);
}

static void defaults_stand_in_for_missing_and_wrong(void **state)
{
    struct im_json *o = parse("{\"n\":1,\"s\":\"x\"}");

    (void)state;
    assert_int_equal(im_json_int_or(o, "n", 7), 1);
    assert_int_equal(im_json_int_or(o, "s", 7), 7);
    assert_string_equal(im_json_str_or(o, "s", "d"), "x");
    assert_string_equal(im_json_str_or(o, "n", "d"), "d");
    assert_true(im_json_bool_or(o, "none", true));
    assert_true(im_json_real_or(o, "none", 2.5) == 2.5);
    assert_null(im_json_get(NULL, "n"));
    im_json_free(&o);
}

static void keys_are_walked_in_order(void **state)
{
    struct im_json *o = parse("{\"c\":0,\"a\":1,\"b\":2}");
    const struct im_json *value;
    char seen[8] = "";
    int64_t want = 0, n;

    (void)state;
    for (const char *key = NULL; (value = im_json_next(o, &key)); want++) {
        seen[want] = key[0];
        assert_int_equal(im_json_as_int(value, &n), 0);
        assert_int_equal(n, want);
    }
    assert_string_equal(seen, "cab");
    assert_int_equal(im_json_count(o), 3);
    im_json_free(&o);
}

static void a_child_is_taken_even_on_failure(void **state)
{
    struct im_json *a = im_json_array();

    (void)state;
    assert_int_equal(im_json_set(a, "key", im_json_object()),
                     -EINVAL); /* the leak checker sees the child freed */
    assert_int_equal(im_json_append(a, NULL), -ENOMEM);
    im_json_free(&a);
}

static void errors_name_the_line(void **state)
{
    static const char lines[] = "{\n\"a\": 1,\n\"b\" 2}";

    (void)state;
    assert_refused(lines, strlen(lines), "line 3: ");
}

static void duplicate_keys_are_refused(void **state)
{
    (void)state;
    assert_refused("{\"a\":1,\"a\":2}", 13, "duplicate");
}

static void what_is_no_single_container_is_refused(void **state)
{
    (void)state;
    assert_refused("", 0, "line 1: ");
    assert_refused("1", 1, "line 1: ");
    assert_refused("{} {}", 5, "line 1: ");
    assert_refused("[1,]", 4, "line 1: ");
    assert_refused("[\"\\u0000\"]", 10, "line 1: ");
    assert_refused("[\"\xff\"]", 5, "line 1: ");
    assert_refused("[99999999999999999999]", 22, "line 1: ");
    assert_refused("[1e999]", 7, "line 1: ");
}

static void only_the_given_bytes_are_read(void **state)
{
    struct im_json *j = NULL;

    (void)state;
    assert_int_equal(im_json_parse("[1]garbage", 3, &j, NULL), 0);
    assert_int_equal(im_json_count(j), 1);
    im_json_free(&j);
    assert_refused("[1]garbage", 2, "line 1: ");
}

static void nesting_is_bounded(void **state)
{
    char s[200] = "";
    struct im_json *j = NULL;

    (void)state;
    memset(s, '[', 64);
    memset(s + 64, ']', 64);
    assert_int_equal(im_json_parse(s, 128, &j, NULL), 0);
    im_json_free(&j);
    memset(s, '[', 65);
    memset(s + 65, ']', 65);
    assert_refused(s, 130, "nested more than 64 deep");
    assert_int_equal(
        im_json_parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[\"]", 76,
                      &j, NULL),
        0);
    im_json_free(&j);
}

static void dump_refuses_to_recurse_without_bound(void **state)
{
    struct im_json *j = im_json_array();

    (void)state;
    for (int i = 0; i < 70; i++) {
        struct im_json *outer = im_json_array();

        im_json_append(outer, j);
        j = outer;
    }
    assert_null(im_json_dump(j));
    im_json_free(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dump_is_compact_and_in_order_of_setting),
        cmocka_unit_test(printed_is_a_line_or_why_not),
        cmocka_unit_test(indented_dump_is_for_people),
        cmocka_unit_test(setting_a_key_again_keeps_its_place),
        cmocka_unit_test(doubles_that_are_not_finite_become_null),
        cmocka_unit_test(doubles_read_back_the_same),
        cmocka_unit_test(bytes_that_are_no_utf8_are_repaired),
        cmocka_unit_test(a_missing_key_differs_from_a_wrong_type),
        cmocka_unit_test(defaults_stand_in_for_missing_and_wrong),
        cmocka_unit_test(keys_are_walked_in_order),
        cmocka_unit_test(a_child_is_taken_even_on_failure),
        cmocka_unit_test(errors_name_the_line),
        cmocka_unit_test(duplicate_keys_are_refused),
        cmocka_unit_test(what_is_no_single_container_is_refused),
        cmocka_unit_test(only_the_given_bytes_are_read),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(dump_refuses_to_recurse_without_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
