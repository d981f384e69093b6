/* Names of classes: from a run's directory into what it writes, and weights whose classes have another order. */
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

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "trainer/checkpoint/classes.h"
#include "trainer/checkpoint/import.h"
#include "trainer/checkpoint/import_head.h"

enum { CLASSES = 3 };

static struct tr_network *network(void)
{
    struct tr_network_config config = {.model = "resnet20",
                                       .classes = CLASSES,
                                       .backend = "ref",
                                       .threads = 1,
                                       .seed = 1,
                                       .std = {1, 1, 1},
                                       .averages = true};
    struct tr_network *net = NULL;

    assert_int_equal(tr_network_new(&config, &net, NULL), 0);
    return net;
}

/* The classifier's bias, and a value of each row of its weights: row k holds k + 1. */
static void fill_rows(struct tr_network *net, bool check, enum tr_arena arena, const int rows[CLASSES])
{
    const struct tr_model *m = tr_network_model(net);
    float *params = calloc(m->param_floats, sizeof *params);

    assert_int_equal(tr_network_read(net, arena, params), 0);
    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];

        if (t->kind != TR_TENSOR_FC_WEIGHT && t->kind != TR_TENSOR_FC_BIAS)
            continue;
        for (size_t k = 0; k < t->count; k++) {
            const float value = (float)rows[k / (t->count / CLASSES)];

            if (check)
                assert_true(params[t->offset + k] == value);
            params[t->offset + k] = value;
        }
    }
    if (!check)
        assert_int_equal(tr_network_write(net, arena, params), 0);
    free(params);
}

static const char *file_name(void)
{
    static char path[64];

    snprintf(path, sizeof path, "/tmp/imsuper-classes-%ld.safetensors", (long)getpid());
    return path;
}

/* Weights that name these classes, of a run with those; what tr_classes_map() returns. The rows must be in `rows` then. */
static int map(const char *theirs, const char *ours, const int rows[CLASSES], struct im_text *note,
               struct im_text *text)
{
    const struct tr_pair metadata = {TR_CLASSES_KEY, theirs};
    const float one = 1;
    const struct tr_tensor tensor = {.name = "x", .dtype = TR_F32, .rank = 1, .shape = {1}, .data = &one};
    struct tr_network *net = network();
    int got;

    note->s[0] = text->s[0] = 0;
    assert_int_equal(tr_safetensors_write(file_name(), &tensor, 1, &metadata, theirs ? 1 : 0, text), 0);
    fill_rows(net, false, TR_ARENA_PARAMS, (const int[]){1, 2, 3});
    got = tr_classes_map(file_name(), net, ours, note, text);
    fill_rows(net, true, TR_ARENA_PARAMS, rows);
    if (got > 0)
        fill_rows(net, true, TR_ARENA_EMA, rows);
    unlink(file_name());
    tr_network_free(net);
    return got;
}

static void rows_go_to_the_class_of_their_name(void **state)
{
    struct im_text note, text;

    (void)state;
    assert_int_equal(
        map("[\"10\",\"2\",\"1\"]", "[\"1\",\"2\",\"10\"]", (const int[]){3, 2, 1}, &note, &text), 1);
    assert_non_null(strstr(note.s, "2 of 3 rows of its classifier were moved"));
    assert_int_equal(map("[\"c\",\"a\",\"b\"]", "[\"a\",\"b\",\"c\"]", (const int[]){2, 3, 1}, &note, &text),
                     1);
    assert_int_equal(map("[\"a\",\"b\",\"c\"]", "[\"a\",\"b\",\"c\"]", (const int[]){1, 2, 3}, &note, &text),
                     0);
    assert_string_equal(note.s, "");
}

/* The weights may have the order of the text, as ImageFolder gives it, or of the numbers. */
static void numbers_in_the_order_of_their_text_are_doubtful(void **state)
{
    struct im_text note, text;

    (void)state;
    assert_int_equal(map(NULL, "[\"0\",\"10\",\"2\"]", (const int[]){1, 2, 3}, &note, &text), 0);
    assert_non_null(strstr(note.s, "does not name its classes, and those of the data are numbers"));
    assert_int_equal(map(NULL, "[\"0\",\"2\",\"10\"]", (const int[]){1, 2, 3}, &note, &text), 0);
    assert_string_equal(note.s, "");
    assert_int_equal(map(NULL, "[\"0\",\"10\",\"2b\"]", (const int[]){1, 2, 3}, &note, &text), 0);
    assert_string_equal(note.s, "");
}

