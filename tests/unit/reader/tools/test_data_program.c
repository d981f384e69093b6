/* imsuper-reader data as its user and the supervisor see it: exit status, JSON on stdout, sentences on stderr.
 * argv[1] is the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "tests/unit/reader/tree.h"

static const char *program;
static struct tree tree;

/* Runs the program with these words in the tree's folder; `out` gets what it says. Returns
 * its exit status. */
static int run(const char *words, char *out, size_t size)
{
    char copy[512], *argv[24] = {NULL}, *rest;
    int fds[2], status, count = 1;
    size_t have = 0;
    ssize_t n;
    pid_t child;

    snprintf(copy, sizeof copy, "%s", words);
    for (char *word = strtok_r(copy, " ", &rest); word && count < 23; word = strtok_r(NULL, " ", &rest))
        argv[count++] = word;
    assert_int_equal(pipe(fds), 0);
    child = fork();
    if (child == 0) {
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        argv[0] = strdup(program);
        if (chdir(tree.root) == 0)
            execv(program, argv);
        _exit(127);
    }
    close(fds[1]);
    while (have < size - 1 && (n = read(fds[0], out + have, size - 1 - have)) > 0)
        have += (size_t)n;
    out[have] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -status;
}

static void check(const char *words, int status, const char *part)
{
    char out[8192];
    int got = run(words, out, sizeof out);

    if (got != status || !strstr(out, part))
        fail_msg("'%s' left with %d and said: %s", words, got, out);
}

static void check_json(const char *words, const char *key, int64_t value)
{
    struct im_json *json = NULL;
    char out[8192];

    assert_int_equal(run(words, out, sizeof out), 0);
    assert_int_equal(im_json_parse(out, strlen(out), &json, NULL), 0);
    assert_string_equal(im_json_str_or(json, "schema", ""), "imsuper.index/1");
    assert_int_equal(im_json_int_or(json, key, -1), value);
    im_json_free(&json);
}

static void a_set_is_made_and_indexed(void **state)
{
    (void)state;
    check("data synth --out s --classes 3 --per-class 4 --val-per-class 2 --side-min 16 --side-max 24", 0,
          "made 18 images of 3 classes");
    check("data index --data-dir s", 0, "train   12 images of 3 classes");
    check_json("data index --data-dir s --json", "train", 12);
    check_json("data index --data-dir s --json", "val", 6);
    check_json("data index --data-dir s --json --subset --subset-size 6 --subset-out o", "train", 6);
    assert_int_equal(access(tree_path(&tree, "o/subset.txt"), R_OK), 0);
    assert_int_equal(access(tree_path(&tree, "o/data.index"), R_OK), 0);
    check("data synth --out s", 1, "is not empty");
}

/* Also where a run has it already, from the same index or from an older one. */
static void index_of_a_run_is_another_name_of_the_cached_one(void **state)
{
    struct stat first, again;

    (void)state;
    check("data index --data-dir s --subset-out h", 0, "train   12 images of 3 classes");
    assert_int_equal(stat(tree_path(&tree, "h/data.index"), &first), 0);
    assert_int_equal(first.st_nlink, 2);
    check("data index --data-dir s --subset-out h", 0, "train   12 images of 3 classes");
    assert_int_equal(stat(tree_path(&tree, "h/data.index"), &again), 0);
    assert_true(again.st_nlink == 2 && again.st_ino == first.st_ino);
    check("data index --data-dir s --subset-out h --rebuild-index", 0, "train   12 images of 3 classes");
    assert_int_equal(stat(tree_path(&tree, "h/data.index"), &again), 0);
    assert_true(again.st_nlink == 2 && again.st_ino != first.st_ino);
    check("data index --data-dir s", 0, "train   12 images of 3 classes");
    assert_int_equal(im_file_sweep(tree_path(&tree, "h")), 0); /* nothing is left behind */
}

