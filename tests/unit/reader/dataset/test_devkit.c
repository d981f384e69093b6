/* Labels of validation images from ILSVRC's devkit. argv[1]: tests/golden, with a meta.mat and what scipy reads in it. */
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
#include "reader/dataset/data.h"
#include "reader/dataset/devkit.h"
#include "tests/unit/reader/tree.h"

#define MAP "n01 3 cat\nn02 1 dog\nn03 2 bird, of some kind\nn04 4 all of them\n"

static const char *golden;

static char *read_golden(const char *name, size_t *ret_n)
{
    char path[512], *bytes;

    snprintf(path, sizeof path, "%s/%s", golden, name);
    assert_int_equal(im_read_file(path, (size_t)16 << 20, &bytes, ret_n, NULL), 0);
    return bytes;
}

static void meta_mat_is_read_as_scipy_reads_it(void **state)
{
    struct rd_numbering numbering = {.count = 0};
    size_t n;
    char *bytes = read_golden("devkit_meta.mat", &n), *next, *line, *list;
    uint64_t count = 0;

    (void)state;
    assert_int_equal(rd_mat_read(bytes, n, "meta.mat", &numbering, NULL), 0);
    free(bytes);
    list = read_golden("devkit_meta.txt", &n);
    for (line = strtok_r(list, "\n", &next); line; line = strtok_r(NULL, "\n", &next), count++) {
        char *name;
        const uint64_t number = strtoull(line, &name, 10);

        assert_string_equal(rd_numbering_name(&numbering, number), name + 1);
    }
    free(list);
    assert_int_equal(count, 1040);
    assert_int_equal(numbering.count, 1041);
    assert_null(rd_numbering_name(&numbering, 0));
    assert_null(rd_numbering_name(&numbering, 1041));
    rd_numbering_fini(&numbering);
}

static void a_damaged_meta_mat_is_refused(void **state)
{
    struct rd_numbering numbering;
    struct im_text text;
    size_t n;
    char *bytes = read_golden("devkit_meta.mat", &n);

    (void)state;
    for (size_t cut = 0; cut < n; cut += cut < 400 ? 1 : 511) {
        text.s[0] = 0;
        assert_int_equal(rd_mat_read(bytes, cut, "meta.mat", &numbering, &text), -EBADMSG);
        assert_non_null(strstr(text.s, "meta.mat"));
    }
    bytes[n / 2] ^= 0x40;
    assert_int_equal(rd_mat_read(bytes, n, "meta.mat", &numbering, &text), -EBADMSG);
    free(bytes);
}

static void make_set(const struct tree *tree)
{
    tree_file(tree, "d/train/n01/a.JPEG", "");
    tree_file(tree, "d/train/n02/b.JPEG", "");
    tree_file(tree, "d/train/n03/c.JPEG", "");
    tree_file(tree, "d/val/ILSVRC2012_val_00000001.JPEG", "");
    tree_file(tree, "d/val/ILSVRC2012_val_00000002.JPEG", "");
    tree_file(tree, "d/val/ILSVRC2012_val_00000003.JPEG", "");
}

static int open_with(const struct tree *tree, const char *val_labels, struct rd_data *data,
                     struct im_text *text)
{
    const struct rd_source source = {.folder = tree_path(tree, "d"), .val_labels = val_labels};

    return rd_data_open(&source, NULL, data, text);
}

static void check_labels(const struct tree *tree, const char *val_labels, const char *wanted)
{
    struct im_text text = {""};
    struct rd_data data;
    char got[64] = "";

    if (open_with(tree, val_labels, &data, &text) != 0)
        fail_msg("refused: %s", text.s);
    for (uint64_t i = 0; i < rd_index_count(&data.index, IM_VAL); i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s ",
                 rd_index_class(&data.index, rd_index_label(&data.index, IM_VAL, i)));
    assert_string_equal(got, wanted);
    rd_data_close(&data);
}

static void check_refused(const struct tree *tree, const char *part)
{
    struct im_text text = {""};
    struct rd_data data;

    if (open_with(tree, NULL, &data, &text) != -EBADMSG || !strstr(text.s, part))
        fail_msg("said '%s', not '%s'", text.s, part);
}

