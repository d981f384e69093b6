/* Tables are known by their names. The paths in them may be relative to the data folder, to the table, or to the folder
 * of the images: the first of these in which most of the first rows name a file is taken, for all rows. */
#include "reader/dataset/layout_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "reader/dataset/devkit.h"
#include "reader/dataset/scan.h"
#include "reader/dataset/table.h"

#define ROWS_TRIED 20

static const char *const train_tables[] = {
    "train.csv",  "train_labels.csv", "labels.csv",       "annotations.csv",       "train.tsv",
    "labels.tsv", "train/train.csv",  "train/labels.csv", "train/annotations.csv", "images/labels.csv"};
static const char *const val_tables[] = {
    "val.csv", "valid.csv",   "validation.csv", "val_labels.csv",   "valid_labels.csv",
    "val.tsv", "val/val.csv", "val/labels.csv", "valid/labels.csv", "validation/labels.csv"};
static const char *const test_tables[] = {"test.csv", "test_labels.csv", "test/labels.csv"};

static const char *const train_bases[] = {"train", "images", "train/images", "images/train", "train_images",
                                          "imgs",  "img",    "data",         "jpg",          "train/train"};
static const char *const val_bases[] = {"val",        "valid",      "validation", "val/images",
                                        "images/val", "val_images", "images",     "test",
                                        "imgs",       "img",        "data",       "jpg"};

int rd_table_join(const char *root, const char *base, const char *file, char ret_path[PATH_MAX])
{
    const size_t n = strlen(root);
    const bool is_root = strcmp(base, ".") == 0 || !*base;

    if (*file == '/') {
        if (strncmp(file, root, n) != 0 || file[n] != '/')
            return -ENOENT;
        file += n + 1;
        base = "";
    }
    if (strcmp(file, "..") == 0 || strncmp(file, "../", 3) == 0 || strstr(file, "/../"))
        return -ENOENT;
    return snprintf(ret_path, PATH_MAX, "%s%s%s", is_root ? "" : base, is_root || !*base ? "" : "/", file) >=
                   PATH_MAX
               ? -ENOENT
               : 0;
}

/* Where `file` of a table lies, with or without an ending of its own, below the folder `base`; 0, or -ENOENT. The path
 * is relative to the root. */
static int locate_file(int root_fd, const char *root, const char *base, const char *file,
                       char ret_path[PATH_MAX])
{
    static const char *const endings[] = {"",     ".jpg",  ".jpeg", ".png", ".JPG",  ".JPEG",
                                          ".PNG", ".webp", ".bmp",  ".tif", ".tiff", ".gif"};
    char path[PATH_MAX];

    if (rd_table_join(root, base, file, path) < 0)
        return -ENOENT;
    for (size_t i = 0; i < IM_COUNT(endings); i++) {
        if (i == 0 && !rd_is_image_name(path))
            continue;
        if (snprintf(ret_path, PATH_MAX, "%.4000s%s", path, endings[i]) < PATH_MAX &&
            faccessat(root_fd, ret_path, F_OK, 0) == 0)
            return 0;
    }
    return -ENOENT;
}

