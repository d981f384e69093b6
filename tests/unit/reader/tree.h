/* A folder for one test, and files in it. Everything below it is removed at the end. */
#ifndef TESTS_UNIT_READER_TREE_H
#define TESTS_UNIT_READER_TREE_H

#include <limits.h>
#include <stddef.h>

struct tree {
    char root[PATH_MAX];
};

void tree_init(struct tree *tree); /* below $TMPDIR or /tmp; sets XDG_CACHE_HOME to its own folder "cache" */
void tree_fini(const struct tree *tree);

/* The same before and after each test of a group: *state is the tree. */
int tree_setup(void **state);
int tree_teardown(void **state);

/* Makes a file and the folders above it. `path` is relative. */
void tree_file(const struct tree *tree, const char *path, const char *content);
void tree_bytes(const struct tree *tree, const char *path, const void *bytes, size_t n);
void tree_folder(const struct tree *tree, const char *path);
void tree_clear(const struct tree *tree);                    /* removes all below it */
void tree_remove(const struct tree *tree, const char *path); /* a file or an empty folder */

/* Sets the time of change of a folder or file, in seconds before now. */
void tree_age(const struct tree *tree, const char *path, int seconds);
void tree_age_all(const struct tree *tree, int seconds);

/* root/path in a static buffer of the calling thread, good until the next call but three. */
const char *tree_path(const struct tree *tree, const char *path);

#endif
