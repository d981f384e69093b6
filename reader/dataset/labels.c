/* Several sources, one result: a class for each validation image, found by the image's name without its ending.
 *
 * val.txt needs care. The copy in ILSVRC's ImageSets/CLS-LOC numbers its lines ("ILSVRC2012_val_00000001 1");
 * used as labels that trains without any error and validates at chance. Caffe's copy holds classes from 0,
 * others classes from 1. So: numbers that only count lines are refused; 0 .. C-1 is recognised by a 0 in it,
 * 1 .. C by a C; where neither occurs the file is refused as well. The devkit's
 * ILSVRC2012_validation_ground_truth.txt uses numbers of its own: devkit.h says which class each is. */
#include "reader/dataset/labels.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "reader/dataset/devkit.h"
#include "reader/dataset/parallel.h"
#include "reader/dataset/table.h"

#define FILE_BYTES_MAX ((size_t)64 << 20)
#define XML_BYTES_MAX ((size_t)1 << 20)
#define CLASS_MAX 256
#define VAL_STEM "ILSVRC2012_val_" /* of ILSVRC2012 and all later ones */
#define STEM_BYTES (sizeof VAL_STEM + 20)

/* One line of a file of labels: image stem and class as text, pointing into the file's bytes. */
struct line {
    char *stem, *class;
};

struct lines {
    char *bytes;
    struct line *items;
    size_t count;
};

static void cut_ending(char *name)
{
    char *dot = strrchr(name, '.');

    if (dot)
        *dot = '\0';
}

static void lines_fini(struct lines *lines)
{
    free(lines->bytes);
    free(lines->items);
}

/* Splits a file into lines of two words, in place. The separators between them are blanks or one comma. */
static int lines_read(const char *path, struct lines *lines, struct im_text *text)
{
    size_t n, count = 1;
    char *next, *line;
    int err = im_read_file(path, FILE_BYTES_MAX, &lines->bytes, &n, text);

    if (err < 0)
        return err;
    for (size_t i = 0; i < n; i++)
        count += lines->bytes[i] == '\n';
    lines->items = calloc(count, sizeof *lines->items);
    if (!lines->items)
        return -ENOMEM;
    for (line = strtok_r(lines->bytes, "\r\n", &next); line; line = strtok_r(NULL, "\r\n", &next)) {
        char *rest, *stem = strtok_r(line, ", \t", &rest), *class = strtok_r(NULL, ", \t", &rest);

        if (stem && class) {
            cut_ending(stem);
            lines->items[lines->count++] = (struct line){stem, class};
        }
    }
    return 0;
}

/* The rows of a table of classes, likewise. */
static int lines_of_table(const char *path, struct lines *lines, struct im_text *text)
{
    struct rd_table table = {.count = 0};
    int err = rd_table_read(path, UINT64_MAX, false, &table, text);

    if (err < 0)
        return err;
    lines->items = calloc(table.count, sizeof *lines->items);
    if (!lines->items) {
        rd_table_fini(&table);
        return -ENOMEM;
    }
    lines->bytes = table.strings.bytes;
    table.strings.bytes = NULL;
    for (uint64_t i = 0; i < table.count; i++) {
        char *file = lines->bytes + table.rows[i].file, *slash = strrchr(file, '/');
        char *stem = slash ? slash + 1 : file;

        cut_ending(stem);
        lines->items[lines->count++] = (struct line){stem, lines->bytes + table.rows[i].class};
    }
    rd_table_fini(&table);
    return 0;
}

/* A decimal number below 2^31, or -1. */
static int64_t number(const char *word)
{
    char *end;
    long value;

    if (*word < '0' || *word > '9')
        return -1;
    errno = 0;
    value = strtol(word, &end, 10);
    return *end || errno || value > INT32_MAX ? -1 : value;
}

/* Before the last line that is not. */
static bool has_empty_line(const char *bytes)
{
    bool is_empty = true, had_one = false;

    for (; *bytes; bytes++) {
        if (*bytes == '\n') {
            had_one |= is_empty;
            is_empty = true;
        } else if (!strchr(" \t\r", *bytes)) {
            if (had_one)
                return true;
            is_empty = false;
        }
    }
    return false;
}

/* Line i is of image i + 1: gives each line the stem of that image. The names of the classes go into *numbering, where
 * numbers stand for them. */
static int lines_of_devkit(const char *path, const struct rd_numbering *numbering, struct lines *lines,
                           struct im_text *text)
{
    size_t n, count = 1, used = 0;
    char *bytes, *stems, *next, *line;
    int err = im_read_file(path, FILE_BYTES_MAX, &bytes, &n, text);

