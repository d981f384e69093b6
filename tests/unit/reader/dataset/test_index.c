/* The index file, its cache, and subsets. */
#include <errno.h>
#include <fcntl.h>
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
#include "reader/dataset/index_file.h"
#include "reader/dataset/subset.h"
#include "tests/unit/reader/tree.h"

/* `counts[c]` images in train/c<c>, one in val/c<c>, all an hour old. */
static void make_tree(const struct tree *tree, const unsigned *counts, unsigned classes)
{
    char path[64];

    for (unsigned c = 0; c < classes; c++) {
        for (unsigned i = 0; i < counts[c]; i++) {
            snprintf(path, sizeof path, "d/train/c%02u/%04u.jpg", c, i);
            tree_file(tree, path, "");
        }
        snprintf(path, sizeof path, "d/val/c%02u/v.jpg", c);
        tree_file(tree, path, "");
    }
    tree_age_all(tree, 3600);
}

static struct rd_data load(const struct tree *tree)
{
    struct rd_source source = {.folder = tree_path(tree, "d")};
    struct im_text text = {""};
    struct rd_data data;

    if (rd_data_open(&source, NULL, &data, &text) < 0)
        fail_msg("refused: %s", text.s);
    return data;
}

/* Loads, closes; returns whether it came from the cache, and how many training images there are. */
static int is_cached(const struct tree *tree, uint64_t *ret_count)
{
    struct rd_data data = load(tree);
    int cached = data.cached;

    *ret_count = rd_index_count(&data.index, IM_TRAIN);
    rd_data_close(&data);
    return cached;
}

static void an_unchanged_tree_comes_from_the_cache(void **state)
{
    uint64_t count;

    make_tree(*state, (unsigned[]){2, 3}, 2);
    assert_false(is_cached(*state, &count));
    assert_true(is_cached(*state, &count));
    assert_int_equal(count, 5);
}

static void make_link(const struct tree *tree, const char *target, const char *path)
{
    assert_int_equal(symlink(target, tree_path(tree, path)), 0);
}

/* Asked at the age-th second before now, another one for each state of the tree, or the cache would answer. */
static bool leads_out(const struct tree *tree, int age)
{
    struct rd_data data;
    bool out;

    tree_age_all(tree, age);
    data = load(tree);
    assert_false(data.cached);
    out = rd_index_leads_out(&data.index);
    rd_data_close(&data);
    data = load(tree); /* from the cache */
    assert_int_equal(rd_index_leads_out(&data.index), out);
    rd_data_close(&data);
    return out;
}

/* Readers and augmenters may read below the root alone, unless the images are elsewhere. */
static void links_that_lead_out_of_the_root_are_told(void **state)
{
    const struct tree *tree = *state;

    make_tree(tree, (unsigned[]){2, 3}, 2);
    tree_file(tree, "elsewhere/a.jpg", "");
    tree_file(tree, "d-too/a.jpg", ""); /* a name that begins like the root's */
    tree_file(tree, "d/store/x", "");
    make_link(tree, "../../store/x", "d/train/c00/inside.jpg");
    make_link(tree, "../../../elsewhere/nothing.jpg", "d/train/c00/nowhere.jpg"); /* no image of the set */
    assert_false(leads_out(tree, 3600));
    make_link(tree, "../../../d-too/a.jpg", "d/train/c01/outside.jpg");
    assert_true(leads_out(tree, 3500));
    tree_remove(tree, "d/train/c01/outside.jpg");
    assert_false(leads_out(tree, 3400));
    make_link(tree, "../../elsewhere/a.jpg", "d/store/step.jpg"); /* by way of a place inside */
    make_link(tree, "../../store/step.jpg", "d/val/c01/two-steps.jpg");
    assert_true(leads_out(tree, 3300));
    tree_remove(tree, "d/val/c01/two-steps.jpg");
    make_link(tree, "../../elsewhere", "d/train/c02");
    tree_file(tree, "d/val/c02/v.jpg", "");
    assert_true(leads_out(tree, 3200));
    tree_remove(tree, "d/train/c02");
    tree_remove(tree, "d/val/c02/v.jpg");
    tree_remove(tree, "d/val/c02");
    assert_false(leads_out(tree, 3100));
    assert_int_equal(rename(tree_path(tree, "d/train"), tree_path(tree, "train")), 0);
    make_link(tree, tree_path(tree, "train"), "d/train");
    assert_true(leads_out(tree, 3000));
}

