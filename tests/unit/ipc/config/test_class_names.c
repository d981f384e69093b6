/* Names of classes that a user gives. */
#include <errno.h>

#include "ipc/base/file.h"
#include "ipc/config/class_names.h"
#include "tests/unit/ipc/base/unit.h"

/* Reads a file of these bytes, or, with NULL, the value. */
static int take(void *state, const char *bytes, size_t n, const char *value, struct im_class_names *ret,
                struct im_text *text)
{
    char path[4096];
    int err;

    *ret = (struct im_class_names){0};
    *text = (struct im_text){""};
    if (!bytes)
        return im_class_names_read(value, ret, text);
    snprintf(path, sizeof path, "%s/names", (const char *)state);
    assert_int_equal(im_file_replace(path, bytes, n, text), 0);
    err = im_class_names_read(path, ret, text);
    return err < 0 ? err : im_class_names_check(ret, path, 3, "w.pt", text);
}

static void names_come_from_a_file_or_a_list(void **state)
{
    static const struct {
        const char *bytes, *value;
    } rows[] = {{"cat\ndog\nshort bee\n", NULL},
                {"cat\r\ndog\r\nshort bee", NULL},
                {"\xef\xbb\xbf"
                 "cat\n\ndog\nshort bee\n\n",
                 NULL},
                {NULL, "cat,dog,short bee"},
                {NULL, " cat, dog , short bee "}};

    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        struct im_class_names names;
        struct im_text text;
        char *dumped;
        struct im_json *json;

        if (take(*state, rows[i].bytes, rows[i].bytes ? strlen(rows[i].bytes) : 0, rows[i].value, &names,
                 &text) < 0)
            fail_msg("row %zu: %s", i, text.s);
        assert_int_equal(im_class_names_check(&names, "x", 3, "w.pt", &text), 0);
        json = im_class_names_json(&names);
        dumped = im_json_dump(json);
        assert_string_equal(dumped, "[\"cat\",\"dog\",\"short bee\"]");
        free(dumped);
        im_json_free(&json);
        im_class_names_fini(&names);
    }
}

static void others_are_refused(void **state)
{
    static const struct {
        const char *bytes, *value, *says;
        size_t n;
        int err;
    } rows[] = {
        {"a\nb\n", NULL, "names 2 classes, and w.pt has 3 outputs", 4, -EINVAL},
        {"a\nb\nc\nd\n", NULL, "names 4 classes, and w.pt has 3 outputs", 8, -EINVAL},
        {"a\nb\na\n", NULL, "names the class 'a' twice (names 1 and 3)", 6, -EBADMSG},
        {"a\n\x1b[2J\nc\n", NULL, "name 2, '\\x1b[2J', has a control character", 9, -EBADMSG},
        {"a\nb\tc\nd\n", NULL, "name 2, 'b\\tc'", 8, -EBADMSG},
        {"a\n\xff\nc\n", NULL, "name 2, '\\xff'", 6, -EBADMSG},
        {"a\n\xe2\x80\xaex\nc\n", NULL, "name 2, '\\u202ex'", 9, -EBADMSG},
        {"a\n  \nc\n", NULL, "name 2 is of blanks", 7, -EBADMSG},
        {"a\0b\nc\n", NULL, "a NUL at byte 1", 6, -EBADMSG},
        {"\n\n", NULL, "names no classes", 2, -EBADMSG},
        {"", NULL, "names no classes", 0, -EBADMSG},
        {NULL, "no-such-file", "there is no such file", 0, -EINVAL},
        {NULL, "no/such,file", "there is no such file", 0, -EINVAL},
        {NULL, ",,", "names no classes", 0, -EBADMSG},
        {NULL, "a,b, a", "names the class 'a' twice (names 1 and 3)", 0, -EBADMSG},
        {NULL, "/", "is a folder", 0, -EINVAL},
    };

    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        struct im_class_names names;
        struct im_text text;
        const int err = take(*state, rows[i].bytes, rows[i].n, rows[i].value, &names, &text);

        if (err != rows[i].err || !strstr(text.s, rows[i].says))
            fail_msg("row %zu: %d, \"%s\"", i, err, text.s);
        im_class_names_fini(&names);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_come_from_a_file_or_a_list, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(others_are_refused, make_directory, remove_directory),
    };

    return cmocka_run_group_tests_name("class_names", tests, NULL, NULL);
}
