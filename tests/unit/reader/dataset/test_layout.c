/* Recognizing the layout of a data set, and the errors where it has none. */
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
    int got = rd_data_open(&(struct rd_source){.folder = tree_path(tree, path), .layout = forced}, NULL,
                           &data, &text);

    if (got != err || !strstr(text.s, part))
        fail_msg("got %d, '%s'; wanted %d and '%s'", got, text.s, err, part);
}

static void open_data(const struct tree *tree, const char *path, enum rd_layout_kind forced,
                      struct rd_data *data)
{
    struct im_text text = {""};

    if (rd_data_open(&(struct rd_source){.folder = tree_path(tree, path), .layout = forced}, NULL, data,
                     &text) != 0)
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

static void folders_may_be_spelt_otherwise(void **state)
{
    static const struct {
        const char *train, *val, *other;
    } sets[] = {{"Train", "Val", "Test"},           {"TRAIN", "TEST", NULL},
                {"training_set", "test_set", NULL}, {"Training", "Validation", "test"},
                {"training", "testing", NULL},      {"train", "Valid", "test"},
                {"train data", "dev", NULL}};
    struct tree *tree = *state;
    struct rd_data data;
    char path[64];

    for (size_t i = 0; i < IM_COUNT(sets); i++) {
        tree_clear(tree);
        snprintf(path, sizeof path, "d/%s/a/1.jpg", sets[i].train);
        tree_file(tree, path, "");
        snprintf(path, sizeof path, "d/%s/a/3.jpg", sets[i].other ? sets[i].other : "notes");
        tree_file(tree, path, "");
        snprintf(path, sizeof path, "d/%s/a/2.jpg", sets[i].val);
        tree_file(tree, path, "");
        open_data(tree, "d", RD_LAYOUT_AUTO, &data);
        assert_int_equal(rd_index_layout(&data.index), RD_LAYOUT_FOLDERS);
        assert_int_equal(rd_index_class_count(&data.index), 1);
        check_label(&data.index, IM_VAL, 0, path + 2, "a");
        rd_data_close(&data);
        open_data(tree, "d", RD_LAYOUT_FOLDERS, &data);
        rd_data_close(&data);
    }
    tree_file(tree, "d/Train-Data/a/1.jpg", "");
    check_refused(tree, "d", RD_LAYOUT_AUTO, -EBADMSG, "holds both 'Train-Data' and 'train data'");
    check_refused(tree, "d/Train-Data", RD_LAYOUT_AUTO, -EBADMSG, "with dev beside it");
    tree_clear(tree); /* classes, of which one is a vehicle */
    tree_file(tree, "d/Train/side/1.jpg", "");
    tree_file(tree, "d/Bus/1.jpg", "");
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_class_count(&data.index), 2);
    rd_data_close(&data);
}

