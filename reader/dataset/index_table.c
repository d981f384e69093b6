/* Lists the folders that the tables' files lie in, then looks each row's file up among the images there: no stat of a
 * file. Samples are in the order of their paths, so that a table that was shuffled gives the same index. Classes are in
 * the order of their names, or, where all are whole numbers, of their values. */
#include "reader/dataset/index_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/number.h"
#include "reader/dataset/layout_table.h"
#include "reader/dataset/table_labels.h"
#include "reader/dataset/walk.h"

#define NO_ROW UINT32_MAX

/* An image that was found. */
struct image {
    const char *path;        /* relative to the root */
    uint32_t folder;         /* of the walk */
    uint32_t row[IM_SPLITS]; /* of the table of each split; NO_ROW: not named */
};

struct build {
    const struct rd_layout *layout;
    int root_fd;
    struct rd_walk walk;
    struct rd_names paths; /* of the images */
    struct image *images;  /* sorted by path */
    uint32_t count;
    struct rd_table tables[IM_SPLITS];
    struct rd_names classes, lists; /* lists: the different sets of labels */
    int64_t *directories;           /* of each folder of the walk, its place in the index, or -1 */
    struct rd_index_writer *writer;
    const struct image *stranger;       /* the first image whose class has no training images; NULL: none */
    char strange_label[RD_LABEL_BYTES]; /* its class */
};

static const char *table_path(const struct build *build, int split)
{
    return split == IM_TRAIN ? build->layout->train_labels : build->layout->labels_path;
}

static const char *base_path(const struct build *build, int split)
{
    return split == IM_TRAIN ? build->layout->train : build->layout->val;
}

/* Does folder `a` hold folder `b`, or is it the same? */
static bool holds(const char *a, const char *b)
{
    const size_t n = strlen(a);

    return strcmp(a, ".") == 0 || (strncmp(a, b, n) == 0 && (b[n] == '/' || b[n] == 0));
}

static int list_folders(struct build *build, const struct rd_progress *progress, struct im_text *text)
{
    const char *train = build->layout->train, *val = build->layout->val;
    const bool val_holds = *val && holds(val, train), train_holds = *val && holds(train, val);
    int err = val_holds ? 0 : rd_walk_add(&build->walk, train);

    if (err == 0 && *val && !(train_holds && !val_holds))
        err = rd_walk_add(&build->walk, val);
    return err == 0 ? rd_walk_run(&build->walk, build->root_fd, progress, text) : err;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct image *)a)->path, ((const struct image *)b)->path);
}

static int collect_images(struct build *build)
{
    char path[PATH_MAX + NAME_MAX];
    uint64_t count = 0;
    uint32_t k = 0;

    for (uint32_t i = 0; i < build->walk.count; i++)
        count += build->walk.listings[i].images.count;
    if (count >= NO_ROW)
        return -EFBIG;
    build->images = calloc(count + 1, sizeof *build->images);
    build->directories = calloc(build->walk.count + 1, sizeof *build->directories);
    if (!build->images || !build->directories)
        return -ENOMEM;
    for (uint32_t i = 0; i < build->walk.count; i++) {
        const struct rd_listing *folder = &build->walk.listings[i];

        build->directories[i] = -1;
        for (uint32_t n = 0; n < folder->images.count; n++, k++) {
            int64_t at;

            rd_join(path, sizeof path, folder->path, rd_names_at(&folder->images, n));
            at = rd_names_add(&build->paths, path);
            if (at < 0)
                return (int)at;
            build->images[k] = (struct image){.folder = i, .row = {NO_ROW, NO_ROW}};
        }
    }
    build->count = k;
    for (k = 0; k < build->count; k++)
        build->images[k].path = rd_names_at(&build->paths, k);
    qsort(build->images, build->count, sizeof *build->images, by_path);
    return 0;
}

