#include "reader/dataset/shard_classes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"

#define TEXT_BYTES_MAX ((size_t)64 << 20)

static int add_array(const struct im_json *array, struct rd_names *names)
{
    const char *name;
    int64_t added = 0;

    for (size_t i = 0; i < im_json_count(array) && added >= 0; i++)
        added = im_json_as_str(im_json_at(array, i), &name) < 0 ? -EINVAL : rd_names_add(names, name);
    return added < 0 ? (int)added : 0;
}

/* The first array of strings that one of the usual keys has: in the object, or in "features", "label", "names" of the
 * Hugging Face hub's dataset_info.json, which dataset_infos.json has once more below a name. */
static const struct im_json *find_array(const struct im_json *object, int depth)
{
    static const char *const keys[] = {"classes", "class_names", "label_names", "names"};
    static const char *const inner[] = {"features", "label", "labels", "cls", "fine_label", "default"};
    const struct im_json *found = NULL;

    for (size_t i = 0; i < IM_COUNT(keys) && !found; i++) {
        found = im_json_get(object, keys[i]);
        if (!im_json_is_array(found) || im_json_count(found) == 0)
            found = NULL;
    }
    for (size_t i = 0; i < IM_COUNT(inner) && !found && depth > 0; i++)
        if (im_json_is_object(im_json_get(object, inner[i])))
            found = find_array(im_json_get(object, inner[i]), depth - 1);
    return found;
}

static int read_text(const char *root, const char *name, struct rd_names *names, struct im_text *text)
{
    char path[PATH_MAX + NAME_MAX + 2], *bytes, *rest;
    int64_t added = 0;
    size_t n;
    int err;

    snprintf(path, sizeof path, "%s/%s", root, name);
    err = im_read_file(path, TEXT_BYTES_MAX, &bytes, &n, text);
    if (err < 0)
        return err;
    for (char *line = strtok_r(bytes, "\r\n", &rest); line && added >= 0;
         line = strtok_r(NULL, "\r\n", &rest))
        added = rd_names_add(names, line);
    free(bytes);
    return added < 0 ? (int)added : 0;
}

int rd_shard_classes_read(int root_fd, const struct rd_layout *layout, struct rd_shard_classes *ret,
                          struct im_text *text)
{
    static const char *const files[] = {"_info.json", "info.json", "dataset_info.json", "dataset_infos.json"};
    int err = 0;

    *ret = (struct rd_shard_classes){0};
    if (faccessat(root_fd, "classes.txt", F_OK, 0) == 0) {
        snprintf(ret->file, sizeof ret->file, "classes.txt");
        err = read_text(layout->root, "classes.txt", &ret->names, text);
    }
    for (size_t i = 0; i < IM_COUNT(files) && err == 0 && !*ret->file; i++) {
        struct im_json *j = NULL;
        const struct im_json *array;

        err = rd_shards_json(root_fd, layout->root, files[i], &j, text);
        array = err == 0 ? find_array(j, 3) : NULL;
        if (array) {
            snprintf(ret->file, sizeof ret->file, "%s", files[i]);
            err = add_array(array, &ret->names);
            if (err == -EINVAL)
                im_fail(text, err, "the names of classes in %s are no strings", files[i]);
        }
        im_json_free(&j);
        err = err == -ENOENT ? 0 : err;
    }
    if (err == 0 && *ret->file && ret->names.count == 0)
        err = im_fail(text, -EBADMSG, "'%.500s/%s' names no classes", layout->root, ret->file);
    return err < 0 ? err : rd_shard_classes_settle(ret, text);
}

static int by_name(const void *a, const void *b, void *context)
{
    const struct rd_names *names = context;

    return strcmp(rd_names_at(names, *(const uint32_t *)a), rd_names_at(names, *(const uint32_t *)b));
}

int rd_shard_classes_settle(struct rd_shard_classes *classes, struct im_text *text)
{
    const uint32_t count = classes->names.count;

    if (count > RD_SHARD_CLASSES_MAX)
        return im_fail(text, -EBADMSG, "%u classes are more than %d", count, RD_SHARD_CLASSES_MAX);
    free(classes->labels);
    classes->labels = malloc(((size_t)count + 1) * sizeof *classes->labels);
    if (!classes->labels)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        classes->labels[i] = i;
    qsort_r(classes->labels, count, sizeof *classes->labels, by_name, &classes->names);
    for (uint32_t i = 1; i < count; i++)
        if (by_name(&classes->labels[i - 1], &classes->labels[i], &classes->names) == 0)
            return im_fail(text, -EBADMSG, "%s names the class '%.200s' twice (%u and %u)", classes->file,
                           rd_names_at(&classes->names, classes->labels[i]), classes->labels[i - 1],
                           classes->labels[i]);
    return 0;
}

int64_t rd_shard_classes_find(const struct rd_shard_classes *classes, const char *name)
{
    uint32_t low = 0, high = classes->names.count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const int order = strcmp(rd_names_at(&classes->names, classes->labels[middle]), name);

        if (order == 0)
            return classes->labels[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -ENOENT;
}

void rd_shard_classes_fini(struct rd_shard_classes *classes)
{
    rd_names_fini(&classes->names);
    free(classes->labels);
    *classes = (struct rd_shard_classes){0};
}
