/* events.jsonl and log.txt of a run, and the roles' log pipe that feeds them; charts and tables. All files are
 * written by a thread (ipc/base/writer.h): no disk makes the supervisor wait. */
#ifndef SUPERVISOR_REPORT_JOURNAL_H
#define SUPERVISOR_REPORT_JOURNAL_H

#include "ipc/base/json.h"
#include "ipc/base/writer.h"
#include "supervisor/report/hook.h"
#include "supervisor/report/rundir.h"
#include "supervisor/report/screen.h"
#include "supervisor/report/tensorboard.h"

#define SV_LINE_MAX 4096

struct sv_journal {
    struct im_writer *writer;
    struct im_writer
        *reports;            /* what is made from the other files, and may take longer: a thread of its own */
    int events, log, stages; /* files of the writer */
    struct sv_hook *hook;    /* NULL: no --on-event */
    struct sv_terminal *answers;       /* standard output, of --json; NULL: events go to files alone */
    im_ns answered;                    /* when the last progress went there */
    struct sv_tensorboard tensorboard; /* written by the reports' thread */
    int pipe_fd;
    const char *run_dir;
    const struct im_conf *conf;
    struct sv_screen *screen;
    uint64_t tellings;   /* of what failed, or works again */
    struct sv_done done; /* written by the writer's thread */
    int level_shown;     /* enum im_log_level: less important lines go to log.txt only */
    char partial[SV_LINE_MAX];
    size_t partial_bytes;
    char last_reason[1024]; /* why the last process that left with an error did so, in its own words */
};

/* Opens the files in the run's directory, or will when that can be done. conf, pipe_fd and screen are borrowed. */
int sv_journal_open(struct sv_journal *j, const struct im_conf *conf, int pipe_fd, struct sv_screen *screen,
                    int level_shown, struct im_text *text);

/* Waits at most `timeout` until everything is written, and says how many lines were not. */
void sv_journal_close(struct sv_journal *j, im_ns timeout);

/* Appends an event; takes `fields` (an object; NULL is fine), adds ts and event before them. */
void sv_journal_event(struct sv_journal *j, const char *event, struct im_json *fields);

/* An event for --on-event and --json that is not in events.jsonl; the fields stay the caller's. */
void sv_journal_pass(struct sv_journal *j, const char *event, const struct im_json *fields);

/* With --json: how far the run is, when --status-interval has gone by. */
void sv_journal_progress(struct sv_journal *j, const struct sv_progress *p);

/* Draws the charts and tables of the epochs (history.h), soon. */
void sv_journal_draw(struct sv_journal *j);

/* Appends a line to stages.jsonl; takes it. */
void sv_journal_stages(struct sv_journal *j, struct im_json *line);

/* Brings the event file of TensorBoard up to date, soon. */
void sv_journal_report(struct sv_journal *j);

/* sv_rundir_accept(), sv_rundir_withdraw() and sv_history_tidy(), soon. */
void sv_journal_accept(struct sv_journal *j);
void sv_journal_withdraw(struct sv_journal *j);
void sv_journal_tidy(struct sv_journal *j);

/* sv_rundir_done(), after what was given to be written before it: asked for first. False: the file system has not answered
 * within `wait`; *ret is then a run that is not finished. */
void sv_journal_ask_done(struct sv_journal *j);
bool sv_journal_done(struct sv_journal *j, im_ns wait, struct sv_done *ret);

/* Says once what cannot be written or shown, and once that it can be again. */
void sv_journal_tell(struct sv_journal *j);

/* Reads what the roles wrote to their stderr since the last call. */
void sv_journal_drain(struct sv_journal *j);

#endif
