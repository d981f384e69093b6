#include "reader/dataset/table_labels.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ipc/base/count.h"

int rd_table_flag(const char *cell)
{
    static const char *const yes[] = {"1", "1.0", "true", "yes", "t", "y"};
    static const char *const no[] = {"0", "0.0", "-1", "-1.0", "false", "no", "f", "n", ""};

    for (size_t i = 0; i < IM_COUNT(yes); i++)
        if (strcasecmp(cell, yes[i]) == 0)
            return 1;
    for (size_t i = 0; i < IM_COUNT(no); i++)
        if (strcasecmp(cell, no[i]) == 0)
            return 0;
    return -EINVAL;
}

const char *rd_table_next_label(const char **at, char label[RD_LABEL_BYTES])
{
    const size_t n = strcspn(*at, "\n");

    if (!**at)
        return NULL;
    memcpy(label, *at, n < RD_LABEL_BYTES ? n : RD_LABEL_BYTES - 1);
    label[n < RD_LABEL_BYTES ? n : RD_LABEL_BYTES - 1] = 0;
    *at += n + ((*at)[n] == '\n');
    return label;
}

/* Between the labels of a row: a line feed where fields or columns have parted them already. */
static char find_separator(const struct rd_table *table)
{
    static const char order[] = "|;,";
    bool has[3] = {false}, blank = false, parted = false;

    for (uint64_t i = 0; i < table->count; i++) {
        const char *s = rd_table_string(table, table->rows[i].class);

        for (int k = 0; k < 3; k++)
            has[k] |= strchr(s, order[k]) != NULL;
        blank |= strchr(s, ' ') != NULL;
        parted |= strchr(s, '\n') != NULL;
    }
    if (parted)
        return '\n';
    for (int k = 0; k < 3; k++)
        if (has[k])
            return order[k];
    return blank ? ' ' : '\n';
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Without the blanks, quotes and brackets around it. */
static char *strip(char *s)
{
    static const char around[] = " \t\r'\"[]";
    size_t n;

    s += strspn(s, around);
    n = strlen(s);
    while (n > 0 && strchr(around, s[n - 1]))
        n--;
    s[n] = 0;
    return s;
}

/* What one row needs while its labels are put in order. */
struct scratch {
    char *copy, *list;
    const char **label;
    size_t room; /* bytes of copy and list, and labels */
};

static int make_room(struct scratch *s, size_t n)
{
    if (n <= s->room)
        return 0;
    free(s->copy);
    free(s->list);
    free(s->label);
    *s = (struct scratch){
        .copy = malloc(2 * n), .list = malloc(2 * n), .label = malloc(2 * n * sizeof *s->label)};
    s->room = s->copy && s->list && s->label ? 2 * n : 0;
    return s->room ? 0 : -ENOMEM;
}

/* A name that lists write in brackets keeps none of its own. */
static int settle(struct rd_table *table, struct rd_table_row *row, char separator, struct scratch *s)
{
    const char *written = rd_table_string(table, row->class);
    const char separators[] = {separator, '\n', 0};
    size_t count = 0, used = 0;
    char *rest = NULL;
    int64_t at;
    int err = make_room(s, strlen(written) + 2);

    if (err < 0)
        return err;
    memcpy(s->copy, written, strlen(written) + 1);
    for (char *word = strtok_r(s->copy, separators, &rest); word; word = strtok_r(NULL, separators, &rest)) {
        s->label[count] = strip(word);
        if (strlen(s->label[count]) >= RD_LABEL_BYTES)
            return -EBADMSG;
        count += *s->label[count] != 0;
    }
    qsort(s->label, count, sizeof *s->label, by_name);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(s->label[i], s->label[i - 1]) == 0)
            continue;
        used += (size_t)snprintf(s->list + used, s->room - used, "%s\n", s->label[i]);
    }
    s->list[used] = 0; /* of a row without labels too */
    at = rd_names_add(&table->strings, s->list);
    row->class = (uint32_t)at;
    return at < 0 ? (int)at : 0;
}

