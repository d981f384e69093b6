/* Finding out how a data set lies on disk, and what is said where it does not lie as it must. */
#include <errno.h>
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

#include "ipc/base/count.h"
#include "reader/dataset/data.h"
#include "tests/unit/reader/tree.h"

/* Opens the folder and checks that it is refused with a sentence that holds `part`. */
static void check_refused(const struct tree *tree, const char *path, enum rd_layout_kind forced, int err,
                          const char *part)
{
    struct im_text text = {""};
    struct rd_data data;
    int got = rd_data_open(&(struct rd_source){tree_path(tree, path), forced, 0}, NULL, &data, &text);

    if (got != err || !strstr(text.s, part))
        fail_msg("got %d, '%s'; wanted %d and '%s'", got, text.s, err, part);
}

static void open_data(const struct tree *tree, const char *path, enum rd_layout_kind forced,
                      struct rd_data *data)
{
    struct im_text text = {""};

    if (rd_data_open(&(struct rd_source){tree_path(tree, path), forced, 0}, NULL, data, &text) != 0)
        fail_msg("refused: %s", text.s);
}

static void check_label(const struct rd_index *index, enum im_split split, uint64_t id, const char *path,
                        const char *class)
{
    char relative[PATH_MAX];

    assert_true(rd_index_relative(index, split, id, relative, sizeof relative) > 0);
    assert_string_equal(relative, path);
    assert_string_equal(rd_index_class(index, rd_index_label(index, split, id)), class);
}

static void make_class_folders(const struct tree *tree)
{
    tree_file(tree, "d/train/zebra/1.jpg", "");
    tree_file(tree, "d/train/Ant/b.JPEG", "");
    tree_file(tree, "d/train/Ant/a.png", "");
    tree_file(tree, "d/train/bee/x.WebP", "");
}

static void class_folders_give_classes_in_byte_order(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    make_class_folders(tree);
    tree_file(tree, "d/val/zebra/9.jpg", "");
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_layout(&data.index), RD_LAYOUT_FOLDERS);
    assert_int_equal(rd_index_class_count(&data.index), 3);
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 4);
    check_label(&data.index, IM_TRAIN, 0, "train/Ant/a.png", "Ant");
    check_label(&data.index, IM_TRAIN, 1, "train/Ant/b.JPEG", "Ant");
    check_label(&data.index, IM_TRAIN, 2, "train/bee/x.WebP", "bee");
    check_label(&data.index, IM_TRAIN, 3, "train/zebra/1.jpg", "zebra");
    check_label(&data.index, IM_VAL, 0, "val/zebra/9.jpg", "zebra");
    assert_int_equal(rd_index_label(&data.index, IM_VAL, 0), 2);
    rd_data_close(&data);
}

static void validation_images_may_lie_in_test_or_valid(void **state)
{
    static const char *const names[] = {"test", "valid", "validation",
                                        "val"}; /* each goes before those above */
    struct tree *tree = *state;
    struct rd_data data;
    char path[64];

    make_class_folders(tree);
    for (size_t i = 0; i < IM_COUNT(names); i++) {
        snprintf(path, sizeof path, "d/%s/bee/1.jpg", names[i]);
        tree_file(tree, path, "");
        open_data(tree, "d", RD_LAYOUT_AUTO, &data);
        check_label(&data.index, IM_VAL, 0, path + 2, "bee");
        rd_data_close(&data);
    }
}

static void no_validation_images_is_a_set_too(void **state)
{
    struct rd_data data;

    make_class_folders(*state);
    open_data(*state, "d", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 0);
    rd_data_close(&data);
}

