/* What `imsuper top` has of one run: its last answer, what follows from it and the one before, and its past. */
#ifndef SUPERVISOR_TOP_RUN_H
#define SUPERVISOR_TOP_RUN_H

#include <limits.h>
#include <stdint.h>

#include "ipc/base/clock.h"
#include "ipc/base/json.h"

enum { SV_TOP_PAST = 256, SV_TOP_PROCESSES = 1024, SV_TOP_EVENTS = 64, SV_TOP_EVENT_BYTES = 240 };

/* A number over time, the newest last. */
struct sv_top_past {
    double value[SV_TOP_PAST];
    int count;
};

struct sv_top_process {
    char name[32]; /* augmenter#1 */
    double cpu;    /* cores that it used between the last two answers; NAN: not known */
    double rate;   /* items/s, likewise */
};

struct sv_top_event {
    char time[16]; /* of day, local */
    char text[SV_TOP_EVENT_BYTES];
    char process[32]; /* whom it is about; "": the run */
    char brief[32];   /* for that process's row: "died" */
};

struct sv_top_run {
    char name[NAME_MAX + 1], run_dir[PATH_MAX];
    char state[32];         /* of its folder, while nobody answers: "done", "stopped", ... */
    struct im_json *status; /* the last answer; owned; NULL: none yet */
    im_ns answered;         /* when; 0: never */
    im_ns taken;            /* when the past was last written to */
    struct sv_top_process process[SV_TOP_PROCESSES]; /* of status, in its order */
    int processes;
    struct sv_top_past rate, loss;
    struct sv_top_event event[SV_TOP_EVENTS]; /* the newest last */
    int events;
    struct im_json *epochs; /* of a run that does not answer: its epochs (report/epochs.h); owned */
    bool has_averages, multi_label;
};

/* Takes an answer, which is the run's then. */
void sv_top_take(struct sv_top_run *r, struct im_json *status, im_ns now);
void sv_top_forget(struct sv_top_run *r);

/* Takes the run's epochs from its folder (summary.csv). */
void sv_top_read_epochs(struct sv_top_run *r);

/* Reads the end of events.jsonl. `tail`: its last bytes, which may begin within a line. */
void sv_top_read_events(struct sv_top_run *r, const char *tail);

/* The run as the screen shows it, for programs; the caller's. */
struct im_json *sv_top_run_json(const struct sv_top_run *r);

#endif
