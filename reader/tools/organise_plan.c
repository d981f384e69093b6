/* Names of folders and files. An image keeps its name; where two of a class have the same, as in folders of folders, each
 * gets the names of those in front ("day1_0001.jpg"), and what still clashes a number ("0001-2.jpg"). */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reader/dataset/scan.h"
#include "reader/tools/organise.h"

enum { ROUNDS_MAX = 1000 };

static const char *const split_names[IM_SPLITS] = {[IM_TRAIN] = "train", [IM_VAL] = "val"};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* A class's name as that of a folder which is read as a class again: no slash, not hidden, not one of a tool. */
static void folder_name(const char *class, char ret[NAME_MAX + 1])
{
    snprintf(ret, NAME_MAX + 1, "%s%.254s", *class && rd_is_tool_folder(class) ? "_" : "", class);
    for (char *c = ret; *c; c++)
        *c = *c == '/' ? '_' : *c;
    if (ret[0] == 0)
        snprintf(ret, NAME_MAX + 1, "_");
}

static bool is_taken(const struct rd_plan *plan, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(plan->strings.bytes + plan->folders[i], name) == 0)
            return true;
    return false;
}

/* Does another class have this name by itself? */
static bool is_class(const struct rd_plan *plan, const char *name)
{
    for (uint32_t i = 0; i < rd_index_class_count(plan->index); i++)
        if (strcmp(rd_index_class(plan->index, i), name) == 0)
            return true;
    return false;
}

static int name_folders(struct rd_plan *plan)
{
    const uint32_t count = rd_index_class_count(plan->index);
    char name[NAME_MAX + 1], tried[NAME_MAX + 16];

    plan->folders = calloc(count + 1, sizeof *plan->folders);
    if (!plan->folders)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        const char *class = rd_index_class(plan->index, i);
        int64_t at;

        folder_name(class, name);
        snprintf(tried, sizeof tried, "%s", name);
        if (strcmp(name, class) != 0) {
            plan->renamed_classes++;
            for (unsigned k = 2; is_class(plan, tried) || is_taken(plan, i, tried); k++)
                snprintf(tried, sizeof tried, "%.240s-%u", name, k);
        }
        at = rd_names_add(&plan->strings, tried);
        if (at < 0)
            return (int)at;
        plan->folders[i] = (uint32_t)at;
        plan->reordered |= i > 0 && strcmp(plan->strings.bytes + plan->folders[i - 1], tried) > 0;
    }
    return 0;
}

static int set_path(struct rd_plan *plan, struct rd_plan_file *file, const char *name, struct im_text *text)
{
    char path[PATH_MAX + NAME_MAX];
    int64_t at;

    if (strlen(name) > NAME_MAX)
        return im_fail(text, -ENAMETOOLONG, "the name '%.300s' is too long", name);
    snprintf(path, sizeof path, "%s/%s/%s", split_names[file->split],
             plan->strings.bytes + plan->folders[file->label], name);
    at = rd_names_add(&plan->strings, path);
    if (at < 0)
        return (int)at;
    file->path = (uint32_t)at;
    return 0;
}

static int name_files(struct rd_plan *plan, struct im_text *text)
{
    char source[PATH_MAX];
    int err = 0;

    for (int split = 0; split < IM_SPLITS; split++) {
        for (uint64_t id = 0; id < rd_index_count(plan->index, (enum im_split)split) && err == 0; id++) {
            struct rd_plan_file *file = &plan->files[plan->count++];
            int n = rd_index_relative(plan->index, (enum im_split)split, id, source, sizeof source);

            if (n < 0)
                return im_fail(text, n, "a path of the data set is too long");
            *file = (struct rd_plan_file){.id = id,
                                          .split = (uint8_t)split,
                                          .label = rd_index_label(plan->index, (enum im_split)split, id)};
            err = set_path(plan, file, base_name(source), text);
        }
    }
    return err;
}