static void what_is_no_image_is_counted_and_named(void **state)
{
    struct tree *tree = *state;
    struct rd_skipped skipped;
    struct rd_data data;

    make_class_folders(tree);
    tree_file(tree, "d/train/bee/notes.txt", "");
    tree_file(tree, "d/train/bee/Thumbs.db", "");
    tree_file(tree, "d/train/bee/._x.jpg", "");
    tree_file(tree, "d/train/.ipynb_checkpoints/x.jpg", "");
    tree_folder(tree, "d/train/bee/dir.JPEG");
    tree_folder(tree, "d/train/more.JPEG");
    tree_file(tree, "d/train/bee/nested/x.jpg", "");
    tree_file(tree, "d/train/loose.jpg", "");
    assert_int_equal(mkfifo(tree_path(tree, "d/train/bee/pipe.jpg"), 0600), 0);
    assert_int_equal(symlink("nowhere", tree_path(tree, "d/train/bee/link.jpg")), 0);
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    rd_index_skipped(&data.index, &skipped);
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 4);
    assert_int_equal(rd_index_class_count(&data.index), 3);
    assert_int_equal(skipped.count[RD_SKIP_OTHER], 2);
    assert_string_equal(skipped.first[RD_SKIP_OTHER], "train/bee/Thumbs.db");
    assert_int_equal(skipped.count[RD_SKIP_HIDDEN], 2);
    assert_int_equal(skipped.count[RD_SKIP_FOLDER], 3);
    assert_int_equal(skipped.count[RD_SKIP_SPECIAL], 2);
    assert_int_equal(skipped.count[RD_SKIP_LOOSE], 1);
    assert_string_equal(skipped.first[RD_SKIP_LOOSE], "train/loose.jpg");
    rd_data_close(&data);
}

static void links_are_followed(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    make_class_folders(tree);
    assert_int_equal(symlink("../zebra/1.jpg", tree_path(tree, "d/train/bee/also.jpg")), 0);
    assert_int_equal(symlink("bee", tree_path(tree, "d/train/wasp")), 0);
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_class_count(&data.index), 4);
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 7);
    rd_data_close(&data);
}

static void a_missing_or_empty_data_folder_is_named(void **state)
{
    struct tree *tree = *state;

    check_refused(tree, "nothere", RD_LAYOUT_AUTO, -ENOENT, "nothere': No such file or directory");
    tree_folder(tree, "empty");
    check_refused(tree, "empty", RD_LAYOUT_AUTO, -EBADMSG, "empty' is empty");
    tree_file(tree, "file", "x");
    check_refused(tree, "file", RD_LAYOUT_AUTO, -ENOTDIR, "file': Not a directory");
    tree_file(tree, "flat/cat/1.jpg", "");
    check_refused(tree, "flat", RD_LAYOUT_AUTO, -EBADMSG, "no train folder in");
    check_refused(tree, "flat/cat", RD_LAYOUT_AUTO, -EBADMSG,
                  "flat/cat' holds images but no class folders; they belong in train/<class>/");
    tree_file(tree, "own/train/cat/1.jpg", "");
    check_refused(tree, "own/train", RD_LAYOUT_AUTO, -EBADMSG,
                  "own/train' is itself a train folder: use its parent folder");
    tree_file(tree, "loose/train/1.jpg", "");
    check_refused(tree, "loose", RD_LAYOUT_AUTO, -EBADMSG, "loose/train' holds no class folders");
}

static void a_class_folder_without_images_is_named(void **state)
{
    struct tree *tree = *state;

    make_class_folders(tree);
    tree_file(tree, "d/train/crow/readme.txt", "");
    check_refused(tree, "d", RD_LAYOUT_AUTO, -EBADMSG, "d/train/crow' holds no images");
}

static void a_validation_class_that_training_lacks_is_named(void **state)
{
    struct tree *tree = *state;

    make_class_folders(tree);
    tree_file(tree, "d/val/bat/1.jpg", "");
    check_refused(tree, "d", RD_LAYOUT_AUTO, -EBADMSG, "d/val/bat' is a class that 'train' does not have");
}

#define VAL "I/Data/CLS-LOC/val/ILSVRC2012_val_0000000"

static void make_ilsvrc(const struct tree *tree)
{
    tree_file(tree, "I/Data/CLS-LOC/train/n01/n01_1.JPEG", "");
    tree_file(tree, "I/Data/CLS-LOC/train/n02/n02_1.JPEG", "");
    tree_file(tree, "I/Data/CLS-LOC/train/n03/n03_1.JPEG", "");
    tree_file(tree, VAL "1.JPEG", "");
    tree_file(tree, VAL "2.JPEG", "");
    tree_file(tree, VAL "3.JPEG", "");
}

