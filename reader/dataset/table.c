#include "reader/dataset/table.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "reader/dataset/csv.h"
#include "reader/dataset/scan.h"
#include "reader/dataset/table_labels.h"

enum { CLASS_BYTES_MAX = RD_LABEL_BYTES - 1, FILE_BYTES_MAX = 4095 };

struct columns {
    int file, class, part; /* -1: none */
    int confidence;    /* of a row with one label: 0 says that it is none of the image; -1: no such column */
    bool part_is_flag; /* "is_valid": true is for validation */
    bool many;         /* a row has any number of labels */
    bool flags;        /* ... by a column for each class, which holds 0 or 1; class is -1 */
};

/* A table while it is read. */
struct reading {
    struct columns columns;
    struct rd_csv_row head; /* the first row, where it has the columns' names */
    char *labels;           /* of one row, with line feeds between them */
    size_t room;
};

/* "File_Name" is "filename". */
static void normalise(const char *name, char *ret, size_t size)
{
    size_t used = 0;

    for (; *name && used + 1 < size; name++)
        if (isalnum((unsigned char)*name))
            ret[used++] = (char)tolower((unsigned char)*name);
    ret[used] = 0;
}

static bool is_one_of(const char *name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, list[i]) == 0)
            return true;
    return false;
}

/* The first column, in the order of the names, so that "label" goes before "class id". */
static int find_column(const struct rd_csv_row *row, const char *const *names, size_t count)
{
    char name[64];

    for (size_t i = 0; i < count; i++) {
        for (uint32_t c = 0; c < row->count; c++) {
            normalise(row->fields[c], name, sizeof name);
            if (strcmp(name, names[i]) == 0)
                return (int)c;
        }
    }
    return -1;
}

static const char *const file_names[] = {
    "file",      "filename",  "filenames", "filepath", "filepaths",  "path",    "paths",   "image",
    "imagename", "imagefile", "imagepath", "imageid",  "images",     "imgname", "imgpath", "img",
    "imgid",     "fname",     "name",      "photo",    "imageindex", "id"};
static const char *const class_names[] = {"label",         "labels",  "class",   "classname",  "classnames",
                                          "category",      "target",  "breed",   "species",    "diagnosis",
                                          "tag",           "classid", "labelid", "categoryid", "labelname",
                                          "findinglabels", "dx"};
static const char *const confidence_names[] = {"confidence"}; /* Open Images */
static const char *const part_names[] = {"split",     "dataset", "subset", "set",
                                         "partition", "isvalid", "isval",  "isvalidation"};

/* Says which columns there are. */
static int fail_columns(const struct rd_csv_row *row, const char *path, const char *what, const char *more,
                        struct im_text *text)
{
    char names[512] = "";

    for (uint32_t c = 0; c < row->count; c++) {
        const size_t used = strlen(names);

        if (used + 1 < sizeof names)
            snprintf(names + used, sizeof names - used, "%s'%.40s'", c ? ", " : "", row->fields[c]);
    }
    return im_fail(text, -EBADMSG,
                   "%.300s has no column that is known to name %s: it has %.400s; name it in the first line "
                   "(file,label)%s",
                   path, what, names, more);
}

/* 1: the row has the columns' names; 0: it is none. */
static int find_columns(const struct rd_csv_row *row, const char *path, bool many, struct columns *ret,
                        struct im_text *text)
{
    bool is_image = false;
    char part[64] = "";

    for (uint32_t c = 0; c < row->count; c++)
        is_image |= rd_is_image_name(row->fields[c]);
    *ret = (struct columns){.file = find_column(row, file_names, IM_COUNT(file_names)),
                            .class = find_column(row, class_names, IM_COUNT(class_names)),
                            .part = find_column(row, part_names, IM_COUNT(part_names)),
                            .confidence = find_column(row, confidence_names, IM_COUNT(confidence_names)),
                            .many = many};
    if (!is_image && ret->file < 0 && ret->class < 0 && row->count > 2)
        return fail_columns(row, path, "the files", "", text); /* its second column need not be the class */
    if (is_image || (ret->file < 0 && ret->class < 0)) {
        *ret = (struct columns){.class = 1, .part = -1, .confidence = -1, .many = many};
        return row->count >= 2 ? 0 : fail_columns(row, path, "a class", "", text);
    }
    if (ret->file < 0 && row->count == 2)
        ret->file = 1 - ret->class;
    if (ret->class < 0 && row->count == 2)
        ret->class = 1 - ret->file;
    ret->flags = many && ret->file >= 0 && ret->class < 0;
    if (ret->file < 0)
        return fail_columns(row, path, "the files", "", text);
    if (ret->class < 0 && !ret->flags)
        return fail_columns(row, path, "the classes",
                            "; where each class has a column of 0 and 1: --multi-label", text);
    if (ret->part >= 0)
        normalise(row->fields[ret->part], part, sizeof part);
    ret->part_is_flag = strncmp(part, "is", 2) == 0;
    return 1;
}

