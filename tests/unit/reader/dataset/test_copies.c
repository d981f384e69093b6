/* Lines that tell one copy of a data set from another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reader/dataset/copies.h"
#include "reader/dataset/data.h"
#include "tests/unit/reader/tree.h"

#define EACH 256

static void make_copy(const struct tree *tree, const char *folder, unsigned each)
{
    char path[64], content[32];

    for (unsigned c = 0; c < 2; c++)
        for (unsigned i = 0; i < each; i++) {
            snprintf(path, sizeof path, "%s/train/c%u/%04u.jpg", folder, c, i);
            snprintf(content, sizeof content, "image %u of %u", i, c);
            tree_file(tree, path, content);
        }
    snprintf(path, sizeof path, "%s/val/c0/0.jpg", folder);
    tree_file(tree, path, "another");
    snprintf(path, sizeof path, "%s/val/c1/0.jpg", folder);
    tree_file(tree, path, "another");
}

static char *lines_of(const struct tree *tree, const char *folder)
{
    struct rd_source source = {.folder = tree_path(tree, folder)};
    struct im_text text = {""};
    struct rd_data data;
    char *lines;

    if (rd_data_open(&source, NULL, &data, &text) < 0)
        fail_msg("refused: %s", text.s);
    lines = rd_index_copies(&data.index);
    assert_non_null(lines);
    assert_true(strlen(lines) <= RD_COPIES_BYTES);
    rd_data_close(&data);
    return lines;
}

/* The first line that differs; "": none does. */
static const char *difference(const char *a, const char *b)
{
    static char line[256];

    while (*a && strcspn(a, "\n") == strcspn(b, "\n") && strncmp(a, b, strcspn(a, "\n")) == 0) {
        a += strcspn(a, "\n") + 1;
        b += strcspn(b, "\n") + 1;
    }
    snprintf(line, sizeof line, "%.*s", (int)strcspn(b, "\n"), b);
    return line;
}

static void check(void **state, unsigned each, const char *path, const char *content, const char *says)
{
    const struct tree *tree = *state;
    char *a, *b, name[64];

    make_copy(tree, "a", each);
    make_copy(tree, "b", each);
    tree_age_all(tree, 3600);
    if (path) {
        snprintf(name, sizeof name, "b/%s", path);
        tree_file(tree, name, content);
        tree_age(tree, name, 7200);
    }
    a = lines_of(tree, "a");
    b = lines_of(tree, "b");
    if (!path)
        assert_string_equal(a, b);
    else if (strncmp(difference(a, b), says, strlen(says)) != 0)
        fail_msg("\"%s\", not \"%s\"", difference(a, b), says);
    free(a);
    free(b);
}

static void equal_files_give_equal_lines_whatever_their_times(void **state)
{
    check(state, 5, NULL, NULL, NULL);
}

static void another_size_is_seen_and_the_file_named(void **state)
{
    check(state, 5, "train/c1/0002.jpg", "another image", "image train/c1/0002.jpg=13 bytes, hash ");
}

static void other_bytes_of_the_same_length_are_seen(void **state)
{
    check(state, 5, "val/c1/0.jpg", "anothes", "image val/c1/0.jpg=7 bytes, hash ");
}

static void many_images_share_lines(void **state)
{
    check(state, EACH, "train/c1/0150.jpg", "x", "images train/c1/0149.jpg to train/c1/0150.jpg=");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(equal_files_give_equal_lines_whatever_their_times, tree_setup,
                                        tree_teardown),
        cmocka_unit_test_setup_teardown(another_size_is_seen_and_the_file_named, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(other_bytes_of_the_same_length_are_seen, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(many_images_share_lines, tree_setup, tree_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
