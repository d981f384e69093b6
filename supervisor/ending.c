#include "supervisor/ending.h"

#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/fault.h"
#include "ipc/child.h"
#include "ipc/process.h"
#include "supervisor/report/saved.h"
#include "supervisor/super.h"
#include "supervisor/warden/warden.h"

#define CLEAR_WAIT_NS (10 * IM_SECOND) /* a killed process is gone by then, or stuck in the kernel */
#define SAVER_DEATHS_MAX 5
#define SILENT_COUNTS                                                                                        \
    2 /* of these for one that never attached: the next may do the same, and takes as long */
#define SEAL_WAIT_NS (300 * IM_SECOND)
#define DONE_WAIT_NS (2 * IM_SECOND) /* for the file that says that a run is done */
#define LOST_WAIT_NS (2 * IM_SECOND) /* for the exit status of a trainer that is gone */

static void enter(struct sv_super *s, enum sv_ending_stage stage)
{
    s->ending.stage = stage;
    s->ending.since = s->watch.clock.now;
}

static im_ns in_stage(const struct sv_super *s)
{
    return s->watch.clock.now - s->ending.since;
}

/* When the state of the last checkpoint was written; 0: there is none. */
static int64_t checkpoint_time(const struct sv_super *s)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s/checkpoints/last.state.safetensors", s->conf.run_dir);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (int64_t)st.st_mtime : 0;
}

/* Does a trainer still load, or plan, what it was started with? Then no step was taken since, for it takes
 * all of them; and without a reset what they have is on disk. */
static bool nothing_is_trained(const struct sv_super *s)
{
    if (atomic_load_explicit(&s->run.control->generation, memory_order_relaxed) > 1)
        return false;
    for (uint32_t i = 0; i < s->run.geometry.ranks; i++) {
        uint32_t slot = im_run_slot(&s->run, IM_ROLE_TRAINER, i);

        if (atomic_load_explicit(&s->run.process[slot].ready_ns, memory_order_acquire) == 0)
            return !sv_progress_made(&s->run);
    }
    return false;
}

static void finish_saved(struct sv_super *s, enum sv_saved saved)
{
    s->ending.saved = saved;
    sv_finish(s, saved == SV_NOT_SAVED && !sv_nodes_is_member(s) ? IM_EXIT_FAILED : s->ending.status);
}

void sv_ending_without_trainers(struct sv_super *s, const char *why)
{
    if (s->ending.stage >= SV_CLEARING || s->finished)
        return;
    if (im_conf_is_probe(&s->conf)) { /* saves nothing */
        finish_saved(s, SV_NOTHING_DONE);
        return;
    }
    if (why)
        sv_screen_warn(&s->screen, SV_WARN, "%s; saving the last snapshot instead%s", why,
                       sv_nodes_is_member(s) ? ", on node 0" : "");
    s->resetting = false;
    for (uint32_t i = 0; i < s->children.count; i++) {
        struct sv_child *child = &s->children.child[i];

        if (child->role != IM_ROLE_TRAINER)
            continue;
        child->ended_by_reset = child->last.ended_by_reset = true;
        sv_child_kill(child, SIGKILL);
    }
    enter(s, SV_CLEARING);
}

/* Into the journal, and no trainer is started any more. */
static void note_ending(struct sv_super *s, int status, const char *why)
{
    struct im_json *fields = im_json_object();

    im_json_set_str(fields, "why", why);
    sv_journal_event(&s->journal, "run.stopping", fields);
    s->ending.status = status;
    s->ending.asked_at = (int64_t)time(NULL);
    sv_children_want(&s->children, IM_ROLE_TRAINER, false);
}