/* As many archives of Kaggle are unpacked: Intel's scenes, the ASL alphabet, folders of folders of the same name. */
static void folders_may_have_more_words_and_be_doubled(void **state)
{
    static const struct {
        const char *train, *val, *beside;
    } sets[] = {{"seg_train/seg_train/a/1.jpg", "seg_test/seg_test/a/2.jpg", "seg_pred/seg_pred/3.jpg"},
                {"asl_alphabet_train/asl_alphabet_train/a/1.jpg", "", "asl_alphabet_test/A_test.jpg"},
                {"train_images/a/1.jpg", "val_images/a/2.jpg", "test_images/3.jpg"},
                {"Flowers-Train/a/1.jpg", "flowers-valid/a/2.jpg", "other_test/a/3.jpg"},
                {"train/train/a/1.jpg", "val/val/a/2.jpg", "test/test/3.jpg"},
                {"train/Train/a/1.jpg", "Valid/a/2.jpg", "notes/3.jpg"}};
    struct tree *tree = *state;
    struct rd_data data;
    char path[128];

    for (size_t i = 0; i < IM_COUNT(sets); i++) {
        const char *const files[] = {sets[i].train, sets[i].val, sets[i].beside};

        tree_clear(tree);
        for (size_t f = 0; f < IM_COUNT(files); f++)
            if (snprintf(path, sizeof path, "d/%s", files[f]) > 2)
                tree_file(tree, path, "");
        open_data(tree, "d", RD_LAYOUT_AUTO, &data);
        assert_int_equal(rd_index_layout(&data.index), RD_LAYOUT_FOLDERS);
        assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 1);
        assert_int_equal(rd_index_count(&data.index, IM_VAL), *sets[i].val ? 1 : 0);
        check_label(&data.index, IM_TRAIN, 0, sets[i].train, "a");
        if (*sets[i].val)
            check_label(&data.index, IM_VAL, 0, sets[i].val, "a");
        rd_data_close(&data);
    }
    tree_clear(tree);
    tree_file(tree, "d/seg_train/seg_train/a/1.jpg", "");
    tree_file(tree, "d/seg_test/seg_test/a/1.jpg", "");
    check_refused(tree, "d/seg_train", RD_LAYOUT_AUTO, -EBADMSG, "with seg_test beside it");
    open_data(tree, "d/seg_train", RD_LAYOUT_SINGLE, &data);
    check_label(&data.index, IM_TRAIN, 0, "seg_train/a/1.jpg", "a");
    rd_data_close(&data);
    tree_file(tree, "d/old_train/a/1.jpg", "");
    tree_file(tree, "d/old_test/a/1.jpg", "");
    check_refused(tree, "d", RD_LAYOUT_AUTO, -EBADMSG, "holds both 'old_train' and 'seg_train'");
    tree_clear(tree); /* classes, of which one is a vehicle */
    tree_file(tree, "d/steam_train/1.jpg", "");
    tree_file(tree, "d/bus/1.jpg", "");
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_class_count(&data.index), 2);
    rd_data_close(&data);
    tree_clear(tree);
    tree_file(tree, "flowers/flowers/rose/1.jpg", "");
    tree_file(tree, "flowers/flowers/tulip/1.jpg", "");
    open_data(tree, "flowers", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_class_count(&data.index), 2);
    check_label(&data.index, IM_TRAIN, 0, "flowers/rose/1.jpg", "rose");
    rd_data_close(&data);
}

static void validation_images_without_class_folders_need_labels(void **state)
{
    static const char *const names[] = {"val", "validation", "valid", "Valid", "val/val"};
    struct tree *tree = *state;
    struct rd_data data;
    char path[64];

    for (size_t i = 0; i < IM_COUNT(names); i++) {
        tree_clear(tree);
        make_class_folders(tree);
        snprintf(path, sizeof path, "d/%s/9.jpg", names[i]);
        tree_file(tree, path, "");
        check_refused(tree, "d", RD_LAYOUT_AUTO, -EBADMSG, "no labels for them were found");
        check_refused(tree, "d", RD_LAYOUT_FOLDERS, -EBADMSG, "holds images but no class folders");
        tree_file(tree, "d/valid.csv", "file,label\n9.jpg,bee\n");
        open_data(tree, "d", RD_LAYOUT_AUTO, &data);
        check_label(&data.index, IM_VAL, 0, path + 2, "bee");
        rd_data_close(&data);
    }
    tree_clear(tree); /* a test set is often without labels */
    make_class_folders(tree);
    tree_file(tree, "d/test/9.jpg", "");
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 0);
    rd_data_close(&data);
}

static void no_validation_images_is_a_set_too(void **state)
{
    struct rd_data data;

    make_class_folders(*state);
    open_data(*state, "d", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 0);
    rd_data_close(&data);
}

/* Whether something of this kind was left out: path and note. */
static void check_left_out(const struct rd_index *index, enum rd_skip kind, const char *path,
                           const char *note)
{
    const char *left_path = "", *left_note = "";

    for (uint64_t i = 0; i < rd_index_left_out_count(index); i++)
        if (rd_index_left_out(index, i, &left_path, &left_note) == kind && strcmp(left_path, path) == 0) {
            assert_string_equal(left_note, note);
            return;
        }
    fail_msg("'%s' was not left out as kind %d", path, kind);
}

