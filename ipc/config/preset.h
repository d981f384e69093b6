/* Recipes: files of options with a name, which lie in a folder beside the programs (recipes/ in the build
 * folder, share/imsuper/recipes where they are installed). The first line of one is a comment that says what
 * it is. */
#ifndef IPC_CONFIG_PRESET_H
#define IPC_CONFIG_PRESET_H

#include <stddef.h>

#include "ipc/base/err.h"

struct im_preset {
    char name[64];
    char line[160]; /* its first line, without the comment's sign */
};

/* The file of a recipe: one of that name, or `name` itself when it holds a slash or ends in .yaml. -ENOENT
 * with a sentence that names what is near. */
int im_preset_path(const char *name, char *path, size_t n, struct im_text *text);

/* All there are, sorted by name; *ret is malloc'ed. -ENOENT with a sentence when there is no folder. */
int im_preset_list(struct im_preset **ret, size_t *ret_count, struct im_text *text);

#endif
