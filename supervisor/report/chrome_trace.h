/* A timeline in Chrome's trace event format (JSON object form), which Perfetto reads: a track of activities for each process,
 * one of its images or batches, reads as asynchronous events, and the fill of the rings as counters. */
#ifndef SUPERVISOR_REPORT_CHROME_TRACE_H
#define SUPERVISOR_REPORT_CHROME_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ipc/abi.h"
#include "ipc/base/clock.h"
#include "ipc/base/json.h"

struct sv_chrome_slot {
    bool answered;
    int64_t next; /* number of the next span */
    int64_t pid;  /* whose tracks have names; 0: none yet */
    struct {
        im_ns begin, length; /* length 0: nothing waits */
        double part[IM_HISTOGRAMS];
    } render; /* waits for what it was spent on, which follows */
};

struct sv_chrome {
    struct sv_chrome_slot slot[IM_SLOTS_MAX];
    size_t slots;            /* up to the highest that was in an answer */
    uint64_t events, lost;   /* written; and spans that were overwritten before they were read */
    size_t processes;        /* that had a pid */
    im_ns first_ns, last_ns; /* of the answers */
    uint64_t reads;          /* number of the next asynchronous event */
};

/* Zeroed before. */
void sv_chrome_begin(struct sv_chrome *c, const char *run_name, FILE *out);
/* An answer of the supervisor ("imsuper.spans/1"). What does not fit the schema is left out. */
void sv_chrome_add(struct sv_chrome *c, const struct im_json *answer, FILE *out);
void sv_chrome_end(struct sv_chrome *c, FILE *out);

#endif