/* The first image whose path is not below `path`. */
static uint32_t lower_bound(const struct build *build, const char *path)
{
    uint32_t low = 0, high = build->count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;

        if (strcmp(build->images[middle].path, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The image of a row: by its whole path, or by that without the ending. NULL: there is none. */
static struct image *find_image(const struct build *build, const char *base, const char *file)
{
    char path[PATH_MAX + 2];
    size_t n;
    uint32_t i;

    if (rd_table_join(build->layout->root, base, file, path) < 0)
        return NULL;
    i = lower_bound(build, path);
    if (i < build->count && strcmp(build->images[i].path, path) == 0)
        return &build->images[i];
    n = strlen(path);
    memcpy(path + n, ".", 2);
    i = lower_bound(build, path);
    if (i < build->count && strncmp(build->images[i].path, path, n + 1) == 0 &&
        !strchr(build->images[i].path + n + 1, '.') && !strchr(build->images[i].path + n + 1, '/'))
        return &build->images[i];
    return NULL;
}

/* Whether a row of the table belongs to the split. */
static bool is_of(const struct build *build, int split, const struct rd_table_row *row)
{
    const bool is_one_table = strcmp(table_path(build, IM_TRAIN), table_path(build, IM_VAL)) == 0;

    if (split == IM_TRAIN)
        return row->part == RD_PART_NONE || row->part == RD_PART_TRAIN;
    return is_one_table ? row->part == build->layout->val_part : row->part != RD_PART_TRAIN;
}

/* What a row gives its file, as sentences have it: 'cat', with several labels 'cat|dog'. */
static const char *shown_class(const struct build *build, const char *class, char buffer[128])
{
    size_t n;

    snprintf(buffer, 128, "%s", class);
    if (!build->layout->multi_label)
        return buffer;
    n = strlen(buffer);
    if (n > 0 && buffer[n - 1] == '\n')
        buffer[n - 1] = 0;
    for (char *c = buffer; *c; c++)
        *c = *c == '\n' ? '|' : *c;
    return buffer;
}

/* The file of row i, if nobody has named it before in this split. */
static int take_row(struct build *build, int split, uint32_t i, struct im_text *text)
{
    const struct rd_table *table = &build->tables[split];
    const struct rd_table_row *row = &table->rows[i], *before;
    const char *file = rd_table_string(table, row->file), *class = rd_table_string(table, row->class);
    struct image *image = find_image(build, base_path(build, split), file);
    char note[NAME_MAX + 64], first[128], second[128];

    if (!image) {
        snprintf(note, sizeof note, "line %u of %.200s", row->line, table_path(build, split));
        return rd_writer_left_out(build->writer, RD_SKIP_MISSING, file, note);
    }
    if (image->row[split] == NO_ROW) {
        image->row[split] = i;
        return 0;
    }
    before = &table->rows[image->row[split]];
    if (strcmp(rd_table_string(table, before->class), class) != 0)
        return im_fail(text, -EBADMSG, "%.300s gives '%.200s' %s: '%.100s' in line %u, '%.100s' in line %u%s",
                       table_path(build, split), file,
                       build->layout->multi_label ? "two sets of labels" : "two classes",
                       shown_class(build, rd_table_string(table, before->class), first), before->line,
                       shown_class(build, class, second), row->line,
                       build->layout->multi_label ? "; give all labels of an image in one row" : "");
    snprintf(note, sizeof note, "line %u of %.200s", row->line, table_path(build, split));
    return rd_writer_left_out(build->writer, RD_SKIP_TWICE, file, note);
}

static int read_table(struct build *build, int split, struct im_text *text)
{
    const char *named = table_path(build, split);
    char path[2 * PATH_MAX];
    struct rd_stamp stamp;
    int err = rd_stamp_take(build->root_fd, named, &stamp);

    if (err < 0)
        return im_fail(text, err, "cannot read '%.700s': %s", named, strerror(-err));
    snprintf(path, sizeof path, "%s%s%s", *named == '/' ? "" : build->layout->root, *named == '/' ? "" : "/",
             named);
    err = rd_table_read(path, UINT64_MAX, build->layout->multi_label, &build->tables[split], text);
    if (err == 0)
        err = rd_writer_stamp(build->writer, named, &stamp);
    for (uint32_t i = 0; err == 0 && i < build->tables[split].count; i++)
        if (is_of(build, split, &build->tables[split].rows[i]))
            err = take_row(build, split, i, text);
    return err;
}

static const char *class_of(const struct build *build, enum im_split split, const struct image *image)
{
    const struct rd_table *table = &build->tables[split];

    return rd_table_string(table, table->rows[image->row[split]].class);
}

static int by_value(const void *a, const void *b, void *bytes)
{
    const char *x = (const char *)bytes + *(const uint32_t *)a,
               *y = (const char *)bytes + *(const uint32_t *)b;
    const int64_t m = im_whole_number(x), n = im_whole_number(y);

    return m != n ? (m < n ? -1 : 1) : strcmp(x, y);
}

/* Sorts `all`, and adds the different names to `ret`: rd_names_find() needs that. */
static int64_t add_unique(struct rd_names *all, struct rd_names *ret)
{
    int64_t added = 0;

    rd_names_sort(all);
    for (uint32_t i = 0; i < all->count && added >= 0; i++)
        if (i == 0 || strcmp(rd_names_at(all, i), rd_names_at(all, i - 1)) != 0)
            added = rd_names_add(ret, rd_names_at(all, i));
    return added;
}

static int64_t add_labels(struct rd_names *all, const char *list)
{
    char label[RD_LABEL_BYTES];
    int64_t added = 0;

    while (added >= 0 && rd_table_next_label(&list, label))
        added = rd_names_add(all, label);
    return added;
}

/* The different classes of the training images, sorted by name. */
static int collect_classes(struct build *build, struct im_text *text)
{
    struct rd_names all = {0}, lists = {0};
    int64_t added = 0;
    bool any = false;

    for (uint32_t i = 0; i < build->count && added >= 0; i++)
        if (build->images[i].row[IM_TRAIN] != NO_ROW) {
            any = true;
            added = rd_names_add(build->layout->multi_label ? &lists : &all,
                                 class_of(build, IM_TRAIN, &build->images[i]));
        }
    rd_names_sort(&lists);
    for (uint32_t i = 0; i < lists.count && added >= 0; i++)
        if (i == 0 || strcmp(rd_names_at(&lists, i), rd_names_at(&lists, i - 1)) != 0)
            added = add_labels(&all, rd_names_at(&lists, i));
    if (added >= 0)
        added = add_unique(&all, &build->classes);
    rd_names_fini(&all);
    rd_names_fini(&lists);
    if (added >= 0 && build->classes.count == 0 && any)
        return im_fail(text, -EBADMSG, "no training image that %.500s names has a label",
                       build->layout->train_labels);
    if (added >= 0 && build->classes.count == 0)
        return im_fail(text, -EBADMSG, "no file that %.500s names for training is below '%.400s'",
                       build->layout->train_labels, build->layout->root);
    return added < 0 ? (int)added : 0;
}

/* Adds the classes to the index; ret_labels[place in build->classes]: the label. */
static int add_classes(struct build *build, uint32_t *ret_labels)
{
    struct rd_names *classes = &build->classes;
    uint32_t *offsets = malloc((classes->count + 1) * sizeof *offsets);
    bool numbers = true;
    int64_t added = offsets ? 0 : -ENOMEM;

    for (uint32_t i = 0; i < classes->count; i++)
        numbers = numbers && im_whole_number(rd_names_at(classes, i)) >= 0;
    if (offsets)
        memcpy(offsets, classes->offsets, classes->count * sizeof *offsets);
    if (offsets && numbers)
        qsort_r(offsets, classes->count, sizeof *offsets, by_value, classes->bytes);
    for (uint32_t label = 0; label < classes->count && added >= 0; label++) {
        ret_labels[rd_names_find(classes, classes->bytes + offsets[label])] = label;
        added = rd_writer_class(build->writer, classes->bytes + offsets[label]);
    }
    free(offsets);
    return added < 0 ? (int)added : 0;
}

/* Sets the classes of a list in a set's words; the first that there is none of goes to `stranger`. False: there is one. */
static bool fill_set(const struct build *build, const char *list, const uint32_t *labels, uint32_t *words,
                     char stranger[RD_LABEL_BYTES])
{
    char label[RD_LABEL_BYTES];

    while (rd_table_next_label(&list, label)) {
        const int64_t place = rd_names_find(&build->classes, label);

        if (place < 0) {
            memcpy(stranger, label, RD_LABEL_BYTES);
            return false;
        }
        words[labels[place] / 32] |= 1u << (labels[place] % 32);
    }
    return true;
}

/* The different sets of labels that images have, as lists in build->lists, and for the index. */
static int add_sets(struct build *build, const uint32_t *labels)
{
    const size_t words = rd_index_words(build->classes.count);
    char stranger[RD_LABEL_BYTES];
    struct rd_names all = {0};
    uint32_t *sets = NULL;
    int64_t added = 0;
    int err;

    for (int split = 0; split < IM_SPLITS; split++)
        for (uint32_t i = 0; i < build->count && added >= 0; i++)
            if (build->images[i].row[split] != NO_ROW)
                added = rd_names_add(&all, class_of(build, (enum im_split)split, &build->images[i]));
    if (added >= 0)
        added = add_unique(&all, &build->lists);
    rd_names_fini(&all);
    if (added >= 0)
        sets = calloc((size_t)build->lists.count * words + 1, sizeof *sets);
    if (!sets)
        return added < 0 ? (int)added : -ENOMEM;
    for (uint32_t i = 0; i < build->lists.count; i++)
        fill_set(build, rd_names_at(&build->lists, i), labels, sets + i * words, stranger);
    err = rd_writer_sets(build->writer, sets, build->lists.count);
    free(sets);
    return err;
}

/* The label of an image; -1: a class of it is unknown, and stands in `stranger`. */
static int64_t label_of(const struct build *build, enum im_split split, const struct image *image,
                        const uint32_t *labels, uint32_t *scratch, char stranger[RD_LABEL_BYTES])
{
    const char *class = class_of(build, split, image);
    int64_t place;

    if (build->layout->multi_label)
        return fill_set(build, class, labels, scratch, stranger) ? rd_names_find(&build->lists, class) : -1;
    place = rd_names_find(&build->classes, class);
    snprintf(stranger, RD_LABEL_BYTES, "%.*s", RD_LABEL_BYTES - 1, class);
    return place < 0 ? -1 : (int64_t)labels[place];
}

static int add_image(struct build *build, enum im_split split, const struct image *image,
                     const uint32_t *labels, uint32_t *scratch)
{
    char stranger[RD_LABEL_BYTES] = "";
    const char *slash = strrchr(image->path, '/');
    const int64_t label = label_of(build, split, image, labels, scratch, stranger);
    int64_t *directory = &build->directories[image->folder];

    if (label < 0 && !build->stranger) {
        build->stranger = image;
        memcpy(build->strange_label, stranger, sizeof stranger);
    }
    if (label < 0)
        return rd_writer_left_out(build->writer, RD_SKIP_CLASS, image->path, stranger);
    if (*directory < 0)
        *directory = rd_writer_directory(build->writer, build->walk.listings[image->folder].path);
    return *directory < 0 ? (int)*directory
                          : rd_writer_sample(build->writer, split, (uint32_t)*directory,
                                             slash ? slash + 1 : image->path, (uint32_t)label);
}

/* A table for validation gives no sample: its files are not here, or its classes are none of the training table's, as "1" of
 * "1.0". */
static int fail_no_val(const struct build *build, struct im_text *text)
{
    const struct rd_layout *layout = build->layout;

    if (build->stranger && build->classes.count > 0)
        return im_fail(
            text, -EBADMSG,
            "no validation image of %.250s has a class that training images have: '%.200s' has "
            "'%.100s', a class of %.250s is '%.100s'. Classes are told apart by how they are written",
            layout->labels_path, build->stranger->path, build->strange_label, layout->train_labels,
            rd_names_at(&build->classes, 0));
    return im_fail(text, -EBADMSG, "none of the files that %.300s names for validation is here",
                   layout->labels_path);
}

static int add_images(struct build *build, struct im_text *text)
{
    uint32_t *labels = calloc(build->classes.count + 1, sizeof *labels);
    uint32_t *scratch = calloc(rd_index_words(build->classes.count) + 1, sizeof *scratch);
    int err = labels && scratch ? add_classes(build, labels) : -ENOMEM;

    if (err == 0 && build->layout->multi_label)
        err = add_sets(build, labels);

    for (int split = 0; split < IM_SPLITS && err == 0; split++)
        for (uint32_t i = 0; i < build->count && err == 0; i++)
            if (build->images[i].row[split] != NO_ROW)
                err = add_image(build, (enum im_split)split, &build->images[i], labels, scratch);
    for (uint32_t i = 0; i < build->count && err == 0; i++)
        if (build->images[i].row[IM_TRAIN] == NO_ROW && build->images[i].row[IM_VAL] == NO_ROW)
            err = rd_writer_left_out(build->writer, RD_SKIP_UNLABELLED, build->images[i].path, "");
    free(labels);
    free(scratch);
    if (err == 0 && *build->layout->val && build->writer->sample_count[IM_VAL] == 0)
        err = fail_no_val(build, text);
    return err;
}

static void build_fini(struct build *build)
{
    rd_walk_fini(&build->walk);
    rd_names_fini(&build->paths);
    rd_names_fini(&build->classes);
    rd_names_fini(&build->lists);
    for (int split = 0; split < IM_SPLITS; split++)
        rd_table_fini(&build->tables[split]);
    free(build->images);
    free(build->directories);
}

int rd_index_build_table(const struct rd_layout *layout, int root_fd, const struct rd_progress *progress,
                         struct rd_index_writer *writer, bool *ret_leads_out, struct im_text *text)
{
    struct build build = {.layout = layout, .root_fd = root_fd, .writer = writer};
    int err = list_folders(&build, progress, text);

    *ret_leads_out = false;
    writer->tables[IM_TRAIN] = layout->train_labels;
    writer->tables[IM_VAL] = layout->labels_path;
    if (err == 0)
        err = collect_images(&build);
    for (int split = 0; split < IM_SPLITS && err == 0; split++)
        if (split == IM_TRAIN || *layout->val)
            err = read_table(&build, split, text);
    if (err == 0)
        err = collect_classes(&build, text);
    if (err == 0)
        err = add_images(&build, text);
    for (uint32_t i = 0; i < build.walk.count && err == 0; i++) {
        const uint32_t folder = build.walk.order[i];

        err = rd_writer_folder(writer, &build.walk.listings[folder], build.walk.places[folder].is_loop);
        *ret_leads_out |= build.walk.listings[folder].leads_out;
    }
    build_fini(&build);
    return err;
}