static const struct {
    const char *file, *why;
} refused[] = {
    {"a 1\nb 2\n", "w has no weight for class 'c'"},
    {"a 1\nb 2\nc 3\nd 4\n", "w:4: the data set has no class 'd'"},
    {"a 1\nb 2\na 3\n", "w:3: class 'a' has a weight already"},
    {"1\n2\n3\n4\n", "more than 3 weights"},
    {"a 1\n2\nc 3\n", "w:2: either all lines name their class, or none does"},
    {"a 1\nb x\nc 3\n", "w:2: the line ends with no number"},
    {"a 1\nb -2\nc 3\n", "w:2: -2 is no weight"},
    {"a 1\nb nan\nc 3\n", "w:2: nan is no weight"},
    {"0\n0\n0\n", "have the weight 0"},
};

/* Of classes a, b, c with 4, 2 and 1 images. */
static void classes_are_weighted(void **state)
{
    char *bytes, path[80];
    size_t n;

    (void)state;
    for (int i = 0; i < 7; i++) {
        snprintf(path, sizeof path, "cw/%c/%d.jpg", "aaaabbc"[i], i);
        tree_file(&tree, path, "x");
    }
    check("data index --data-dir cw --class-weights balanced", 2, "no effect without --subset-out");
    check("data index --data-dir cw --class-weights balanced --subset-out cwo", 0, "7 images of 3 classes");
    assert_int_equal(im_read_file(tree_path(&tree, "cwo/class_weights.txt"), 4096, &bytes, &n, NULL), 0);
    assert_string_equal(bytes, "0.58333333333333337\t4\ta\n1.1666666666666667\t2\tb\n"
                               "2.3333333333333335\t1\tc\n");
    free(bytes);
    tree_file(&tree, "w1", "class,weight\nc, 3\n\n# half\na\t0.5\nb 1\n");
    tree_file(&tree, "w2", "0.5\n1\n3\n");
    tree_file(&tree, "w3",
              "\xEF\xBB\xBF"
              "a;0,5\r\nb;1\r\nc;3,0\r\n"); /* as spreadsheets save it */
    tree_file(&tree, "w4",
              "\xEF\xBB\xBF"
              "0.5\n1\n3\n");
    tree_file(&tree, "w5", "\"a\",0.5\n\"b\",1\n\"c\",3\n");
    for (int i = 1; i <= 5; i++) {
        snprintf(path, sizeof path, "data index --data-dir cw --class-weights w%d --subset-out cwo", i);
        check(path, 0, "");
        assert_int_equal(im_read_file(tree_path(&tree, "cwo/class_weights.txt"), 4096, &bytes, &n, NULL), 0);
        assert_string_equal(bytes, "0.5\t4\ta\n1\t2\tb\n3\t1\tc\n");
        free(bytes);
    }
    for (size_t i = 0; i < IM_COUNT(refused); i++) {
        tree_file(&tree, "w", refused[i].file);
        check("data index --data-dir cw --class-weights w --subset-out cwo", 2, refused[i].why);
    }
    check("data index --data-dir cw --class-weights nofile --subset-out cwo", 2,
          "nofile: No such file or directory (balanced, or a file with");
}

