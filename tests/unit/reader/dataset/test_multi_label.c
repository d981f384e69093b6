/* Images with any number of labels: the forms of tables, and the index that they become. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/label_sets.h"
#include "reader/dataset/csv.h"
#include "reader/dataset/data.h"
#include "reader/dataset/evaluated.h"
#include "reader/dataset/index_file.h"
#include "reader/dataset/split.h"
#include "reader/dataset/subset.h"
#include "reader/dataset/table_labels.h"
#include "tests/unit/reader/tree.h"

/* All rows as "file=a+b+\n" must be `wanted`; one that cannot be read says "!sentence". */
static void check_table(const char *bytes, const char *wanted)
{
    struct im_text text = {""};
    struct rd_table table;
    char got[4096] = "", label[RD_LABEL_BYTES];
    size_t used = 0;

    if (rd_table_take(strdup(bytes), strlen(bytes), "t.csv", UINT64_MAX, true, &table, &text) < 0) {
        if (wanted[0] != '!' || !strstr(text.s, wanted + 1))
            fail_msg("got '%s', wanted '%s'", text.s, wanted);
        return;
    }
    for (uint64_t i = 0; i < table.count; i++) {
        const char *list = rd_table_string(&table, table.rows[i].class);

        used += (size_t)snprintf(got + used, sizeof got - used,
                                 "%s=", rd_table_string(&table, table.rows[i].file));
        while (rd_table_next_label(&list, label))
            used += (size_t)snprintf(got + used, sizeof got - used, "%s+", label);
        used += (size_t)snprintf(got + used, sizeof got - used, "\n");
    }
    assert_string_equal(got, wanted);
    rd_table_fini(&table);
}

static void labels_stand_in_one_field(void **state)
{
    (void)state;
    check_table("file,labels\n1.jpg,dog|cat\n2.jpg,cat\n3.jpg,\n", "1.jpg=cat+dog+\n2.jpg=cat+\n3.jpg=\n");
    check_table("image_name,tags\ntrain_0,haze primary\ntrain_1,agriculture clear  primary\n",
                "train_0=haze+primary+\ntrain_1=agriculture+clear+primary+\n");
    check_table("file,labels\n1.jpg,\"dog,cat\"\n", "1.jpg=cat+dog+\n");
    check_table("file,labels\n1.jpg,living room|kitchen\n2.jpg,living room\n",
                "1.jpg=kitchen+living room+\n2.jpg=living room+\n");
    check_table("file\tlabels\n1.jpg\ta;b;a\n", "1.jpg=a+b+\n");
    check_table("file,labels\n1.jpg,\"['dog', 'cat']\"\n2.jpg,[]\n", "1.jpg=cat+dog+\n2.jpg=\n");
}

static void labels_stand_in_a_field_each(void **state)
{
    (void)state;
    check_table("1.jpg,dog,cat\n2.jpg,cat\n", "1.jpg=cat+dog+\n2.jpg=cat+\n");
    check_table("1.jpg,dog,,cat\n", "1.jpg=cat+dog+\n");
}

static void labels_are_columns_of_0_and_1(void **state)
{
    (void)state;
    check_table("file,dog,cat\n1.jpg,1,1\n2.jpg,0,1\n3.jpg,0,0\n", "1.jpg=cat+dog+\n2.jpg=cat+\n3.jpg=\n");
    check_table("image_id,Bald,Big Nose,split\n1.jpg,-1,1,train\n", "1.jpg=Big Nose+\n");
    check_table("image,a,b\nx/1.jpg,1.0,0.0\nx/2.jpg,True,\n", "x/1.jpg=a+\nx/2.jpg=a+\n");
    check_table(",file,dog,cat\n0,1.jpg,1,0\n17,2.jpg,0,1\n",
                "1.jpg=dog+\n2.jpg=cat+\n"); /* as pandas numbers rows */
    check_table("Unnamed: 0.1,file,dog,cat\n7,1.jpg,1,0\n", "1.jpg=dog+\n");
    check_table("Unnamed,file,dog\n1,1.jpg,0\n", "1.jpg=Unnamed+\n");
    check_table("file,dog,cat\n1.jpg,1,2\n", "!t.csv, line 2: '2' in column 'cat' is neither 0 nor 1");
    check_table("file,dog,cat\n1.jpg,1\n", "!t.csv, line 2: it has 2 fields, and needs 3");
    check_table("1.jpg,1,0\n2.jpg,0,1\n", "!t.csv has columns of 0 and 1 without names");
}

