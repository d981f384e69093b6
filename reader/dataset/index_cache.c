/* The cache of indexes: one file per data folder and forced layout, named by a hash of both, in the user's
 * cache folder.
 *
 * Fresh means: every folder and every file of labels still has the time of change, inode and device that it
 * had. File systems count time in ticks, so a change right after the scan can leave the same time: a stamp
 * younger than a tick before the scan began is not trusted, the index is built again next time (git calls
 * such entries racily clean). Whole seconds hint at a file system that has no finer ones. Nothing here needs
 * a lock: files are replaced at once or not at all, and two builders write the same bytes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/base/hash.h"
#include "ipc/config/conf.h"
#include "reader/dataset/data.h"
#include "reader/dataset/index_file.h"
#include "reader/dataset/mirror.h"
#include "reader/dataset/shard_list.h"
#include "reader/dataset/split.h"

#define TICK_NS ((int64_t)20000000)
#define COARSE_TICK_NS ((int64_t)2000000000)

static int is_same(const struct rd_stamp *a, const struct rd_stamp *b)
{
    return a->mtime_ns == b->mtime_ns && a->inode == b->inode && a->device == b->device &&
           a->bytes == b->bytes;
}

/* Whether the folders and label files that the index was made from are as they were. A change of what is in a
 * file is none. */