/* What `start` shows, and keeps in the run's directory. */
static void what_is_left_out_is_told_and_listed(void **state)
{
    char *bytes;
    size_t n;

    (void)state;
    tree_file(&tree, "l/train/a/1.jpg", "x");
    tree_file(&tree, "l/train/a/2.jpg", "");
    tree_file(&tree, "l/train/a/new\nline\x1b.txt", "x");
    tree_file(&tree, "l/train/a/.DS_Store", "x");
    tree_file(&tree, "l/train/b/1.jpg", "x");
    tree_file(&tree, "l/train/3.jpg", "x");
    tree_file(&tree, "l/val/a/1.jpg", "x");
    tree_file(&tree, "l/val/c/1.jpg", "x");
    tree_file(&tree, "l/val/c/2.jpg", "x");
    check("data index --data-dir l --subset-out lo", 0,
          "6 left out: 1 empty file (train/a/2.jpg), 2 validation images of classes without training images "
          "(val/c/1.jpg), 1 image outside of class folders (train/3.jpg), 1 file that is no image by name "
          "(train/a/new\\nline\\x1b.txt), 1 hidden file or folder (train/a/.DS_Store); "
          "the numbers of images still count the empty file\n");
    check("data index --data-dir l", 0,
          "warning: 2 validation images are left out, of 1 class without training images: 'c'\n");
    check("data index --data-dir l", 0, "warning: 1 of 2 classes has no validation images: 'b'\n");
    assert_int_equal(im_read_file(tree_path(&tree, "lo/left_out.txt"), 4096, &bytes, &n, NULL), 0);
    assert_string_equal(bytes, "validation image of a class without training images\tval/c/1.jpg\tc\n"
                               "validation image of a class without training images\tval/c/2.jpg\tc\n"
                               "image outside of class folders\ttrain/3.jpg\n"
                               "file that is no image by name\ttrain/a/new\\nline\\x1b.txt\n"
                               "hidden file or folder\ttrain/a/.DS_Store\n"
                               "empty file\ttrain/a/2.jpg\n");
    free(bytes);
    assert_int_equal(im_read_file(tree_path(&tree, "lo/classes.txt"), 4096, &bytes, &n, NULL), 0);
    assert_string_equal(bytes, "a\nb\n");
    free(bytes);
    check("data index --data-dir l --json", 0, "\"class_names\":[\"a\",\"b\"]");
    tree_file(&tree, "one/only/1.jpg", "x");
    check("data index --data-dir one --subset-out lo", 0, "warning: there is only one class, 'only'");
    check("data index --data-dir one", 0, "warning: there are no validation images");
    assert_int_not_equal(access(tree_path(&tree, "lo/left_out.txt"), F_OK), 0); /* nothing is, now */
    tree_file(&tree, "one/only/2.jpg", "x");
    check("data index --data-dir one --val-split 0.5", 0, "val     1 images");
    for (int i = 1; i < 6; i++) {
        char path[32];

        snprintf(path, sizeof path, "both/i%d/%d.jpg", i % 2, i);
        tree_file(&tree, path, "x");
    }
    tree_file(&tree, "both/train.csv", "i1/5,a\ni0/2,b\ni1/1,a\n");
    tree_file(&tree, "both/val.csv", "i1/3,a\ni0/4,b\ni0/2,b\ni1/5,a\n");
    check("data index --data-dir both", 0,
          "warning: 2 of 4 validation images are for training, too (i0/2.jpg)");
}

static void bad_data_ends_with_65_and_a_sentence(void **state)
{
    (void)state;
    check("data index --data-dir nothere --json", 65, "cannot open the data folder 'nothere'");
    tree_folder(&tree, "empty");
    check("data index --data-dir empty", 65, "empty' is empty");
    tree_file(&tree, "d/train/a/1.jpg", "");
    tree_folder(&tree, "d/train/b");
    check("data index --data-dir d", 65, "d/train/b' holds no images");
}

static void wrong_use_ends_with_2_and_a_suggestion(void **state)
{
    (void)state;
    check("", 2, "data index");
    check("data indx", 2, "did you mean 'data index'?");
    check("data index --data-dri x", 2, "did you mean --data-dir?");
    check("data index", 2, "--data-dir DIR");
    check("data index --data-dir s --subset", 2, "--subset-out DIR");
    check("data index --data-dir s --subset --subset-size 100 --subset-out o", 2, "cannot be taken from 12");
    check("data synth", 2, "--out DIR");
    check("data synth --out x --classes 1", 2, "classes");
    check("data synth --out x y", 2, "unexpected argument 'y'");
    check("data index /", 2, "is given with --data-dir /");
    check("data synth --out x --side-min 90 --side-max 80", 2, "side-min");
    check("data index --help", 0, "--data-dir");
    check("--help", 0, "data list");
    check("--version", 0, "imsuper-reader ");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_is_made_and_indexed),
        cmocka_unit_test(index_of_a_run_is_another_name_of_the_cached_one),
        cmocka_unit_test(classes_are_weighted),
        cmocka_unit_test(what_is_left_out_is_told_and_listed),
        cmocka_unit_test(bad_data_ends_with_65_and_a_sentence),
        cmocka_unit_test(wrong_use_ends_with_2_and_a_suggestion),
    };
    int failed;

    if (argc != 2)
        return 2;
    program = argv[1];
    tree_init(&tree);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    tree_fini(&tree);
    return failed;
}