static void what_is_no_image_is_counted_and_named(void **state)
{
    struct tree *tree = *state;
    struct rd_skipped skipped;
    struct rd_data data;

    make_class_folders(tree);
    tree_file(tree, "d/train/bee/notes.txt", "");
    tree_file(tree, "d/train/bee/Thumbs.db", "");
    tree_file(tree, "d/train/bee/IMG_1.HEIC", "");
    tree_file(tree, "d/train/bee/._x.jpg", "");
    tree_file(tree, "d/train/.ipynb_checkpoints/x.jpg", "");
    tree_file(tree, "d/train/bee/@eaDir/x.jpg", "");
    tree_file(tree, "d/train/__MACOSX/x.jpg", "");
    tree_file(tree, "d/train/lost+found/x.jpg", "");
    tree_folder(tree, "d/train/bee/dir.JPEG");
    tree_folder(tree, "d/train/more.JPEG");
    tree_file(tree, "d/train/loose.jpg", "");
    assert_int_equal(mkfifo(tree_path(tree, "d/train/bee/pipe.jpg"), 0600), 0);
    assert_int_equal(symlink("nowhere", tree_path(tree, "d/train/bee/link.jpg")), 0);
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    rd_index_skipped(&data.index, &skipped);
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 4);
    assert_int_equal(rd_index_class_count(&data.index), 3);
    assert_int_equal(skipped.count[RD_SKIP_OTHER], 2);
    assert_string_equal(skipped.first[RD_SKIP_OTHER], "train/bee/Thumbs.db");
    assert_int_equal(skipped.count[RD_SKIP_TYPE], 1);
    check_left_out(&data.index, RD_SKIP_TYPE, "train/bee/IMG_1.HEIC", "convert them, to JPEG for example");
    assert_int_equal(skipped.count[RD_SKIP_HIDDEN], 5);
    assert_int_equal(skipped.count[RD_SKIP_FOLDER], 2);
    assert_int_equal(skipped.count[RD_SKIP_SPECIAL], 2);
    assert_int_equal(skipped.count[RD_SKIP_LOOSE], 1);
    assert_string_equal(skipped.first[RD_SKIP_LOOSE], "train/loose.jpg");
    assert_int_equal(rd_index_left_out_count(&data.index), 13);
    check_left_out(&data.index, RD_SKIP_FOLDER, "train/more.JPEG", "");
    check_left_out(&data.index, RD_SKIP_HIDDEN, "train/bee/@eaDir", "");
    check_left_out(&data.index, RD_SKIP_SPECIAL, "train/bee/link.jpg", "");
    rd_data_close(&data);
}

/* The order of golden/image_folder.txt holds for all of them; here is what it cannot say. */
static void folders_in_class_folders_are_read(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    make_class_folders(tree);
    tree_file(tree, "d/train/bee/nested/x.jpg", "");
    tree_file(tree, "d/train/bee/nested/.git/x.jpg", "");
    tree_file(tree, "d/val/bee/2019/may/v.jpg", "");
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 5);
    check_label(&data.index, IM_TRAIN, 3, "train/bee/nested/x.jpg", "bee");
    check_label(&data.index, IM_VAL, 0, "val/bee/2019/may/v.jpg", "bee");
    check_left_out(&data.index, RD_SKIP_HIDDEN, "train/bee/nested/.git", "");
    rd_data_close(&data);
}

static void a_link_to_a_folder_around_it_is_no_endless_walk(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    make_class_folders(tree);
    tree_file(tree, "d/train/bee/in/x.jpg", "");
    assert_int_equal(symlink("..", tree_path(tree, "d/train/bee/in/up")), 0);
    assert_int_equal(symlink("../../..", tree_path(tree, "d/train/zebra/top")), 0); /* the tree's own root */
    assert_int_equal(symlink("../..", tree_path(tree, "d/train/Ant/data")), 0);
    assert_int_equal(symlink("..", tree_path(tree, "d/train/bee/train")), 0);
    tree_file(tree, "other/x.jpg", "");
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    check_left_out(&data.index, RD_SKIP_LOOP, "train/bee/in/up", "");
    check_left_out(&data.index, RD_SKIP_LOOP, "train/bee/train", "");
    check_left_out(&data.index, RD_SKIP_LOOP, "train/Ant/data", "");
    /* What lies outside of the data folder is followed, until it leads into the data folder again. */
    check_left_out(&data.index, RD_SKIP_LOOP, "train/zebra/top/d", "");
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 6);
    check_label(&data.index, IM_TRAIN, 5, "train/zebra/top/other/x.jpg", "zebra");
    rd_data_close(&data);
}