/* -EINVAL: no word of a part. */
static int part_of(const char *word, bool is_flag, enum rd_part *ret)
{
    static const char *const train[] = {"train", "training", "trn"};
    static const char *const val[] = {"val", "valid", "validation", "dev", "eval"};
    static const char *const test[] = {"test", "testing", "tst"};
    static const char *const yes[] = {"1", "true", "yes", "t", "y"}, *const no[] = {"0", "false", "no", "f",
                                                                                    "n"};
    char name[64];

    normalise(word, name, sizeof name);
    if (is_flag && is_one_of(name, yes, IM_COUNT(yes)))
        *ret = RD_PART_VAL;
    else if (is_flag && is_one_of(name, no, IM_COUNT(no)))
        *ret = RD_PART_TRAIN;
    else if (is_one_of(name, train, IM_COUNT(train)))
        *ret = RD_PART_TRAIN;
    else if (is_one_of(name, val, IM_COUNT(val)))
        *ret = RD_PART_VAL;
    else if (is_one_of(name, test, IM_COUNT(test)))
        *ret = RD_PART_TEST;
    else
        return -EINVAL;
    return 0;
}

/* In place: backslashes of Windows, "./" and doubled slashes. */
static const char *clean_path(char *path)
{
    char *to = path;

    if (!strchr(path, '/'))
        for (char *c = path; *c; c++)
            *c = *c == '\\' ? '/' : *c;
    while (path[0] == '.' && path[1] == '/')
        to = path += 2;
    for (const char *from = path; *from; from++)
        if (from[0] != '/' || from[1] != '/')
            *to++ = *from;
    *to = 0;
    return path;
}

static int grow(struct rd_table *table)
{
    uint64_t capacity = 2 * table->capacity + 256;
    void *grown;

    if (table->count < table->capacity)
        return 0;
    grown = realloc(table->rows, capacity * sizeof *table->rows);
    if (!grown)
        return -ENOMEM;
    table->rows = grown;
    table->capacity = capacity;
    return 0;
}

static int table_add(struct rd_table *table, const char *file, const char *class, uint64_t line,
                     enum rd_part part)
{
    int64_t file_at = rd_names_add(&table->strings, file), class_at;
    int err = grow(table);

    /* The class of the row before is a likely one: tables are often sorted. */
    if (table->count > 0 && strcmp(rd_table_string(table, table->rows[table->count - 1].class), class) == 0)
        class_at = table->rows[table->count - 1].class;
    else
        class_at = rd_names_add(&table->strings, class);
    if (file_at < 0 || class_at < 0 || err < 0)
        return err < 0 ? err : (int)(file_at < 0 ? file_at : class_at);
    table->rows[table->count++] = (struct rd_table_row){.file = (uint32_t)file_at,
                                                        .class = (uint32_t)class_at,
                                                        .line = line > UINT32_MAX ? 0 : (uint32_t)line,
                                                        .part = part};
    return 0;
}

/* The column of row numbers that pandas writes: its name is empty, and "Unnamed: 0" once it was read and written again. */
static bool is_row_number(const char *name)
{
    static const char word[] = "unnamed";
    const size_t letters = sizeof word - 1;
    char normal[64] = "";

    normalise(name, normal, sizeof normal);
    return *name == 0 || (memcmp(normal, word, letters) == 0 && normal[letters] &&
                          normal[letters + strspn(normal + letters, "0123456789")] == 0);
}

/* Puts the labels of a row into r->labels: of the columns that hold 1, or of all fields behind the file. */
static int collect_labels(struct reading *r, const struct rd_csv_row *row, const char *path, uint64_t line,
                          struct im_text *text)
{
    const struct rd_csv_row *names = r->columns.flags ? &r->head : row;
    size_t room = 1, used = 0;

