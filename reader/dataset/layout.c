/* Looks for train/ in the places where the known layouts have it, then for validation images, then for their
 * labels. Without train/ the data folder's own folders are classes.
 *
 * A validation folder that holds folders has its labels in their names, also inside ILSVRC (many people sort
 * it so). One that holds images needs a file of labels; of the kinds the CSV is one read, the
 * annotations are 50,000, and val.txt comes last because the copy in ImageSets/CLS-LOC only counts lines
 * (reader/dataset/labels.c refuses it). Folders above the data folder are looked at only where its path says that it
 * is the inside of ILSVRC. */
#include "reader/dataset/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/hash.h"
#include "ipc/base/image_type.h"
#include "reader/dataset/layout_names.h"
#include "reader/dataset/layout_table.h"
#include "reader/dataset/scan.h"
#include "reader/dataset/shard_list.h"

#define CLS_LOC "Data/CLS-LOC"
#define TAKES                                                                                                \
    "imsuper takes train/<class>/*.jpg with val/<class>/*.jpg, one folder of class folders, "                \
    "ILSVRC's " CLS_LOC                                                                                      \
    "/{train,val}, Tiny ImageNet, images with a table (train.csv or labels.csv: file,label), or tar shards " \
    "(train-000000.tar with 000123.jpg and 000123.cls)"

#define SINGLE "; --layout single takes each folder as a class, without the table"
#define FOLDERS "; --layout folders takes each folder of train/ as a class, without the table"

struct content {
    int exists, has_folders, has_images;
};

const char *rd_layout_name(enum rd_layout_kind kind)
{
    static const char *const names[RD_LAYOUT_KINDS] = {
        [RD_LAYOUT_AUTO] = "auto",          [RD_LAYOUT_FOLDERS] = "folders", [RD_LAYOUT_ILSVRC] = "ilsvrc",
        [RD_LAYOUT_TINY] = "tiny-imagenet", [RD_LAYOUT_SINGLE] = "single",   [RD_LAYOUT_CSV] = "csv",
        [RD_LAYOUT_SHARDS] = "shards"};

    return names[kind];
}

/* Of the types that are decoded, too: a program that was built with another library takes other files. */
uint64_t rd_layout_hash(const struct rd_layout *layout)
{
    struct im_image_type_list types;
    const char *const paths[] = {layout->train, layout->val, layout->labels_path};
    uint64_t hash = (uint64_t)layout->kind << 8 | (uint64_t)layout->labels;

    for (size_t i = 0; i < IM_COUNT(paths); i++)
        hash = im_hash64(paths[i], strlen(paths[i]), hash);
    im_image_types_list(&types, true);
    hash = im_hash64(types.s, strlen(types.s), hash);
    if (layout->multi_label)
        hash = im_hash64("multi-label", 11, hash);
    return *layout->train_labels ? im_hash64(layout->train_labels, strlen(layout->train_labels), hash) : hash;
}

/* a + "/" + b, leaving out what is empty. Paths here are short: base and names are ours. */
static void join(char *ret, size_t size, const char *a, const char *b)
{
    snprintf(ret, size, "%s%s%s", a, *a && *b ? "/" : "", b);
}

static int look(int root_fd, const char *path, struct content *ret_content, struct im_text *text)
{
    struct rd_listing listing = {.path = path};
    struct stat st;
    int err;

    *ret_content = (struct content){0};
    if (fstatat(root_fd, path, &st, 0) < 0 || !S_ISDIR(st.st_mode))
        return 0;
    err = rd_scan(root_fd, &listing, 1, NULL, text);
    if (err == 0)
        *ret_content = (struct content){1, listing.folders.count > 0, listing.images.count > 0};
    rd_listing_fini(&listing);
    return err;
}

static int is_inside_ilsvrc(const struct rd_layout *layout, const char *base)
{
    char path[PATH_MAX + NAME_MAX];
    size_t length, tail = strlen("/" CLS_LOC);

    join(path, sizeof path, layout->root, base);
    length = strlen(path);
    return length >= tail && strcmp(path + length - tail, "/" CLS_LOC) == 0;
}