static void a_changed_tree_is_indexed_again(void **state)
{
    struct tree *tree = *state;
    uint64_t count;

    make_tree(tree, (unsigned[]){2, 3}, 2);
    is_cached(tree, &count);
    tree_file(tree, "d/train/c01/new.jpg", "");
    assert_false(is_cached(tree, &count));
    assert_int_equal(count, 6);
    tree_age_all(tree, 1800);
    is_cached(tree, &count);
    assert_true(is_cached(tree, &count));
    tree_remove(tree, "d/train/c00/0000.jpg");
    assert_false(is_cached(tree, &count));
    assert_int_equal(count, 5);
    tree_age_all(tree, 1700);
    is_cached(tree, &count);
    tree_file(tree, "d/train/c02/x.jpg", ""); /* a new class */
    assert_false(is_cached(tree, &count));
    assert_int_equal(count, 6);
}

/* The same time of change, another folder: moved away and put back as another one. */
static void a_replaced_folder_is_indexed_again(void **state)
{
    struct tree *tree = *state;
    struct stat st;
    struct timespec times[2];
    uint64_t count;

    make_tree(tree, (unsigned[]){2, 3}, 2);
    is_cached(tree, &count);
    assert_int_equal(stat(tree_path(tree, "d/train/c00"), &st), 0);
    tree_file(tree, "other/x.jpg", "");
    times[0] = times[1] = st.st_mtim;
    assert_int_equal(rename(tree_path(tree, "d/train/c00"), tree_path(tree, "away")), 0);
    assert_int_equal(rename(tree_path(tree, "other"), tree_path(tree, "d/train/c00")), 0);
    assert_int_equal(utimensat(AT_FDCWD, tree_path(tree, "d/train/c00"), times, 0), 0);
    assert_int_equal(stat(tree_path(tree, "d/train"), &st), 0);
    tree_age(tree, "d/train", 3600);
    assert_false(is_cached(tree, &count));
    assert_int_equal(count, 4);
}

static void validation_images_that_appear_are_seen(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;
    uint64_t count;

    tree_file(tree, "d/train/a/1.jpg", "");
    tree_age_all(tree, 3600);
    is_cached(tree, &count);
    assert_true(is_cached(tree, &count));
    tree_file(tree, "d/valid/a/2.jpg", "");
    tree_age_all(tree, 3600);
    data = load(tree);
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 1);
    rd_data_close(&data);
    is_cached(tree, &count);
    tree_file(tree, "d/val/a/2.jpg", ""); /* goes before valid/ */
    tree_file(tree, "d/val/a/3.jpg", "");
    tree_age_all(tree, 3600);
    data = load(tree);
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 2);
    rd_data_close(&data);
}

/* A change within the clock's tick of the scan could leave the same time of change. */
static void a_tree_that_changed_just_now_is_not_trusted(void **state)
{
    struct tree *tree = *state;
    uint64_t count;

    make_tree(tree, (unsigned[]){2}, 1);
    tree_age(tree, "d/train/c00", -1);
    is_cached(tree, &count);
    assert_false(is_cached(tree, &count));
    tree_age(tree, "d/train/c00", 5);
    is_cached(tree, &count);
    assert_true(is_cached(tree, &count));
}