/* Rows of one file and part together, in their order. */
static int by_file(const void *a, const void *b, void *context)
{
    const struct rd_table *table = context;
    const uint64_t m = *(const uint64_t *)a, n = *(const uint64_t *)b;
    const struct rd_table_row *x = &table->rows[m], *y = &table->rows[n];
    const int order = strcmp(rd_table_string(table, x->file), rd_table_string(table, y->file));

    if (order != 0)
        return order;
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    return m < n ? -1 : m > n;
}

static bool is_same(const struct rd_table *table, uint64_t a, uint64_t b)
{
    return table->rows[a].part == table->rows[b].part &&
           strcmp(rd_table_string(table, table->rows[a].file), rd_table_string(table, table->rows[b].file)) ==
               0;
}

/* Are these rows one label each, and not all the same one? Others repeat or contradict each other. */
static bool are_long(const struct rd_table *table, const uint64_t *row, uint64_t count)
{
    bool differ = false;

    for (uint64_t i = 0; i < count; i++) {
        const char *list = rd_table_string(table, table->rows[row[i]].class), *end = strchr(list, '\n');

        if (end && end[1])
            return false;
        differ |= strcmp(list, rd_table_string(table, table->rows[row[0]].class)) != 0;
    }
    return differ;
}

/* Gives the first of the rows the labels of all. */
static int unite(struct rd_table *table, const uint64_t *row, uint64_t count)
{
    const char **label = malloc(count * sizeof *label);
    size_t bytes = 1, used = 0;
    char *list;
    int64_t at;

    if (!label)
        return -ENOMEM;
    for (uint64_t i = 0; i < count; i++) {
        label[i] = rd_table_string(table, table->rows[row[i]].class);
        bytes += strlen(label[i]);
    }
    list = malloc(bytes);
    if (!list) {
        free(label);
        return -ENOMEM;
    }
    qsort(label, count, sizeof *label, by_name);
    for (uint64_t i = 0; i < count; i++)
        if (i == 0 || strcmp(label[i], label[i - 1]) != 0) {
            memcpy(list + used, label[i], strlen(label[i]));
            used += strlen(label[i]);
        }
    list[used] = 0;
    at = rd_names_add(&table->strings, list);
    free(label);
    free(list);
    table->rows[row[0]].class = (uint32_t)at;
    for (uint64_t i = 1; i < count; i++)
        table->rows[row[i]].file = UINT32_MAX; /* goes */
    return at < 0 ? (int)at : 0;
}

/* Tables in long form have a row for each label of an image. */
static int unite_rows(struct rd_table *table)
{
    uint64_t *order = malloc((table->count + 1) * sizeof *order), kept = 0;
    int err = order ? 0 : -ENOMEM;

    for (uint64_t i = 0; i < table->count && order; i++)
        order[i] = i;
    if (order)
        qsort_r(order, table->count, sizeof *order, by_file, table);
    for (uint64_t first = 0, end; first < table->count && err == 0; first = end) {
        for (end = first + 1; end < table->count && is_same(table, order[end], order[first]);)
            end++;
        if (end - first > 1 && are_long(table, order + first, end - first))
            err = unite(table, order + first, end - first);
    }
    for (uint64_t i = 0; i < table->count && err == 0; i++)
        if (table->rows[i].file != UINT32_MAX)
            table->rows[kept++] = table->rows[i];
    if (err == 0)
        table->count = kept;
    free(order);
    return err;
}

int rd_table_settle_labels(struct rd_table *table, const char *path, struct im_text *text)
{
    const char separator = find_separator(table);
    struct scratch scratch = {.room = 0};
    int err = 0;

    for (uint64_t i = 0; i < table->count && err == 0; i++) {
        err = settle(table, &table->rows[i], separator, &scratch);
        if (err == -EBADMSG)
            im_fail(text, err, "%.500s, line %u: a label has %d bytes or more, which is too long", path,
                    table->rows[i].line, RD_LABEL_BYTES);
    }
    free(scratch.copy);
    free(scratch.list);
    free(scratch.label);
    return err < 0 ? err : unite_rows(table);
}
