/* Shards are scanned several at a time; labels are understood when all are known, for names and numbers mean something
 * only together. Images of archives without labels belong to the class that their folder in the archive, or else the
 * archive, is named for: n01440764/x.JPEG, n01440764.tar. Those are in the order of class folders, by class, folder and name;
 * others as they lie in the shards. */
#include "reader/dataset/index_shards.h"

#include <ctype.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reader/dataset/layout_names.h"
#include "reader/dataset/mirror.h"
#include "reader/dataset/parallel.h"
#include "reader/dataset/shard_classes.h"
#include "reader/dataset/shard_labels.h"
#include "reader/dataset/shard_sets.h"

struct placed;

/* NULL: none. */
struct sample_of {
    const struct rd_shard *shard;
    uint32_t image;
};

struct build {
    const struct rd_layout *layout;
    int root_fd;
    const struct rd_progress *progress;
    struct rd_index_writer *writer;
    struct rd_shard_list list;
    struct rd_shard_classes classes;
    bool has_labels;
    bool in_mirror; /* the shards lie on another machine */
    struct rd_shard_form form;
    struct sample_of most, name,
        number;                       /* that show what the form says: its largest number, a name, a number */
    bool by_number;                   /* labels are numbers, and no file names the classes */
    struct rd_shard_sets sets;        /* with multi_label, of images that have labels */
    uint32_t strip;                   /* bytes of the folders that all members lie in */
    struct placed *placed[IM_SPLITS]; /* without labels: all images */
    uint64_t placed_count[IM_SPLITS], placed_capacity[IM_SPLITS];
    uint64_t images[IM_SPLITS];
    _Atomic uint64_t files; /* W the scanning threads; R the caller, to report */
};

/* ---- scanning ---- */

static void scan_one(void *context, uint64_t i)
{
    struct build *build = context;
    struct rd_shard *shard = &build->list.shards[i];

    shard->in_mirror = build->in_mirror;
    rd_shard_scan(build->root_fd, shard);
    atomic_fetch_add_explicit(&build->files, shard->count, memory_order_relaxed);
}

static void tick(void *context, uint64_t done)
{
    struct build *build = context;

    if (build->progress && build->progress->report)
        build->progress->report(build->progress->context,
                                atomic_load_explicit(&build->files, memory_order_relaxed), done,
                                build->list.count);
}

/* One that is damaged is left out; one that cannot be read now ends the scan. */
static int check_scanned(struct build *build, struct im_text *text)
{
    uint32_t usable = 0;
    int err = 0;

    for (uint32_t i = 0; i < build->list.count && err == 0; i++) {
        const struct rd_shard *shard = &build->list.shards[i];

        if (shard->err == -EBADMSG)
            err = rd_writer_left_out(build->writer, RD_SKIP_CUT, shard->path, shard->why.s);
        else if (shard->err < 0)
            return im_fail(text, shard->err, "cannot read the shard '%.500s': %.400s", shard->path,
                           *shard->why.s ? shard->why.s : strerror(-shard->err));
        else if (*shard->cut.s)
            err = rd_writer_left_out(build->writer, RD_SKIP_CUT, shard->path, shard->cut.s);
        usable += shard->err == 0;
        build->has_labels |= shard->has_labels;
    }
    if (err == 0 && usable == 0 && build->list.count > 0)
        return im_fail(text, -EBADMSG, "the shard '%.500s' cannot be used: %.400s",
                       build->list.shards[0].path, build->list.shards[0].why.s);
    return err;
}

static int scan(struct build *build, struct im_text *text)
{
    int err = rd_shard_list_make(build->root_fd, build->layout, &build->list, text);

    if (err < 0)
        return err;
    if (build->list.count == 0)
        return im_fail(text, -EBADMSG, "'%.500s' holds no shard%s%.200s", build->layout->root,
                       build->list.missing.count ? " of those that its _info.json names, the first of them "
                                                 : "",
                       build->list.missing.count ? rd_names_at(&build->list.missing, 0) : "");
    rd_parallel(
        &(struct rd_parallel){.count = build->list.count, .item = scan_one, .tick = tick, .context = build});
    return check_scanned(build, text);
}

