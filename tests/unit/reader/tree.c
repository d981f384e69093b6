#include "tests/unit/reader/tree.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

const char *tree_path(const struct tree *tree, const char *path)
{
    static _Thread_local char buffers[4][2 * PATH_MAX];
    static _Thread_local unsigned turn;
    char *buffer = buffers[turn++ % 4];

    snprintf(buffer, sizeof buffers[0], "%s%s%s", tree->root, *path ? "/" : "", path);
    return buffer;
}

void tree_init(struct tree *tree)
{
    const char *tmp = getenv("TMPDIR");
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/imsuper-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(path));
    assert_non_null(realpath(path, tree->root));
    assert_int_equal(setenv("XDG_CACHE_HOME", tree_path(tree, "cache"), 1), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void tree_fini(const struct tree *tree)
{
    nftw(tree->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void tree_clear(const struct tree *tree)
{
    tree_fini(tree);
    assert_int_equal(mkdir(tree->root, 0700), 0);
}

int tree_setup(void **state)
{
    struct tree *tree = malloc(sizeof *tree);

    assert_non_null(tree);
    tree_init(tree);
    *state = tree;
    return 0;
}

int tree_teardown(void **state)
{
    tree_fini(*state);
    free(*state);
    return 0;
}

static void make_parents(const struct tree *tree, const char *path)
{
    char whole[2 * PATH_MAX];

    snprintf(whole, sizeof whole, "%s/%s", tree->root, path);
    for (char *slash = whole + strlen(tree->root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(whole, 0755);
        *slash = '/';
    }
}

void tree_bytes(const struct tree *tree, const char *path, const void *bytes, size_t n)
{
    FILE *file;

    make_parents(tree, path);
    file = fopen(tree_path(tree, path), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

void tree_file(const struct tree *tree, const char *path, const char *content)
{
    tree_bytes(tree, path, content, strlen(content));
}

void tree_folder(const struct tree *tree, const char *path)
{
    make_parents(tree, path);
    mkdir(tree_path(tree, path), 0755);
}

void tree_remove(const struct tree *tree, const char *path)
{
    assert_int_equal(remove(tree_path(tree, path)), 0);
}

static void age(const char *path, int seconds)
{
    struct timespec times[2];

    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= seconds;
    times[0].tv_nsec = 123456789;
    times[1] = times[0];
    assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

void tree_age(const struct tree *tree, const char *path, int seconds)
{
    age(tree_path(tree, path), seconds);
}

static _Thread_local int age_seconds;

static int age_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    age(path, age_seconds);
    return 0;
}

void tree_age_all(const struct tree *tree, int seconds)
{
    age_seconds = seconds;
    nftw(tree->root, age_one, 16, FTW_DEPTH | FTW_PHYS);
}