/* A row for each label of an image. */
static void labels_have_a_row_each(void **state)
{
    (void)state;
    check_table("file,label\n1.jpg,dog\n2.jpg,cat\n1.jpg,cat\n1.jpg,dog\n", "1.jpg=cat+dog+\n2.jpg=cat+\n");
    check_table("1.jpg,dog\n1.jpg,cat\n", "1.jpg=cat+dog+\n");
    check_table("file,label,split\n1.jpg,dog,train\n1.jpg,cat,val\n", "1.jpg=dog+\n1.jpg=cat+\n");
    check_table("ImageID,Source,LabelName,Confidence\na,v,/m/1,1\na,v,/m/2,0\na,v,/m/3,1\nb,v,/m/2,0.0\n",
                "a=/m/1+/m/3+\nb=\n");                                             /* as Open Images has it */
    check_table("file,label\n1.jpg,dog\n1.jpg,dog\n", "1.jpg=dog+\n1.jpg=dog+\n"); /* repeated: said later */
    check_table("file,label\n1.jpg,dog|cat\n1.jpg,bee\n", "1.jpg=cat+dog+\n1.jpg=bee+\n"); /* refused later */
}

/* More columns than one word of a set has bits. */
static void many_columns_are_read(void **state)
{
    char bytes[4096] = "file", row[2048] = "1.jpg";

    (void)state;
    for (int i = 0; i < 100; i++) {
        snprintf(bytes + strlen(bytes), sizeof bytes - strlen(bytes), ",c%02d", i);
        snprintf(row + strlen(row), sizeof row - strlen(row), ",%d", i == 0 || i == 99);
    }
    snprintf(bytes + strlen(bytes), sizeof bytes - strlen(bytes), "\n%s\n", row);
    check_table(bytes, "1.jpg=c00+c99+\n");
}

static void make(const struct tree *tree)
{
    for (int i = 0; i < 12; i++) {
        char path[32];

        snprintf(path, sizeof path, "d/images/%02d.jpg", i);
        tree_file(tree, path, "");
    }
    tree_file(tree, "d/train.csv",
              "file,labels\n00.jpg,dog|cat\n01.jpg,cat\n02.jpg,cat|dog\n03.jpg,\n04.jpg,bee\n05.jpg,dog\n");
    tree_file(tree, "d/val.csv", "file,labels\n10.jpg,bee|cat\n11.jpg,cat|emu\n");
}

static struct rd_data load(const struct tree *tree, double val_split)
{
    const struct rd_source source = {
        .folder = tree_path(tree, "d"), .multi_label = true, .val_split = val_split, .val_split_seed = 3};
    struct im_text text = {""};
    struct rd_data data;

    if (rd_data_open(&source, NULL, &data, &text) < 0)
        fail_msg("refused: %s", text.s);
    return data;
}

static const char *labels_of(const struct rd_index *index, enum im_split split, uint64_t id)
{
    static char text[256];

    return rd_index_label_text(index, rd_index_label(index, split, id), text, sizeof text);
}

/* How many images of a split have the label. */
static unsigned count(const struct rd_index *index, enum im_split split, uint32_t class)
{
    unsigned n = 0;

    for (uint64_t id = 0; id < rd_index_count(index, split); id++)
        n += rd_index_has(index, rd_index_label(index, split, id), class);
    return n;
}

static void equal_sets_are_one_label(void **state)
{
    static const char *const wanted[] = {"cat|dog", "cat", "cat|dog", "", "bee", "dog"};
    const struct rd_index *index;
    struct rd_skipped skipped;
    struct rd_data data;

    make(*state);
    data = load(*state, 0);
    index = &data.index;
    assert_int_equal(rd_index_class_count(index), 3);
    assert_int_equal(rd_index_set_words(index), 1);
    assert_int_equal(rd_index_count(index, IM_TRAIN), 6);
    for (uint64_t id = 0; id < 6; id++)
        assert_string_equal(labels_of(index, IM_TRAIN, id), wanted[id]);
    assert_int_equal(rd_index_label(index, IM_TRAIN, 0), rd_index_label(index, IM_TRAIN, 2));
    assert_int_equal(rd_index_count(index, IM_VAL), 1);
    assert_string_equal(labels_of(index, IM_VAL, 0), "bee|cat");
    rd_index_skipped(index, &skipped); /* of a class without training images */
    assert_int_equal(skipped.count[RD_SKIP_CLASS], 1);
    rd_data_close(&data);
}