    for (uint32_t c = 0; c < names->count; c++)
        room += strlen(names->fields[c]) + 1;
    if (room > r->room) {
        free(r->labels);
        r->labels = malloc(room);
        r->room = r->labels ? room : 0;
    }
    if (!r->labels)
        return -ENOMEM;
    r->labels[0] = 0;
    for (uint32_t c = 0; c < row->count && c < names->count; c++) {
        const int flag = r->columns.flags ? rd_table_flag(row->fields[c]) : 1;

        if ((int)c == r->columns.file || (int)c == r->columns.part ||
            (r->columns.flags && is_row_number(names->fields[c])))
            continue;
        if (flag < 0)
            return im_fail(
                text, -EBADMSG,
                "%.500s, line %llu: '%.60s' in column '%.60s' is neither 0 nor 1; a table of several "
                "labels has one column of them (file,labels), or a column of 0 and 1 for each class",
                path, (unsigned long long)line, row->fields[c], names->fields[c]);
        if (flag)
            used += (size_t)snprintf(r->labels + used, r->room - used, "%s\n", names->fields[c]);
    }
    return 0;
}

/* Fields of 0 and 1 without a line that names their classes would all be classes "0" and "1". */
static bool lacks_names(const struct rd_csv_row *row)
{
    uint32_t flags = 0;

    for (uint32_t c = 1; c < row->count; c++)
        flags += *row->fields[c] && rd_table_flag(row->fields[c]) >= 0;
    return row->count > 2 && flags == row->count - 1;
}

/* Somebody looked, and the label is not one of the image. */
static bool is_denied(const struct columns *columns, const struct rd_csv_row *row)
{
    char *end = NULL;

    return columns->confidence >= 0 && columns->confidence < (int)row->count &&
           strtod(row->fields[columns->confidence], &end) <= 0 && end != row->fields[columns->confidence];
}

static int add_labels(struct rd_table *table, struct reading *r, struct rd_csv_row *row, const char *path,
                      uint64_t line, struct im_text *text)
{
    const struct columns *columns = &r->columns;
    const bool is_split = columns->flags || (!table->has_header && row->count > 2);
    const int needed = columns->part > columns->file ? columns->part : columns->file;
    enum rd_part part = RD_PART_NONE;
    const char *file;
    int err = 0;

    if (needed >= (int)row->count || (columns->flags && row->count != r->head.count))
        return im_fail(text, -EBADMSG, "%.500s, line %llu: it has %u fields, and needs %u", path,
                       (unsigned long long)line, row->count,
                       columns->flags ? r->head.count : (unsigned)needed + 1);
    if (columns->flags && row->count == RD_CSV_FIELDS_MAX)
        return im_fail(text, -EBADMSG, "%.500s has more than %d columns", path, RD_CSV_FIELDS_MAX - 1);
    if (!table->has_header && lacks_names(row))
        return im_fail(text, -EBADMSG,
                       "%.500s has columns of 0 and 1 without names: its first line must name the classes "
                       "(file,cat,dog)",
                       path);
    file = clean_path(row->fields[columns->file]);
    if (!*file || strlen(file) > FILE_BYTES_MAX)
        return im_fail(text, -EBADMSG, "%.500s, line %llu: the file %s", path, (unsigned long long)line,
                       *file ? "is too long" : "is empty");
    if (columns->part >= 0 && part_of(row->fields[columns->part], columns->part_is_flag, &part) < 0)
        return im_fail(text, -EBADMSG, "%.500s, line %llu: '%.60s' is no part of a set: train, val or test",
                       path, (unsigned long long)line, row->fields[columns->part]);
    if (is_split)
        err = collect_labels(r, row, path, line, text);
    if (err < 0)
        return err;
    return table_add(table, file,
                     is_split                           ? r->labels
                     : is_denied(columns, row)          ? ""
                     : columns->class < (int)row->count ? row->fields[columns->class]
                                                        : "",
                     line, part);
}

