/* Builds an index: list the class folders of both splits and all folders in them, check what people get wrong, then
 * write classes and samples in the order of torchvision's ImageFolder: classes by name, folders of a class by path,
 * files by name. Every folder that was listed, and every file of labels, leaves a stamp, by which index_cache.c sees changes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/image_type.h"
#include "reader/dataset/data.h"
#include "reader/dataset/devkit.h"
#include "reader/dataset/index_file.h"
#include "reader/dataset/index_shards.h"
#include "reader/dataset/index_table.h"
#include "reader/dataset/labels.h"
#include "reader/dataset/mirror.h"
#include "reader/dataset/walk.h"

struct build {
    const struct rd_layout *layout;
    int root_fd;
    struct rd_listing roots[IM_SPLITS]; /* train/ and val/ */
    struct rd_stamp above[IM_SPLITS + 1];
    struct rd_walk walk;      /* from the class folders, train's first */
    uint32_t tops[IM_SPLITS]; /* how many those are */
    uint64_t *images;         /* of each folder of the walk: in it and below */
    struct rd_names classes;  /* sorted */
    uint32_t *val_labels;     /* of val/'s own images, where labels come from a file */
    struct rd_names unknown;  /* classes that those have and training does not */
    struct rd_index_writer writer;
    struct rd_index_origin origin;
};

static const char *split_path(const struct build *build, int split)
{
    return split == IM_TRAIN ? build->layout->train : build->layout->val;
}

static bool has_val(const struct build *build)
{
    return *build->layout->val != 0;
}