static void a_folder_that_may_not_be_read_is_named(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    if (geteuid() == 0) { /* who may read everything */
        assert_int_equal(chown(tree->root, 65534, 65534), 0);
        assert_int_equal(seteuid(65534), 0);
    }
    make_class_folders(tree);
    tree_file(tree, "d/train/bee/secret/x.jpg", "");
    tree_age_all(tree, 3600);
    assert_int_equal(chmod(tree_path(tree, "d/train/bee/secret"), 0), 0);
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    check_left_out(&data.index, RD_SKIP_UNREADABLE, "train/bee/secret", "Permission denied");
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 4);
    rd_data_close(&data);
    assert_int_equal(chmod(tree_path(tree, "d/train/bee/secret"), 0700), 0);
    open_data(tree, "d", RD_LAYOUT_AUTO, &data); /* not from the cache, though no time of change is another */
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 5);
    rd_data_close(&data);
    assert_int_equal(chmod(tree_path(tree, "d/train/bee"), 0), 0);
    check_refused(tree, "d", RD_LAYOUT_AUTO, -EACCES,
                  "cannot list the folder 'train/bee': Permission denied");
    assert_int_equal(chmod(tree_path(tree, "d/train/bee"), 0700), 0);
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
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
    check_refused(tree, "flat", RD_LAYOUT_FOLDERS, -EBADMSG, "no train folder in");
    check_refused(tree, "flat/cat", RD_LAYOUT_AUTO, -EBADMSG, "flat/cat' holds images but no class folders");
    tree_file(tree, "own/train/cat/1.jpg", "");
    tree_file(tree, "own/valid/cat/1.jpg", "");
    check_refused(tree, "own/train", RD_LAYOUT_AUTO, -EBADMSG,
                  "own/train' is itself a train folder, with valid beside it: use its parent folder");
    tree_file(tree, "above/set/train/cat/1.jpg", "");
    tree_file(tree, "above/other/1.jpg", "");
    check_refused(tree, "above", RD_LAYOUT_AUTO, -EBADMSG, "no train folder in");
    check_refused(tree, "above", RD_LAYOUT_AUTO, -EBADMSG, "but one in 'set'");
    tree_file(tree, "none/docs/readme", "");
    check_refused(tree, "none", RD_LAYOUT_AUTO, -EBADMSG, "none' holds no class folder with images");
    tree_file(tree, "loose/train/1.jpg", "");
    check_refused(tree, "loose", RD_LAYOUT_AUTO, -EBADMSG, "loose/train' holds no class folders");
}

/* The folders of a table's images are no classes: what is wrong with the table is said. */
static void a_table_that_cannot_be_used_is_named(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    tree_file(tree, "one/img/1.jpg", "");
    tree_file(tree, "one/labels.csv", "file,label\n1.jpg,cat\n2.jpg,\n");
    check_refused(
        tree, "one", RD_LAYOUT_AUTO, -EBADMSG,
        "labels.csv, line 3: the class is empty (images without a label: --multi-label); --layout single");
    open_data(tree, "one", RD_LAYOUT_SINGLE, &data);
    rd_data_close(&data);
    tree_file(tree, "loose/1.jpg", "");
    tree_file(tree, "loose/labels.csv", "file,label\n\"1.jpg,cat\n");
    check_refused(tree, "loose", RD_LAYOUT_AUTO, -EBADMSG, "line 2: a quote has no other one");
    tree_file(tree, "parts/train_images/1.jpg", "");
    tree_file(tree, "parts/test_images/2.jpg", "");
    tree_file(tree, "parts/train.csv", "id,label\n7,cat\n");
    check_refused(tree, "parts", RD_LAYOUT_AUTO, -EBADMSG, "train.csv names '7'");
    tree_file(tree, "deep/train/images/1.jpg", "");
    tree_file(tree, "deep/train.csv", "file,label\n");
    check_refused(tree, "deep", RD_LAYOUT_AUTO, -EBADMSG, "train.csv holds no rows; --layout folders");
    tree_file(tree, "val/img/1.jpg", "");
    tree_file(tree, "val/train.csv", "file,label\n1.jpg,cat\n");
    tree_file(tree, "val/val.csv", "file,label\n1.jpg,\n");
    check_refused(tree, "val", RD_LAYOUT_AUTO, -EBADMSG, "val.csv, line 2: the class is empty");
    tree_file(tree, "flat/train/cat/1.jpg", "");
    tree_file(tree, "flat/val/2.jpg", "");
    tree_file(tree, "flat/val.csv", "file,label\n2.jpg,\n");
    check_refused(tree, "flat", RD_LAYOUT_AUTO, -EBADMSG, "flat/val.csv, line 2: the class is empty");
    tree_file(tree, "other/1.jpg", "");
    tree_file(tree, "other/2.jpg", "");
    tree_file(tree, "other/train.csv", "file,label\n1.jpg,1.0\n");
    tree_file(tree, "other/val.csv", "file,label\n2.jpg,1\n");
    check_refused(tree, "other", RD_LAYOUT_AUTO, -EBADMSG,
                  "training images have: '2.jpg' has '1', a class of train.csv is '1.0'");
}

