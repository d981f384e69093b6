/* Validation images taken from the training images, and files that hold nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "reader/dataset/data.h"
#include "reader/dataset/empty.h"
#include "tests/unit/reader/tree.h"

/* counts[c] images in FOLDER/c<c>. */
static void make_tree(const struct tree *tree, const char *folder, const unsigned *counts, unsigned classes)
{
    char path[128];

    for (unsigned c = 0; c < classes; c++) {
        for (unsigned i = 0; i < counts[c]; i++) {
            snprintf(path, sizeof path, "%s/c%u/%03u.jpg", folder, c, i);
            tree_file(tree, path, "x");
        }
    }
}

static struct rd_data load(const struct tree *tree, const char *folder, double share, uint64_t seed)
{
    struct rd_source source = {.folder = tree_path(tree, folder), .val_split = share, .val_split_seed = seed};
    struct im_text text = {""};
    struct rd_data data;

    if (rd_data_open(&source, NULL, &data, &text) < 0)
        fail_msg("refused: %s", text.s);
    return data;
}

static unsigned count_label(const struct rd_index *index, enum im_split split, uint32_t label)
{
    unsigned count = 0;

    for (uint64_t id = 0; id < rd_index_count(index, split); id++)
        count += rd_index_label(index, split, id) == label;
    return count;
}

static void each_class_gives_its_share(void **state)
{
    static const unsigned counts[] = {100, 10, 4, 2, 1, 15}, val[] = {10, 1, 1, 1, 0, 2};
    struct rd_data data;

    make_tree(*state, "d", counts, 6);
    data = load(*state, "d", 0.1, 0);
    for (uint32_t c = 0; c < 6; c++) {
        assert_int_equal(count_label(&data.index, IM_VAL, c), val[c]);
        assert_int_equal(count_label(&data.index, IM_TRAIN, c), counts[c] - val[c]);
    }
    rd_data_close(&data);
    data = load(*state, "d", 0.9, 0);
    assert_int_equal(count_label(&data.index, IM_TRAIN, 3), 1); /* never all */
    assert_int_equal(count_label(&data.index, IM_TRAIN, 4), 1);
    rd_data_close(&data);
}

/* Every image is in exactly one part, and each part in the order of the whole. */
static void the_parts_make_the_whole(void **state)
{
    uint64_t at[IM_SPLITS] = {0};
    struct rd_data whole, parts;
    char path[PATH_MAX], part[PATH_MAX];

    make_tree(*state, "d", (unsigned[]){20, 30}, 2);
    tree_age_all(*state, 3600);
    whole = load(*state, "d", 0, 0);
    parts = load(*state, "d", 0.25, 7);
    assert_true(parts.cached); /* of the whole */
    assert_int_not_equal(rd_index_hash(&whole.index), rd_index_hash(&parts.index));
    for (uint64_t id = 0; id < 50; id++) {
        int found = -1;

        rd_index_relative(&whole.index, IM_TRAIN, id, path, sizeof path);
        for (int split = 0; split < IM_SPLITS; split++) {
            if (at[split] == rd_index_count(&parts.index, (enum im_split)split))
                continue;
            rd_index_relative(&parts.index, (enum im_split)split, at[split], part, sizeof part);
            if (strcmp(part, path) == 0)
                found = split;
        }
        assert_true(found >= 0);
        at[found]++;
    }
    assert_int_equal(at[IM_VAL], 13); /* 5 of 20, and 7.5 of 30, rounded up */
    rd_data_close(&whole);
    rd_data_close(&parts);
}

/* The paths of the validation images, without the folders above the class. */
static void list_val(const struct rd_data *data, char *list, size_t size)
{
    char path[PATH_MAX];
    size_t used = 0;

    for (uint64_t id = 0; id < rd_index_count(&data->index, IM_VAL); id++) {
        rd_index_relative(&data->index, IM_VAL, id, path, sizeof path);
        used += (size_t)snprintf(list + used, size - used, "%s\n", strstr(path, "c"));
        assert_true(used < size);
    }
}

