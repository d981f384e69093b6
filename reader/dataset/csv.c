/* Fields are cut out in place: a field never gets longer by taking its quotes away. */
#include "reader/dataset/csv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static char find_separator(const char *at, const char *end)
{
    static const char separators[] = {',', ';', '\t'};
    size_t counts[IM_COUNT(separators)] = {0}, best = 0;
    int quoted = 0;

    while (at < end && (*at == '\n' || *at == '\r'))
        at++;
    for (; at < end && ((*at != '\n' && *at != '\r') || quoted); at++) {
        quoted ^= *at == '"';
        for (size_t i = 0; i < IM_COUNT(separators); i++)
            counts[i] += !quoted && *at == separators[i];
    }
    for (size_t i = 1; i < IM_COUNT(separators); i++)
        if (counts[i] > counts[best])
            best = i;
    return counts[best] > 0 ? separators[best] : ' ';
}

void rd_csv_take(char *bytes, size_t n, struct rd_csv *csv)
{
    static const char mark[] = "\xef\xbb\xbf";

    *csv = (struct rd_csv){.bytes = bytes, .at = bytes, .end = bytes + n};
    if (n >= 3 && memcmp(bytes, mark, 3) == 0)
        csv->at += 3;
    csv->separator = find_separator(csv->at, csv->end);
    csv->is_binary = memchr(bytes, 0, n) != NULL;
    csv->is_utf16 =
        n >= 2 && csv->is_binary && (memcmp(bytes, "\xff\xfe", 2) == 0 || memcmp(bytes, "\xfe\xff", 2) == 0);
}

int rd_csv_open(const char *path, struct rd_csv *csv, struct im_text *text)
{
    char *bytes = NULL;
    size_t n;
    int err = im_read_file(path, RD_CSV_BYTES_MAX, &bytes, &n, text);

    if (err == 0)
        rd_csv_take(bytes, n, csv);
    return err;
}

static int csv_error(const struct rd_csv *csv, const char *why, struct im_text *text)
{
    return im_fail(text, -EBADMSG, "line %llu: %s", (unsigned long long)csv->line, why);
}

/* Behind the end of a line: \n, \r\n or \r. */
static char *skip_line_end(char *at, const char *end)
{
    if (at < end && *at == '\r')
        at++;
    else if (at < end && *at == '\n')
        return at + 1;
    return at < end && *at == '\n' ? at + 1 : at;
}

/* Ends the field [first, last) without the blanks around it. */
static char *trim(char *first, char *last)
{
    while (first < last && is_blank(*first))
        first++;
    while (last > first && is_blank(last[-1]))
        last--;
    *last = 0;
    return first;
}

/* A field in quotes that begins at csv->at, moved together. Line ends inside count as lines: *ret_lines. */
static int quoted_field(struct rd_csv *csv, char **ret_field, uint64_t *ret_lines, struct im_text *text)
{
    char *from = csv->at + 1, *to = csv->at;

    *ret_field = to;
    for (; from < csv->end; from++) {
        if (*from == '"' && from + 1 < csv->end && from[1] == '"')
            from++;
        else if (*from == '"')
            break;
        *ret_lines += *from == '\n';
        *to++ = *from;
    }
    if (from >= csv->end)
        return csv_error(csv, "a quote has no other one that ends it", text);
    *to = 0;
    csv->at = from + 1;
    while (csv->at < csv->end && *csv->at == ' ')
        csv->at++;
    if (csv->at < csv->end && *csv->at != csv->separator && *csv->at != '\n' && *csv->at != '\r')
        return csv_error(csv, "a field goes on behind its quotes", text);
    return 0;
}

static char *plain_field(struct rd_csv *csv)
{
    char *first = csv->at;

    while (csv->at < csv->end && *csv->at != csv->separator && *csv->at != '\n' && *csv->at != '\r')
        csv->at++;
    return first;
}

/* Two fields, parted by the last blank. */
static void split_at_blank(struct rd_csv *csv, struct rd_csv_row *row)
{
    char *first, *last, *blank;

    while (csv->at < csv->end && is_blank(*csv->at))
        csv->at++;
    first = csv->at;
    while (csv->at < csv->end && *csv->at != '\n' && *csv->at != '\r')
        csv->at++;
    last = csv->at;
    csv->at = skip_line_end(last, csv->end);
    while (last > first && is_blank(last[-1]))
        last--;
    blank = last;
    while (blank > first && !is_blank(blank[-1]))
        blank--;
    row->fields[row->count++] = trim(first, blank > first ? blank - 1 : last);
    if (blank > first) {
        *last = 0;
        row->fields[row->count++] = blank;
    }
}

static int take_fields(struct rd_csv *csv, struct rd_csv_row *row, uint64_t *lines, struct im_text *text)
{
    for (;;) {
        char *field, *last;
        int quoted, is_last;

        while (csv->at < csv->end && *csv->at == ' ')
            csv->at++;
        quoted = csv->at < csv->end && *csv->at == '"';
        if (quoted && quoted_field(csv, &field, lines, text) < 0)
            return -EBADMSG;
        if (!quoted)
            field = plain_field(csv);
        last = csv->at;
        is_last = last == csv->end || *last != csv->separator;
        csv->at = is_last ? skip_line_end(last, csv->end) : last + 1;
        if (!quoted)
            field = trim(field, last);
        if (row->count < RD_CSV_FIELDS_MAX)
            row->fields[row->count++] = field;
        if (is_last)
            return 0;
    }
}

static int next(struct rd_csv *csv, struct rd_csv_row *row, struct im_text *text)
{
    uint64_t lines = 0;
    int err = 0;

    *row = (struct rd_csv_row){.count = 0};
    csv->line++;
    if (csv->separator == ' ')
        split_at_blank(csv, row);
    else
        err = take_fields(csv, row, &lines, text);
    csv->line += lines;
    return err;
}

int rd_csv_next(struct rd_csv *csv, struct rd_csv_row *ret_row, struct im_text *text)
{
    int err;

    if (csv->is_utf16)
        return im_fail(text, -EBADMSG, "line 1: the text is UTF-16; save it as UTF-8");
    if (csv->is_binary)
        return im_fail(text, -EBADMSG, "it holds a NUL byte, as no text does");
    while (csv->at < csv->end) {
        err = next(csv, ret_row, text);
        if (err < 0)
            return err;
        if (ret_row->count > 1 || *ret_row->fields[0])
            return 1;
    }
    return 0;
}

void rd_csv_fini(struct rd_csv *csv)
{
    free(csv->bytes);
    *csv = (struct rd_csv){0};
}