static void folder_of(const char *path, char *ret, size_t size)
{
    const char *slash = strrchr(path, '/');

    snprintf(ret, size, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
}

/* How many of the first rows name a file below `base`. */
static uint32_t count_found(int root_fd, const char *root, const char *base, const struct rd_table *table,
                            enum rd_part part)
{
    char path[PATH_MAX];
    uint32_t found = 0;

    for (uint64_t i = 0; i < table->count; i++)
        found += (part == RD_PART_NONE || table->rows[i].part == part) &&
                 locate_file(root_fd, root, base, rd_table_string(table, table->rows[i].file), path) == 0;
    return found;
}

static void try_base(int root_fd, const char *root, const char *base, const struct rd_table *table,
                     enum rd_part part, uint32_t *best, char ret_base[NAME_MAX])
{
    const uint32_t found = strlen(base) < NAME_MAX ? count_found(root_fd, root, base, table, part) : 0;

    if (found > *best) {
        *best = found;
        snprintf(ret_base, NAME_MAX, "%.254s", base);
    }
}

/* 1: *ret_base is where the files lie; 0: nowhere; negative errno with a sentence. */
static int find_base(int root_fd, const struct rd_layout *layout, const char *table_path,
                     const char *const *bases, size_t count, enum rd_part part, char ret_base[NAME_MAX],
                     struct im_text *text)
{
    const char *root = layout->root;
    struct rd_listing listing = {.path = "."};
    char path[2 * PATH_MAX], folder[PATH_MAX];
    struct rd_table table;
    uint32_t best = 0;
    int err;

    snprintf(path, sizeof path, "%s%s%s", *table_path == '/' ? "" : root, *table_path == '/' ? "" : "/",
             table_path);
    err = rd_table_read(path, ROWS_TRIED, layout->multi_label, &table, text);
    if (err < 0)
        return err;
    folder_of(table_path, folder, sizeof folder);
    try_base(root_fd, root, ".", &table, part, &best, ret_base);
    if (*folder != '/')
        try_base(root_fd, root, folder, &table, part, &best, ret_base);
    for (size_t i = 0; i < count; i++)
        try_base(root_fd, root, bases[i], &table, part, &best, ret_base);
    if (best == 0 && rd_scan(root_fd, &listing, 1, NULL, NULL) == 0)
        for (uint32_t i = 0; i < listing.folders.count; i++)
            try_base(root_fd, root, rd_names_at(&listing.folders, i), &table, part, &best, ret_base);
    rd_listing_fini(&listing);
    if (best == 0)
        im_fail(text, 0, "%.300s names '%.200s', and others, that are not below '%.300s'", table_path,
                rd_table_string(&table, table.rows[0].file), root);
    rd_table_fini(&table);
    return best > 0;
}

/* A table of the user's: relative to the working directory, or to the data folder. */
static int take_given(int root_fd, const char *root, const char *option, const char *given,
                      char ret_path[PATH_MAX], struct im_text *text)
{
    const size_t n = strlen(root);
    char path[PATH_MAX];

    if (realpath(given, path)) {
        const bool inside = strncmp(path, root, n) == 0 && path[n] == '/';

        snprintf(ret_path, PATH_MAX, "%s", inside ? path + n + 1 : path);
        return 0;
    }
    if (faccessat(root_fd, given, R_OK, 0) == 0 && *given != '/') {
        snprintf(ret_path, PATH_MAX, "%s", given);
        return 0;
    }
    return im_fail(text, -ENOENT, "%s %.500s: %s", option, given, strerror(ENOENT));
}

/* Names of tables, and of the folders that their files may lie in. */
struct usual {
    const char *const *tables, *const *bases;
    size_t count, base_count;
};

/* The first table of these names that is there and whose files are here. As find_base(). */
static int find_named(int root_fd, const struct rd_layout *layout, const struct usual *usual,
                      char ret_path[PATH_MAX], char ret_base[NAME_MAX], struct im_text *text)
{
    for (size_t i = 0; i < usual->count; i++) {
        int found;

        if (faccessat(root_fd, usual->tables[i], R_OK, 0) < 0)
            continue;
        found = find_base(root_fd, layout, usual->tables[i], usual->bases, usual->base_count, RD_PART_NONE,
                          ret_base, text);
        if (found == 1)
            snprintf(ret_path, PATH_MAX, "%s", usual->tables[i]);
        if (found != 0 && found != -EBADMSG)
            return found;
    }
    return 0;
}

/* The part of the training table that is for validation, if it has such a column. As find_base(). */
static int find_part(struct rd_layout *layout, struct im_text *text)
{
    static const enum rd_part parts[] = {RD_PART_VAL, RD_PART_TEST};
    char path[2 * PATH_MAX];
    struct rd_table table;
    enum rd_part part = RD_PART_NONE;
    int err;

    snprintf(path, sizeof path, "%s%s%s", *layout->train_labels == '/' ? "" : layout->root,
             *layout->train_labels == '/' ? "" : "/", layout->train_labels);
    err = rd_table_read(path, 1, layout->multi_label, &table, text);
    if (err < 0)
        return err;
    if (table.has_parts) {
        rd_table_fini(&table);
        err = rd_table_read(path, UINT64_MAX, layout->multi_label, &table, text);
        if (err < 0)
            return err;
        for (size_t p = 0; p < IM_COUNT(parts) && part == RD_PART_NONE; p++)
            for (uint64_t i = 0; i < table.count && part == RD_PART_NONE; i++)
                part = table.rows[i].part == parts[p] ? parts[p] : RD_PART_NONE;
    }
    rd_table_fini(&table);
    layout->val_part = part;
    if (part == RD_PART_NONE)
        return 0;
    snprintf(layout->val, sizeof layout->val, "%s", layout->train);
    snprintf(layout->labels_path, sizeof layout->labels_path, "%s", layout->train_labels);
    return 1;
}

static int find_val(int root_fd, const struct rd_label_files *files, struct rd_layout *layout,
                    struct im_text *text)
{
    struct im_text why = {""};
    int found;

    if (*files->val_labels) {
        found =
            take_given(root_fd, layout->root, "--val-labels", files->val_labels, layout->labels_path, text);
        if (found == 0)
            found = find_base(root_fd, layout, layout->labels_path, val_bases, IM_COUNT(val_bases),
                              RD_PART_NONE, layout->val, text);
        return found == 0 ? -EBADMSG : found;
    }
    found = find_part(layout, text);
    if (found == 0)
        found = find_named(root_fd, layout,
                           &(struct usual){val_tables, val_bases, IM_COUNT(val_tables), IM_COUNT(val_bases)},
                           layout->labels_path, layout->val, &why);
    if (found == 0 && why.s[0])
        return im_fail(text, -EBADMSG, "%.900s", why.s);
    if (found == 0)
        found =
            find_named(root_fd, layout,
                       &(struct usual){test_tables, val_bases, IM_COUNT(test_tables), IM_COUNT(val_bases)},
                       layout->labels_path, layout->val, &why);
    if (found < 0 && why.s[0])
        return im_fail(text, found, "%.900s", why.s);
    return found;
}

int rd_layout_find_table(int root_fd, const struct rd_label_files *files, struct rd_layout *layout,
                         struct im_text *text)
{
    int found;

    if (*files->labels) {
        found = take_given(root_fd, layout->root, "--labels", files->labels, layout->train_labels, text);
        if (found == 0)
            found = find_base(root_fd, layout, layout->train_labels, train_bases, IM_COUNT(train_bases),
                              RD_PART_NONE, layout->train, text);
        if (found == 0)
            found = -EBADMSG;
    } else {
        found = find_named(
            root_fd, layout,
            &(struct usual){train_tables, train_bases, IM_COUNT(train_tables), IM_COUNT(train_bases)},
            layout->train_labels, layout->train, text);
    }
    if (found <= 0)
        return found;
    layout->kind = RD_LAYOUT_CSV;
    layout->labels = RD_LABELS_TABLE;
    found = find_val(root_fd, files, layout, text);
    return found < 0 ? found : 1;
}

int rd_layout_find_val_table(int root_fd, const struct rd_label_files *files, struct rd_layout *layout,
                             struct im_text *text)
{
    const char *const bases[] = {layout->val};
    char base[NAME_MAX];
    int found;

    if (*files->val_labels) {
        found =
            take_given(root_fd, layout->root, "--val-labels", files->val_labels, layout->labels_path, text);
        if (found == 0 &&
            (rd_is_ground_truth(layout->labels_path) || rd_is_synset_list(layout->labels_path))) {
            layout->labels = rd_is_ground_truth(layout->labels_path) ? RD_LABELS_DEVKIT : RD_LABELS_SYNSETS;
            return 2;
        }
        if (found == 0)
            found = find_base(root_fd, layout, layout->labels_path, bases, 1, RD_PART_NONE, base, text);
        if (found == 0)
            found = -EBADMSG;
    } else {
        found = find_named(root_fd, layout, &(struct usual){val_tables, bases, IM_COUNT(val_tables), 1},
                           layout->labels_path, base, text);
    }
    if (found == 1)
        layout->labels = RD_LABELS_TABLE;
    return found;
}