static bool val_is_flat(const struct build *build)
{
    return has_val(build) && build->layout->labels != RD_LABELS_FOLDERS;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static int list_roots(struct build *build, struct im_text *text)
{
    int err = rd_stamp_take(build->root_fd, ".", &build->above[IM_SPLITS]);

    if (err < 0)
        return im_fail(text, err, "cannot look at '%.700s': %s", build->layout->root, strerror(-err));
    for (int split = 0; split < IM_SPLITS; split++)
        build->roots[split].path = split_path(build, split);
    err = rd_scan(build->root_fd, build->roots, has_val(build) ? 2 : 1, NULL, text);
    for (int split = 0; split < IM_SPLITS; split++)
        build->above[split] = build->roots[split].stamp;
    return err;
}

/* Children stand behind their parents in the walk. */
static int count_images(struct build *build)
{
    build->images = calloc(build->walk.count + 1, sizeof *build->images);
    if (!build->images)
        return -ENOMEM;
    for (uint32_t i = build->walk.count; i-- > 0;) {
        build->images[i] += build->walk.listings[i].images.count;
        if (build->walk.places[i].parent != RD_WALK_TOP)
            build->images[build->walk.places[i].parent] += build->images[i];
    }
    return 0;
}

static int list_folders(struct build *build, const struct rd_progress *progress, struct im_text *text)
{
    char path[NAME_MAX + NAME_MAX + 2];
    int err = 0;

    build->walk.above = build->above;
    build->walk.above_count = IM_SPLITS + 1;
    for (int split = 0; split < IM_SPLITS; split++) {
        const struct rd_names *names = &build->roots[split].folders;

        build->tops[split] = split == IM_TRAIN || !val_is_flat(build) ? names->count : 0;
        for (uint32_t i = 0; i < build->tops[split] && err == 0; i++) {
            rd_join(path, sizeof path, split_path(build, split), rd_names_at(names, i));
            err = rd_walk_add(&build->walk, path);
        }
    }
    if (err == 0)
        err = rd_walk_run(&build->walk, build->root_fd, progress, text);
    return err == 0 ? count_images(build) : err;
}

/* Files in and below folder `top` that are no images by name. */
static uint64_t count_others(const struct build *build, uint32_t top, const char **ret_first)
{
    uint64_t count = 0;
    enum rd_skip kind;

    for (uint32_t i = 0; i < build->walk.count; i++) {
        const struct rd_listing *folder = &build->walk.listings[i];

        for (uint32_t k = 0; build->walk.places[i].top == top && k < folder->skipped.count; k++) {
            const char *name = rd_skipped_at(folder, k, &kind);

            if ((kind == RD_SKIP_OTHER || kind == RD_SKIP_TYPE) && count++ == 0)
                *ret_first = name;
        }
    }
    return count;
}

static int fail_empty_class(const struct build *build, uint32_t top, struct im_text *text)
{
    const char *first = "";
    uint64_t others = count_others(build, top, &first);
    struct im_image_type_list types;
    char instead[NAME_MAX + 64] = "";

    if (others > 0)
        snprintf(instead, sizeof instead, ", but %llu other file%s ('%s')", (unsigned long long)others,
                 others == 1 ? "" : "s", first);
    return im_fail(
        text, -EBADMSG,
        "the class folder '%.400s/%.200s' holds no images (%s)%.300s; remove it, or put its images there",
        build->layout->root, build->walk.listings[top].path, im_image_types_list(&types, true), instead);
}

/* The classes are train's folders with images. A folder without any is an error, as for ImageFolder, unless it may be
 * there for another reason. */
static int choose_classes(struct build *build, struct im_text *text)
{
    struct im_image_type_list types;
    int64_t added = 0;

    for (uint32_t top = 0; top < build->tops[IM_TRAIN] && added >= 0; top++) {
        const char *name = base_name(build->walk.listings[top].path);

        if (build->images[top] > 0)
            added = rd_names_add(&build->classes, name);
        else if (!rd_is_image_name(name) && build->layout->kind != RD_LAYOUT_SINGLE)
            return fail_empty_class(build, top, text);
    }
    if (added >= 0 && build->classes.count == 0)
        return im_fail(text, -EBADMSG, "'%.500s%s%.200s' holds no class folder with images (%s)",
                       build->layout->root, build->layout->kind == RD_LAYOUT_SINGLE ? "" : "/",
                       build->layout->kind == RD_LAYOUT_SINGLE ? "" : build->layout->train,
                       im_image_types_list(&types, true));
    return added < 0 ? (int)added : 0;
}

/* Validation folders of other classes are left out; where all are, the two folders do not belong together. */
static int check_val_classes(const struct build *build, struct im_text *text)
{
    const uint32_t first = build->tops[IM_TRAIN];
    const char *stranger = NULL;

    for (uint32_t top = first; top < first + build->tops[IM_VAL]; top++) {
        const char *name = base_name(build->walk.listings[top].path);

        if (build->images[top] == 0)
            continue;
        if (rd_names_find(&build->classes, name) >= 0)
            return 0;
        if (!stranger)
            stranger = name;
    }
    if (!stranger)
        return 0;
    return im_fail(
        text, -EBADMSG,
        "no class folder of '%.400s/%.200s' is a class of '%.200s': '%.150s' and the others have no "
        "training images",
        build->layout->root, build->layout->val, build->layout->train, stranger);
}

static int leave_out_images(struct build *build, const struct rd_listing *folder, enum rd_skip kind,
                            const char *note)
{
    char path[PATH_MAX + NAME_MAX];
    int err = 0;

    for (uint32_t i = 0; i < folder->images.count && err == 0; i++) {
        rd_join(path, sizeof path, folder->path, rd_names_at(&folder->images, i));
        err = rd_writer_left_out(&build->writer, kind, path, note);
    }
    return err;
}

static int add_images(struct build *build, enum im_split split, const struct rd_listing *folder,
                      uint32_t label)
{
    int64_t directory;
    int err = 0;

    if (folder->images.count == 0)
        return 0;
    directory = rd_writer_directory(&build->writer, folder->path);
    if (directory < 0)
        return (int)directory;
    for (uint32_t i = 0; i < folder->images.count && err == 0; i++)
        err = rd_writer_sample(&build->writer, split, (uint32_t)directory, rd_names_at(&folder->images, i),
                               label);
    return err;
}

/* Folder i of the walk: its stamp, its images with a label, and what is left out. */
static int add_folder(struct build *build, uint32_t i)
{
    const struct rd_listing *folder = &build->walk.listings[i];
    const struct rd_place *place = &build->walk.places[i];
    const enum im_split split = place->top < build->tops[IM_TRAIN] ? IM_TRAIN : IM_VAL;
    const char *class = base_name(build->walk.listings[place->top].path);
    const int64_t label = rd_names_find(&build->classes, class);
    int err;

    build->origin.leads_out |= folder->leads_out;
    err = rd_writer_folder(&build->writer, folder, place->is_loop);
    if (err < 0 || place->is_loop || folder->err < 0)
        return err;
    if (build->images[i] == 0 &&
        (rd_is_image_name(base_name(folder->path)) || (place->parent == RD_WALK_TOP && split == IM_TRAIN)))
        return rd_writer_left_out(&build->writer, RD_SKIP_FOLDER, folder->path, "");
    return label >= 0 ? add_images(build, split, folder, (uint32_t)label)
                      : leave_out_images(build, folder, RD_SKIP_CLASS, class);
}

static int add_flat_images(struct build *build)
{
    const struct rd_listing *val = &build->roots[IM_VAL];
    int64_t directory = rd_writer_directory(&build->writer, val->path);
    int err = directory < 0 ? (int)directory : 0;
    uint32_t unknown = 0;
    char path[PATH_MAX + NAME_MAX];

    for (uint32_t i = 0; i < val->images.count && err == 0; i++) {
        const char *name = rd_names_at(&val->images, i);

        if (build->val_labels[i] != RD_NO_LABEL) {
            err = rd_writer_sample(&build->writer, IM_VAL, (uint32_t)directory, name, build->val_labels[i]);
            continue;
        }
        rd_join(path, sizeof path, val->path, name);
        err =
            rd_writer_left_out(&build->writer, RD_SKIP_CLASS, path, rd_names_at(&build->unknown, unknown++));
    }
    return err;
}

/* meta.mat, which labels came through as well. */
static int stamp_numbering(struct build *build)
{
    struct rd_stamp stamp;
    char path[PATH_MAX];
    int err = rd_devkit_find(build->root_fd, build->layout->labels_path, path);

    if (err == 0)
        err = rd_stamp_take(build->root_fd, path, &stamp);
    return err < 0 ? err : rd_writer_stamp(&build->writer, path, &stamp);
}

static int add_flat_val(struct build *build, struct im_text *text)
{
    struct rd_listing *val = &build->roots[IM_VAL];
    struct rd_stamp stamp;
    int err;

    build->val_labels = calloc(val->images.count, sizeof *build->val_labels);
    if (!build->val_labels)
        return -ENOMEM;
    err = rd_stamp_take(build->root_fd, build->layout->labels_path, &stamp);
    if (err < 0)
        return im_fail(text, err, "cannot read '%.700s': %s", build->layout->labels_path, strerror(-err));
    err = rd_labels_read(build->layout, &val->images, &build->classes, build->val_labels, &build->unknown,
                         text);
    if (err == 0 && build->unknown.count == val->images.count && val->images.count > 0)
        return im_fail(
            text, -EBADMSG,
            "no class that '%.500s' gives to validation images ('%.200s', ...) has training images",
            build->layout->labels_path, rd_names_at(&build->unknown, 0));
    if (err == 0)
        err = rd_writer_stamp(&build->writer, build->layout->labels_path, &stamp);
    if (err == 0 && build->layout->labels == RD_LABELS_DEVKIT)
        err = stamp_numbering(build);
    return err < 0 ? err : add_flat_images(build);
}

/* The folders train/ and val/ themselves: their stamp, and what lies beside the class folders. */
static int add_roots(struct build *build)
{
    int err = 0;

    for (int split = 0; split < IM_SPLITS && err == 0 && *split_path(build, split); split++) {
        const struct rd_listing *root = &build->roots[split];

        build->origin.leads_out |= root->leads_out;
        err = rd_writer_folder(&build->writer, root, false);
        if (err == 0 && !(split == IM_VAL && val_is_flat(build)))
            err = leave_out_images(build, root, RD_SKIP_LOOSE, "");
    }
    return err;
}

static int add_all(struct build *build, struct im_text *text)
{
    int64_t err = 0;

    for (uint32_t i = 0; i < build->classes.count && err >= 0; i++)
        err = rd_writer_class(&build->writer, rd_names_at(&build->classes, i));
    for (uint32_t i = 0; i < build->walk.count && err >= 0; i++)
        err = add_folder(build, build->walk.order[i]);
    if (err >= 0 && val_is_flat(build))
        err = add_flat_val(build, text);
    return err < 0 ? (int)err : add_roots(build);
}

static int build_folders(struct build *build, const struct rd_progress *progress, struct im_text *text)
{
    int err = list_roots(build, text);

    if (err == 0)
        err = list_folders(build, progress, text);
    if (err == 0)
        err = choose_classes(build, text);
    if (err == 0)
        err = check_val_classes(build, text);
    return err == 0 ? add_all(build, text) : err;
}

static void build_fini(struct build *build)
{
    for (int split = 0; split < IM_SPLITS; split++)
        rd_listing_fini(&build->roots[split]);
    rd_walk_fini(&build->walk);
    rd_names_fini(&build->classes);
    rd_names_fini(&build->unknown);
    free(build->images);
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
    if (layout->kind == RD_LAYOUT_CSV)
        err = rd_index_build_table(layout, build.root_fd, progress, &build.writer, &build.origin.leads_out,
                                   text);
    else if (layout->kind == RD_LAYOUT_SHARDS)
        err = rd_index_build_shards(layout, build.root_fd, progress, &build.writer, &build.origin.leads_out,
                                    text);
    else
        err = build_folders(&build, progress, text);
    build.origin.has_members = layout->kind == RD_LAYOUT_SHARDS && rd_mirror_length(layout->root) > 0;
    if (err == 0 && layout->multi_label && !build.writer.multi_label)
        err = rd_writer_single_sets(&build.writer);
    if (err == 0)
        err = rd_writer_finish(&build.writer, &build.origin, ret_bytes, ret_size);
    if (err == -ENOMEM)
        im_fail(text, err, "not enough memory for the index of '%.700s'", layout->root);
    build_fini(&build);
    return err;
}
