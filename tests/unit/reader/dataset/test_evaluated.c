/* The index of an evaluation: labels are places among the weights' outputs, by name. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/outcome.h"
#include "reader/dataset/data.h"
#include "reader/dataset/evaluated.h"
#include "tests/unit/reader/tree.h"

static struct rd_data open_data(const struct tree *tree)
{
    struct rd_source source = {.folder = tree_path(tree, "d")};
    struct im_text text = {""};
    struct rd_data data;

    if (rd_data_open(&source, NULL, &data, &text) < 0)
        fail_msg("refused: %s", text.s);
    return data;
}

static struct rd_data load(const struct tree *tree)
{
    const char *const files[] = {"d/train/ant/1.jpg", "d/train/bee/1.jpg", "d/train/bee/2.jpg",
                                 "d/train/cat/1.jpg", "d/val/ant/v.jpg",   "d/val/bee/v.jpg",
                                 "d/val/cat/v.jpg"};

    for (size_t i = 0; i < IM_COUNT(files); i++)
        tree_file(tree, files[i], "");
    return open_data(tree);
}

static int names(const struct tree *tree, const char *lines, struct im_class_names *ret, struct im_text *text)
{
    *ret = (struct im_class_names){0};
    tree_file(tree, "names.txt", lines);
    return im_class_names_read(tree_path(tree, "names.txt"), ret, text);
}

struct chosen {
    void *bytes;
    struct rd_index index;
    struct im_text note;
};

static struct chosen choose(const struct rd_data *data, enum im_split split,
                            const struct im_class_names *outputs)
{
    struct im_text text = {""};
    struct chosen c = {0};
    size_t n = 0;

    if (rd_evaluated_choose(&data->index, split, NULL, outputs, &c.bytes, &n, &c.note, &text) < 0 ||
        rd_index_attach(c.bytes, n, &c.index, &text) < 0)
        fail_msg("refused: %s", text.s);
    return c;
}

static void labels_are_matched_by_name(void **state)
{
    const struct tree *tree = *state;
    struct rd_data data = load(tree);
    struct im_class_names outputs;
    struct im_text text = {""};
    struct chosen c;
    char path[256];

    assert_int_equal(names(tree, "cat\ndog\nbee\r\nant\n", &outputs, &text), 0);
    c = choose(&data, IM_VAL, &outputs);
    assert_int_equal(rd_index_class_count(&c.index), 4);
    assert_string_equal(rd_index_class(&c.index, 1), "dog");
    assert_true(rd_index_count(&c.index, IM_TRAIN) == 0 && rd_index_count(&c.index, IM_VAL) == 3);
    assert_true(rd_index_label(&c.index, IM_VAL, 0) == 3 && rd_index_label(&c.index, IM_VAL, 1) == 2 &&
                rd_index_label(&c.index, IM_VAL, 2) == 0);
    assert_true(rd_index_path(&c.index, IM_VAL, 0, path, sizeof path) > 0);
    assert_non_null(strstr(path, "/d/val/ant/v.jpg"));
    assert_non_null(strstr(c.note.s, "3 of the 4 classes"));
    free(c.bytes);
    c = choose(&data, IM_TRAIN, &outputs);
    assert_int_equal(rd_index_count(&c.index, IM_VAL), 4);
    free(c.bytes);
    im_class_names_fini(&outputs);
    rd_data_close(&data);
}

static void another_order_is_said_and_the_same_is_not(void **state)
{
    struct rd_data data = load(*state);
    struct im_class_names outputs;
    struct im_text text = {""};
    struct chosen c;

    assert_int_equal(names(*state, "ant\nbee\ncat\n", &outputs, &text), 0);
    c = choose(&data, IM_VAL, &outputs);
    assert_string_equal(c.note.s, "");
    free(c.bytes);
    im_class_names_fini(&outputs);
    assert_int_equal(names(*state, "bee\nant\ncat", &outputs, &text), 0);
    c = choose(&data, IM_VAL, &outputs);
    assert_non_null(strstr(c.note.s, "another order"));
    free(c.bytes);
    im_class_names_fini(&outputs);
    c = choose(&data, IM_VAL, &outputs); /* weights without names */
    assert_true(rd_index_class_count(&c.index) == 3 && !c.note.s[0]);
    free(c.bytes);
    rd_data_close(&data);
}

/* Whether the outputs are in the order 0, 10, 2, or in that of the numbers, nobody can tell. */
static void numbers_in_the_order_of_their_text_are_said(void **state)
{
    static const char *const rows[][3] = {
        {"d/train/2/v.jpg", "d/train/10/v.jpg", "numbers in the order of their text (0, 1, 10, ...)"},
        {"d/train/2/v.jpg", "d/train/3/v.jpg", ""},
        {"d/train/2/v.jpg", "d/train/10b/v.jpg", ""}};

    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        struct im_class_names outputs = {0};
        struct rd_data data;
        struct chosen c;

        tree_clear(*state);
        tree_file(*state, "d/train/0/t.jpg", "");
        tree_file(*state, "d/val/0/v.jpg", "");
        tree_file(*state, rows[i][0], "");
        tree_file(*state, rows[i][1], "");
        data = open_data(*state);
        c = choose(&data, IM_VAL, &outputs);
        if (!strstr(c.note.s, rows[i][2]) || !*c.note.s != !*rows[i][2])
            fail_msg("row %zu: \"%s\"", i, c.note.s);
        free(c.bytes);
        rd_data_close(&data);
    }
}