static void the_choice_depends_on_seed_and_names_alone(void **state)
{
    char first[8192], second[8192], other[8192];
    struct rd_data data;
    unsigned changed = 0;
    char *rest;

    make_tree(*state, "d", (unsigned[]){40, 40}, 2);
    data = load(*state, "d", 0.2, 3);
    list_val(&data, first, sizeof first);
    rd_data_close(&data);
    make_tree(*state, "e/train", (unsigned[]){40, 40}, 2); /* another layout, other folders above */
    data = load(*state, "e", 0.2, 3);
    list_val(&data, second, sizeof second);
    rd_data_close(&data);
    assert_string_equal(first, second);
    data = load(*state, "e", 0.2, 4);
    list_val(&data, other, sizeof other);
    rd_data_close(&data);
    assert_string_not_equal(first, other);
    tree_file(*state, "d/c0/new.jpg", ""); /* one more image moves one other at most */
    data = load(*state, "d", 0.2, 3);
    list_val(&data, second, sizeof second);
    rd_data_close(&data);
    for (char *line = strtok_r(first, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        changed += strstr(second, line) == NULL;
    assert_true(changed <= 1);
}

static void a_set_with_validation_images_is_not_split(void **state)
{
    struct im_text text = {""};
    struct rd_data data;

    make_tree(*state, "d/train", (unsigned[]){4}, 1);
    make_tree(*state, "d/val", (unsigned[]){4}, 1);
    assert_int_equal(rd_data_open(&(struct rd_source){.folder = tree_path(*state, "d"), .val_split = 0.1},
                                  NULL, &data, &text),
                     -EINVAL);
    assert_non_null(strstr(text.s, "has validation images; leave --val-split away"));
    make_tree(*state, "one", (unsigned[]){1, 1}, 2);
    assert_int_equal(rd_data_open(&(struct rd_source){.folder = tree_path(*state, "one"), .val_split = 0.1},
                                  NULL, &data, &text),
                     -EINVAL);
    assert_non_null(strstr(text.s, "no class has two images"));
}

static void empty_files_are_found(void **state)
{
    struct rd_empty empty;
    struct rd_data data;

    make_tree(*state, "d/train", (unsigned[]){300, 300}, 2);
    tree_file(*state, "d/val/c0/v.jpg", "");
    tree_file(*state, "d/train/c1/007.jpg", "");
    tree_file(*state, "d/train/c0/299.jpg", "");
    assert_int_equal(symlink("299.jpg", tree_path(*state, "d/train/c0/link.jpg")), 0);
    data = load(*state, "d", 0, 0);
    assert_int_equal(rd_index_empty(&data.index, INT64_C(60000000000), &empty), 0);
    assert_int_equal(empty.checked, 602);
    assert_int_equal(empty.paths.count, 4);
    assert_string_equal(rd_names_at(&empty.paths, 0), "train/c0/299.jpg");
    assert_string_equal(rd_names_at(&empty.paths, 1), "train/c0/link.jpg");
    assert_string_equal(rd_names_at(&empty.paths, 2), "train/c1/007.jpg");
    assert_string_equal(rd_names_at(&empty.paths, 3), "val/c0/v.jpg");
    rd_empty_fini(&empty);
    assert_int_equal(rd_index_empty(&data.index, 0, &empty), 0); /* no time */
    assert_int_equal(empty.checked, 0);
    rd_empty_fini(&empty);
    rd_data_close(&data);
}

#define T(name) cmocka_unit_test_setup_teardown(name, tree_setup, tree_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_class_gives_its_share),
        T(the_parts_make_the_whole),
        T(the_choice_depends_on_seed_and_names_alone),
        T(a_set_with_validation_images_is_not_split),
        T(empty_files_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
