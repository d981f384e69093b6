/* The end of a run before its last epoch: somebody asked for it, or nothing more can be done. What was trained
 * is saved first.
 *
 *     saving      the trainers finish their step, save and leave (IM_RUN_STOPPING)
 *     clearing    they cannot: one has died, is stuck, or they are just starting; all are ended
 *     sealing     a process without a network writes the snapshot as the checkpoint: both are the same bytes
 *
 * Each stage is bounded. A supervisor that dies meanwhile is replaced by one that sees IM_RUN_STOPPING. */
#ifndef SUPERVISOR_ENDING_H
#define SUPERVISOR_ENDING_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/clock.h"
#include "supervisor/warden/channel.h"

struct sv_super;

enum sv_ending_stage { SV_GOING_ON, SV_SAVING, SV_CLEARING, SV_SEALING };

/* What of the trained is on disk at the end. */
enum sv_saved {
    SV_NOT_SAVED,    /* something was trained, and there is no checkpoint, or writing one failed */
    SV_SAVED,        /* all, or all that the snapshot held */
    SV_SAVED_BEFORE, /* a checkpoint, and there was nothing newer to save */
    SV_NOTHING_DONE, /* there was nothing to save */
};

struct sv_ending {
    enum sv_ending_stage stage;
    int status;       /* that the run ends with once it is saved */
    im_ns since;      /* of the stage, by the clock of the watch */
    int64_t asked_at; /* CLOCK_REALTIME, seconds */
    enum sv_saved saved;
    bool saver_lives;
    int saver_fd; /* its pidfd + 1; 0: none */
    int32_t saver_pid;
    int32_t woken;     /* who was stopped and was let go on last */
    im_ns saver_since; /* when it was seen first, by the clock of the watch */
    uint32_t saver_deaths;
};

/* Ends the run after saving, because of `why`, as a sentence begins; `status`: IM_EXIT_RESUMABLE, or another
 * one that tells more. Nothing when it is ending already. */
void sv_end(struct sv_super *s, int status, const char *why);

void sv_request_stop(struct sv_super *s, const char *why); /* a person asked */
void sv_stop_at_once(struct sv_super *s, const char *why);

/* A new supervisor of a run that is ending. */
void sv_ending_resume(struct sv_super *s);

/* Ends this process of the run with its own snapshot as a checkpoint: of a machine that has lost the one which holds the
 * run. */
void sv_end_with_snapshot(struct sv_super *s, int status, const char *why);

/* A trainer is gone or stuck before it has saved. */
void sv_ending_without_trainers(struct sv_super *s, const char *why);

/* All trainers have saved and left, or have trained to the end (IM_EXIT_OK). */
void sv_ending_trainers_left(struct sv_super *s, int exit_status);

/* News of the saver; true when the message was about it. */
bool sv_ending_on_message(struct sv_super *s, const struct sv_message *m, int pidfd);

void sv_ending_advance(struct sv_super *s);

/* The last words about what was saved. */
void sv_ending_say(struct sv_super *s);

#endif
