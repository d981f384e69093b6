/* Whose fault a failed read is: the file's, or that of the storage it lies on.
 *
 * A file is unreadable only when the storage was seen to work after its failure and reading it again failed
 * all the same: once where the error says something lasting (the file is missing, its rights), a few times
 * where it may pass (EIO, ESTALE, no memory or descriptors). Without such a proof the read is repeated for as
 * long as it takes, for a share that is gone fails every file, and an unmounted folder is an empty one. Where
 * many of the last files fail, nothing counts against a file either, although some of them are read.
 *
 * After an outage data may come back one by one, as by a copy that is under way. Until some time after it a lasting
 * error does not count either, unless the file was left out before.
 *
 * What proves that the storage works: for a lasting error any other file that was read since. For one that
 * may pass only a probe, which does not read from the machine's own memory (probe.h).
 *
 * Pure: no clock, no system call. One reader judges by its own reads and probes. */
#ifndef READER_RETRY_H
#define READER_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/clock.h"

#define RD_RECENT 64     /* files that the share of failures is taken of; the last ones */
#define RD_RECENT_MIN 16 /* with fewer the share says nothing */

/* Of the last RD_RECENT files, in percent, from which on the storage is at fault. A disk with damaged places
 * fails one file in thousands; a share that drops every fourth request is about to fail. Of lasting errors
 * more are needed, for somebody may have deleted a part of the files. */
#define RD_SHARE_PASSING 25
#define RD_SHARE_ANY 50

/* Failures, each after a proof that the storage works, that make a file unreadable. The waits before them
 * (rd_tries_due) sum up to 3.5 s: a disk needs that long to give up on a damaged place and be asked again. A
 * file that was left out before gets one. */
#define RD_FAILURES_PASSING 5
#define RD_FAILURES_LASTING 1

#define RD_RETRY_MAX_NS (2 * IM_SECOND) /* the longest wait between two tries */

/* Is this an error (negative errno) that may pass without anybody touching the file? */
bool rd_error_passes(int err);

/* What is known of the storage. Zeroed: nothing. */
struct rd_storage {
    im_ns read;               /* when the latest of the reads that succeeded had begun; 0: none */
    im_ns probed;             /* the same of probes */
    uint64_t failed, passing; /* the last RD_RECENT files, a bit each; passing: failed with such an error */
    unsigned recent;
    bool settling; /* set by the caller: it is away, or came back so lately that files may still be missing */
};

void rd_storage_read(struct rd_storage *s, im_ns began); /* a read that began then succeeded */
void rd_storage_probed(struct rd_storage *s, im_ns began);
/* One more file: err of its first try, or 0. A file that was read after it failed is reported again, with 0. */
void rd_storage_file(struct rd_storage *s, int err);
bool rd_storage_fails_many(const struct rd_storage *s);

/* The tries of one file. Zeroed: none yet. */
struct rd_tries {
    unsigned failures; /* in all */
    unsigned counted;  /* of them, those that speak against the file */
    bool counts;       /* the try under way would */
    bool known;        /* set by the caller: the file was left out before */
    im_ns failed_at;   /* the last one */
    int err;
};

void rd_tries_begin(struct rd_tries *t, const struct rd_storage *s);
/* The try failed. True: the file is unreadable. */
bool rd_tries_failed(struct rd_tries *t, const struct rd_storage *s, int err, im_ns now);
/* When the next try is due, after one that failed. */
im_ns rd_tries_due(const struct rd_tries *t, const struct rd_storage *s);
/* A file that failed: is nothing known that says the storage works? */
bool rd_tries_unproven(const struct rd_tries *t, const struct rd_storage *s);

#endif
