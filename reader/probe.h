/* Asks the storage whether it works, without anybody waiting for the answer: one thread opens the data
 * directory by its path and reads a little of a file in it. What hangs is that thread. It serves when reads
 * hang or fail: does all of the storage, or only these files? It also brings a fresh descriptor of the
 * directory, for after a mount came back the old one leads nowhere. */
#ifndef READER_PROBE_H
#define READER_PROBE_H

#include <stdbool.h>

#include "ipc/base/clock.h"

struct rd_probe_job;

struct rd_probe {
    struct rd_probe_job *job; /* NULL: none is under way */
};

struct rd_probe_result {
    im_ns began;
    int err;      /* 0: the file was read; else negative errno */
    int root_fd;  /* of the directory, the caller's to close; -1: it could not be opened */
    int is_local; /* 1: its file system is known to ask no server */
};

/* path: below root; "": only the directory is opened. 0, or negative errno where no thread can be had. */
int rd_probe_start(struct rd_probe *p, const char *root, const char *path);
bool rd_probe_take(struct rd_probe *p, struct rd_probe_result *ret); /* false: no answer yet */

/* Lets the thread be: what it holds is freed when it comes back, if it does. Accepts one without a job. */
void rd_probe_abandon(struct rd_probe *p);

#endif