static void what_does_not_match_is_refused(void **state)
{
    struct rd_data data = load(*state);
    struct im_class_names outputs;
    struct im_text text = {""}, note = {""};
    void *bytes = NULL;
    size_t n;

    assert_int_equal(names(*state, "ant\nwasp\n", &outputs, &text), 0);
    assert_int_equal(rd_evaluated_choose(&data.index, IM_VAL, NULL, &outputs, &bytes, &n, &note, &text),
                     -EBADMSG);
    assert_non_null(strstr(text.s, "2 of the 3 classes"));
    assert_non_null(strstr(text.s, "'bee', 'cat'"));
    im_class_names_fini(&outputs);
    assert_int_equal(names(*state, "ant\nbee\nant\n", &outputs, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "twice (names 1 and 3)"));
    im_class_names_fini(&outputs);
    assert_int_equal(names(*state, "\n\n", &outputs, &text), -EBADMSG);
    im_class_names_fini(&outputs);
    rd_data_close(&data);
}

static void a_list_keeps_its_order(void **state)
{
    static const char list[] = "/b/2.jpg\0/a/1.jpg\0/b/2.jpg\0/top.jpg";
    struct im_class_names outputs;
    struct im_text text = {""};
    struct rd_index index;
    char path[256], *written = NULL;
    void *bytes = NULL;
    size_t n = 0;

    assert_int_equal(names(*state, "ant\nbee\n", &outputs, &text), 0);
    assert_int_equal(rd_evaluated_list(list, sizeof list, &outputs, false, &bytes, &n, &text), 0);
    assert_int_equal(rd_index_attach(bytes, n, &index, &text), 0);
    assert_int_equal(rd_index_count(&index, IM_VAL), 4);
    assert_true(rd_index_leads_out(&index));
    assert_true(rd_index_path(&index, IM_VAL, 1, path, sizeof path) > 0);
    assert_non_null(strstr(path, "/a/1.jpg"));
    assert_true(rd_index_path(&index, IM_VAL, 3, path, sizeof path) > 0);
    assert_non_null(strstr(path, "/top.jpg"));
    assert_int_equal(rd_evaluated_names(&index, tree_path(*state, "."), &text), 0);
    assert_int_equal(im_read_file(tree_path(*state, IM_EVALUATED_FILE), 4096, &written, &n, &text), 0);
    assert_string_equal(written, "b/2.jpg");
    free(written);
    free(bytes);
    bytes = NULL;
    assert_true(rd_evaluated_list("/a/1.jpg", 8, &outputs, false, &bytes, &n, &text) < 0); /* no NUL */
    assert_true(rd_evaluated_list("a/1.jpg", 8, &outputs, false, &bytes, &n, &text) < 0);
    assert_true(rd_evaluated_list("/a/", 4, &outputs, false, &bytes, &n, &text) < 0);
    im_class_names_fini(&outputs);
}

static void parts_are_the_whole_and_begin_where_steps_do(void **state)
{
    struct rd_evaluated_part p;
    struct im_text text = {""};

    (void)state;
    for (uint64_t step = 1; step <= 9; step++)
        for (uint32_t count = 1; count <= 6; count++) {
            uint64_t next = 0;

            for (uint32_t i = 0; i < count && (23 + step - 1) / step >= count; i++) {
                assert_int_equal(rd_evaluated_part(23, step, i, count, &p, &text), 0);
                assert_true(p.first == next && p.first % step == 0 && p.end > p.first);
                next = p.end;
            }
            if (next > 0)
                assert_int_equal(next, 23);
            else
                assert_int_equal(rd_evaluated_part(23, step, 0, count, &p, &text), -EINVAL);
        }
    assert_non_null(strstr(text.s, "too few for"));
}

static void a_part_holds_its_images(void **state)
{
    struct rd_data data = load(*state);
    const struct im_class_names outputs = {0};
    struct rd_index index;
    struct im_text note = {""}, text = {""};
    char all[256], part[256];
    void *bytes;
    size_t n;

    assert_int_equal(rd_evaluated_choose(&data.index, IM_TRAIN, &(struct rd_evaluated_part){1, 3}, &outputs,
                                         &bytes, &n, &note, &text),
                     0);
    assert_int_equal(rd_index_attach(bytes, n, &index, &text), 0);
    assert_int_equal(rd_index_count(&index, IM_VAL), 2);
    for (uint64_t i = 0; i < 2; i++) {
        assert_true(rd_index_path(&index, IM_VAL, i, part, sizeof part) > 0);
        assert_true(rd_index_path(&data.index, IM_TRAIN, i + 1, all, sizeof all) > 0);
        assert_string_equal(part, all);
    }
    free(bytes);
    rd_data_close(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(labels_are_matched_by_name, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(another_order_is_said_and_the_same_is_not, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(numbers_in_the_order_of_their_text_are_said, tree_setup,
                                        tree_teardown),
        cmocka_unit_test_setup_teardown(what_does_not_match_is_refused, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(a_list_keeps_its_order, tree_setup, tree_teardown),
        cmocka_unit_test(parts_are_the_whole_and_begin_where_steps_do),
        cmocka_unit_test_setup_teardown(a_part_holds_its_images, tree_setup, tree_teardown),
    };

    return cmocka_run_group_tests_name("evaluated", tests, NULL, NULL);
}