static int by_path(const void *a, const void *b, void *bytes)
{
    const struct rd_plan_file *x = a, *y = b;
    const int order = strcmp((const char *)bytes + x->path, (const char *)bytes + y->path);

    if (order != 0)
        return order;
    if (x->renamed != y->renamed)
        return x->renamed ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* "train/cat/day1/0001.jpg" of class cat: "day1_0001.jpg"; paths without a folder of the class: with all in front. */
static void long_name(const struct rd_plan *plan, const struct rd_plan_file *file, char *ret, size_t size)
{
    const char *class = rd_index_class(plan->index, file->label), *at, *rest;
    const size_t n = strlen(class);
    char source[PATH_MAX];

    rd_index_relative(plan->index, (enum im_split)file->split, file->id, source, sizeof source);
    rest = source + (*source == '/');
    for (at = rest; at && *at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL)
        if (strncmp(at, class, n) == 0 && at[n] == '/')
            rest = at + n + 1;
    snprintf(ret, size, "%s", rest);
    for (char *c = ret; *c; c++)
        *c = *c == '/' ? '_' : *c;
    if (strlen(ret) > NAME_MAX)
        snprintf(ret, size, "%s", base_name(source));
}

/* "0001.jpg" and 2: "0001-2.jpg". */
static void numbered_name(const char *path, uint64_t number, char *ret, size_t size)
{
    const char *name = base_name(path), *dot = strrchr(name, '.');
    const int stem = dot ? (int)(dot - name) : (int)strlen(name);

    snprintf(ret, size, "%.*s-%llu%s", stem < NAME_MAX - 40 ? stem : NAME_MAX - 40, name,
             (unsigned long long)number, dot ? dot : "");
}

/* Renames those of the group [first, end) of one path. In round 0 all, by their folders; later all but the first, by
 * numbers. */
static int rename_group(struct rd_plan *plan, uint64_t first, uint64_t end, int round, struct im_text *text)
{
    char name[PATH_MAX + NAME_MAX];
    int err = 0;

    for (uint64_t i = round == 0 ? first : first + 1; i < end && err == 0; i++) {
        struct rd_plan_file *file = &plan->files[i];

        if (round == 0)
            long_name(plan, file, name, sizeof name);
        else
            numbered_name(plan->strings.bytes + file->path, i - first + 1, name, sizeof name);
        plan->renamed_count += !file->renamed;
        file->renamed = true;
        err = set_path(plan, file, name, text);
    }
    return err;
}

static int make_unique(struct rd_plan *plan, struct im_text *text)
{
    bool clashes = true;

    for (int round = 0; round < ROUNDS_MAX && clashes; round++) {
        clashes = false;
        qsort_r(plan->files, plan->count, sizeof *plan->files, by_path, plan->strings.bytes);
        for (uint64_t first = 0, end; first < plan->count; first = end) {
            int err;

            for (end = first + 1; end < plan->count; end++)
                if (strcmp(rd_plan_path(plan, first), rd_plan_path(plan, end)) != 0)
                    break;
            if (end == first + 1)
                continue;
            clashes = true;
            err = rename_group(plan, first, end, round, text);
            if (err < 0)
                return err;
        }
    }
    return clashes ? im_fail(text, -EEXIST, "the names of images clash in too many ways") : 0;
}

int rd_plan_make(const struct rd_index *index, struct rd_plan *ret_plan, struct im_text *text)
{
    const uint64_t all = rd_index_count(index, IM_TRAIN) + rd_index_count(index, IM_VAL);
    int err;

    *ret_plan = (struct rd_plan){.index = index};
    ret_plan->files = calloc(all + 1, sizeof *ret_plan->files);
    err = ret_plan->files ? name_folders(ret_plan) : -ENOMEM;
    if (err == 0)
        err = name_files(ret_plan, text);
    if (err == 0)
        err = make_unique(ret_plan, text);
    if (err < 0)
        rd_plan_fini(ret_plan);
    return err;
}

void rd_plan_fini(struct rd_plan *plan)
{
    rd_names_fini(&plan->strings);
    free(plan->folders);
    free(plan->files);
    *plan = (struct rd_plan){0};
}