static void refuse(const struct tree *tree, const char *table, const char *wanted)
{
    const struct rd_source source = {.folder = tree_path(tree, "d"), .multi_label = true};
    struct im_text text = {""};
    struct rd_data data;

    tree_file(tree, "d/train.csv", table);
    assert_true(rd_data_open(&source, NULL, &data, &text) < 0);
    if (!strstr(text.s, wanted))
        fail_msg("got '%s', wanted '%s'", text.s, wanted);
}

static void tables_without_an_answer_are_refused(void **state)
{
    make(*state);
    refuse(
        *state, "file,labels\n00.jpg,dog|cat\n01.jpg,cat\n00.jpg,cat\n",
        "two sets of labels: 'cat|dog' in line 2, 'cat' in line 4; give all labels of an image in one row");
    refuse(*state, "file,labels\n00.jpg,dog|cat\n00.jpg,\n", "'cat|dog' in line 2, '' in line 3");
    refuse(*state, "file,labels\n00.jpg,\n01.jpg,\n", "no training image that train.csv names has a label");
}

/* The cache holds both indexes of a folder: with one label an image, and with several. */
static void the_cache_tells_them_apart(void **state)
{
    const struct tree *tree = *state;
    struct rd_source source = {.folder = tree_path(tree, "s")};
    struct im_text text = {""};
    struct rd_data one, many, again;

    tree_file(tree, "s/train/cat/1.jpg", "");
    tree_file(tree, "s/train/dog/1.jpg", "");
    tree_age_all(tree, 100);
    assert_int_equal(rd_data_open(&source, NULL, &one, &text), 0);
    source.multi_label = true;
    assert_int_equal(rd_data_open(&source, NULL, &many, &text), 0);
    assert_int_equal(rd_data_open(&source, NULL, &again, &text), 0);
    assert_true(!one.cached && !many.cached && again.cached);
    assert_int_equal(rd_index_set_words(&one.index), 0);
    assert_int_equal(rd_index_set_words(&again.index), 1); /* class folders are one label each */
    assert_string_equal(labels_of(&again.index, IM_TRAIN, 1), "dog");
    assert_true(rd_index_hash(&one.index) != rd_index_hash(&many.index));
    rd_data_close(&one);
    rd_data_close(&many);
    rd_data_close(&again);
}

static void choices_keep_the_sets(void **state)
{
    struct im_text text = {""}, note = {""};
    struct im_class_names outputs = {0};
    struct rd_index index;
    struct rd_data data;
    void *bytes = NULL;
    size_t n = 0;

    make(*state);
    data = load(*state, 0);
    assert_int_equal(rd_subset_choose(&data.index, 4, 1, &bytes, &n, &text), 0);
    assert_int_equal(rd_index_attach(bytes, n, &index, &text), 0);
    assert_true(rd_index_count(&index, IM_TRAIN) == 4 && rd_index_set_words(&index) == 1);
    free(bytes);
    tree_file(*state, "names.txt", "dog\nowl\ncat\nbee\n");
    assert_int_equal(im_class_names_read(tree_path(*state, "names.txt"), &outputs, &text), 0);
    assert_int_equal(rd_evaluated_choose(&data.index, IM_TRAIN, NULL, &outputs, &bytes, &n, &note, &text), 0);
    assert_int_equal(rd_index_attach(bytes, n, &index, &text), 0);
    assert_string_equal(labels_of(&index, IM_VAL, 0), "dog|cat"); /* in the order of the outputs */
    assert_string_equal(labels_of(&index, IM_VAL, 3), "");
    free(bytes);
    im_class_names_fini(&outputs);
    rd_data_close(&data);
    tree_remove(*state, "d/val.csv");
    data = load(*state, 0.34);
    assert_int_equal(rd_index_set_words(&data.index), 1);
    for (uint32_t class = 0; class < 3;
         class ++) /* a third of those with dog and with cat; of one bee none */
        assert_int_equal(count(&data.index, IM_VAL, class),
                         strcmp(rd_index_class(&data.index, class), "bee") != 0);
    rd_data_close(&data);
}