static void other_classes_are_refused_by_name(void **state)
{
    struct im_text note, text;

    (void)state;
    assert_int_equal(
        map("[\"a\",\"b\",\"dog\"]", "[\"a\",\"cat\",\"b\"]", (const int[]){1, 2, 3}, &note, &text),
        -EBADMSG);
    assert_non_null(
        strstr(text.s, "1 of its 3 are not in this data set ('dog'), 1 of 3 here are not in it ('cat')"));
    assert_non_null(strstr(text.s, "--init-skip-head"));
}

static void what_names_nothing_changes_nothing(void **state)
{
    static const char *const theirs[] = {NULL, "", "no json", "{\"a\":1}", "[1,2,3]", "[\"a\",\"a\",\"b\"]"};
    struct im_text note, text;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(theirs); i++)
        assert_int_equal(map(theirs[i], "[\"c\",\"b\",\"a\"]", (const int[]){1, 2, 3}, &note, &text), 0);
    assert_int_equal(map("[\"a\",\"b\",\"c\"]", NULL, (const int[]){1, 2, 3}, &note, &text), 0);
}

/* A file with a classifier of `rows` rows that names these classes: whether a fine-tuning keeps it. */
static bool head_fits(uint64_t rows, const char *theirs, const char *ours, struct im_text *why)
{
    const struct tr_pair metadata = {TR_CLASSES_KEY, theirs};
    float *zeros = calloc(rows * 64, sizeof *zeros);
    const struct tr_tensor tensors[] = {
        {.name = "fc.weight", .dtype = TR_F32, .rank = 2, .shape = {rows, 64}, .data = zeros},
        {.name = "fc.bias", .dtype = TR_F32, .rank = 1, .shape = {rows}, .data = zeros}};
    struct tr_network *net = network();
    struct im_text text = {""};
    bool fits = false;

    why->s[0] = 0;
    assert_int_equal(tr_safetensors_write(file_name(), tensors, 2, &metadata, theirs ? 1 : 0, &text), 0);
    if (tr_import_head_fits(file_name(), tr_network_model(net), ours, &fits, why, &text) < 0)
        fail_msg("%s", text.s);
    unlink(file_name());
    tr_network_free(net);
    free(zeros);
    return fits;
}

static void a_fine_tuning_keeps_the_classifier_of_its_classes(void **state)
{
    const char *abc = "[\"a\",\"b\",\"c\"]";
    struct im_text why;

    (void)state;
    assert_true(head_fits(3, NULL, NULL, &why));
    assert_true(head_fits(3, NULL, abc, &why));
    assert_true(head_fits(3, "[\"c\",\"a\",\"b\"]", abc, &why));
    assert_false(head_fits(4, NULL, abc, &why));
    assert_non_null(strstr(why.s, "for 4 classes"));
    assert_false(head_fits(3, "[\"a\",\"b\",\"dog\"]", abc, &why));
    assert_non_null(strstr(why.s, "other classes"));
}

static void write_lines(const char *folder, const char *lines)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/classes.txt", folder);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(lines, file);
    fclose(file);
}

static void names_are_read_from_the_run_directory(void **state)
{
    char folder[] = "/tmp/imsuper-classes-XXXXXX", path[128], *read;
    struct im_text text = {""};

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_null(tr_classes_read(folder, 2, &text));
    assert_string_equal(text.s, ""); /* that there are none is no error */
    write_lines(folder, "a \"b\"\nz\\x1b\n");
    read = tr_classes_read(folder, 2, &text);
    assert_non_null(read);
    assert_string_equal(read, "[\"a \\\"b\\\"\",\"z\\\\x1b\"]");
    free(read);
    assert_null(tr_classes_read(folder, 3, &text));
    assert_non_null(strstr(text.s, "has 2 lines for 3 classes"));
    snprintf(path, sizeof path, "%s/classes.txt", folder);
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_go_to_the_class_of_their_name),
        cmocka_unit_test(numbers_in_the_order_of_their_text_are_doubtful),
        cmocka_unit_test(other_classes_are_refused_by_name),
        cmocka_unit_test(what_names_nothing_changes_nothing),
        cmocka_unit_test(a_fine_tuning_keeps_the_classifier_of_its_classes),
        cmocka_unit_test(names_are_read_from_the_run_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