void sv_end(struct sv_super *s, int status, const char *why)
{
    bool all_train;

    if (s->ending.stage != SV_GOING_ON || s->finished || im_run_state(&s->run) == IM_RUN_ENDED ||
        sv_nodes_ask_stop(s, status, why))
        return;
    note_ending(s, status, why);
    enter(s, SV_SAVING);
    if (im_conf_is_probe(&s->conf)) { /* nobody waits for a step whose results are thrown away */
        finish_saved(s, SV_NOTHING_DONE);
        return;
    }
    if (nothing_is_trained(s)) { /* since the last checkpoint */
        finish_saved(s, checkpoint_time(s) ? SV_SAVED_BEFORE : SV_NOTHING_DONE);
        return;
    }
    all_train = im_run_state(&s->run) == IM_RUN_RUNNING && !s->resetting &&
                sv_children_alive(&s->children, IM_ROLE_TRAINER) + s->trainers_done == s->run.geometry.ranks;
    atomic_store_explicit(&s->run.control->exit_status, im_exit_word(status), memory_order_relaxed);
    sv_set_state(s, IM_RUN_STOPPING);
    if (!all_train)
        sv_ending_without_trainers(s, NULL);
}

void sv_end_with_snapshot(struct sv_super *s, int status, const char *why)
{
    if (s->ending.stage >= SV_CLEARING || s->finished)
        return;
    note_ending(s, status, why);
    atomic_store_explicit(&s->run.control->exit_status, im_exit_word(status), memory_order_relaxed);
    sv_set_state(s, IM_RUN_STOPPING);
    sv_ending_without_trainers(s, NULL);
}

void sv_request_stop(struct sv_super *s, const char *why)
{
    sv_nodes_stay(s);
    if (s->ending.stage != SV_GOING_ON || s->finished || s->nodes.stop_asked)
        return;
    if (im_conf_is_probe(&s->conf))
        sv_screen_say(&s->screen, "%s: stopping", why);
    else
        sv_screen_say(&s->screen,
                      "%s: finishing the step and saving; Ctrl-C or `imsuper stop --now` stops at once", why);
    sv_end(s, IM_EXIT_RESUMABLE, why);
}

void sv_stop_at_once(struct sv_super *s, const char *why)
{
    sv_nodes_stay(s);
    sv_screen_say(&s->screen, "%s: stopping at once; the last checkpoint remains", why);
    sv_nodes_stop_at_once(s, why);
    sv_finish(s, IM_EXIT_FORCED);
}

void sv_ending_resume(struct sv_super *s)
{
    struct sv_done done;

    s->ending.status =
        im_exit_of_word(atomic_load_explicit(&s->run.control->exit_status, memory_order_relaxed));
    s->ending.asked_at = (int64_t)time(NULL);
    enter(s, s->ending.saver_lives ? SV_SEALING : SV_SAVING);
    if (s->ending.saver_lives || sv_children_alive(&s->children, IM_ROLE_TRAINER) == s->run.geometry.ranks)
        return;
    sv_journal_ask_done(&s->journal);
    sv_journal_done(&s->journal, DONE_WAIT_NS, &done);
    if (done.epochs >= s->conf.epochs)
        sv_finish(s, IM_EXIT_OK);
    else /* they have saved and left, or died: who writes the snapshot sees which */
        sv_ending_without_trainers(s, NULL);
}

void sv_ending_trainers_left(struct sv_super *s, int exit_status)
{
    s->ending.saved = SV_SAVED;
    if (exit_status == IM_EXIT_OK && s->ending.status == IM_EXIT_RESUMABLE)
        sv_finish(s, IM_EXIT_OK);
    else
        finish_saved(s, SV_SAVED);
}

static void seal(struct sv_super *s)
{
    const struct sv_message m = {.type = SV_SAVE, .incarnation = SV_SAVER_INCARNATION};

    if (sv_nodes_is_member(s) && !s->nodes.head_lost) { /* node 0 saves its own */
        finish_saved(s, SV_SAVED_BEFORE);
        return;
    }
    s->journal.last_reason[0] = 0;
    IM_FAULT("ending.seal");
    if (s->warden_gone || sv_channel_send(s->children.channel, &m, -1) < 0) {
        sv_screen_warn(&s->screen, SV_ERROR, "the snapshot is lost with the warden process");
        finish_saved(s, SV_NOT_SAVED);
    }
}

