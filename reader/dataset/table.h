/* Tables that give images their classes: a column of files, one of classes, and maybe one that says which part of the
 * set a row belongs to. Columns are found by the names in the first line, if it has any; otherwise they are file and
 * class, in this order. */
#ifndef READER_DATASET_TABLE_H
#define READER_DATASET_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"
#include "reader/dataset/names.h"

#define RD_LABEL_BYTES 256 /* with its NUL */
#define RD_TABLE_ROWS_MAX UINT64_C(100000000)

enum rd_part { RD_PART_NONE, RD_PART_TRAIN, RD_PART_VAL, RD_PART_TEST };

struct rd_table_row {
    uint32_t file, class; /* strings; with multi_label, class holds the row's labels, sorted, each
                              * once, a line feed behind each */
    uint32_t line;        /* of the file, from 1 on; 0 beyond 4 billion */
    enum rd_part part;    /* NONE: the table has no such column */
};

/* Zero-initialise; read; fini. */
struct rd_table {
    struct rd_names strings;
    struct rd_table_row *rows;
    uint64_t count, capacity;
    bool has_header, has_parts;
};

/* Reads at most rows_max rows; multi_label: of any number of labels (table_labels.h). Files are given as paths with slashes, without "./" in front. -EBADMSG with a sentence:
 * no such table; other negative errno. */
int rd_table_read(const char *path, uint64_t rows_max, bool multi_label, struct rd_table *ret_table,
                  struct im_text *text);

/* For tests, which have no file: the same of n malloc'ed bytes with a NUL after the last, which it takes; `path` names them in sentences. */
int rd_table_take(char *bytes, size_t n, const char *path, uint64_t rows_max, bool multi_label,
                  struct rd_table *ret_table, struct im_text *text);
void rd_table_fini(struct rd_table *table);

static inline const char *rd_table_string(const struct rd_table *table, uint32_t string)
{
    return table->strings.bytes + string;
}

#endif
