/* Tables of classes: how a file is read, and data sets whose classes stand in them. */
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

#include "reader/dataset/csv.h"
#include "reader/dataset/data.h"
#include "reader/dataset/table.h"
#include "tests/unit/reader/tree.h"

/* All rows as "field|field\n" must be `wanted`; a row that cannot be read ends them as "!sentence". */
static void check_rows(const char *bytes, const char *wanted)
{
    char *copy = strdup(bytes), got[2048] = "";
    struct im_text text = {""};
    struct rd_csv_row row;
    struct rd_csv csv;
    size_t used = 0;
    int more;

    rd_csv_take(copy, strlen(bytes), &csv);
    while ((more = rd_csv_next(&csv, &row, &text)) == 1)
        for (uint32_t i = 0; i < row.count; i++)
            used += (size_t)snprintf(got + used, sizeof got - used, "%s%s", row.fields[i],
                                     i + 1 < row.count ? "|" : "\n");
    if (more < 0)
        snprintf(got + used, sizeof got - used, "!%s", text.s);
    assert_string_equal(got, wanted);
    rd_csv_fini(&csv);
}

static void rows_are_read_as_rfc_4180_says(void **state)
{
    (void)state;
    check_rows("a,b\nc,d\n", "a|b\nc|d\n");
    check_rows("a,b\r\nc,d", "a|b\nc|d\n");
    check_rows("a,b\rc,d\r", "a|b\nc|d\n");
    check_rows("\n\na,b\n\n\nc,d\n\n", "a|b\nc|d\n");
    check_rows("\xef\xbb\xbf"
               "a,b\n",
               "a|b\n");
    check_rows("\"a,\"\"x\"\"\",b\n\"c\nd\",e\n", "a,\"x\"|b\nc\nd|e\n");
    check_rows(" a , \"b \" \n", "a|b \n");
    check_rows("a,,b,\n", "a||b|\n");
    check_rows("a;b,c;d\n1;2\n", "a|b,c|d\n1|2\n");
    check_rows("a\tb c\n1\t2\n", "a|b c\n1|2\n");
    check_rows("\"a;b\",c\n", "a;b|c\n");
    check_rows("my cat.jpg 3\nx/y.jpg\t12 \n alone\n", "my cat.jpg|3\nx/y.jpg|12\nalone\n");
    check_rows("", "");
    check_rows("\n \n", "");
    check_rows("a,b\nc,\"d\n", "a|b\n!line 2: a quote has no other one that ends it");
    check_rows("a,\"b\"c\n", "!line 1: a field goes on behind its quotes");
}

static void a_long_row_is_cut(void **state)
{
    char bytes[4 * RD_CSV_FIELDS_MAX];
    struct rd_csv_row row;
    struct rd_csv csv;

    (void)state;
    for (size_t i = 0; i < RD_CSV_FIELDS_MAX + 36; i++)
        memcpy(bytes + 2 * i, "x,", 3);
    memcpy(bytes + 2 * (RD_CSV_FIELDS_MAX + 36), "y\nz,w\n", 7);
    rd_csv_take(strdup(bytes), strlen(bytes), &csv);
    assert_int_equal(rd_csv_next(&csv, &row, NULL), 1);
    assert_int_equal(row.count, RD_CSV_FIELDS_MAX);
    assert_string_equal(row.fields[RD_CSV_FIELDS_MAX - 1], "x");
    assert_int_equal(rd_csv_next(&csv, &row, NULL), 1);
    assert_int_equal(row.count, 2);
    rd_csv_fini(&csv);
}

/* All rows as "file=class/part\n" must be `wanted`, or the sentence after "!". */
static void check_bytes(const char *bytes, size_t n, const char *wanted)
{
    char got[2048] = "";
    struct im_text text = {""};
    struct rd_table table;
    size_t used = 0;
    char *copy = calloc(n + 1, 1);

    assert_non_null(copy);
    memcpy(copy, bytes, n);
    if (rd_table_take(copy, n, "t.csv", UINT64_MAX, false, &table, &text) < 0) {
        snprintf(got, sizeof got, "!%s", text.s);
    } else {
        for (uint64_t i = 0; i < table.count; i++)
            used += (size_t)snprintf(got + used, sizeof got - used, "%s=%s/%d\n",
                                     rd_table_string(&table, table.rows[i].file),
                                     rd_table_string(&table, table.rows[i].class), (int)table.rows[i].part);
        rd_table_fini(&table);
    }
    if (wanted[0] == '!' ? !strstr(got, wanted + 1) : strcmp(got, wanted) != 0)
        fail_msg("got '%s', wanted '%s'", got, wanted);
}