static void a_changed_file_of_labels_is_read_again(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    tree_file(tree, "d/train/a/1.jpg", "");
    tree_file(tree, "d/train/b/1.jpg", "");
    tree_file(tree, "d/val/x.jpg", "");
    tree_file(tree, "d/LOC_val_solution.csv", "ImageId,PredictionString\nx,a 1 2 3 4\n");
    tree_age_all(tree, 3600);
    data = load(tree);
    assert_int_equal(rd_index_label(&data.index, IM_VAL, 0), 0);
    rd_data_close(&data);
    tree_file(tree, "d/LOC_val_solution.csv", "ImageId,PredictionString\nx,b 1 2 3 4\n");
    data = load(tree);
    assert_int_equal(data.cached, 0);
    assert_int_equal(rd_index_label(&data.index, IM_VAL, 0), 1);
    rd_data_close(&data);
}

static void a_cache_that_cannot_be_written_is_no_error(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;

    make_tree(tree, (unsigned[]){2, 3}, 2);
    tree_file(tree, "file", "");
    assert_int_equal(setenv("XDG_CACHE_HOME", tree_path(tree, "file"), 1), 0);
    data = load(tree);
    assert_string_equal(data.path, "");
    assert_non_null(strstr(data.note.s, "the index is not cached: "));
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 5);
    rd_data_close(&data);
}

static void a_damaged_cache_is_built_again(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;
    char path[PATH_MAX], *bytes;
    uint64_t count;
    size_t n;

    make_tree(tree, (unsigned[]){2, 3}, 2);
    data = load(tree);
    memcpy(path, data.path, sizeof path);
    rd_data_close(&data);
    assert_int_equal(im_read_file(path, 1 << 20, &bytes, &n, NULL), 0);
    for (size_t i = 0; i < n; i++) { /* each byte in turn */
        struct im_text text = {""};
        struct rd_index index;
        void *copy = malloc(n);

        memcpy(copy, bytes, n);
        ((char *)copy)[i] ^= 0x40;
        assert_int_equal(rd_index_attach(copy, n, &index, &text), -EBADMSG);
        assert_true(*text.s);
        free(copy);
    }
    bytes[n / 2] ^= 1;
    assert_int_equal(im_file_replace(path, bytes, n, NULL), 0);
    assert_false(is_cached(tree, &count));
    assert_true(is_cached(tree, &count));
    assert_int_equal(truncate(path, (off_t)n - 8), 0);
    assert_false(is_cached(tree, &count));
    assert_int_equal(count, 5);
    free(bytes);
}

/* Sealed again after the damage, so that only the checks of ranges stand between a bad offset and a crash. */
static void references_out_of_range_are_refused(void **state)
{
    struct rd_data data;
    struct rd_index_header *header;
    void *copy;
    size_t n;

    make_tree(*state, (unsigned[]){2, 3}, 2);
    data = load(*state);
    n = data.index.bytes;
    copy = malloc(n);
    header = copy;
    for (int what = 0; what < 9; what++) {
        struct rd_index_sample *sample;
        struct rd_index index;

        memcpy(copy, data.index.header, n);
        sample = (struct rd_index_sample *)((char *)copy + header->sections[RD_VAL_SAMPLES].offset);
        switch (what) {
        case 0:
            sample->name = (uint32_t)header->sections[RD_STRINGS].count;
            break;
        case 1:
            sample->label = 2;
            break;
        case 2:
            sample->directory = 4;
            break;
        case 3:
            header->root = UINT32_MAX;
            break;
        case 4:
            header->sections[RD_TRAIN_SAMPLES].count = UINT64_MAX / 12 + 2;
            break;
        case 5:
            header->sections[RD_STRINGS].offset += 4;
            break;
        case 6:
            header->sections[RD_STAMPS].offset = n + 8;
            break;
        case 7:
            header->layout = 9;
            break;
        default:
            ((char *)copy)[header->sections[RD_STRINGS].offset + header->sections[RD_STRINGS].count - 1] =
                'x';
        }
        rd_index_seal(header, n);
        assert_int_equal(rd_index_attach(copy, n, &index, NULL), -EBADMSG);
    }
    free(copy);
    rd_data_close(&data);
}

