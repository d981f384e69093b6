/* Any bytes as a table of classes: refused with a sentence, or rows whose strings all end inside. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "reader/dataset/csv.h"
#include "reader/dataset/table_labels.h"

static char *copy(const uint8_t *bytes, size_t n)
{
    char *own = malloc(n + 1);

    im_assert(own != NULL);
    memcpy(own, bytes, n);
    own[n] = 0;
    return own;
}

/* Rows come to an end, and fields lie in the bytes, one behind the other. */
static void read_rows(const uint8_t *bytes, size_t n)
{
    struct im_text text = {""};
    struct rd_csv_row row;
    struct rd_csv csv;
    uint64_t rows = 0;
    int got;

    rd_csv_take(copy(bytes, n), n, &csv);
    while ((got = rd_csv_next(&csv, &row, &text)) == 1) {
        const char *at = csv.bytes;

        im_assert(++rows <= n && row.count >= 1 && row.count <= RD_CSV_FIELDS_MAX);
        for (uint32_t i = 0; i < row.count; i++) {
            im_assert(row.fields[i] >= at && row.fields[i] + strlen(row.fields[i]) <= csv.end);
            at = row.fields[i] + strlen(row.fields[i]);
        }
    }
    im_assert(got == 0 || text.s[0]);
    rd_csv_fini(&csv);
}

static void read_table(const uint8_t *bytes, size_t n, bool multi_label)
{
    struct im_text text = {""};
    struct rd_table table;
    char label[RD_LABEL_BYTES];
    size_t sum = 0;

    if (rd_table_take(copy(bytes, n), n, "a table", UINT64_MAX, multi_label, &table, &text) < 0) {
        im_assert(text.s[0]);
        return;
    }
    im_assert(table.count > 0);
    for (uint64_t i = 0; i < table.count; i++) {
        const char *file = rd_table_string(&table, table.rows[i].file);
        const char *class = rd_table_string(&table, table.rows[i].class);

        im_assert(*file && (multi_label || *class));
        sum += strlen(file) + (multi_label ? 0 : strlen(class));
        while (multi_label && rd_table_next_label(&class, label))
            im_assert(*label);
    }
    im_assert(sum <= 300 * (n + 1));
    rd_table_fini(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    read_rows(bytes, n);
    read_table(bytes, n, false);
    read_table(bytes, n, true);
    return 0;
}
