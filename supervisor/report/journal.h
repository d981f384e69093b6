/* events.jsonl and log.txt of a run, and the roles' log pipe that feeds them. */
#ifndef SUPERVISOR_REPORT_JOURNAL_H
#define SUPERVISOR_REPORT_JOURNAL_H

#include "ipc/base/json.h"
#include "supervisor/report/screen.h"

#define SV_LINE_MAX 4096

struct sv_journal {
    int events_fd, log_fd, pipe_fd;
    struct sv_screen *screen;
    int level_shown; /* enum im_log_level: less important lines go to log.txt only */
    char partial[SV_LINE_MAX];
    size_t partial_bytes;
    char last_reason[1024]; /* why the last process that left with an error did so, in its own words */
};

/* Opens the files in `run_dir`. pipe_fd is borrowed. */
int sv_journal_open(struct sv_journal *j, const char *run_dir, int pipe_fd, struct sv_screen *screen,
                    int level_shown, struct im_text *text);
void sv_journal_close(struct sv_journal *j);

/* Appends an event; takes `fields` (an object; NULL is fine), adds ts and event before them. */
void sv_journal_event(struct sv_journal *j, const char *event, struct im_json *fields);

/* Reads what the roles wrote to their stderr since the last call. */
void sv_journal_drain(struct sv_journal *j);

#endif