/* A table of other things beside class folders. */
static void class_folders_may_have_a_table_beside_them(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    tree_file(tree, "d/cat/1.jpg", "");
    tree_file(tree, "d/dog/1.jpg", "");
    tree_file(tree, "d/labels.csv", "ClassId,Name\n0,cat\n1,dog\n");
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_class_count(&data.index), 2);
    assert_non_null(strstr(data.table_why.s, "labels.csv names 'cat', and others, that are not below"));
    rd_data_close(&data);
    open_data(tree, "d", RD_LAYOUT_SINGLE, &data);
    assert_string_equal(data.table_why.s, ""); /* the user named the layout */
    rd_data_close(&data);
    tree_file(tree, "pets/pets/cat/1.jpg", "");
    tree_file(tree, "pets/pets/dog/1.jpg", "");
    tree_file(tree, "pets/labels.csv", "ClassId,Name\n0,cat\n1,dog\n");
    open_data(tree, "pets", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_class_count(&data.index), 2);
    rd_data_close(&data);
}

static void a_class_folder_without_images_is_named(void **state)
{
    struct tree *tree = *state;

    make_class_folders(tree);
    tree_file(tree, "d/train/crow/readme.txt", "");
    check_refused(tree, "d", RD_LAYOUT_AUTO, -EBADMSG, "d/train/crow' holds no images");
}

static void a_validation_class_that_training_lacks_is_left_out(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    make_class_folders(tree);
    tree_file(tree, "d/val/bat/in/1.jpg", "");
    check_refused(tree, "d", RD_LAYOUT_AUTO, -EBADMSG, "no class folder of '");
    check_refused(tree, "d", RD_LAYOUT_AUTO, -EBADMSG, "d/val' is a class of 'train': 'bat'");
    tree_file(tree, "d/val/bee/2.jpg", "");
    tree_folder(tree, "d/val/nothing");
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 1);
    check_left_out(&data.index, RD_SKIP_CLASS, "val/bat/in/1.jpg", "bat");
    assert_int_equal(rd_index_left_out_count(&data.index), 1);
    rd_data_close(&data);
}

static void class_folders_alone_are_a_set(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    tree_file(tree, "d/cat/1.jpg", "");
    tree_file(tree, "d/cat/more/1.jpg", "");
    tree_file(tree, "d/dog/1.jpg", "");
    tree_file(tree, "d/docs/readme.txt", "");
    tree_file(tree, "d/.git/x.jpg", "");
    tree_file(tree, "d/loose.jpg", "");
    open_data(tree, "d", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_layout(&data.index), RD_LAYOUT_SINGLE);
    assert_int_equal(rd_index_class_count(&data.index), 2);
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 3);
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 0);
    check_label(&data.index, IM_TRAIN, 0, "cat/1.jpg", "cat");
    check_label(&data.index, IM_TRAIN, 1, "cat/more/1.jpg", "cat");
    check_label(&data.index, IM_TRAIN, 2, "dog/1.jpg", "dog");
    check_left_out(&data.index, RD_SKIP_LOOSE, "loose.jpg", "");
    check_left_out(&data.index, RD_SKIP_FOLDER, "docs", "");
    check_left_out(&data.index, RD_SKIP_OTHER, "docs/readme.txt", "");
    check_left_out(&data.index, RD_SKIP_HIDDEN, ".git", "");
    rd_data_close(&data);
}

static void make_tiny(const struct tree *tree)
{
    tree_file(tree, "t/train/n01/images/n01_0.JPEG", "");
    tree_file(tree, "t/train/n01/n01_boxes.txt", "n01_0.JPEG\t0\t10\t63\t58\n");
    tree_file(tree, "t/train/n02/images/n02_0.JPEG", "");
    tree_file(tree, "t/train/n02/n02_boxes.txt", "");
    tree_file(tree, "t/val/images/val_0.JPEG", "");
    tree_file(tree, "t/val/images/val_1.JPEG", "");
    tree_file(tree, "t/val/val_annotations.txt",
              "val_0.JPEG\tn02\t0\t32\t44\t62\nval_1.JPEG\tn01\t52\t55\t57\t59\n");
    tree_file(tree, "t/test/images/test_0.JPEG", "");
    tree_file(tree, "t/wnids.txt", "n02\nn01\n");
}