static void on_saver_exit(struct sv_super *s, int wait_status)
{
    char end[64];

    sv_journal_drain(&s->journal);
    if (s->ending.stage != SV_SEALING || s->finished)
        return;
    if (WIFSIGNALED(wait_status) && ++s->ending.saver_deaths < SAVER_DEATHS_MAX)
        seal(s);
    else if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == IM_EXIT_OK)
        finish_saved(s, SV_SAVED);
    else if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == IM_EXIT_NOTHING_NEWER)
        finish_saved(s, SV_SAVED_BEFORE);
    else if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == IM_EXIT_NOTHING_SAVED)
        finish_saved(s, sv_progress_made(&s->run) ? SV_NOT_SAVED : SV_NOTHING_DONE);
    else {
        sv_screen_warn(&s->screen, SV_ERROR, "the snapshot could not be saved: %s",
                       WIFEXITED(wait_status) && s->journal.last_reason[0]
                           ? s->journal.last_reason
                           : sv_describe_end(wait_status, end, sizeof end));
        finish_saved(s, SV_NOT_SAVED);
    }
}

static void forget_saver(struct sv_super *s)
{
    if (s->ending.saver_fd > 0)
        close(s->ending.saver_fd - 1);
    s->ending.saver_fd = 0;
}

/* One that has never attached has begun nothing. */
static void end_silent_saver(struct sv_super *s)
{
    if (!s->ending.saver_lives || s->ending.saver_fd == 0 ||
        s->watch.clock.now - s->ending.saver_since < SV_SAVER_SILENT_NS ||
        atomic_load_explicit(&s->run.control->saver_seen, memory_order_relaxed) != 0)
        return;
    sv_screen_warn(&s->screen, SV_WARN,
                   "imsuper-trainer, started to save the snapshot, does nothing for %.0f s; killing it",
                   (double)SV_SAVER_SILENT_NS / 1e9);
    s->ending.saver_deaths += SILENT_COUNTS - 1;
    syscall(SYS_pidfd_send_signal, s->ending.saver_fd - 1, SIGKILL, NULL, 0);
    forget_saver(s);
}

bool sv_ending_on_message(struct sv_super *s, const struct sv_message *m, int pidfd)
{
    struct sv_message forget = *m;

    if (m->incarnation != SV_SAVER_INCARNATION)
        return false;
    forget_saver(s);
    s->ending.saver_lives = m->type == SV_SPAWNED;
    if (s->ending.saver_lives) {
        s->ending.saver_fd = pidfd + 1;
        s->ending.saver_pid = m->pid;
        s->ending.saver_since = s->watch.clock.now;
    } else if (pidfd >= 0) {
        close(pidfd);
    }
    if (m->type == SV_SPAWN_FAILED && s->ending.stage == SV_SEALING) {
        sv_screen_warn(&s->screen, SV_ERROR, "cannot start imsuper-trainer to save the snapshot: %s",
                       strerror(-m->status));
        finish_saved(s, SV_NOT_SAVED);
    }
    if (m->type == SV_EXITED) {
        forget.type = SV_FORGET;
        sv_channel_send(s->children.channel, &forget, -1);
        on_saver_exit(s, m->status);
    }
    return true;
}

/* Somebody has stopped it, and the run has to be saved: it is let go on, as a shell does with a stopped job
 * that it ends. */
static void wake(struct sv_super *s, const char *name, pid_t pid, int pidfd)
{
    if (pid <= 0 || pidfd < 0 || im_process_letter(pid) != 'T')
        return;
    if (s->ending.woken != pid)
        sv_screen_warn(&s->screen, SV_WARN,
                       "%s (pid %d) is stopped (SIGSTOP): letting it go on, for it has to save", name,
                       (int)pid);
    s->ending.woken = pid;
    syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, NULL, 0);
}

static void wake_stopped(struct sv_super *s)
{
    char name[32];

    for (uint32_t i = 0; s->ending.stage == SV_SAVING && i < s->children.count; i++) {
        const struct sv_child *child = &s->children.child[i];

        if (child->role != IM_ROLE_TRAINER || child->incarnation == 0)
            continue;
        snprintf(name, sizeof name, "trainer#%" PRIu32, child->index);
        wake(s, name, child->pid, child->pidfd);
    }
    if (s->ending.saver_lives && s->ending.saver_fd > 0)
        wake(s, "imsuper-trainer, started to save the snapshot,", s->ending.saver_pid,
             s->ending.saver_fd - 1);
}