/* ---- classes without labels ---- */

static const char *member_of(const struct rd_shard *shard, uint32_t i)
{
    return rd_shard_string(shard, shard->images[i].member);
}

/* The first folder of a member; its length, 0: there is none. */
static size_t folder_of(const char *name, char ret[NAME_MAX + 1])
{
    const char *slash = strchr(name, '/');
    const size_t n = slash && slash - name <= NAME_MAX ? (size_t)(slash - name) : 0;

    memcpy(ret, name, n);
    ret[n] = 0;
    return n;
}

/* Does the first folder behind build->strip hold all members? Then it is no class, unless it is all there is. */
static bool strip_one(struct build *build)
{
    char folder[NAME_MAX + 1];
    const char *first = NULL;
    size_t n = 0;

    for (uint32_t s = 0; s < build->list.count; s++)
        for (uint32_t i = 0; i < build->list.shards[s].count; i++) {
            const char *name = member_of(&build->list.shards[s], i), *at = name + build->strip,
                       *slash = strchr(at, '/');

            if (!slash || !strchr(slash + 1, '/'))
                return false;
            if (!first) {
                first = at;
                n = (size_t)(slash - at) + 1;
                folder_of(at, folder);
                if (rd_role_of(folder) != RD_ROLE_NONE)
                    return false;
            } else if (strncmp(first, at, n) != 0) {
                return false;
            }
        }
    build->strip += (uint32_t)n;
    return n > 0;
}

/* Is the first folder of each member train/ or val/? With `own` also the part that the shard's name says, and not a class,
 * which has no folders in it. */
static bool has_roles(const struct build *build, const struct rd_shard *shard, bool own)
{
    char folder[NAME_MAX + 1];

    for (uint32_t i = 0; i < shard->count; i++) {
        const char *name = member_of(shard, i) + build->strip;
        const size_t n = folder_of(name, folder);
        const enum rd_role role = rd_role_of(folder);

        if (role == RD_ROLE_NONE)
            return false;
        if (own &&
            ((role == RD_ROLE_TRAIN ? IM_TRAIN : IM_VAL) != shard->split || !strchr(name + n + 1, '/')))
            return false;
    }
    return true;
}

/* train.tar may hold train/cat/1.jpg, and val.tar beside it cat/9.jpg. */
static void find_roles(struct build *build)
{
    bool all = true;

    for (uint32_t s = 0; s < build->list.count; s++)
        all = all && has_roles(build, &build->list.shards[s], false);
    for (uint32_t s = 0; s < build->list.count; s++)
        build->list.shards[s].has_roles = all || has_roles(build, &build->list.shards[s], true);
}

/* "n01440764" of "train/n01440764.tar". */
static void stem_of(const char *path, char ret[NAME_MAX + 1])
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;

    snprintf(ret, NAME_MAX + 1, "%.*s", (int)(strlen(base) - 4), base);
}

/* train-000000, shard_0001, 00012: a number of shards, not a class. */
static bool is_numbered(const char *stem)
{
    size_t n = strlen(stem), digits = 0;

    while (digits < n && isdigit((unsigned char)stem[n - digits - 1]))
        digits++;
    return digits == n || (digits >= 4 && (stem[n - digits - 1] == '-' || stem[n - digits - 1] == '_'));
}

/* The class and split of an image without a label: by the folder in the archive, or the archive. */
static int folder_class(const struct build *build, const struct rd_shard *shard, uint32_t i,
                        char ret[NAME_MAX + 1], int *ret_split, struct im_text *text)
{
    const char *name = member_of(shard, i) + build->strip;
    size_t n = folder_of(name, ret);

    *ret_split = shard->split;
    if (shard->has_roles) {
        *ret_split = rd_role_of(ret) == RD_ROLE_TRAIN ? IM_TRAIN : IM_VAL;
        n = folder_of(name + n + 1, ret);
    }
    if (n > 0)
        return 0;
    stem_of(shard->path, ret);
    if (is_numbered(ret))
        return im_fail(
            text, -EBADMSG,
            "the shard '%.300s' holds no labels (000123.cls or 000123.json beside 000123.jpg) and no class "
            "folders (n01440764/x.JPEG), and its name is none of a class",
            shard->path);
    return 0;
}

