/* Labels of rows that have any number of them: "cat|dog", "cat dog" or "['cat', 'dog']" in one field, a field for each,
 * or a column for each class that holds 0 or 1. */
#ifndef READER_DATASET_TABLE_LABELS_H
#define READER_DATASET_TABLE_LABELS_H

#include "reader/dataset/csv.h"
#include "reader/dataset/table.h"

/* Of a cell in a class's column: 1, 0, or -EINVAL. -1 says no, as in CelebA. */
int rd_table_flag(const char *cell);

/* Makes the class of each row the list that rd_table.h describes. The separator is the first of | ; , and a blank that
 * any row has, for all rows. Rows of one file that have one label each, others than each other, become one. -EBADMSG with a sentence, -ENOMEM. */
int rd_table_settle_labels(struct rd_table *table, const char *path, struct im_text *text);

/* The next label of a list, copied; NULL behind the last. *at begins at the list. */
const char *rd_table_next_label(const char **at, char label[RD_LABEL_BYTES]);

#endif