static void tiny_imagenet_is_taken_as_it_is_unpacked(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    make_tiny(tree);
    open_data(tree, "t", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_layout(&data.index), RD_LAYOUT_TINY);
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 2);
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 2);
    check_label(&data.index, IM_TRAIN, 0, "train/n01/images/n01_0.JPEG", "n01");
    check_label(&data.index, IM_VAL, 0, "val/images/val_0.JPEG", "n02");
    check_label(&data.index, IM_VAL, 1, "val/images/val_1.JPEG", "n01");
    check_left_out(&data.index, RD_SKIP_OTHER, "train/n01/n01_boxes.txt", "");
    rd_data_close(&data);
    open_data(tree, "t", RD_LAYOUT_TINY, &data);
    rd_data_close(&data);
    tree_file(tree, "t/val/images/val_2.JPEG", "");
    check_refused(tree, "t", RD_LAYOUT_AUTO, -EBADMSG,
                  "val_annotations.txt' has no label for the validation image 'val_2.JPEG'");
    tree_file(tree, "t/val/val_annotations.txt", "val_0.JPEG\tn02\nval_1.JPEG\tn07\nval_2.JPEG\tn09\n");
    tree_age(tree, "t/val/val_annotations.txt", 7);
    open_data(tree, "t", RD_LAYOUT_AUTO, &data); /* a part of the classes */
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 1);
    check_left_out(&data.index, RD_SKIP_CLASS, "val/images/val_1.JPEG", "n07");
    check_left_out(&data.index, RD_SKIP_CLASS, "val/images/val_2.JPEG", "n09");
    rd_data_close(&data);
    tree_file(tree, "t/val/val_annotations.txt", "val_0.JPEG\tx\nval_1.JPEG\tn07\nval_2.JPEG\tn09\n");
    check_refused(tree, "t", RD_LAYOUT_AUTO, -EBADMSG, "no class that 'val/val_annotations.txt' gives");
    tree_remove(tree, "t/val/val_annotations.txt");
    check_refused(tree, "t", RD_LAYOUT_TINY, -EBADMSG, "has no val/images with val/val_annotations.txt");
}

/* As scripts sort it: the same folder names, val/images is left empty. */
static void tiny_imagenet_may_be_sorted_into_folders(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    make_tiny(tree);
    assert_int_equal(mkdir(tree_path(tree, "t/val/n02"), 0700), 0);
    assert_int_equal(rename(tree_path(tree, "t/val/images"), tree_path(tree, "t/val/n02/images")), 0);
    tree_folder(tree, "t/val/images");
    open_data(tree, "t", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_layout(&data.index), RD_LAYOUT_FOLDERS);
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 2);
    check_label(&data.index, IM_VAL, 1, "val/n02/images/val_1.JPEG", "n02");
    rd_data_close(&data);
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
    struct rd_data data;

    make_ilsvrc(tree);
    check_refused(tree, "I", RD_LAYOUT_AUTO, -EBADMSG, "no labels for them were found");
    make_annotations(tree);
    tree_file(tree, VAL "4.JPEG", "");
    check_refused(tree, "I", RD_LAYOUT_AUTO, -EBADMSG, "'ILSVRC2012_val_00000004.JPEG' has no annotation");
    tree_file(tree, "I/Annotations/CLS-LOC/val/ILSVRC2012_val_00000004.xml",
              "<annotation><object><name>n7</name></object></annotation>");
    open_data(tree, "I", RD_LAYOUT_AUTO, &data);
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 3);
    check_left_out(&data.index, RD_SKIP_CLASS, "Data/CLS-LOC/val/ILSVRC2012_val_00000004.JPEG", "n7");
    rd_data_close(&data);
    /* Made anew, for a cached index is told from the time of its folder. */
    tree_remove(tree, "I/Annotations/CLS-LOC/val/ILSVRC2012_val_00000004.xml");
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
        T(folders_may_be_spelt_otherwise),
        T(folders_may_have_more_words_and_be_doubled),
        T(validation_images_without_class_folders_need_labels),
        T(no_validation_images_is_a_set_too),
        T(what_is_no_image_is_counted_and_named),
        T(folders_in_class_folders_are_read),
        T(a_link_to_a_folder_around_it_is_no_endless_walk),
        T(a_folder_that_may_not_be_read_is_named),
        T(links_are_followed),
        T(a_missing_or_empty_data_folder_is_named),
        T(a_table_that_cannot_be_used_is_named),
        T(class_folders_may_have_a_table_beside_them),
        T(a_class_folder_without_images_is_named),
        T(a_validation_class_that_training_lacks_is_left_out),
        T(class_folders_alone_are_a_set),
        T(tiny_imagenet_is_taken_as_it_is_unpacked),
        T(tiny_imagenet_may_be_sorted_into_folders),
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