/* ---- classes ---- */

/* Several labels are for --multi-label; a list of one is that label. */
static int check_single(const struct rd_shard *shard, const struct rd_shard_image *image,
                        struct im_text *text)
{
    const char *at = rd_shard_string(shard, image->label);
    char word[RD_LABEL_BYTES];

    if (!rd_shard_label_is_list(at) || !rd_shard_label_next(&at, word) || !rd_shard_label_next(&at, word))
        return 0;
    return im_fail(
        text, -EBADMSG,
        "%.300s/%.300s has several labels: --multi-label trains on such images, and without it each "
        "needs one label",
        shard->path, rd_shard_string(shard, image->member));
}

/* Adds a label to what all are, and remembers the first that shows it. */
static void look_at_label(struct build *build, const struct rd_shard *shard, uint32_t image)
{
    const struct sample_of here = {shard, image};
    const struct rd_shard_form before = build->form;

    rd_shard_form_add(&build->form, rd_shard_string(shard, shard->images[image].label));
    if (build->form.most > before.most)
        build->most = here;
    if (build->form.has_names && !before.has_names)
        build->name = here;
    if (build->form.has_numbers && !before.has_numbers)
        build->number = here;
}

/* What the labels of all images are. */
static int look_at_labels(struct build *build, struct im_text *text)
{
    int err = 0;

    for (uint32_t s = 0; s < build->list.count; s++)
        for (uint32_t i = 0; i < build->list.shards[s].count && err == 0; i++) {
            const struct rd_shard *shard = &build->list.shards[s];
            const struct rd_shard_image *image = &shard->images[i];

            if (!build->layout->multi_label)
                err = check_single(shard, image, text);
            if (image->label)
                look_at_label(build, shard, i);
        }
    return err;
}

static int add_numbers(struct build *build, struct im_text *text)
{
    const int64_t most =
        rd_shard_form_is_flags(&build->form) ? (int64_t)build->form.length - 1 : build->form.most;
    char word[32];
    int64_t added = 0;

    if (most >= RD_SHARD_CLASSES_MAX)
        return im_fail(text, -EBADMSG, "%.300s/%.300s has the label %lld, which is no number of a class",
                       build->most.shard->path, member_of(build->most.shard, build->most.image),
                       (long long)most);
    for (int64_t i = 0; i <= most && added >= 0; i++) {
        snprintf(word, sizeof word, "%lld", (long long)i);
        added = rd_names_add(&build->classes.names, word);
    }
    return added < 0 ? (int)added : 0;
}

/* The labels of an image, or the class that its folder says, to `all`. */
static int add_words_of(struct build *build, const struct rd_shard *shard, uint32_t i, struct rd_names *all,
                        struct im_text *text)
{
    const char *label = rd_shard_string(shard, shard->images[i].label);
    char word[NAME_MAX + 1];
    int split = shard->split, err = 0;
    int64_t added = 0;

    if (!build->has_labels) {
        err = folder_class(build, shard, i, word, &split, text);
        label = word;
    }
    if (err < 0 || split != IM_TRAIN)
        return err;
    while (added >= 0 && rd_shard_label_next(&label, word))
        if (all->count == 0 || strcmp(word, rd_names_at(all, all->count - 1)) != 0)
            added = rd_names_add(all, word);
    return added < 0 ? (int)added : 0;
}

