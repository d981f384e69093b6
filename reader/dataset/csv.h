/* Tables as people write them: RFC 4180 (quotes, "" for a quote inside, line ends of any kind, a byte order mark), with
 * commas, semicolons or tabs between the fields, whichever the first line has most of. A file without any of them has
 * two fields a line, parted by the last blank: "my cat.jpg 3". */
#ifndef READER_DATASET_CSV_H
#define READER_DATASET_CSV_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/base/err.h"

#define RD_CSV_FIELDS_MAX 2048 /* of a row; more are passed over */
#define RD_CSV_BYTES_MAX ((size_t)1 << 30)

/* Zero-initialise; open or take; next until 0; fini. */
struct rd_csv {
    char *bytes, *at, *end;
    char separator;
    int is_binary, is_utf16;
    uint64_t line; /* of the row that next gave, from 1 on */
};

struct rd_csv_row {
    char *fields[RD_CSV_FIELDS_MAX]; /* into the file's bytes, without blanks around them */
    uint32_t count;
};

/* Reads the file whole. -EFBIG and other negative errno with a sentence. */
int rd_csv_open(const char *path, struct rd_csv *csv, struct im_text *text);

/* Of n malloc'ed bytes with a NUL after the last; takes them. */
void rd_csv_take(char *bytes, size_t n, struct rd_csv *csv);

/* The next row that is not empty. 1: there it is, 0: the end, -EBADMSG with a sentence ("line 3: ..."). */
int rd_csv_next(struct rd_csv *csv, struct rd_csv_row *ret_row, struct im_text *text);
void rd_csv_fini(struct rd_csv *csv);

#endif
