/* The trees of tests/golden/image_folder.txt: the same images with the same classes in the same order as torchvision's
 * ImageFolder. argv[1] is the folder of golden files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/file.h"
#include "reader/dataset/data.h"
#include "tests/unit/reader/tree.h"

static const char *golden;

struct checked {
    const struct tree *tree;
    struct rd_data data;
    bool is_open;
    uint64_t samples;
};

static void open_data(struct checked *c)
{
    struct im_text text = {""};

    if (rd_data_open(&(struct rd_source){.folder = tree_path(c->tree, "")}, NULL, &c->data, &text) < 0)
        fail_msg("refused: %s", text.s);
    c->is_open = true;
    c->samples = 0;
}

static void close_data(struct checked *c)
{
    if (!c->is_open)
        return;
    assert_int_equal(rd_index_count(&c->data.index, IM_TRAIN), c->samples);
    rd_data_close(&c->data);
    c->is_open = false;
}

static void check_sample(struct checked *c, const char *path, const char *class)
{
    const struct rd_index *index = &c->data.index;
    char relative[PATH_MAX];

    assert_true(c->samples < rd_index_count(index, IM_TRAIN));
    assert_true(rd_index_relative(index, IM_TRAIN, c->samples, relative, sizeof relative) > 0);
    assert_string_equal(relative, path);
    assert_string_equal(rd_index_class(index, rd_index_label(index, IM_TRAIN, c->samples)), class);
    c->samples++;
}

static void take_line(struct checked *c, char *line)
{
    char *rest, *kind = strtok_r(line, "\t", &rest), *first = strtok_r(NULL, "\t", &rest),
                *second = strtok_r(NULL, "\t", &rest);

    if (strcmp(kind, "tree") == 0) {
        close_data(c);
        tree_clear(c->tree);
    } else if (strcmp(kind, "file") == 0) {
        tree_file(c->tree, first, "");
    } else if (strcmp(kind, "link") == 0) {
        tree_file(c->tree, first, "");
        tree_remove(c->tree, first);
        assert_int_equal(symlink(second, tree_path(c->tree, first)), 0);
    } else {
        assert_string_equal(kind, "sample");
        if (!c->is_open)
            open_data(c);
        check_sample(c, first, second);
    }
}

static void lists_what_image_folder_lists(void **state)
{
    struct checked c = {.tree = *state};
    char path[PATH_MAX], *bytes, *rest;
    unsigned lines = 0;
    size_t n;

    snprintf(path, sizeof path, "%s/image_folder.txt", golden);
    assert_int_equal(im_read_file(path, 1 << 20, &bytes, &n, NULL), 0);
    for (char *line = strtok_r(bytes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), lines++)
        take_line(&c, line);
    close_data(&c);
    assert_true(lines > 500);
    free(bytes);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lists_what_image_folder_lists, tree_setup, tree_teardown),
    };

    if (argc != 2)
        return 2;
    golden = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