static void check_table(const char *bytes, const char *wanted)
{
    check_bytes(bytes, strlen(bytes), wanted);
}

static void columns_are_found_by_name(void **state)
{
    (void)state;
    check_table("1.jpg,cat\n2.jpg,dog\n", "1.jpg=cat/0\n2.jpg=dog/0\n");
    check_table("file,label\n1.jpg,cat\n", "1.jpg=cat/0\n");
    check_table("Label,File Name\ncat,1.jpg\n", "1.jpg=cat/0\n");
    check_table("id,breed\n000bec,boston_bull\n", "000bec=boston_bull/0\n");
    check_table("image_id;what\n7;x\n", "7=x/0\n");
    check_table("class id,filepaths,labels,data set,scientific "
                "name\n0.0,train/A/1.jpg,A,train,x\n0.0,v/1.jpg,A,valid,x\n0,t.jpg,B,test,y\n",
                "train/A/1.jpg=A/1\nv/1.jpg=A/2\nt.jpg=B/3\n");
    check_table("path,label,is_valid\na.jpg,n1,False\nb.jpg,n2,True\n", "a.jpg=n1/1\nb.jpg=n2/2\n");
    check_table("./a//b.jpg,1\n.\\a\\c.jpg,2\n", "a/b.jpg=1/0\na/c.jpg=2/0\n");
    check_table("file,width,height\na.jpg,1,2\n",
                "!has no column that is known to name the classes: it has 'file', 'width', 'height'");
    check_table("a.jpg\nb.jpg\n", "!has no column that is known to name a class");
    check_table(
        "StudyUID,ETT - Abnormal,PatientID\na,1,x\n",
        "!has no column that is known to name the files: it has 'StudyUID', 'ETT - Abnormal', 'PatientID'");
    check_table("Image Index,Finding Labels,Age\na.png,Mass|Hernia,58\n", "a.png=Mass|Hernia/0\n");
    check_table("file,label\na.jpg\n", "!t.csv, line 2: it has 1 fields, and needs 2");
    check_table("file,label\na.jpg,\n", "!t.csv, line 2: the class is empty");
    check_table("file,label,split\na.jpg,x,train\nb.jpg,y,some\n",
                "!t.csv, line 3: 'some' is no part of a set");
    check_table("file,label\n", "!t.csv holds no rows");
    check_table("file,cat,dog\na.jpg,1,0\n", "!where each class has a column of 0 and 1: --multi-label");
    check_bytes("\xff\xfe"
                "f\0,\0l\0\n\0",
                10, "!t.csv, line 1: the text is UTF-16; save it as UTF-8");
    check_table("file,label\na,\"x\n", "!t.csv, line 2: a quote has no other one");
}

static void check_data(const struct tree *tree, struct rd_source source, const char *folder,
                       const char *wanted)
{
    char got[4096] = "", path[PATH_MAX];
    struct im_text text = {""};
    const char *left, *note;
    struct rd_data data;
    size_t used = 0;

    source.folder = tree_path(tree, folder);
    if (rd_data_open(&source, NULL, &data, &text) < 0) {
        if (wanted[0] != '!' || !strstr(text.s, wanted + 1))
            fail_msg("refused: %s", text.s);
        return;
    }
    for (int split = 0; split < IM_SPLITS; split++) {
        for (uint64_t id = 0; id < rd_index_count(&data.index, (enum im_split)split); id++) {
            const uint32_t label = rd_index_label(&data.index, (enum im_split)split, id);

            rd_index_relative(&data.index, (enum im_split)split, id, path, sizeof path);
            used += (size_t)snprintf(got + used, sizeof got - used, "%s %s=%u %s\n", split ? "val" : "train",
                                     path, label, rd_index_class(&data.index, label));
        }
    }
    for (uint64_t i = 0; i < rd_index_left_out_count(&data.index); i++) {
        enum rd_skip kind = rd_index_left_out(&data.index, i, &left, &note);

        used += (size_t)snprintf(got + used, sizeof got - used, "left %d %s%s%s\n", (int)kind, left,
                                 *note ? ": " : "", note);
    }
    assert_string_equal(got, wanted);
    rd_data_close(&data);
}