static int find_labels(int root_fd, const char *base, const struct rd_label_files *files,
                       struct rd_layout *layout, struct im_text *text)
{
    static const struct {
        enum rd_label_source source;
        const char *path;
    } known[] = {
        {RD_LABELS_CSV, "LOC_val_solution.csv"},
        {RD_LABELS_XML, "Annotations/CLS-LOC/val"},
        {RD_LABELS_SYNSETS, "imagenet_2012_validation_synset_labels.txt"},
        {RD_LABELS_DEVKIT, "ILSVRC2012_validation_ground_truth.txt"},
        {RD_LABELS_DEVKIT, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"},
        {RD_LABELS_DEVKIT, "devkit/data/ILSVRC2012_validation_ground_truth.txt"},
        {RD_LABELS_DEVKIT, "data/ILSVRC2012_validation_ground_truth.txt"},
        {RD_LABELS_DEVKIT, "devkit/data/ILSVRC2015_clsloc_validation_ground_truth.txt"},
        {RD_LABELS_LIST, "ImageSets/CLS-LOC/val.txt"},
        {RD_LABELS_LIST, "val.txt"},
    };
    static const char *const above[] = {"", "..", "../..", "../../.."};
    size_t heights = is_inside_ilsvrc(layout, base) ? IM_COUNT(above) : 1;
    char folder[NAME_MAX / 2], path[NAME_MAX];
    struct im_text why = {""};
    int found;

    for (size_t i = 0; i < IM_COUNT(known) && !*files->val_labels; i++) {
        for (size_t height = 0; height < heights; height++) {
            join(folder, sizeof folder, base, above[height]);
            join(path, sizeof path, folder, known[i].path);
            if (faccessat(root_fd, path, R_OK, 0) == 0) {
                layout->labels = known[i].source;
                memcpy(layout->labels_path, path, sizeof path);
                return 0;
            }
        }
    }
    found = rd_layout_find_val_table(root_fd, files, layout, &why);
    if (found != 0)
        return found < 0 ? im_fail(text, found, "%.1000s", why.s) : 0;
    if (why.s[0])
        return im_fail(
            text, -EBADMSG,
            "'%.300s/%.100s' holds images without class folders, and their table cannot be used: %.500s",
            layout->root, layout->val, why.s);
    return im_fail(
        text, -EBADMSG,
        "'%.600s/%.100s' holds images without class folders, and no labels for them were found: put a "
        "val.csv (file,label), LOC_val_solution.csv, ILSVRC's Annotations or its devkit beside it, or sort "
        "the "
        "images into class folders",
        layout->root, layout->val);
}

/* val/images/ beside val/val_annotations.txt, as Tiny ImageNet is unpacked. */
static int is_tiny_val(int root_fd, const char *val, struct rd_layout *layout, struct im_text *text)
{
    struct content content = {0};
    char images[NAME_MAX], annotations[NAME_MAX];
    int err = 0;

    snprintf(images, sizeof images, "%.200s/images", val);
    snprintf(annotations, sizeof annotations, "%.200s/val_annotations.txt", val);
    if (faccessat(root_fd, annotations, R_OK, 0) == 0)
        err = look(root_fd, images, &content, text);
    if (err < 0 || !content.has_images)
        return err;
    memcpy(layout->val, images, sizeof images);
    memcpy(layout->labels_path, annotations, sizeof annotations);
    layout->labels = RD_LABELS_TINY;
    layout->kind = RD_LAYOUT_TINY;
    return 1;
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Takes the folder at `path`, which holds class folders, or images whose labels stand elsewhere. */
static int take_val(int root_fd, const char *base, const char *path, const struct rd_label_files *files,
                    struct rd_layout *layout, struct im_text *text)
{
    struct content content;
    int err;

    snprintf(layout->val, sizeof layout->val, "%.254s", path);
    layout->labels = RD_LABELS_FOLDERS;
    err = rd_descend(root_fd, last_name(path), layout->val, text);
    if (err >= 0)
        err = look(root_fd, layout->val, &content, text);
    if (err < 0 || content.has_folders)
        return err;
    if (layout->kind == RD_LAYOUT_FOLDERS)
        return im_fail(text, -EBADMSG,
                       "'%.600s/%.100s' holds images but no class folders, as --layout folders needs",
                       layout->root, layout->val);
    err = find_labels(root_fd, base, files, layout, text);
    layout->kind = layout->labels == RD_LABELS_TABLE ? RD_LAYOUT_FOLDERS : RD_LAYOUT_ILSVRC;
    return err;
}

/* Validation images: the first of the usual names that holds class folders (or images, where it can be no test set), then
 * other spellings. */
static int find_val(int root_fd, const char *base, const struct rd_label_files *files,
                    struct rd_layout *layout, struct im_text *text)
{
    static const struct {
        const char *name; /* "": other spellings of the role */
        enum rd_role role;
        bool is_flat;
    } tried[] = {{"val", RD_ROLE_VAL, false},   {"validation", RD_ROLE_VAL, false},
                 {"valid", RD_ROLE_VAL, false}, {"", RD_ROLE_VAL, false},
                 {"", RD_ROLE_VAL, true},       {"test", RD_ROLE_TEST, false},
                 {"", RD_ROLE_TEST, false}};
    char train[NAME_MAX];
    struct content content;
    char path[NAME_MAX];
    int err;

    snprintf(train, sizeof train, "%.254s", last_name(layout->train));
    for (size_t i = 0; i < IM_COUNT(tried); i++) {
        if (!*tried[i].name) {
            err = rd_role_find(root_fd, layout->root, base,
                               &(struct rd_role_wanted){tried[i].role, train, tried[i].is_flat}, path, text);
            if (err != 0)
                return err < 0 ? err : take_val(root_fd, base, path, files, layout, text);
            continue;
        }
        join(path, sizeof path, base, tried[i].name);
        err = look(root_fd, path, &content, text);
        if (err < 0)
            return err;
        if (i == 0 && content.has_folders && layout->kind == RD_LAYOUT_AUTO) {
            err = is_tiny_val(root_fd, path, layout, text);
            if (err != 0)
                return err < 0 ? err : 0;
        }
        if (content.has_folders || (tried[i].role == RD_ROLE_VAL && content.has_images))
            return take_val(root_fd, base, path, files, layout, text);
    }
    return 0;
}

/* Class folders without train/ and val/ above them: whether the data folder may be meant to be one, or looks like a
 * part of a data set, or like several. */
static int check_single(int root_fd, const struct rd_layout *layout, struct im_text *text)
{
    const char *name = strrchr(layout->root, '/') + 1;
    struct rd_listing listing = {.path = "."}, beside = {.path = ".."};
    char inside[NAME_MAX + 16];
    int err = rd_scan(root_fd, &listing, 1, NULL, text);

    if (err == 0 && rd_role_is_train(name) && rd_scan(root_fd, &beside, 1, NULL, NULL) == 0)
        for (uint32_t i = 0; i < beside.folders.count && err == 0; i++)
            if (rd_role_beside(name, rd_names_at(&beside.folders, i)) > RD_ROLE_TRAIN)
                err = im_fail(text, -EBADMSG,
                              "'%.700s' is itself a train folder, with %.100s beside it: use its parent "
                              "folder, or --layout single",
                              layout->root, rd_names_at(&beside.folders, i));
    rd_listing_fini(&beside);
    for (uint32_t i = 0; i < listing.folders.count && err == 0; i++) {
        snprintf(inside, sizeof inside, "%s/train", rd_names_at(&listing.folders, i));
        if (faccessat(root_fd, inside, F_OK, 0) == 0)
            err = im_fail(text, -EBADMSG,
                          "no train folder in '%.500s', but one in '%.200s': is that the data folder? "
                          "(--layout single takes each folder as a class)",
                          layout->root, rd_names_at(&listing.folders, i));
    }
    rd_listing_fini(&listing);
    return err;
}

/* flowers/flowers/CLASS: the data folder holds nothing but a folder of its own name, with class folders in it. */
static int find_doubled(int root_fd, struct rd_layout *layout, struct im_text *text)
{
    struct content content = {0};
    char path[NAME_MAX] = ".";
    int err = rd_descend(root_fd, last_name(layout->root), path, text);

    if (err > 0)
        err = look(root_fd, path, &content, text);
    if (err >= 0 && content.has_folders)
        memcpy(layout->train, path, sizeof path);
    return err < 0 ? err : 0;
}

/* Whether folders beside a table hold its images and are no classes: a single one with images in it, or one that is a part
 * of a set by its name. Also where there is no folder. */
static int hold_images_of_a_table(int root_fd, bool *ret_do, struct im_text *text)
{
    struct rd_listing listing = {.path = "."};
    struct content content = {0};
    int err = rd_scan(root_fd, &listing, 1, NULL, text);

    if (err == 0 && listing.folders.count == 1)
        err = look(root_fd, rd_names_at(&listing.folders, 0), &content, text);
    *ret_do = listing.folders.count == 0 || content.has_images;
    for (uint32_t i = 0; i < listing.folders.count; i++)
        *ret_do |= rd_role_of(rd_names_at(&listing.folders, i)) != RD_ROLE_NONE ||
                   rd_role_is_train(rd_names_at(&listing.folders, i));
    rd_listing_fini(&listing);
    return err;
}

static int find_single(int root_fd, enum rd_layout_kind forced, struct rd_layout *layout,
                       struct im_text *text)
{
    struct content content;
    int err = look(root_fd, ".", &content, text);

    if (err == 0 && content.has_folders && forced == RD_LAYOUT_AUTO)
        err = check_single(root_fd, layout, text);
    if (err < 0)
        return err;
    layout->kind = RD_LAYOUT_SINGLE;
    snprintf(layout->train, sizeof layout->train, ".");
    if (content.has_folders)
        return find_doubled(root_fd, layout, text);
    if (content.has_images)
        return im_fail(text, -EBADMSG, "'%.700s' holds images but no class folders. " TAKES, layout->root);
    return im_fail(text, -EBADMSG, "the data folder '%.700s' is empty. " TAKES, layout->root);
}

static int fail_no_train(const struct rd_layout *layout, struct im_text *text)
{
    return im_fail(text, -EBADMSG, "no train folder in '%.700s'. " TAKES, layout->root);
}

/* Whether train/ is one folder of images rather than class folders: flat, or with nothing but images/ in it. */
static int looks_flat(int root_fd, const char *train, bool *ret_flat, struct im_text *text)
{
    static const char *const names[] = {"images", "image", "imgs", "img", "jpg", "jpeg", "data"};
    struct rd_listing listing = {.path = train};
    int err = rd_scan(root_fd, &listing, 1, NULL, text);

    *ret_flat = listing.folders.count == 0;
    for (size_t i = 0; i < IM_COUNT(names) && listing.folders.count == 1; i++)
        *ret_flat |= strcmp(rd_names_at(&listing.folders, 0), names[i]) == 0;
    rd_listing_fini(&listing);
    return err;
}

/* A train folder at base/train, which is there. */
static int take_train(int root_fd, const char *base, enum rd_layout_kind forced,
                      const struct rd_label_files *files, struct rd_layout *layout, struct im_text *text)
{
    struct im_text why = {""};
    struct content content;
    bool flat;
    int err = rd_descend(root_fd, last_name(layout->train), layout->train, text);

    if (err >= 0)
        err = look(root_fd, layout->train, &content, text);
    if (err == 0)
        err = looks_flat(root_fd, layout->train, &flat, text);
    if (err == 0 && flat && forced == RD_LAYOUT_AUTO) {
        err = rd_layout_find_table(root_fd, files, layout, &why);
        if (err != 0)
            return err < 0 ? im_fail(text, err, "%.1000s", why.s) : 0;
    }
    if (err < 0)
        return err;
    if (content.has_folders && why.s[0])
        return im_fail(text, -EBADMSG, "the table of the images cannot be used: %.900s" FOLDERS, why.s);
    if (!content.has_folders)
        return im_fail(text, -EBADMSG, "'%.300s/%.100s' holds no class folders%s%.300s. " TAKES, layout->root,
                       layout->train, why.s[0] ? "; " : "", why.s);
    layout->kind = forced != RD_LAYOUT_AUTO && forced != RD_LAYOUT_TINY ? forced
                   : is_inside_ilsvrc(layout, base)                     ? RD_LAYOUT_ILSVRC
                                                                        : RD_LAYOUT_AUTO;
    err = find_val(root_fd, base, files, layout, text);
    if (err == 0 && layout->kind == RD_LAYOUT_AUTO)
        layout->kind = RD_LAYOUT_FOLDERS;
    if (err == 0 && *files->val_labels &&
        (layout->labels == RD_LABELS_FOLDERS || layout->labels == RD_LABELS_TINY))
        return im_fail(
            text, -EINVAL,
            "--val-labels is for validation images without class folders, in '%.400s/val'; there are "
            "none",
            layout->root);
    return err;
}

/* Neither train/ nor ILSVRC's folders: a table, class folders alone, or nothing that can be trained on. */
static int find_without_train(int root_fd, enum rd_layout_kind forced, const struct rd_label_files *files,
                              struct rd_layout *layout, struct im_text *text)
{
    struct im_text why = {""};
    int found = forced == RD_LAYOUT_AUTO ? rd_layout_find_table(root_fd, files, layout, &why) : 0;
    bool is_table = false;

    if (found == 0 && why.s[0])
        found = hold_images_of_a_table(root_fd, &is_table, text);
    if (is_table)
        return im_fail(text, -EBADMSG, "the table of the images cannot be used: %.900s" SINGLE, why.s);
    if (found != 0)
        return found < 0 ? im_fail(text, found, "%.1000s", why.s) : 0;
    layout->table_why = why;
    return find_single(root_fd, forced, layout, text);
}

static int find_given_table(int root_fd, const struct rd_label_files *files, struct rd_layout *layout,
                            struct im_text *text)
{
    struct im_text why = {""};
    int found = rd_layout_find_table(root_fd, files, layout, &why);

    if (found == 0)
        return im_fail(
            text, -EBADMSG,
            "'%.400s' holds no table of training images (train.csv or labels.csv: file,label)%s%.300s; "
            "name one with --labels",
            layout->root, why.s[0] ? "; " : "", why.s);
    return found < 0 ? im_fail(text, found, "%.1000s", why.s) : 0;
}

/* Train/, training_set/, seg_train/ and the like: a train folder if validation or test images are beside it, or nothing else; a
 * class could have such a name. 1: *layout has it; 0: there is none. */
static int find_spelt_train(int root_fd, struct rd_layout *layout, struct im_text *text)
{
    struct rd_listing listing = {.path = "."};
    bool is_alone, has_others = false;
    int found = rd_role_find(root_fd, layout->root, "", &(struct rd_role_wanted){.role = RD_ROLE_TRAIN},
                             layout->train, text);

    if (found == 0)
        return rd_role_find_train(root_fd, layout->root, layout->train, text);
    if (found < 0)
        return found;
    found = rd_scan(root_fd, &listing, 1, NULL, text);
    is_alone = listing.folders.count == 1;
    for (uint32_t i = 0; i < listing.folders.count; i++)
        has_others |= rd_role_of(rd_names_at(&listing.folders, i)) > RD_ROLE_TRAIN;
    rd_listing_fini(&listing);
    return found < 0 ? found : is_alone || has_others;
}

static int find_train(int root_fd, enum rd_layout_kind forced, const struct rd_label_files *files,
                      struct rd_layout *layout, struct im_text *text)
{
    static const char *const bases[] = {"", CLS_LOC, "ILSVRC/Data/CLS-LOC"};
    struct content content = {0};
    size_t base_count = forced == RD_LAYOUT_FOLDERS || forced == RD_LAYOUT_TINY ? 1
                        : forced == RD_LAYOUT_SINGLE                            ? 0
                                                                                : IM_COUNT(bases);
    int err;

    if (forced == RD_LAYOUT_CSV || *files->labels)
        return find_given_table(root_fd, files, layout, text);
    for (size_t i = 0; i < base_count; i++) {
        join(layout->train, sizeof layout->train, bases[i], "train");
        err = look(root_fd, layout->train, &content, text);
        if (err < 0)
            return err;
        if (content.exists)
            return take_train(root_fd, bases[i], forced, files, layout, text);
    }
    if (forced == RD_LAYOUT_AUTO || forced == RD_LAYOUT_FOLDERS) {
        err = find_spelt_train(root_fd, layout, text);
        if (err != 0)
            return err < 0 ? err : take_train(root_fd, "", forced, files, layout, text);
    }
    if (forced == RD_LAYOUT_AUTO || forced == RD_LAYOUT_SINGLE)
        return find_without_train(root_fd, forced, files, layout, text);
    return fail_no_train(layout, text);
}

static int refuse_tables(const struct rd_label_files *files, struct im_text *text)
{
    if (*files->labels || *files->val_labels)
        return im_fail(
            text, -EINVAL,
            "--labels and --val-labels are for folders of images; shards have their labels inside");
    return 0;
}

static int take_shards(const char *data_dir, const struct rd_label_files *files, struct rd_layout *ret_layout,
                       struct im_text *text)
{
    struct rd_layout layout = {.multi_label = files->multi_label};
    int found = rd_layout_find_shards(data_dir, &layout, text);

    if (found == 0)
        return im_fail(text, -EBADMSG, "'%.700s' holds no shards (*.tar, train/*.tar)", layout.root);
    *ret_layout = layout;
    return found < 0 ? found : refuse_tables(files, text);
}

/* Class folders alone, of which none holds an image or a folder: folders that lie beside something else. */
static bool looks_empty(int root_fd, const struct rd_layout *layout)
{
    struct rd_listing listing = {.path = layout->train};
    char path[NAME_MAX + NAME_MAX + 2];
    bool is_empty = layout->kind == RD_LAYOUT_SINGLE && rd_scan(root_fd, &listing, 1, NULL, NULL) == 0;

    for (uint32_t i = 0; i < listing.folders.count && is_empty; i++) {
        struct content content = {0};

        rd_join(path, sizeof path, layout->train, rd_names_at(&listing.folders, i));
        is_empty = look(root_fd, path, &content, NULL) == 0 && !content.has_folders && !content.has_images;
    }
    rd_listing_fini(&listing);
    return is_empty;
}

int rd_layout_find(const char *data_dir, enum rd_layout_kind forced, const struct rd_label_files *files,
                   struct rd_layout *ret_layout, struct im_text *text)
{
    struct rd_layout layout = {.kind = forced, .multi_label = files->multi_label};
    int root_fd, err;

    if (forced == RD_LAYOUT_SHARDS || (forced == RD_LAYOUT_AUTO && rd_shards_is_list(data_dir)))
        return take_shards(data_dir, files, ret_layout, text);
    if (!realpath(data_dir, layout.root))
        return im_fail(text, -errno, "cannot open the data folder '%.700s': %s", data_dir, strerror(errno));
    root_fd = open(layout.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return im_fail(text, -errno, "cannot open the data folder '%.700s': %s", data_dir, strerror(errno));
    err = find_train(root_fd, forced, files, &layout, text);
    if (forced == RD_LAYOUT_AUTO && !*files->labels &&
        (err == -EBADMSG || (err == 0 && looks_empty(root_fd, &layout)))) {
        struct im_text why = {""};
        struct rd_layout shards = {.multi_label = files->multi_label};
        int found = rd_layout_find_shards(layout.root, &shards, &why);

        if (found != 0) {
            close(root_fd);
            *ret_layout = shards;
            return found < 0 ? im_fail(text, found, "%.1000s", why.s) : refuse_tables(files, text);
        }
    }
    close(root_fd);
    if (err == 0 && forced == RD_LAYOUT_TINY && layout.kind != forced)
        err = im_fail(text, -EBADMSG, "'%.700s' has no val/images with val/val_annotations.txt beside it",
                      layout.root);
    if (err == 0)
        *ret_layout = layout;
    return err;
}
