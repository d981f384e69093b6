/* Builds an index: list the class folders of both splits at once, check what people get wrong, then write
 * classes and samples in the order of their names. Every folder that was listed, and every file of labels,
 * leaves a stamp for rd_index_is_fresh(). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "reader/dataset/data.h"
#include "reader/dataset/index_file.h"
#include "reader/dataset/labels.h"

struct build {
    const struct rd_layout *layout;
    int root_fd;
    struct rd_listing roots[IM_SPLITS]; /* train/ and val/ */
    struct rd_listing *folders;         /* class folders, train's first */
    uint32_t folder_count[IM_SPLITS];
    struct rd_names paths; /* of folders, relative to the root */
    uint32_t *val_labels;  /* of val/'s own images, where labels come from a file */
    struct rd_index_writer writer;
    struct rd_index_origin origin;
};

static const char *split_path(const struct build *build, int split)
{
    return split == IM_TRAIN ? build->layout->train : build->layout->val;
}

static int list_roots(struct build *build, struct im_text *text)
{
    uint32_t count = *build->layout->val ? 2 : 1;

    for (int split = 0; split < IM_SPLITS; split++)
        build->roots[split].path = split_path(build, split);
    return rd_scan(build->root_fd, build->roots, count, NULL, text);
}

static int list_folders(struct build *build, const struct rd_progress *progress, struct im_text *text)
{
    char path[NAME_MAX + NAME_MAX + 2];
    uint32_t count;

    for (int split = 0; split < IM_SPLITS; split++) {
        struct rd_names *names = &build->roots[split].folders;

        build->folder_count[split] =
            split == IM_TRAIN || build->layout->labels == RD_LABELS_FOLDERS ? names->count : 0;
        for (uint32_t i = 0; i < build->folder_count[split]; i++) {
            snprintf(path, sizeof path, "%s/%s", split_path(build, split), rd_names_at(names, i));
            if (rd_names_add(&build->paths, path) < 0)
                return -ENOMEM;
        }
    }
    count = build->paths.count;
    build->folders = calloc(count, sizeof *build->folders);
    if (!build->folders)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        build->folders[i].path = rd_names_at(&build->paths, i);
    return rd_scan(build->root_fd, build->folders, count, progress, text);
}

static int check_folders(const struct build *build, struct im_text *text)
{
    const struct rd_names *classes = &build->roots[IM_TRAIN].folders;

    for (uint32_t i = 0; i < build->paths.count; i++)
        if (build->folders[i].images.count == 0)
            return im_fail(text, -EBADMSG,
                           "the class folder '%.500s/%.300s' holds no images (.jpg .jpeg .png .webp)",
                           build->layout->root, build->folders[i].path);
    for (uint32_t i = 0; i < build->folder_count[IM_VAL]; i++) {
        const char *name = rd_names_at(&build->roots[IM_VAL].folders, i);

        if (rd_names_find(classes, name) < 0)
            return im_fail(text, -EBADMSG, "'%.500s/%.300s/%.200s' is a class that '%.200s' does not have",
                           build->layout->root, build->layout->val, name, build->layout->train);
    }
    return 0;
}

static int add_folder(struct build *build, enum im_split split, const struct rd_listing *folder,
                      uint32_t label)
{
    int64_t directory = rd_writer_directory(&build->writer, folder->path);
    int err = directory < 0 ? (int)directory : rd_writer_stamp(&build->writer, folder->path, &folder->stamp);

    for (uint32_t i = 0; i < folder->images.count && err == 0; i++)
        err = rd_writer_sample(&build->writer, split, (uint32_t)directory, rd_names_at(&folder->images, i),
                               label);
    return err;
}

/* Folders inside class folders and images outside of them take no part, and are counted. */
static void count_strays(struct rd_listing *listing, const struct rd_names *names, enum rd_skip kind)
{
    if (names->count == 0)
        return;
    listing->skipped.count[kind] += names->count;
    snprintf(listing->skipped.first[kind], sizeof listing->skipped.first[kind], "%.60s/%s", listing->path,
             rd_names_at(names, 0));
}