/* Adds the different words of the training images, sorted. */
static int add_words(struct build *build, struct im_text *text)
{
    struct rd_names all = {0};
    int64_t added = 0;
    int err = 0;

    for (uint32_t s = 0; s < build->list.count && err == 0; s++)
        for (uint32_t i = 0; i < build->list.shards[s].count && err == 0; i++)
            err = add_words_of(build, &build->list.shards[s], i, &all, text);
    rd_names_sort(&all);
    for (uint32_t i = 0; i < all.count && err == 0; i++) {
        if (i == 0 || strcmp(rd_names_at(&all, i), rd_names_at(&all, i - 1)) != 0)
            added = rd_names_add(&build->classes.names, rd_names_at(&all, i));
        err = added < 0 ? (int)added : 0;
    }
    rd_names_fini(&all);
    return err;
}

/* What helps where no image has a label; "": nothing known. */
static const char *advice_for(const struct rd_shard_list *list)
{
    for (uint64_t i = 0; i < list->count; i++)
        if (strstr(list->shards[i].path, "ILSVRC2012_img_"))
            return "; these are ImageNet's archives as it is downloaded: examples/imagenet.sh unpacks and "
                   "sorts them";
    return "";
}

/* Numbers are places in a list of names: among names they would be names themselves, in the order of texts. */
static int fail_mixed(const struct build *build, struct im_text *text)
{
    const struct sample_of *name = &build->name, *number = &build->number;

    return im_fail(
        text, -EBADMSG,
        "the label of %.300s/%.300s is a name, and that of %.300s/%.300s a number: a file classes.txt "
        "beside the shards, with the name of each class on a line, says what they mean",
        name->shard->path, member_of(name->shard, name->image), number->shard->path,
        member_of(number->shard, number->image));
}

static int fail_unlabelled(const struct build *build, struct im_text *text)
{
    const struct rd_shard_list *list = &build->list;
    const char *first = list->count ? list->shards[0].path : "";
    uint64_t images = 0;

    for (uint32_t i = 0; i < list->count; i++)
        images += list->shards[i].count;
    if (images == 0)
        return im_fail(text, -EBADMSG, "no image is in the shards of '%.500s', the first of them %.300s",
                       build->layout->root, first);
    return im_fail(
        text, -EBADMSG, "no image in the shards of '%.500s' has a label, the first of them %.300s%s%s",
        build->layout->root, first,
        build->has_labels ? ": it stands in 000123.cls, or in the field label, labels, cls or class "
                            "of 000123.json"
                          : "",
        advice_for(list));
}

static int find_classes(struct build *build, struct im_text *text)
{
    int err = rd_shard_classes_read(build->root_fd, build->layout, &build->classes, text);

    if (err < 0)
        return err;
    if (!build->has_labels) {
        while (strip_one(build))
            ;
        find_roles(build);
    }
    err = build->has_labels ? look_at_labels(build, text) : 0;
    if (err < 0 || *build->classes.file)
        return err;
    if (build->form.has_names && build->form.has_numbers)
        return fail_mixed(build, text);
    build->by_number = build->form.has_numbers;
    err = build->by_number ? add_numbers(build, text) : add_words(build, text);
    if (err == 0 && build->classes.names.count == 0)
        err = fail_unlabelled(build, text);
    return err < 0 ? err : rd_shard_classes_settle(&build->classes, text);
}

/* ---- the index ---- */

static int fail_number(const struct build *build, const struct rd_shard *shard, uint32_t i, int64_t number,
                       struct im_text *text)
{
    return im_fail(text, -EBADMSG, "%.300s/%.300s has the label %lld, but %s names %u classes, 0 to %u",
                   shard->path, member_of(shard, i), (long long)number, build->classes.file,
                   build->classes.names.count, build->classes.names.count - 1);
}

/* The class that a label says; -ENOENT: there is none. */
static int64_t class_of(const struct build *build, const struct rd_shard *shard, uint32_t i, const char *word,
                        struct im_text *text)
{
    const int64_t number = rd_shard_label_number(word),
                  found = build->by_number ? -ENOENT : rd_shard_classes_find(&build->classes, word);