static void make_annotations(const struct tree *tree)
{
    char path[128], content[512];
    static const char *const wnids[] = {"n02", "n03", "n01"};

    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "I/Annotations/CLS-LOC/val/ILSVRC2012_val_0000000%d.xml", i + 1);
        snprintf(content, sizeof content,
                 "<annotation>\n\t<folder>val</folder>\n\t<source><database>ILSVRC_2012</database><name>not "
                 "me</name></source>\n\t<object>\n"
                 "\t\t<name> %s "
                 "</name>\n\t\t<pose>Unspecified</pose>\n\t</object>\n\t<object><name>n99</name></object>\n</"
                 "annotation>\n",
                 wnids[i]);
        tree_file(tree, path, content);
    }
}

static void check_ilsvrc(const struct tree *tree, const char *path, const char *prefix)
{
    struct rd_data data;
    char relative[128];

    open_data(tree, path, RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_layout(&data.index), RD_LAYOUT_ILSVRC);
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 3);
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 3);
    for (int i = 0; i < 3; i++) {
        static const char *const wnids[] = {"n02", "n03", "n01"};

        snprintf(relative, sizeof relative, "%sval/ILSVRC2012_val_0000000%d.JPEG", prefix, i + 1);
        check_label(&data.index, IM_VAL, (uint64_t)i, relative, wnids[i]);
    }
    rd_data_close(&data);
}

static void ilsvrc_labels_come_from_annotations(void **state)
{
    struct tree *tree = *state;

    make_ilsvrc(tree);
    make_annotations(tree);
    check_ilsvrc(tree, "I", "Data/CLS-LOC/");
    check_ilsvrc(tree, "I/Data/CLS-LOC", "");
}

static void ilsvrc_is_found_from_the_folder_above(void **state)
{
    struct tree *tree = *state;

    make_ilsvrc(tree);
    make_annotations(tree);
    tree_folder(tree, "up");
    assert_int_equal(rename(tree_path(tree, "I"), tree_path(tree, "up/ILSVRC")), 0);
    check_ilsvrc(tree, "up", "ILSVRC/Data/CLS-LOC/");
}

static void ilsvrc_labels_come_from_the_solution_csv(void **state)
{
    struct tree *tree = *state;

    make_ilsvrc(tree);
    tree_folder(tree, "up");
    assert_int_equal(rename(tree_path(tree, "I"), tree_path(tree, "up/ILSVRC")), 0);
    tree_file(tree, "up/LOC_val_solution.csv",
              "ImageId,PredictionString\nILSVRC2012_val_00000003,n01 85 1 499 272 "
              "\nILSVRC2012_val_00000001,n02 1 2 3 4 n02 5 6 7 8\r\n"
              "ILSVRC2012_val_00000002,n03 1 1 1 1 \n");
    check_ilsvrc(tree, "up", "ILSVRC/Data/CLS-LOC/");
    check_ilsvrc(tree, "up/ILSVRC", "Data/CLS-LOC/");
    check_ilsvrc(tree, "up/ILSVRC/Data/CLS-LOC", "");
}

#define LIST "I/ImageSets/CLS-LOC/val.txt"

static void ilsvrc_labels_come_from_a_list_of_classes(void **state)
{
    static const char *const lists[] = {
        "ILSVRC2012_val_00000001.JPEG 1\nILSVRC2012_val_00000002.JPEG 2\nILSVRC2012_val_00000003.JPEG 0\n",
        "ILSVRC2012_val_00000001.JPEG 2\nILSVRC2012_val_00000002.JPEG 3\nILSVRC2012_val_00000003.JPEG 1\n",
        "ILSVRC2012_val_00000001 n02\nILSVRC2012_val_00000002 n03\nILSVRC2012_val_00000003 n01\n",
    };
    struct tree *tree = *state;

    make_ilsvrc(tree);
    for (size_t i = 0; i < IM_COUNT(lists); i++) {
        tree_file(tree, LIST, lists[i]);
        tree_age(tree, LIST, 10 + (int)i);
        check_ilsvrc(tree, "I", "Data/CLS-LOC/");
    }
}

static void a_list_that_numbers_its_lines_is_refused(void **state)
{
    struct tree *tree = *state;

    make_ilsvrc(tree);
    tree_file(tree, LIST,
              "ILSVRC2012_val_00000001 1\nILSVRC2012_val_00000002 2\nILSVRC2012_val_00000003 3\n");
    check_refused(tree, "I", RD_LAYOUT_AUTO, -EBADMSG, "numbers its lines and holds no labels");
    make_annotations(tree); /* which go before it */
    check_ilsvrc(tree, "I", "Data/CLS-LOC/");
}