/* Wherever it lies. */
static void ground_truth_goes_by_the_devkits_numbers(void **state)
{
    static const char *const places[] = {"", "ILSVRC2012_devkit_t12/data/", "devkit/data/"};
    struct tree *tree = *state;
    char path[256];

    for (size_t i = 0; i < IM_COUNT(places); i++) {
        tree_clear(tree);
        make_set(tree);
        snprintf(path, sizeof path, "d/%sILSVRC2012_validation_ground_truth.txt", places[i]);
        tree_file(tree, path, "1\n3\n2\n");
        check_refused(tree, "put the devkit's meta.mat or map_clsloc.txt beside it");
        snprintf(path, sizeof path, "d/%smap_clsloc.txt", places[i]);
        tree_file(tree, path, MAP);
        check_labels(tree, NULL, "n02 n01 n03 ");
    }
    /* Of another order of numbers, the cached index is not taken. */
    tree_file(tree, path, "n01 1\nn02 2\nn03 3\n");
    check_labels(tree, NULL, "n01 n03 n02 ");
}

static void ground_truth_goes_by_meta_mat(void **state)
{
    struct tree *tree = *state;
    char name[32], path[128], *bytes, *list;
    size_t n;

    list = read_golden("devkit_meta.txt", &n);
    assert_int_equal(sscanf(list, "1 %31s", name), 1);
    free(list);
    bytes = read_golden("devkit_meta.mat", &n);
    make_set(tree);
    snprintf(path, sizeof path, "d/train/%s/a.JPEG", name);
    tree_file(tree, path, "");
    tree_file(tree, "d/ILSVRC2012_validation_ground_truth.txt", "1\n1\n1");
    tree_bytes(tree, "d/meta.mat", bytes, n);
    snprintf(path, sizeof path, "%s %s %s ", name, name, name);
    check_labels(tree, NULL, path);
    free(bytes);
}

static void a_list_of_synsets_is_taken(void **state)
{
    struct tree *tree = *state;

    make_set(tree);
    tree_file(tree, "d/imagenet_2012_validation_synset_labels.txt", "n03\r\nn03\r\nn01\r\n");
    check_labels(tree, NULL, "n03 n03 n01 ");
    tree_file(tree, "e/other_validation_synset_labels.txt", "n02\nn03\nn01\n");
    check_labels(tree, tree_path(tree, "e/other_validation_synset_labels.txt"), "n02 n03 n01 ");
    tree_file(tree, "e/data/ILSVRC2012_validation_ground_truth.txt", "1\n1\n2\n");
    tree_file(tree, "e/map_clsloc.txt", MAP);
    check_labels(tree, tree_path(tree, "e/data/ILSVRC2012_validation_ground_truth.txt"), "n02 n02 n03 ");
}

static void lines_that_cannot_be_meant_are_refused(void **state)
{
    static const struct {
        const char *truth, *map, *part;
    } cases[] = {
        {"1\n2\n", MAP, "no label for the validation image 'ILSVRC2012_val_00000003.JPEG'"},
        {"1\n\n2\n3\n", MAP, "has an empty line"},
        {"1\n5\n2\n", MAP, "line 2: '5' is none of the devkit's classes"},
        {"1\n0\n2\n", MAP, "line 2: '0' is none"},
        {"1\n2 3\n2\n", MAP, "line 2: '2' is none"},
        {"1\n2\n3\n", "n01 1\nn02 1\n", "map_clsloc.txt', line 2"},
        {"1\n2\n3\n", "n01\n", "map_clsloc.txt', line 1"},
        {"1\n2\n3\n", "", "map_clsloc.txt', line 0"},
        {"4\n4\n4\n", MAP, "no class that"},
    };
    struct tree *tree = *state;

    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        tree_clear(tree);
        make_set(tree);
        tree_file(tree, "d/ILSVRC2012_validation_ground_truth.txt", cases[i].truth);
        tree_file(tree, "d/map_clsloc.txt", cases[i].map);
        check_refused(tree, cases[i].part);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, tree_setup, tree_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        T(meta_mat_is_read_as_scipy_reads_it),
        T(a_damaged_meta_mat_is_refused),
        T(ground_truth_goes_by_the_devkits_numbers),
        T(ground_truth_goes_by_meta_mat),
        T(a_list_of_synsets_is_taken),
        T(lines_that_cannot_be_meant_are_refused),
    };

    if (argc != 2)
        return 2;
    golden = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