    if (err < 0)
        return err;
    for (size_t i = 0; i < n; i++)
        count += bytes[i] == '\n';
    if (has_empty_line(bytes)) {
        free(bytes);
        return im_fail(text, -EBADMSG, "'%.700s' has an empty line, so that lines and images do not match",
                       path);
    }
    lines->items = calloc(count, sizeof *lines->items);
    lines->bytes = realloc(bytes, n + 1 + count * STEM_BYTES);
    if (!lines->items || !lines->bytes) {
        if (!lines->bytes)
            free(bytes);
        return -ENOMEM;
    }
    stems = lines->bytes + n + 1;
    for (line = strtok_r(lines->bytes, "\r\n", &next); line && err == 0;
         line = strtok_r(NULL, "\r\n", &next)) {
        char *rest, *class = strtok_r(line, " \t", &rest);
        const int64_t value = class && numbering ? number(class) : 0;
        const char *name = !numbering  ? class
                           : value < 0 ? NULL
                                       : rd_numbering_name(numbering, (uint64_t)value);

        if (!class)
            continue;
        if (!name || strtok_r(NULL, " \t", &rest))
            return im_fail(text, -EBADMSG, "'%.600s', line %zu: '%.100s' is none of the devkit's classes",
                           path, lines->count + 1, class);
        snprintf(stems + used, STEM_BYTES, VAL_STEM "%08zu", lines->count + 1);
        lines->items[lines->count++] = (struct line){stems + used, (char *)name};
        used += STEM_BYTES;
    }
    return err;
}

static int read_devkit(const struct rd_layout *layout, const char *path, struct rd_numbering *numbering,
                       struct lines *lines, struct im_text *text)
{
    char beside[PATH_MAX];
    int err;

    if (layout->labels == RD_LABELS_SYNSETS)
        return lines_of_devkit(path, NULL, lines, text);
    if (rd_devkit_find(AT_FDCWD, path, beside) < 0)
        return im_fail(text, -EBADMSG,
                       "'%.500s' gives classes by numbers of ILSVRC's devkit: put the devkit's meta.mat or "
                       "map_clsloc.txt beside it",
                       path);
    err = rd_devkit_read(beside, numbering, text);
    return err < 0 ? err : lines_of_devkit(path, numbering, lines, text);
}

/* What the first class has as its number: 0 or 1; -ENOENT where the file holds names instead of numbers. */
static int find_number_base(const char *path, const struct lines *lines, uint32_t class_count,
                            struct im_text *text)
{
    int64_t low = INT64_MAX, high = -1, difference = 0;
    int counts_lines = lines->count > 1;

    for (size_t i = 0; i < lines->count; i++) {
        int64_t value = number(lines->items[i].class);

        if (value < 0)
            return -ENOENT;
        low = value < low ? value : low;
        high = value > high ? value : high;
        if (i == 0)
            difference = value;
        counts_lines = counts_lines && value == difference + (int64_t)i;
    }
    if (counts_lines)
        return im_fail(text, -EBADMSG,
                       "'%.700s' numbers its lines and holds no labels (ILSVRC's own copy is like that): put "
                       "LOC_val_solution.csv or "
                       "Annotations/CLS-LOC/val beside it",
                       path);
    if (low == 0 && high < class_count)
        return 0;
    if (low >= 1 && high == class_count)
        return 1;
    return im_fail(text, -EBADMSG,
                   "'%.700s' holds numbers from %lld to %lld for %u classes: that is neither 0 to %u nor 1 "
                   "to %u, so what they mean "
                   "is not known. Use class names",
                   path, (long long)low, (long long)high, class_count, class_count - 1, class_count);
}

static int by_stem(const void *a, const void *b)
{
    return strcmp(((const struct line *)a)->stem, ((const struct line *)b)->stem);
}

static int64_t class_of(const struct line *line, const struct rd_names *classes, int number_base)
{
    return number_base < 0 ? rd_names_find(classes, line->class) : number(line->class) - number_base;
}

/* One file of lines, the images and the classes that it is read for, and what comes of it. */
struct labelling {
    const char *path;
    const struct rd_names *images, *classes;
    uint32_t *labels;
    struct rd_names *unknown;
};

static int add_unknown(const struct labelling *l, const char *class)
{
    int64_t added = rd_names_add(l->unknown, class);

    return added < 0 ? (int)added : 0;
}

static int label_from_lines(const struct labelling *l, struct lines *lines, int number_base,
                            struct im_text *text)
{
    int err = 0;

