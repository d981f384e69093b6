/* A timeline in Chrome's trace event format (JSON object form), which Perfetto reads: a track of activities for each process,
 * one of its images or batches, reads as asynchronous events, and the fill of the rings as counters. It is made of the run's
 * shared memory, which is only read (ipc/spans.h): a watched run spends nothing on it but keeping its spans. */
#ifndef SUPERVISOR_REPORT_CHROME_TRACE_H
#define SUPERVISOR_REPORT_CHROME_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ipc/run.h"
#include "ipc/spans.h"

struct sv_chrome_slot {
    bool seen;
    uint64_t next; /* number of the next span */
    int32_t pid;   /* whose tracks have names; 0: none yet */
    struct {
        im_ns begin, length; /* length 0: nothing waits */
        im_ns part[IM_HISTOGRAMS];
    } render; /* waits for what it was spent on, which follows */
};

struct sv_chrome {
    struct sv_chrome_slot slot[IM_SLOTS_MAX];
    uint64_t events, lost;              /* written; and spans that were overwritten before they were read */
    size_t processes;                   /* that had a pid */
    im_ns first_ns, last_ns;            /* looks */
    uint64_t reads;                     /* number of the next asynchronous event */
    uint32_t ready_cells, ready_images; /* what the counters said last */
};

/* Zeroed before. */
void sv_chrome_begin(struct sv_chrome *c, const char *run_name, FILE *out);

/* Writes what the processes did since the last look; the first one only notes where they are. At most IM_SPANS spans of a
 * process are kept between two looks. Returns how many there were of the process that had most, those included that were lost. */
size_t sv_chrome_look(struct sv_chrome *c, const struct im_run *run, FILE *out);
void sv_chrome_end(struct sv_chrome *c, FILE *out);

#endif
