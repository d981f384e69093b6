/* Finds presets (--recipe NAME) in their folders. conf_yaml.c reads them. */
#include "ipc/config/preset.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/suggest.h"
#include "ipc/base/sysinfo.h"

#define SUFFIX ".yaml"
enum { RECIPES_MAX = 1000, PLACES = 2 };

static int find_folder(char *folder, size_t n, struct im_text *text)
{
    static const char *const places[PLACES] = {"recipes", "../share/imsuper/recipes"};
    char tried[PATH_MAX];
    struct stat st;

    for (int i = 0; i < PLACES; i++) {
        im_beside(places[i], folder, n);
        if (stat(folder, &st) == 0 && S_ISDIR(st.st_mode))
            return 0;
    }
    im_beside(places[0], tried, sizeof tried);
    return im_fail(text, -ENOENT, "no recipes found: there is neither %.200s nor %.200s", tried, folder);
}

static bool is_recipe(const char *file)
{
    size_t n = strlen(file), suffix = strlen(SUFFIX);

    return file[0] != '.' && n > suffix && n - suffix < sizeof((struct im_preset *)0)->name &&
           strcmp(file + n - suffix, SUFFIX) == 0;
}

static void read_line(const char *folder, const char *file, struct im_preset *recipe)
{
    char path[PATH_MAX];
    FILE *f;

    if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path)
        return;
    f = fopen(path, "re");
    if (!f)
        return;
    if (fgets(recipe->line, sizeof recipe->line, f)) {
        size_t sign = strspn(recipe->line, "# ");

        memmove(recipe->line, recipe->line + sign, strlen(recipe->line + sign) + 1);
        recipe->line[strcspn(recipe->line, "\n")] = '\0';
    }
    fclose(f);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct im_preset *)a)->name, ((const struct im_preset *)b)->name);
}

int im_preset_list(struct im_preset **ret, size_t *ret_count, struct im_text *text)
{
    char folder[PATH_MAX];
    int err = find_folder(folder, sizeof folder, text);
    struct im_preset *list;
    struct dirent *entry;
    size_t count = 0;
    DIR *d;

    if (err < 0)
        return err;
    d = opendir(folder);
    if (!d)
        return im_fail(text, -errno, "%s: %s", folder, strerror(errno));
    list = calloc(RECIPES_MAX, sizeof *list);
    while (list && count < RECIPES_MAX && (entry = readdir(d))) {
        if (!is_recipe(entry->d_name))
            continue;
        memcpy(list[count].name, entry->d_name, strlen(entry->d_name) - strlen(SUFFIX));
        read_line(folder, entry->d_name, &list[count++]);
    }
    closedir(d);
    if (!list)
        return -ENOMEM;
    qsort(list, count, sizeof *list, by_name);
    *ret = list;
    *ret_count = count;
    return 0;
}

static int fail_unknown(const char *name, struct im_text *text)
{
    const char *names[RECIPES_MAX], *near;
    struct im_preset *list;
    size_t count;
    int err = im_preset_list(&list, &count, text);

    if (err < 0)
        return err;
    for (size_t i = 0; i < count; i++)
        names[i] = list[i].name;
    near = im_nearest(name, names, count);
    err = im_fail(text, -ENOENT, "no recipe '%.100s'%s%s%s; `imsuper recipes` lists them", name,
                  near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    free(list);
    return err;
}

int im_preset_path(const char *name, char *path, size_t n, struct im_text *text)
{
    char folder[PATH_MAX];
    size_t length = strlen(name), suffix = strlen(SUFFIX);
    int err, used;

    if (strchr(name, '/') || (length > suffix && strcmp(name + length - suffix, SUFFIX) == 0)) {
        used = snprintf(path, n, "%s", name);
        return used > 0 && (size_t)used < n ? 0 : -ENAMETOOLONG;
    }
    err = find_folder(folder, sizeof folder, text);
    if (err < 0)
        return err;
    used = snprintf(path, n, "%s/%s%s", folder, name, SUFFIX);
    if (used < 0 || (size_t)used >= n)
        return -ENAMETOOLONG;
    return access(path, F_OK) == 0 ? 0 : fail_unknown(name, text);
}