static void a_list_of_unclear_numbers_is_refused(void **state)
{
    struct tree *tree = *state;

    make_ilsvrc(tree);
    tree_file(tree, LIST,
              "ILSVRC2012_val_00000001 2\nILSVRC2012_val_00000002 1\nILSVRC2012_val_00000003 2\n");
    check_refused(tree, "I", RD_LAYOUT_AUTO, -EBADMSG, "from 1 to 2 for 3 classes");
    tree_file(tree, LIST,
              "ILSVRC2012_val_00000001 490\nILSVRC2012_val_00000002 361\nILSVRC2012_val_00000003 0\n");
    check_refused(tree, "I", RD_LAYOUT_AUTO, -EBADMSG, "from 0 to 490 for 3 classes");
}

static void images_without_a_label_are_named(void **state)
{
    struct tree *tree = *state;

    make_ilsvrc(tree);
    check_refused(tree, "I", RD_LAYOUT_AUTO, -EBADMSG, "no labels for them were found");
    make_annotations(tree);
    tree_file(tree, VAL "4.JPEG", "");
    check_refused(tree, "I", RD_LAYOUT_AUTO, -EBADMSG, "'ILSVRC2012_val_00000004.JPEG' has no annotation");
    tree_file(tree, "I/Annotations/CLS-LOC/val/ILSVRC2012_val_00000004.xml",
              "<annotation><object><name>n7</name></object></annotation>");
    check_refused(tree, "I", RD_LAYOUT_AUTO, -EBADMSG,
                  "names the class 'n7', which the training images do not have");
    tree_file(tree, "I/Annotations/CLS-LOC/val/ILSVRC2012_val_00000004.xml", "<annotation><object>");
    check_refused(tree, "I", RD_LAYOUT_AUTO, -EBADMSG, "cannot be used: no element found");
    tree_file(tree, "I/Annotations/CLS-LOC/val/ILSVRC2012_val_00000004.xml", "<annotation/>");
    check_refused(tree, "I", RD_LAYOUT_AUTO, -EBADMSG, "cannot be used: it names no object");
}

static void ilsvrc_validation_may_be_sorted_into_folders(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    tree_file(tree, "I/Data/CLS-LOC/train/n01/n01_1.JPEG", "");
    tree_file(tree, "I/Data/CLS-LOC/val/n01/v.JPEG", "");
    open_data(tree, "I", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_layout(&data.index), RD_LAYOUT_ILSVRC);
    check_label(&data.index, IM_VAL, 0, "Data/CLS-LOC/val/n01/v.JPEG", "n01");
    rd_data_close(&data);
}

static void a_forced_layout_looks_for_that_only(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    make_ilsvrc(tree);
    make_annotations(tree);
    check_refused(tree, "I", RD_LAYOUT_FOLDERS, -EBADMSG, "no train folder in");
    check_refused(tree, "I/Data/CLS-LOC", RD_LAYOUT_FOLDERS, -EBADMSG, "holds images but no class folders");
    open_data(tree, "I", RD_LAYOUT_ILSVRC, &data);
    assert_int_equal(rd_index_layout(&data.index), RD_LAYOUT_ILSVRC);
    rd_data_close(&data);
}

#define T(name) cmocka_unit_test_setup_teardown(name, tree_setup, tree_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(class_folders_give_classes_in_byte_order),
        T(validation_images_may_lie_in_test_or_valid),
        T(no_validation_images_is_a_set_too),
        T(what_is_no_image_is_counted_and_named),
        T(links_are_followed),
        T(a_missing_or_empty_data_folder_is_named),
        T(a_class_folder_without_images_is_named),
        T(a_validation_class_that_training_lacks_is_named),
        T(ilsvrc_labels_come_from_annotations),
        T(ilsvrc_is_found_from_the_folder_above),
        T(ilsvrc_labels_come_from_the_solution_csv),
        T(ilsvrc_labels_come_from_a_list_of_classes),
        T(a_list_that_numbers_its_lines_is_refused),
        T(a_list_of_unclear_numbers_is_refused),
        T(images_without_a_label_are_named),
        T(ilsvrc_validation_may_be_sorted_into_folders),
        T(a_forced_layout_looks_for_that_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