/* a: half of 400 images; b: every 8th; c: every 40th, and each of these has a, too; none: where no other is. */
static void each_label_gives_its_share(void **state)
{
    static const char *const names[] = {"a", "b", "c"};
    unsigned all[3] = {0}, none = 0, val;
    const size_t room = 32768;
    char *table = calloc(1, room), path[32];
    const struct tree *tree = *state;
    size_t used = (size_t)snprintf(table, room, "file,labels\n");
    struct rd_data data;

    for (unsigned i = 0; i < 400; i++) {
        const bool has[] = {i % 2 == 0, i % 8 == 3, i % 40 == 0};

        snprintf(path, sizeof path, "d/images/%03u.jpg", i);
        tree_file(tree, path, "");
        used += (size_t)snprintf(table + used, room - used, "%03u.jpg,%s|%s|%s\n", i, has[0] ? "a" : "",
                                 has[1] ? "b" : "", has[2] ? "c" : "");
        for (int k = 0; k < 3; k++)
            all[k] += has[k];
        none += !has[0] && !has[1] && !has[2];
    }
    tree_file(tree, "d/train.csv", table);
    data = load(tree, 0.1);
    val = (unsigned)rd_index_count(&data.index, IM_VAL);
    for (uint32_t k = 0; k < 3; k++) {
        assert_string_equal(rd_index_class(&data.index, k), names[k]);
        assert_int_equal(count(&data.index, IM_VAL, k), all[k] / 10);
        assert_int_equal(count(&data.index, IM_TRAIN, k), all[k] - all[k] / 10);
    }
    assert_int_equal(val, all[0] / 10 + all[1] / 10 + none / 10);
    rd_data_close(&data);
    free(table);
}

/* A bit behind the last class, and a label behind the last set, are refused; of the right checksum. */
static void damaged_sets_are_refused(void **state)
{
    struct rd_data data;
    struct im_text text = {""};
    struct rd_index index;
    uint64_t *copy;

    make(*state);
    data = load(*state, 0);
    copy = malloc(data.index.bytes);
    assert_non_null(copy);
    for (int kind = 0; kind < 3; kind++) {
        struct rd_index_header *header = memcpy(copy, data.index.header, data.index.bytes);

        if (kind == 0)
            ((uint32_t *)(void *)((char *)copy + header->sections[RD_SETS].offset))[0] |= 8;
        else if (kind == 1)
            header->sections[RD_SETS].count = 1;
        else
            header->set_words = 2;
        rd_index_seal(header, data.index.bytes);
        assert_int_equal(rd_index_attach(copy, data.index.bytes, &index, &text), -EBADMSG);
    }
    free(copy);
    rd_data_close(&data);
}

static void sets_go_to_the_trainers_and_back(void **state)
{
    static const uint32_t bits[] = {1, 0, 0xffffffff, 2};
    const struct im_label_sets sets = {.classes = 34, .count = 2, .words = 2, .bits = bits};
    const struct tree *tree = *state;
    struct im_label_sets read = {0};
    struct im_text text = {""};

    tree_folder(tree, "run");
    assert_int_equal(im_label_sets_write(&sets, tree_path(tree, "run"), &text), 0);
    assert_int_equal(im_label_sets_read(tree_path(tree, "run"), 34, &read, &text), 0);
    assert_true(read.count == 2 && im_label_sets_has(&read, 1, 33) && !im_label_sets_has(&read, 1, 32) &&
                im_label_sets_has(&read, 0, 0));
    im_label_sets_fini(&read);
    assert_int_equal(im_label_sets_read(tree_path(tree, "run"), 35, &read, &text), -EBADMSG);
    tree_file(tree, "run/label_sets.bin", "short");
    assert_int_equal(im_label_sets_read(tree_path(tree, "run"), 34, &read, &text), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_stand_in_one_field),
        cmocka_unit_test(labels_stand_in_a_field_each),
        cmocka_unit_test(labels_are_columns_of_0_and_1),
        cmocka_unit_test(labels_have_a_row_each),
        cmocka_unit_test(many_columns_are_read),
        cmocka_unit_test_setup_teardown(equal_sets_are_one_label, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(tables_without_an_answer_are_refused, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(the_cache_tells_them_apart, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(choices_keep_the_sets, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(each_label_gives_its_share, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(damaged_sets_are_refused, tree_setup, tree_teardown),
        cmocka_unit_test_setup_teardown(sets_go_to_the_trainers_and_back, tree_setup, tree_teardown),
    };

    return cmocka_run_group_tests_name("multi_label", tests, NULL, NULL);
}