static int add_class_folders(struct build *build)
{
    const struct rd_names *classes = &build->roots[IM_TRAIN].folders;
    int err = 0;

    for (uint32_t i = 0; i < build->paths.count && err == 0; i++) {
        struct rd_listing *folder = &build->folders[i];
        int is_val = i >= build->folder_count[IM_TRAIN];
        const char *name = strrchr(folder->path, '/') + 1;

        err = add_folder(build, is_val ? IM_VAL : IM_TRAIN, folder, (uint32_t)rd_names_find(classes, name));
        count_strays(folder, &folder->folders, RD_SKIP_FOLDER);
        rd_skipped_add(&build->origin.skipped, &folder->skipped);
        build->origin.leads_out |= folder->leads_out;
    }
    return err;
}

static int add_flat_val(struct build *build, struct im_text *text)
{
    struct rd_listing *val = &build->roots[IM_VAL];
    struct rd_stamp stamp;
    int64_t directory;
    int err;

    build->val_labels = calloc(val->images.count, sizeof *build->val_labels);
    if (!build->val_labels)
        return -ENOMEM;
    err = rd_stamp_take(build->root_fd, build->layout->labels_path, &stamp);
    if (err < 0)
        return im_fail(text, err, "cannot read '%.700s': %s", build->layout->labels_path, strerror(-err));
    err =
        rd_labels_read(build->layout, &val->images, &build->roots[IM_TRAIN].folders, build->val_labels, text);
    if (err == 0)
        err = rd_writer_stamp(&build->writer, build->layout->labels_path, &stamp);
    directory = err < 0 ? err : rd_writer_directory(&build->writer, val->path);
    err = directory < 0 ? (int)directory : 0;
    for (uint32_t i = 0; i < val->images.count && err == 0; i++)
        err = rd_writer_sample(&build->writer, IM_VAL, (uint32_t)directory, rd_names_at(&val->images, i),
                               build->val_labels[i]);
    return err;
}

static int add_all(struct build *build, struct im_text *text)
{
    const struct rd_names *classes = &build->roots[IM_TRAIN].folders;
    int64_t err = 0;

    for (uint32_t i = 0; i < classes->count && err >= 0; i++)
        err = rd_writer_class(&build->writer, rd_names_at(classes, i));
    if (err >= 0)
        err = add_class_folders(build);
    if (err >= 0 && *build->layout->val && build->layout->labels != RD_LABELS_FOLDERS)
        err = add_flat_val(build, text);
    for (int split = 0; split < IM_SPLITS && err >= 0 && *split_path(build, split); split++) {
        struct rd_listing *root = &build->roots[split];
        int flat = split == IM_VAL && build->layout->labels != RD_LABELS_FOLDERS;

        err = rd_writer_stamp(&build->writer, root->path, &root->stamp);
        count_strays(root, flat ? &root->folders : &root->images, flat ? RD_SKIP_FOLDER : RD_SKIP_LOOSE);
        rd_skipped_add(&build->origin.skipped, &root->skipped);
        build->origin.leads_out |= root->leads_out;
    }
    return err < 0 ? (int)err : 0;
}

static void build_fini(struct build *build)
{
    for (int split = 0; split < IM_SPLITS; split++)
        rd_listing_fini(&build->roots[split]);
    for (uint32_t i = 0; build->folders && i < build->paths.count; i++)
        rd_listing_fini(&build->folders[i]);
    free(build->folders);
    rd_names_fini(&build->paths);
    free(build->val_labels);
    rd_writer_fini(&build->writer);
    if (build->root_fd >= 0)
        close(build->root_fd);
}

int rd_index_build(const struct rd_layout *layout, const struct rd_progress *progress, void **ret_bytes,
                   size_t *ret_size, struct im_text *text)
{
    struct build build = {
        .layout = layout,
        .origin = {.root = layout->root, .layout = layout->kind, .layout_hash = rd_layout_hash(layout)}};
    struct timespec now;
    int err;

    clock_gettime(CLOCK_REALTIME, &now);
    build.origin.built_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    build.root_fd = open(layout->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (build.root_fd < 0)
        return im_fail(text, -errno, "cannot open the data folder '%.700s': %s", layout->root,
                       strerror(errno));
    err = list_roots(&build, text);
    if (err == 0)
        err = list_folders(&build, progress, text);
    if (err == 0)
        err = check_folders(&build, text);
    if (err == 0)
        err = add_all(&build, text);
    if (err == 0)
        err = rd_writer_finish(&build.writer, &build.origin, ret_bytes, ret_size);
    if (err == -ENOMEM)
        im_fail(text, err, "not enough memory for the index of '%.700s'", layout->root);
    build_fini(&build);
    return err;
}