#define AUTO                                                                                                 \
    (struct rd_source)                                                                                       \
    {                                                                                                        \
        .rebuild = 1                                                                                         \
    }

static void flat_folders_with_a_table_are_a_set(void **state)
{
    struct tree *tree = *state;

    tree_file(tree, "d/train/b.jpg", "");
    tree_file(tree, "d/train/a.jpg", "");
    tree_file(tree, "d/train/c.JPEG", "");
    tree_file(tree, "d/train/d.jpg", "");
    tree_file(tree, "d/test/t.jpg", "");
    tree_file(tree, "d/labels.csv", "id,breed\nc,dog\nb,cat\na,dog\ngone,cat\nb,cat\n"); /* as Kaggle's */
    check_data(tree, AUTO, "d",
               "train train/a.jpg=1 dog\ntrain train/b.jpg=0 cat\ntrain train/c.JPEG=1 dog\n"
               "left 9 gone: line 5 of labels.csv\nleft 10 b: line 6 of labels.csv\nleft 8 train/d.jpg\n");
    tree_file(tree, "d/val/v.jpg", "");
    tree_file(tree, "d/val/w.jpg", "");
    tree_file(tree, "d/val.csv", "file,label\nval/v.jpg,cat\nval/w.jpg,fox\n");
    check_data(
        tree, AUTO, "d",
        "train train/a.jpg=1 dog\ntrain train/b.jpg=0 cat\ntrain train/c.JPEG=1 dog\nval val/v.jpg=0 cat\n"
        "left 9 gone: line 5 of labels.csv\nleft 10 b: line 6 of labels.csv\nleft 7 val/w.jpg: fox\n"
        "left 8 test/t.jpg\nleft 8 train/d.jpg\n");
    tree_file(tree, "d/labels.csv", "id,breed\na,dog\na,cat\n");
    check_data(tree, AUTO, "d", "!labels.csv gives 'a' two classes: 'dog' in line 2, 'cat' in line 3");
    tree_file(tree, "d/labels.csv", "id,breed\nx1,dog\nx2,cat\n");
    check_data(tree, AUTO, "d", "!class folders; labels.csv names 'x1', and others, that are not below '");
}

static void one_table_may_hold_all_parts(void **state)
{
    struct tree *tree = *state;

    tree_file(tree, "d/img/1.jpg", "");
    tree_file(tree, "d/img/2.jpg", "");
    tree_file(tree, "d/img/3.jpg", "");
    tree_file(tree, "d/img/deep/4.jpg", "");
    tree_file(tree, "d/labels.csv",
              "file,label,split\n1.jpg,x,train\n2.jpg,y,train\n3.jpg,x,valid\ndeep/4.jpg,y,test\n");
    check_data(tree, AUTO, "d",
               "train img/1.jpg=0 x\ntrain img/2.jpg=1 y\nval img/3.jpg=0 x\nleft 8 img/deep/4.jpg\n");
    tree_file(tree, "d/labels.csv",
              "file,label,split\n1.jpg,x,train\n2.jpg,y,train\n3.jpg,x,train\ndeep/4.jpg,y,test\n");
    check_data(tree, AUTO, "d",
               "train img/1.jpg=0 x\ntrain img/2.jpg=1 y\ntrain img/3.jpg=0 x\nval img/deep/4.jpg=1 y\n");
}

/* Images beside their table; whole numbers are in the order of their values, as people mean them. */
static void numbers_are_classes_by_value(void **state)
{
    struct tree *tree = *state;

    tree_file(tree, "d/1.jpg", "");
    tree_file(tree, "d/2.jpg", "");
    tree_file(tree, "d/3.jpg", "");
    tree_file(tree, "d/train.csv", "1.jpg,10\n2.jpg,9\n3.jpg,0\n");
    check_data(tree, AUTO, "d", "train ./1.jpg=2 10\ntrain ./2.jpg=1 9\ntrain ./3.jpg=0 0\n");
    tree_file(tree, "d/train.csv", "1.jpg,10\n2.jpg,9\n3.jpg,x\n");
    check_data(tree, AUTO, "d", "train ./1.jpg=0 10\ntrain ./2.jpg=1 9\ntrain ./3.jpg=2 x\n");
}

