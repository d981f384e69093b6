/* Level by level, so that each level is one parallel scan: class folders without folders inside take exactly one. */
#include "reader/dataset/walk.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int grow(struct rd_walk *walk)
{
    uint32_t capacity = 2 * walk->capacity + 64;
    void *grown;

    if (walk->count < walk->capacity)
        return 0;
    if (walk->count >= RD_WALK_FOLDERS_MAX)
        return -EFBIG;
    grown = realloc(walk->listings, capacity * sizeof *walk->listings);
    if (!grown)
        return -ENOMEM;
    walk->listings = grown;
    grown = realloc(walk->places, capacity * sizeof *walk->places);
    if (!grown)
        return -ENOMEM;
    walk->places = grown;
    walk->capacity = capacity;
    return 0;
}

/* Takes `path`, which is malloc'ed. */
static int walk_add(struct rd_walk *walk, char *path, uint32_t parent)
{
    int err = path ? grow(walk) : -ENOMEM;

    if (err < 0) {
        free(path);
        return err;
    }
    walk->listings[walk->count] = (struct rd_listing){.path = path};
    walk->places[walk->count] = (struct rd_place){
        .parent = parent, .top = parent == RD_WALK_TOP ? walk->count : walk->places[parent].top};
    walk->count++;
    return 0;
}

int rd_walk_add(struct rd_walk *walk, const char *path)
{
    return walk_add(walk, strdup(path), RD_WALK_TOP);
}

static bool same_folder(const struct rd_stamp *a, const struct rd_stamp *b)
{
    return a->inode == b->inode && a->device == b->device;
}

static bool is_loop(const struct rd_walk *walk, uint32_t i)
{
    const struct rd_stamp *stamp = &walk->listings[i].stamp;

    for (uint32_t up = walk->places[i].parent; up != RD_WALK_TOP; up = walk->places[up].parent)
        if (same_folder(&walk->listings[up].stamp, stamp))
            return true;
    for (uint32_t a = 0; a < walk->above_count; a++)
        if (same_folder(&walk->above[a], stamp))
            return true;
    return false;
}

static bool is_about_the_folder(int err)
{
    return err == -EACCES || err == -EPERM || err == -ENOENT || err == -ENOTDIR || err == -ELOOP ||
           err == -ENAMETOOLONG;
}

static char *join(const char *folder, const char *name)
{
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = malloc(n);

    if (path)
        snprintf(path, n, "%s%s%s", strcmp(folder, ".") == 0 ? "" : folder,
                 strcmp(folder, ".") == 0 ? "" : "/", name);
    return path;
}

/* Adds the folders that folder i holds. */
static int enter(struct rd_walk *walk, uint32_t i)
{
    int err = 0;

    if (is_loop(walk, i)) {
        const char *path = walk->listings[i].path;
        const struct rd_stamp stamp = walk->listings[i].stamp;

        rd_listing_fini(&walk->listings[i]);
        walk->listings[i] = (struct rd_listing){.path = path, .stamp = stamp};
        walk->places[i].is_loop = true;
        return 0;
    }
    for (uint32_t k = 0; k < walk->listings[i].folders.count && err == 0; k++)
        err = walk_add(walk, join(walk->listings[i].path, rd_names_at(&walk->listings[i].folders, k)), i);
    rd_names_fini(&walk->listings[i].folders);
    return err;
}

static int by_top_and_path(const void *a, const void *b, void *context)
{
    const struct rd_walk *walk = context;
    const uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;

    if (walk->places[i].top != walk->places[k].top)
        return walk->places[i].top < walk->places[k].top ? -1 : 1;
    return strcmp(walk->listings[i].path, walk->listings[k].path);
}

static int sort(struct rd_walk *walk)
{
    walk->order = malloc((walk->count + 1) * sizeof *walk->order);
    if (!walk->order)
        return -ENOMEM;
    for (uint32_t i = 0; i < walk->count; i++)
        walk->order[i] = i;
    qsort_r(walk->order, walk->count, sizeof *walk->order, by_top_and_path, walk);
    return 0;
}

/* Progress over all levels. */
struct so_far {
    const struct rd_progress *progress;
    uint64_t files, folders;
    uint64_t level_files;
};

static void report(void *context, uint64_t files, uint64_t done, uint64_t folders)
{
    struct so_far *so_far = context;

    so_far->level_files = files;
    if (so_far->progress && so_far->progress->report)
        so_far->progress->report(so_far->progress->context, so_far->files + files, so_far->folders + done,
                                 so_far->folders + folders);
}

static int check_level(const struct rd_walk *walk, uint32_t begin, uint32_t end, struct im_text *text)
{
    for (uint32_t i = begin; i < end; i++)
        if (walk->listings[i].err < 0 &&
            (walk->places[i].parent == RD_WALK_TOP || !is_about_the_folder(walk->listings[i].err)))
            return rd_scan_fail(&walk->listings[i], text);
    return 0;
}

int rd_walk_run(struct rd_walk *walk, int root_fd, const struct rd_progress *progress, struct im_text *text)
{
    struct so_far so_far = {.progress = progress};
    const struct rd_progress shown = {report, &so_far};
    uint32_t begin = 0;
    int err = 0;

    while (begin < walk->count && err == 0) {
        const uint32_t end = walk->count;

        rd_scan_each(root_fd, walk->listings + begin, end - begin, &shown);
        so_far.files += so_far.level_files;
        so_far.folders += end - begin;
        err = check_level(walk, begin, end, text);
        for (; begin < end && err == 0; begin++)
            if (walk->listings[begin].err == 0)
                err = enter(walk, begin);
    }
    if (err == -EFBIG)
        return im_fail(text, err, "more than %u folders, the last of them '%.700s'", RD_WALK_FOLDERS_MAX,
                       walk->listings[walk->count - 1].path);
    return err == 0 ? sort(walk) : err;
}

void rd_walk_fini(struct rd_walk *walk)
{
    for (uint32_t i = 0; i < walk->count; i++) {
        rd_listing_fini(&walk->listings[i]);
        free((char *)walk->listings[i].path);
    }
    free(walk->listings);
    free(walk->places);
    free(walk->order);
    *walk = (struct rd_walk){0};
}