    qsort(lines->items, lines->count, sizeof *lines->items, by_stem);
    for (uint32_t i = 0; i < l->images->count && err == 0; i++) {
        char stem[NAME_MAX + 1];
        struct line key = {.stem = stem}, *line;
        int64_t class;

        snprintf(stem, sizeof stem, "%s", rd_names_at(l->images, i));
        cut_ending(stem);
        line = bsearch(&key, lines->items, lines->count, sizeof *lines->items, by_stem);
        if (!line)
            return im_fail(text, -EBADMSG, "'%.600s' has no label for the validation image '%.200s'", l->path,
                           rd_names_at(l->images, i));
        class = class_of(line, l->classes, number_base);
        l->labels[i] = class < 0 || class >= l->classes->count ? RD_NO_LABEL : (uint32_t) class;
        if (l->labels[i] == RD_NO_LABEL)
            err = add_unknown(l, line->class);
    }
    return err;
}

static int read_annotation(const struct labelling *all, uint32_t i, char *class, struct im_text *text)
{
    char path[PATH_MAX + NAME_MAX], stem[NAME_MAX + 1], *bytes = NULL;
    struct im_text why = {""};
    size_t n;
    int err;

    snprintf(stem, sizeof stem, "%s", rd_names_at(all->images, i));
    cut_ending(stem);
    if ((size_t)snprintf(path, sizeof path, "%s/%s.xml", all->path, stem) >= sizeof path)
        return -ENAMETOOLONG;
    err = im_read_file(path, XML_BYTES_MAX, &bytes, &n, text);
    if (err < 0)
        return err;
    err = rd_xml_class(bytes, n, class, CLASS_MAX, &why);
    free(bytes);
    return err < 0 ? im_fail(text, err, "the annotation '%.700s' cannot be used: %.200s", path, why.s) : 0;
}

static void label_from_annotation(void *context, uint64_t i)
{
    const struct labelling *all = context;
    char class[CLASS_MAX];
    int64_t found = -ENOENT;

    if (read_annotation(all, (uint32_t)i, class, NULL) == 0)
        found = rd_names_find(all->classes, class);
    all->labels[i] = found < 0 ? RD_NO_LABEL : (uint32_t)found;
}

/* Reads the one that gave no label again, for its class or the sentence. */
static int look_again(const struct labelling *all, uint32_t i, struct im_text *text)
{
    char class[CLASS_MAX];
    int err = read_annotation(all, i, class, text);

    if (err == -ENOENT)
        return im_fail(text, -EBADMSG, "the validation image '%.200s' has no annotation in '%.600s'",
                       rd_names_at(all->images, i), all->path);
    return err < 0 ? err : add_unknown(all, class);
}

static int label_from_annotations(struct labelling *all, struct im_text *text)
{
    struct rd_parallel parallel = {
        .count = all->images->count, .item = label_from_annotation, .context = all};
    int err = 0;

    rd_parallel(&parallel);
    for (uint32_t i = 0; i < all->images->count && err == 0; i++)
        if (all->labels[i] == RD_NO_LABEL)
            err = look_again(all, i, text);
    return err;
}

int rd_labels_read(const struct rd_layout *layout, const struct rd_names *images,
                   const struct rd_names *classes, uint32_t *ret_labels, struct rd_names *ret_unknown,
                   struct im_text *text)
{
    char path[2 * PATH_MAX];
    struct labelling all = {path, images, classes, ret_labels, ret_unknown};
    struct rd_numbering numbering = {.count = 0};
    struct lines lines = {0};
    int err, number_base = -ENOENT;

    snprintf(path, sizeof path, "%s%s%s", *layout->labels_path == '/' ? "" : layout->root,
             *layout->labels_path == '/' ? "" : "/", layout->labels_path);
    if (layout->labels == RD_LABELS_XML)
        return label_from_annotations(&all, text);
    if (layout->labels == RD_LABELS_DEVKIT || layout->labels == RD_LABELS_SYNSETS)
        err = read_devkit(layout, path, &numbering, &lines, text);
    else
        err = layout->labels == RD_LABELS_TABLE ? lines_of_table(path, &lines, text)
                                                : lines_read(path, &lines, text);
    if (err == 0 && (layout->labels == RD_LABELS_CSV || layout->labels == RD_LABELS_LIST))
        number_base = find_number_base(path, &lines, classes->count, text);
    if (number_base < 0 && number_base != -ENOENT)
        err = number_base;
    if (err == 0)
        err = label_from_lines(&all, &lines, number_base, text);
    lines_fini(&lines);
    rd_numbering_fini(&numbering);
    return err;
}