static int add_row(struct rd_table *table, struct reading *r, struct rd_csv_row *row, const char *path,
                   uint64_t line, struct im_text *text)
{
    const struct columns *columns = &r->columns;
    const int last = columns->part > columns->file && columns->part > columns->class ? columns->part
                     : columns->file > columns->class                                ? columns->file
                                                                                     : columns->class;
    enum rd_part part = RD_PART_NONE;
    const char *file, *class;

    if (columns->many)
        return add_labels(table, r, row, path, line, text);
    if (last >= (int)row->count)
        return im_fail(text, -EBADMSG, "%.500s, line %llu: it has %u fields, and needs %d", path,
                       (unsigned long long)line, row->count, last + 1);
    file = clean_path(row->fields[columns->file]);
    class = row->fields[columns->class];
    if (!*file || !*class)
        return im_fail(text, -EBADMSG, "%.500s, line %llu: %s", path, (unsigned long long)line,
                       *file ? "the class is empty (images without a label: --multi-label)"
                             : "the file is empty");
    if (strlen(class) > CLASS_BYTES_MAX || strlen(file) > FILE_BYTES_MAX)
        return im_fail(text, -EBADMSG, "%.500s, line %llu: %s has %zu bytes, which is too long", path,
                       (unsigned long long)line, strlen(class) > CLASS_BYTES_MAX ? "the class" : "the file",
                       strlen(class) > CLASS_BYTES_MAX ? strlen(class) : strlen(file));
    if (columns->part >= 0 && part_of(row->fields[columns->part], columns->part_is_flag, &part) < 0)
        return im_fail(text, -EBADMSG, "%.500s, line %llu: '%.60s' is no part of a set: train, val or test",
                       path, (unsigned long long)line, row->fields[columns->part]);
    return table_add(table, file, class, line, part);
}

static int read_rows(struct rd_csv *csv, const char *path, uint64_t rows_max, bool many, struct reading *r,
                     struct rd_table *table, struct im_text *text)
{
    struct rd_csv_row row;
    struct im_text why = {""};
    int got = rd_csv_next(csv, &row, &why), header = 0;

    if (got == 1)
        header = find_columns(&row, path, many, &r->columns, text);
    if (header < 0)
        return header;
    table->has_header = header == 1;
    table->has_parts = header == 1 && r->columns.part >= 0;
    r->head = row;
    if (header == 1)
        got = rd_csv_next(csv, &row, &why);
    while (got == 1 && table->count < rows_max) {
        int err = add_row(table, r, &row, path, csv->line, text);

        if (err < 0)
            return err;
        got = rd_csv_next(csv, &row, &why);
    }
    return got < 0 ? im_fail(text, got, "%.500s, %.300s", path, why.s) : 0;
}

static int read_table(struct rd_csv *csv, const char *path, uint64_t rows_max, bool many,
                      struct rd_table *ret_table, struct im_text *text)
{
    struct reading *r = calloc(1, sizeof *r);
    struct rd_table table = {.count = 0};
    int err = r ? read_rows(csv, path, rows_max < RD_TABLE_ROWS_MAX ? rows_max : RD_TABLE_ROWS_MAX, many, r,
                            &table, text)
                : -ENOMEM;

    if (err == 0 && table.count == 0)
        err = im_fail(text, -EBADMSG, "%.700s holds no rows", path);
    if (err == 0 && table.count == RD_TABLE_ROWS_MAX)
        err = im_fail(text, -EFBIG, "%.700s has more than %llu rows", path,
                      (unsigned long long)RD_TABLE_ROWS_MAX - 1);
    if (err == 0 && many)
        err = rd_table_settle_labels(&table, path, text);
    if (r)
        free(r->labels);
    free(r);
    rd_csv_fini(csv);
    if (err < 0)
        rd_table_fini(&table);
    else
        *ret_table = table;
    return err;
}

int rd_table_read(const char *path, uint64_t rows_max, bool multi_label, struct rd_table *ret_table,
                  struct im_text *text)
{
    struct rd_csv csv = {.bytes = NULL};
    int err = rd_csv_open(path, &csv, text);

    return err < 0 ? err : read_table(&csv, path, rows_max, multi_label, ret_table, text);
}

int rd_table_take(char *bytes, size_t n, const char *path, uint64_t rows_max, bool multi_label,
                  struct rd_table *ret_table, struct im_text *text)
{
    struct rd_csv csv;

    rd_csv_take(bytes, n, &csv);
    return read_table(&csv, path, rows_max, multi_label, ret_table, text);
}

void rd_table_fini(struct rd_table *table)
{
    rd_names_fini(&table->strings);
    free(table->rows);
    *table = (struct rd_table){.count = 0};
}