    if (found >= 0 || number < 0)
        return found >= 0 ? found : -ENOENT;
    return number < build->classes.names.count ? number : fail_number(build, shard, i, number, text);
}

/* The classes of an image, in build->sets. -ENOENT: `word` is none. */
static int collect_set(struct build *build, const struct rd_shard *shard, uint32_t i,
                       char word[RD_LABEL_BYTES], struct im_text *text)
{
    const char *at = rd_shard_string(shard, shard->images[i].label);
    const bool flags = rd_shard_form_is_flags(&build->form);
    uint32_t place = 0;

    rd_shard_set_begin(&build->sets);
    for (; rd_shard_label_next(&at, word); place++) {
        const int64_t class = flags ? (int64_t)place : class_of(build, shard, i, word, text);

        if (class < 0)
            return (int)class;
        if (flags && place >= build->classes.names.count)
            return im_fail(text, -EBADMSG, "%.300s/%.300s has %u labels of 0 and 1, but %s names %u classes",
                           shard->path, member_of(shard, i), build->form.length, build->classes.file,
                           build->classes.names.count);
        if (!flags || *word == '1')
            rd_shard_set_add(&build->sets, (uint32_t) class);
    }
    return 0;
}

/* All sets that images have, for the index. */
static int collect_sets(struct build *build, struct im_text *text)
{
    char word[RD_LABEL_BYTES];
    int err = rd_shard_sets_init(&build->sets, build->classes.names.count);

    for (uint32_t s = 0; s < build->list.count && err == 0; s++)
        for (uint32_t i = 0; i < build->list.shards[s].count && err == 0; i++) {
            const struct rd_shard *shard = &build->list.shards[s];

            if (shard->images[i].label)
                err = collect_set(build, shard, i, word, text);
            if (shard->images[i].label && err == 0)
                err = rd_shard_sets_add(&build->sets);
            else if (err == -ENOENT)
                err = 0; /* left out later */
        }
    return err < 0 ? err : rd_shard_sets_settle(&build->sets, build->writer);
}

/* The label of an image; -ENOENT: it has none among the classes. */
static int64_t label_of(struct build *build, const struct rd_shard *shard, uint32_t i, int *ret_split,
                        char word[RD_LABEL_BYTES], struct im_text *text)
{
    const char *at = rd_shard_string(shard, shard->images[i].label);
    int err;

    *ret_split = shard->split;
    if (!build->has_labels) {
        err = folder_class(build, shard, i, word, ret_split, text);
        return err < 0 ? err : rd_shard_classes_find(&build->classes, word);
    }
    if (!shard->images[i].label)
        return -ENOENT;
    if (build->layout->multi_label) {
        err = collect_set(build, shard, i, word, text);
        return err < 0 ? err : rd_shard_sets_find(&build->sets);
    }
    return rd_shard_label_next(&at, word) ? class_of(build, shard, i, word, text) : -ENOENT;
}