void sv_ending_advance(struct sv_super *s)
{
    wake_stopped(s);
    uint32_t alive = sv_children_alive(&s->children, IM_ROLE_TRAINER);

    switch (s->ending.stage) {
    case SV_SAVING:
        /* Gone, and the warden has not told how. */
        if (!s->warden_gone && alive + s->trainers_done < s->run.geometry.ranks) {
            if (in_stage(s) > LOST_WAIT_NS)
                sv_ending_without_trainers(s, "a trainer is gone before it has saved");
        } else {
            enter(s, SV_SAVING);
        }
        break;
    case SV_CLEARING:
        if (alive == 0 || in_stage(s) > CLEAR_WAIT_NS) {
            enter(s, SV_SEALING);
            seal(s);
        }
        break;
    case SV_SEALING:
        end_silent_saver(s);
        if (in_stage(s) > SEAL_WAIT_NS) {
            sv_screen_warn(&s->screen, SV_ERROR, "the snapshot could not be saved within %.0f s",
                           (double)SEAL_WAIT_NS / 1e9);
            finish_saved(s, SV_NOT_SAVED);
        }
        break;
    default:
        break;
    }
}

/* What was trained is lost: what is the same command going to do? */
static void say_not_saved(struct sv_super *s)
{
    const char *run = s->conf.run_dir, *name = s->conf.run_name;
    struct sv_state_file saved;

    sv_saved_read(run, &saved);
    if (saved.header)
        sv_screen_warn(
            &s->screen, SV_ERROR,
            "%s was not saved; the same command with --run-name %s goes on with its last checkpoint", run,
            name);
    else if (saved.err < 0)
        sv_screen_warn(
            &s->screen, SV_ERROR,
            "%s was not saved, and its checkpoints cannot be read: %s; when they can, the same command with "
            "--run-name %s goes on with the last one",
            run, strerror(-saved.err), name);
    else if (saved.exists || sv_saved_has_weights(run))
        sv_screen_warn(
            &s->screen, SV_ERROR,
            "%s was not saved, and no checkpoint in %s/checkpoints can be read: the same command does "
            "not go on with it; choose another --run-name",
            run, run);
    else
        sv_screen_warn(
            &s->screen, SV_ERROR,
            "%s was not saved, and there is no checkpoint; the same command with --run-name %s begins "
            "the run",
            run, name);
    sv_saved_close(&saved);
}

/* Says that it is not known what there is. */
static bool cannot_look(struct sv_super *s)
{
    struct sv_state_file saved;
    int err;

    sv_saved_read(s->conf.run_dir, &saved);
    err = saved.err;
    sv_saved_close(&saved);
    if (err < 0)
        sv_screen_warn(&s->screen, SV_ERROR,
                       "stopped   %s; nothing was trained, and its checkpoints cannot be read: %s",
                       s->conf.run_dir, strerror(-err));
    return err < 0;
}

void sv_ending_say(struct sv_super *s)
{
    const char *run = s->conf.run_dir, *name = s->conf.run_name;
    enum sv_saved saved = s->ending.saved;

    /* After the warden's death nobody tells how the trainers ended. */
    if (s->warden_gone && saved != SV_NOTHING_DONE)
        saved = checkpoint_time(s) >= s->ending.asked_at ? SV_SAVED : SV_NOT_SAVED;
    if (im_conf_is_probe(&s->conf) || s->ending.stage == SV_GOING_ON || s->exit_status == IM_EXIT_OK ||
        s->exit_status == IM_EXIT_FORCED)
        return;
    switch (saved) {
    case SV_SAVED:
        sv_screen_say(&s->screen, "saved     %s; the same command with --run-name %s continues from here",
                      run, name);
        break;
    case SV_SAVED_BEFORE:
        sv_screen_say(&s->screen,
                      "stopped   %s; there is nothing newer than its last checkpoint; the same command with "
                      "--run-name %s continues from here",
                      run, name);
        break;
    case SV_NOTHING_DONE:
        if (cannot_look(s))
            break;
        sv_screen_say(&s->screen, "stopped   %s; nothing was trained yet; the same command begins the run",
                      run);
        break;
    case SV_NOT_SAVED:
        say_not_saved(s);
        break;
    }
}