static int index_is_fresh(const struct rd_index *index)
{
    const int64_t listed = rd_mirror_listed_ns(rd_index_root(index));
    uint64_t count = index->header->sections[RD_STAMPS].count;
    int fresh = 1, root_fd = open(rd_index_root(index), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (root_fd < 0)
        return 0;
    if (listed != 0) { /* its folders change with each object that comes */
        close(root_fd);
        return listed < index->header->built_ns;
    }
    for (uint64_t i = 0; i < count && fresh; i++) {
        const struct rd_index_stamp *then = &index->stamps[i];
        int64_t tick_ns = then->stamp.mtime_ns % 1000000000 ? TICK_NS : COARSE_TICK_NS;
        struct rd_stamp now;

        fresh = then->stamp.mtime_ns < index->header->built_ns - tick_ns &&
                rd_stamp_take(root_fd, index->strings + then->path, &now) == 0 && is_same(&then->stamp, &now);
    }
    close(root_fd);
    return fresh && count > 0;
}

static uint64_t name_of(const char *root, enum rd_layout_kind forced)
{
    return im_hash64(root, strlen(root), (uint64_t)forced);
}

static int cache_path(const char *root, enum rd_layout_kind forced, const char *suffix, char *ret_path,
                      size_t size)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    unsigned long long key = name_of(root, forced);
    int length;

    /* The XDG specification: a path that is not absolute is to be ignored. */
    if (xdg && *xdg == '/')
        length = snprintf(ret_path, size, "%s/imsuper/%016llx.%s", xdg, key, suffix);
    else if (home && *home == '/')
        length = snprintf(ret_path, size, "%s/.cache/imsuper/%016llx.%s", home, key, suffix);
    else
        return -ENOENT;
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

/* Where the index of this folder and forced layout is cached: below $XDG_CACHE_HOME/imsuper or
 * ~/.cache/imsuper. -ENOENT: nowhere. */
static int index_cache_path(const char *root, enum rd_layout_kind forced, char *ret_path, size_t size)
{
    return cache_path(root, forced, "index", ret_path, size);
}

int rd_seek_path(const char *root, enum rd_layout_kind forced, const char *folder, char *ret_path,
                 size_t size)
{
    int length;

    if (!folder)
        return cache_path(root, forced, "seek", ret_path, size);
    length = snprintf(ret_path, size, "%s/%016llx.seek", folder, (unsigned long long)name_of(root, forced));
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

/* Whether a cached index is there, is for this very layout, and is fresh. */
static int load_index(const struct rd_layout *layout, struct rd_data *data)
{
    if (rd_index_open(data->path, &data->index, NULL) < 0)
        return 0;
    if (strcmp(rd_index_root(&data->index), layout->root) == 0 &&
        data->index.header->layout_hash == rd_layout_hash(layout) && index_is_fresh(&data->index))
        return 1;
    rd_index_close(&data->index);
    return 0;
}

static int save(const char *path, const void *bytes, size_t size, struct im_text *text)
{
    char folder[PATH_MAX];
    int err;

    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    err = im_mkdirs(folder, 0700, text);
    return err < 0 ? err : im_file_replace(path, bytes, size, text);
}

static int build_and_save(const struct rd_layout *layout, const struct rd_progress *progress,
                          struct rd_data *data, struct im_text *text)
{
    struct im_text why = {""};
    size_t size;
    int err = rd_index_build(layout, progress, &data->bytes, &size, text);

    if (err < 0)
        return err;
    if (*data->path && save(data->path, data->bytes, size, &why) == 0) {
        err = rd_index_open(data->path, &data->index, text);
        free(data->bytes);
        data->bytes = NULL;
        return err;
    }
    im_fail(&data->note, 0, "the index is not cached: %.900s",
            *data->path ? why.s : "neither XDG_CACHE_HOME nor HOME is set");
    data->path[0] = '\0';
    return rd_index_attach(data->bytes, size, &data->index, text);
}

/* The cache holds the index of the tree; its parts are made anew, at the speed of copying. */
static int split(const struct rd_source *source, struct rd_data *data, struct im_text *text)
{
    void *bytes = NULL;
    size_t size;
    int err = rd_split_choose(&data->index, source->val_split, source->val_split_seed, &bytes, &size, text);

    if (err < 0)
        return err;
    rd_index_close(&data->index);
    free(data->bytes);
    data->bytes = bytes;
    data->path[0] = '\0';
    return rd_index_attach(bytes, size, &data->index, text);
}

/* The list of shards that an address is, with their places in the mirror; "": it is a folder. */
static int list_in_mirror(const char *url, const char *mirror, char ret[PATH_MAX], struct im_text *text)
{
    char *buffer = malloc((size_t)2 * PATH_MAX), *names = buffer + PATH_MAX;
    size_t used = 0;
    int err = buffer ? rd_shards_split_url(url, buffer, names, PATH_MAX, text) : -ENOMEM;

    *ret = 0;
    for (const char *at = names, *end; err == 0 && at && *at; at = end ? end + 2 : NULL) {
        end = strstr(at, "::");
        used += (size_t)snprintf(ret + used, PATH_MAX - used, "%s%s/%.*s", used ? "::" : "", mirror,
                                 end ? (int)(end - at) : (int)strlen(at), at);
        if (used >= PATH_MAX)
            err = im_fail(text, -ENAMETOOLONG, "the list of shards is too long");
    }
    free(buffer);
    return err;
}

int rd_data_open(const struct rd_source *source, const struct rd_progress *progress, struct rd_data *ret_data,
                 struct im_text *text)
{
    struct rd_data *data = calloc(1, sizeof *data);
    const struct rd_label_files files = {source->labels ? source->labels : "",
                                         source->val_labels ? source->val_labels : "", source->multi_label};
    char key[3 * PATH_MAX + 16], mirror[PATH_MAX], list[PATH_MAX];
    const char *folder = source->folder;
    struct rd_layout layout;
    int err = 0;

    if (!data)
        return -ENOMEM;
    if (im_conf_is_remote(folder) && !source->may_be_remote) {
        err = im_fail(text, -EINVAL,
                      "%.400s lies on another machine, and this command needs a folder: data/ in the cache "
                      "(--cache-dir) is one, with the images that have been fetched",
                      folder);
    } else if (im_conf_is_remote(folder)) {
        err = rd_mirror_open(folder, source->cache_dir ? source->cache_dir : "", source->rebuild, mirror,
                             sizeof mirror, text);
        if (err == 0)
            err = list_in_mirror(source->folder, mirror, list, text);
        folder = *list ? list : mirror;
    }
    if (err < 0)
        goto out;
    err = rd_layout_find(folder, source->layout, &files, &layout, text);
    if (err < 0)
        goto out;
    data->table_why = layout.table_why;
    /* Tables that the user names are part of the key. */
    snprintf(key, sizeof key, "%s", layout.root);
    if (layout.kind == RD_LAYOUT_SHARDS && *layout.labels_path) /* and a list of shards */
        snprintf(key, sizeof key, "%s\n%s", layout.root, layout.labels_path);
    if (*files.labels || *files.val_labels)
        snprintf(key, sizeof key, "%s\n%s\n%s", layout.root, layout.train_labels, layout.labels_path);
    if (layout.multi_label)
        snprintf(key + strlen(key), sizeof key - strlen(key), "\nmulti-label");
    if (index_cache_path(key, source->layout, data->path, sizeof data->path) < 0)
        data->path[0] = '\0';
    data->cached = *data->path && !source->rebuild && load_index(&layout, data);
    err = data->cached ? 0 : build_and_save(&layout, progress, data, text);
    if (err == 0 && source->val_split > 0)
        err = split(source, data, text);
    if (err < 0)
        rd_data_close(data);
    else
        *ret_data = *data;
out:
    free(data);
    return err;
}

void rd_data_close(struct rd_data *data)
{
    rd_index_close(&data->index);
    free(data->bytes);
    *data = (struct rd_data){0};
}