static void the_hash_tells_sets_apart_and_not_places(void **state)
{
    struct tree *tree = *state;
    struct rd_data data;
    uint64_t hash;

    make_tree(tree, (unsigned[]){2, 3}, 2);
    data = load(tree);
    hash = rd_index_hash(&data.index);
    rd_data_close(&data);
    assert_int_equal(rename(tree_path(tree, "d"), tree_path(tree, "e")), 0);
    assert_int_equal(symlink("e", tree_path(tree, "d")), 0);
    data = load(tree);
    assert_int_equal(rd_index_hash(&data.index), hash);
    assert_string_equal(rd_index_root(&data.index), tree_path(tree, "e"));
    rd_data_close(&data);
    assert_int_equal(rename(tree_path(tree, "e/train/c00/0000.jpg"), tree_path(tree, "e/train/c00/a.jpg")),
                     0);
    data = load(tree);
    assert_int_not_equal(rd_index_hash(&data.index), hash);
    rd_data_close(&data);
}

static void paths_that_do_not_fit_are_refused(void **state)
{
    struct rd_data data;
    char path[32];

    make_tree(*state, (unsigned[]){1}, 1);
    data = load(*state);
    assert_int_equal(rd_index_relative(&data.index, IM_TRAIN, 0, path, sizeof path),
                     strlen("train/c00/0000.jpg"));
    assert_string_equal(path, "train/c00/0000.jpg");
    assert_int_equal(rd_index_relative(&data.index, IM_TRAIN, 0, path, strlen("train/c00/0000.jpg")),
                     -ENAMETOOLONG);
    rd_data_close(&data);
}

static void choose(const struct rd_index *index, uint64_t size, uint64_t seed, struct rd_index *ret_subset,
                   void **ret_bytes)
{
    size_t n;

    assert_int_equal(rd_subset_choose(index, size, seed, ret_bytes, &n, NULL), 0);
    assert_int_equal(rd_index_attach(*ret_bytes, n, ret_subset, NULL), 0);
    assert_int_equal(rd_index_count(ret_subset, IM_TRAIN), size);
    assert_int_equal(rd_index_count(ret_subset, IM_VAL), rd_index_count(index, IM_VAL));
    assert_int_equal(rd_index_class_count(ret_subset), rd_index_class_count(index));
}

static void a_subset_has_as_many_of_each_class(void **state)
{
    static const unsigned counts[] = {20, 3, 20, 20};
    struct rd_data data;

    make_tree(*state, counts, 4);
    data = load(*state);
    for (uint64_t size = 1; size <= 63; size++) {
        unsigned got[4] = {0}, low = 20, high = 0;
        struct rd_index subset;
        void *bytes;

        choose(&data.index, size, size, &subset, &bytes);
        for (uint64_t i = 0; i < size; i++)
            got[rd_index_label(&subset, IM_TRAIN, i)]++;
        for (unsigned c = 0; c < 4; c++) {
            assert_true(got[c] <= counts[c]);
            high = got[c] > high ? got[c] : high;
            low = got[c] < low && got[c] < counts[c] ? got[c] : low;
        }
        assert_true(high - low <= 1 || low == 20); /* classes that have more differ by one at most */
        free(bytes);
    }
    rd_data_close(&data);
}

static void a_subset_follows_from_its_seed(void **state)
{
    struct rd_index a, b, c;
    void *bytes[3];
    struct rd_data data;

    make_tree(*state, (unsigned[]){50, 50}, 2);
    data = load(*state);
    choose(&data.index, 20, 1, &a, &bytes[0]);
    choose(&data.index, 20, 1, &b, &bytes[1]);
    choose(&data.index, 20, 2, &c, &bytes[2]);
    assert_int_equal(rd_index_hash(&a), rd_index_hash(&b));
    assert_int_not_equal(rd_index_hash(&a), rd_index_hash(&c));
    for (int i = 0; i < 3; i++)
        free(bytes[i]);
    rd_data_close(&data);
}