static void tables_may_be_named(void **state)
{
    struct tree *tree = *state;
    char labels[3 * PATH_MAX], outside[PATH_MAX];

    tree_file(tree, "d/train/cat/1.jpg", ""); /* class folders, which the table overrules */
    tree_file(tree, "d/train/dog/2.jpg", "");
    tree_file(tree, "d/my table.csv", "train/cat/1.jpg,x\ntrain/dog/2.jpg,y\n");
    snprintf(labels, sizeof labels, "%s", tree_path(tree, "d/my table.csv"));
    check_data(tree, (struct rd_source){.labels = labels}, "d",
               "train train/cat/1.jpg=0 x\ntrain train/dog/2.jpg=1 y\n");
    check_data(tree, (struct rd_source){.labels = "my table.csv"}, "d",
               "train train/cat/1.jpg=0 x\ntrain train/dog/2.jpg=1 y\n");
    check_data(tree, AUTO, "d", "train train/cat/1.jpg=0 cat\ntrain train/dog/2.jpg=1 dog\n");
    tree_file(tree, "elsewhere.csv", "cat/1.jpg,y\ndog/2.jpg,y\n../../secret.jpg,z\n/etc/x.jpg,z\n");
    snprintf(outside, sizeof outside, "%s", tree_path(tree, "elsewhere.csv"));
    snprintf(labels, sizeof labels,
             "train train/cat/1.jpg=0 y\ntrain train/dog/2.jpg=0 y\nleft 9 ../../secret.jpg: line 3 of "
             "%s\nleft 9 /etc/x.jpg: line 4 of %s\n",
             outside, outside);
    check_data(tree, (struct rd_source){.labels = outside}, "d", labels);
    check_data(tree, (struct rd_source){.labels = "no.csv"}, "d", "!--labels no.csv: No such file");
    check_data(tree, (struct rd_source){.layout = RD_LAYOUT_CSV}, "d", "!holds no table of training images");
}

/* Class folders for training, a flat folder and a table for validation. */
static void validation_images_alone_may_have_a_table(void **state)
{
    struct tree *tree = *state;

    tree_file(tree, "d/train/cat/1.jpg", "");
    tree_file(tree, "d/train/dog/2.jpg", "");
    tree_file(tree, "d/val/v.1.jpg", "");
    tree_file(tree, "d/val/w.jpg", "");
    tree_file(tree, "d/val.csv", "image,class\nv.1.jpg,dog\nw.jpg,cat\n");
    check_data(tree, AUTO, "d",
               "train train/cat/1.jpg=0 cat\ntrain train/dog/2.jpg=1 dog\nval val/v.1.jpg=1 dog\nval "
               "val/w.jpg=0 cat\n");
    tree_remove(tree, "d/val.csv");
    tree_file(tree, "d/truth.txt", "val/v.1.jpg dog\nval/w.jpg cat\n");
    check_data(tree, AUTO, "d", "!no labels for them were found: put a val.csv");
    check_data(tree, (struct rd_source){.val_labels = "truth.txt"}, "d",
               "train train/cat/1.jpg=0 cat\ntrain train/dog/2.jpg=1 dog\nval val/v.1.jpg=1 dog\nval "
               "val/w.jpg=0 cat\n");
}

static void a_table_of_something_else_is_no_layout(void **state)
{
    struct tree *tree = *state;

    tree_file(tree, "d/cat/1.jpg", ""); /* class folders and a list of their names */
    tree_file(tree, "d/dog/2.jpg", "");
    tree_file(tree, "d/labels.csv", "id,name\n0,cat\n1,dog\n");
    check_data(tree, AUTO, "d", "train cat/1.jpg=0 cat\ntrain dog/2.jpg=1 dog\nleft 0 labels.csv\n");
    tree_file(tree, "e/train/cat/1.jpg", ""); /* imagenette: noisy_imagenette.csv lies beside */
    tree_file(tree, "e/val/cat/2.jpg", "");
    tree_file(tree, "e/train.csv", "path,noisy_labels_0,is_valid\ntrain/cat/1.jpg,dog,False\n");
    check_data(tree, AUTO, "e", "train train/cat/1.jpg=0 cat\nval val/cat/2.jpg=0 cat\n");
}

#define T(name) cmocka_unit_test_setup_teardown(name, tree_setup, tree_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_read_as_rfc_4180_says),
        cmocka_unit_test(a_long_row_is_cut),
        cmocka_unit_test(columns_are_found_by_name),
        T(flat_folders_with_a_table_are_a_set),
        T(one_table_may_hold_all_parts),
        T(numbers_are_classes_by_value),
        T(tables_may_be_named),
        T(validation_images_alone_may_have_a_table),
        T(a_table_of_something_else_is_no_layout),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
