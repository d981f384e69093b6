/* The fetcher of a run whose images lie on another machine: brings objects into the cache before readers need them.
 *
 * It takes nothing from anybody: which samples come next follows from the plan and from the cells that readers have not
 * filled, so it fetches in the order of the tickets, as far ahead as the cache has room. Readers look for the object until
 * it is there. So it may die at any instant: another one looks at the same cells.
 *
 * Whose fault a failed request is, is judged as for files (reader/retry.h): an object is given up by name only when the
 * server was seen to give others; else the run waits.
 *
 * In this folder: the loop (fetcher), addresses and keys (address), lists of objects (listing), requests (client), an
 * object from its request to its file (transfer), and the cache that runs share (cache). The layout of a mirror is in
 * reader/dataset/mirror.h. Answers of servers are a stranger's bytes: check every length. */
#ifndef FETCHER_FETCHER_H
#define FETCHER_FETCHER_H

#include "ipc/child.h"

/* Until the run ends. An exit status, or a negative errno with a sentence. */
int fe_run(struct im_child *child, struct im_text *text);

#endif
