/* Files of records of a validation pass, one for each image at its place in the pass (multi_label.h, per_class.h): each
 * machine has one, with the records of its own trainers, and at the pass's end all get those of the others. */
#ifndef TRAINER_GATHER_H
#define TRAINER_GATHER_H

#include "trainer/ranks.h"

struct tr_gathering {
    int file; /* -1: it could not be opened; then it gives nothing and gets nothing */
    /* Of a record, whose first 32 bits are the pass + 1, counted from 0: those of other passes are none. */
    size_t record_bytes;
    uint64_t records;
    uint32_t pass;
};

/* All ranks call it, once all have written. Nothing where the ranks are on one machine. 0, or a negative errno with a
 * sentence, or a status to leave with. */
int tr_gather_records(struct tr_ranks *ranks, const struct tr_gathering *g, struct im_text *text);

#endif