static void each_image_is_chosen_equally_often(void **state)
{
    unsigned counts[20] = {0};
    double sum = 0;
    struct rd_data data;

    make_tree(*state, (unsigned[]){20, 20}, 2);
    data = load(*state);
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct rd_index subset;
        char path[64];
        void *bytes;

        choose(&data.index, 10, seed, &subset, &bytes);
        for (uint64_t i = 0; i < 5; i++) {
            assert_true(rd_index_relative(&subset, IM_TRAIN, i, path, sizeof path) > 0);
            counts[strtoul(strrchr(path, '/') + 1, NULL, 10)]++;
        }
        free(bytes);
    }
    for (int i = 0; i < 20; i++)
        sum += (counts[i] - 500.0) * (counts[i] - 500.0) / 500.0;
    assert_true(sum < 60); /* 19 degrees of freedom, less for drawing without putting back: p < 1e-5 */
    rd_data_close(&data);
}

static void a_subset_is_written_with_its_list(void **state)
{
    struct tree *tree = *state;
    struct rd_index subset, again;
    struct rd_data data;
    char *list, path[64];
    void *bytes;
    size_t n;

    make_tree(tree, (unsigned[]){4, 4}, 2);
    data = load(tree);
    choose(&data.index, 3, 9, &subset, &bytes);
    assert_int_equal(rd_subset_write(tree_path(tree, "run/x"), bytes, subset.bytes, NULL), 0);
    assert_int_equal(rd_index_open(tree_path(tree, "run/x/data.index"), &again, NULL), 0);
    assert_int_equal(rd_index_hash(&again), rd_index_hash(&subset));
    assert_int_equal(im_read_file(tree_path(tree, "run/x/subset.txt"), 4096, &list, &n, NULL), 0);
    assert_int_equal(n, 3 * strlen("train/c00/0000.jpg\n"));
    rd_index_relative(&again, IM_TRAIN, 2, path, sizeof path);
    assert_memory_equal(list + n - strlen(path) - 1, path, strlen(path));
    free(list);
    free(bytes);
    rd_index_close(&again);
    rd_data_close(&data);
}

static void a_subset_larger_than_the_set_is_refused(void **state)
{
    struct im_text text = {""};
    struct rd_data data;
    void *bytes;
    size_t n;

    make_tree(*state, (unsigned[]){2, 3}, 2);
    data = load(*state);
    assert_int_equal(rd_subset_choose(&data.index, 6, 0, &bytes, &n, &text), -EINVAL);
    assert_non_null(strstr(text.s, "6 images cannot be taken from 5"));
    assert_int_equal(rd_subset_choose(&data.index, 0, 0, &bytes, &n, &text), -EINVAL);
    rd_data_close(&data);
}

#define T(name) cmocka_unit_test_setup_teardown(name, tree_setup, tree_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_unchanged_tree_comes_from_the_cache),   T(links_that_lead_out_of_the_root_are_told),
        T(a_changed_tree_is_indexed_again),          T(a_replaced_folder_is_indexed_again),
        T(validation_images_that_appear_are_seen),   T(a_tree_that_changed_just_now_is_not_trusted),
        T(a_changed_file_of_labels_is_read_again),   T(a_cache_that_cannot_be_written_is_no_error),
        T(a_damaged_cache_is_built_again),           T(references_out_of_range_are_refused),
        T(the_hash_tells_sets_apart_and_not_places), T(paths_that_do_not_fit_are_refused),
        T(a_subset_has_as_many_of_each_class),       T(a_subset_follows_from_its_seed),
        T(each_image_is_chosen_equally_often),       T(a_subset_is_written_with_its_list),
        T(a_subset_larger_than_the_set_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