static int add_left_out(struct build *build, const struct rd_shard *shard, enum rd_skip kind,
                        const char *name, const char *note)
{
    char path[PATH_MAX + PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", shard->path, name);
    return rd_writer_left_out(build->writer, kind, path, note);
}

/* An image of a class, until all are sorted. */
struct placed {
    const char *name;
    uint32_t label, directory;
    struct rd_index_place place;
};

static int add_sample(struct build *build, enum im_split split, const struct placed *p)
{
    build->images[split]++;
    return rd_writer_part(build->writer, split, p->directory, p->name, p->label, &p->place);
}

static int keep(struct build *build, enum im_split split, const struct placed *p)
{
    void *grown = build->placed[split];

    if (build->placed_count[split] == build->placed_capacity[split]) {
        build->placed_capacity[split] = 2 * build->placed_capacity[split] + 64;
        grown = realloc(grown, build->placed_capacity[split] * sizeof *p);
        if (!grown)
            return -ENOMEM;
        build->placed[split] = grown;
    }
    build->placed[split][build->placed_count[split]++] = *p;
    return 0;
}

/* As index_build.c has them: by class, then by folder, then by name. */
static int by_class_and_name(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    const char *x_slash = strrchr(x->name, '/'), *y_slash = strrchr(y->name, '/');
    const size_t x_folder = x_slash ? (size_t)(x_slash - x->name) : 0,
                 y_folder = y_slash ? (size_t)(y_slash - y->name) : 0;
    int order;

    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    order = memcmp(x->name, y->name, x_folder < y_folder ? x_folder : y_folder);
    if (order == 0 && x_folder != y_folder)
        return x_folder < y_folder ? -1 : 1;
    if (order == 0)
        order = strcmp(x->name + x_folder, y->name + y_folder);
    if (order != 0)
        return order;
    if (x->directory != y->directory)
        return x->directory < y->directory ? -1 : 1;
    return x->place.offset < y->place.offset ? -1 : x->place.offset > y->place.offset;
}

static int add_sorted(struct build *build)
{
    int err = 0;

    for (int split = 0; split < IM_SPLITS; split++) {
        if (build->placed_count[split] > 0)
            qsort(build->placed[split], build->placed_count[split], sizeof *build->placed[split],
                  by_class_and_name);
        for (uint64_t i = 0; i < build->placed_count[split] && err == 0; i++)
            err = add_sample(build, (enum im_split)split, &build->placed[split][i]);
    }
    return err;
}

static int add_image(struct build *build, const struct rd_shard *shard, uint32_t i, uint32_t directory,
                     struct im_text *text)
{
    const struct rd_shard_image *image = &shard->images[i];
    char word[RD_LABEL_BYTES] = "";
    const char *name = member_of(shard, i), *file = rd_shard_string(shard, image->file);
    struct placed p;
    int split;
    const int64_t label = label_of(build, shard, i, &split, word, text);

    if (label == -ENOENT && !*word)
        return add_left_out(build, shard, RD_SKIP_UNLABELLED, name, "");
    if (label == -ENOENT)
        return add_left_out(build, shard, split == IM_VAL ? RD_SKIP_CLASS : RD_SKIP_UNLABELLED, name, word);
    if (label < 0)
        return (int)label;
    if (image->file && *file != '/' && !strstr(file, "..") && rd_is_image_name(file))
        name = file; /* that the file had before it was packed */
    p = (struct placed){name, (uint32_t)label, directory, {image->offset, image->bytes, image->mark, 0}};
    return build->has_labels ? add_sample(build, (enum im_split)split, &p)
                             : keep(build, (enum im_split)split, &p);
}

static bool leads_out(const struct build *build, const char *path)
{
    const char *root = build->layout->root;
    const size_t n = strlen(root);
    char whole[2 * PATH_MAX], real[PATH_MAX];

    snprintf(whole, sizeof whole, "%s/%s", root, path);
    return !realpath(whole, real) || strncmp(real, root, n) != 0 ||
           (real[n] != '/' && strcmp(root, "/") != 0);
}

static int add_shard(struct build *build, struct rd_shard *shard, struct im_text *text)
{
    const int64_t directory = rd_writer_directory(build->writer, shard->path);
    char note[128];
    int err = directory < 0 ? (int)directory : rd_writer_stamp(build->writer, shard->path, &shard->stamp);

    for (uint32_t i = 0; i < shard->count && err == 0; i++)
        err = add_image(build, shard, i, (uint32_t)directory, text);
    for (uint32_t i = 0; i < shard->skipped_count && err == 0; i++)
        err = add_left_out(build, shard, (enum rd_skip)shard->skipped[i].kind,
                           rd_shard_string(shard, shard->skipped[i].name),
                           rd_shard_string(shard, shard->skipped[i].note));
    if (err == 0 && shard->expected > shard->count && !*shard->cut.s && shard->err == 0) {
        snprintf(note, sizeof note, "%u samples, %u by %.60s", shard->count, shard->expected,
                 build->list.info);
        err = rd_writer_left_out(build->writer, RD_SKIP_CUT, shard->path, note);
    }
    return err;
}

static int stamp_file(struct build *build, const char *name)
{
    struct rd_stamp stamp;
    int err = *name ? rd_stamp_take(build->root_fd, name, &stamp) : 0;

    return err < 0 || !*name ? err : rd_writer_stamp(build->writer, name, &stamp);
}

/* What the index was made of beside the shards. */
static int add_rest(struct build *build)
{
    const struct rd_shard_list *list = &build->list;
    int err = stamp_file(build, list->info);

    if (err == 0 && strcmp(build->classes.file, list->info) != 0)
        err = stamp_file(build, build->classes.file);
    for (uint32_t i = 0; i < list->folders.count && err == 0; i++)
        err = stamp_file(build, rd_names_at(&list->folders, i));
    for (uint32_t i = 0; i < list->missing.count && err == 0; i++)
        err = rd_writer_left_out(build->writer, RD_SKIP_MISSING, rd_names_at(&list->missing, i),
                                 "a shard that _info.json names");
    for (uint32_t i = 0; i < list->packed.count && err == 0; i++)
        err = rd_writer_left_out(build->writer, RD_SKIP_CUT, rd_names_at(&list->packed, i),
                                 "it is compressed: unpack it to a plain tar");
    for (uint32_t i = 0; i < list->others.count && err == 0; i++)
        err = rd_writer_left_out(build->writer, RD_SKIP_OTHER, rd_names_at(&list->others, i),
                                 "a shard whose name says neither train nor val");
    return err;
}

/* NULL: all could be read. */
static const struct rd_shard *first_unusable(const struct build *build)
{
    for (uint32_t i = 0; i < build->list.count; i++)
        if (build->list.shards[i].err < 0)
            return &build->list.shards[i];
    return NULL;
}

static int add_all(struct build *build, bool *ret_leads_out, struct im_text *text)
{
    int64_t err = 0;

    for (uint32_t i = 0; i < build->classes.names.count && err >= 0; i++)
        err = rd_writer_class(build->writer, rd_names_at(&build->classes.names, i));
    if (err >= 0 && build->layout->multi_label)
        err = build->has_labels ? collect_sets(build, text) : rd_writer_single_sets(build->writer);
    for (uint32_t s = 0; s < build->list.count && err >= 0; s++) {
        err = add_shard(build, &build->list.shards[s], text);
        *ret_leads_out |= leads_out(build, build->list.shards[s].path);
        if (build->has_labels)
            rd_shard_fini(&build->list.shards[s]);
    }
    if (err >= 0)
        err = add_sorted(build);
    if (err >= 0)
        err = add_rest(build);
    if (err >= 0 && build->images[IM_TRAIN] == 0) {
        const struct rd_shard *unusable = first_unusable(build);

        err = im_fail(text, -EBADMSG,
                      "the shards of '%.300s' hold no training image with a class%s%.200s%s%.300s",
                      build->layout->root, unusable ? "; " : "", unusable ? unusable->path : "",
                      unusable ? " cannot be used: " : "", unusable ? unusable->why.s : "");
    }
    return err < 0 ? (int)err : 0;
}

int rd_index_build_shards(const struct rd_layout *layout, int root_fd, const struct rd_progress *progress,
                          struct rd_index_writer *writer, bool *ret_leads_out, struct im_text *text)
{
    struct build build = {.layout = layout,
                          .root_fd = root_fd,
                          .progress = progress,
                          .writer = writer,
                          .in_mirror = rd_mirror_length(layout->root) > 0};
    int err = scan(&build, text);

    *ret_leads_out = false;
    if (err == 0)
        err = find_classes(&build, text);
    if (err == 0)
        err = add_all(&build, ret_leads_out, text);
    free(build.placed[IM_TRAIN]);
    free(build.placed[IM_VAL]);
    rd_shard_sets_fini(&build.sets);
    rd_shard_classes_fini(&build.classes);
    rd_shard_list_fini(&build.list);
    return err;
}
