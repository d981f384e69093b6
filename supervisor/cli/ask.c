#include "supervisor/cli/ask.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ipc/abi.h"
#include "ipc/base/clock.h"
#include "ipc/base/exit.h"
#include "ipc/base/printable.h"
#include "ipc/ctl.h"
#include "ipc/process.h"
#include "supervisor/cli/program.h"
#include "supervisor/report/run_epochs.h"
#include "supervisor/report/run_state.h"
#include "supervisor/report/rundir.h"
#include "supervisor/report/saved.h"

#define ANSWER_NS (3 * IM_SECOND)
#define LOOK_MS 250 /* how often it is looked whether the supervisor has moved */

/* The record says nothing of a socket. */
static int fail_without_socket(const char *run_dir, const struct im_ctl_record *record, struct im_text *text)
{
    if (record->pid > 0)
        return im_fail(
            text, -ENOTCONN,
            "the run in %s goes on without a control socket (events.jsonl says why); `kill -TERM %lld` "
            "stops and saves it, `kill -USR2 %lld` saves a checkpoint",
            run_dir, (long long)record->pid, (long long)record->pid);
    return im_fail(text, -ENOTCONN, "the run in %s has no control socket yet; it may be starting, try again",
                   run_dir);
}

/* Lock or socket are another user's: whether the run goes on is unknown, or it cannot be asked. */
static int fail_of_permission(const char *run_dir, const char *what, struct im_text *text)
{
    return im_fail(text, -EACCES,
                   "permission denied: the %s of the run in %s belongs to another user; ask as the user who "
                   "started the run",
                   what, run_dir);
}

static struct im_json *copy_of(const struct im_json *j)
{
    struct im_json *copy = NULL;
    char *dumped = im_json_dump(j);

    if (dumped)
        im_json_parse(dumped, strlen(dumped), &copy, NULL);
    free(dumped);
    return copy;
}

/* Asks at one place, until the deadline or until the run is to be found in another. 1: *ret is the answer;
 * 0: not yet; negative errno. */
static int ask_at(const char *run_dir, const struct im_ctl_record *at, const struct im_json *request,
                  im_ns deadline, struct im_json **ret, struct im_text *text)
{
    struct im_ctl_record now = *at;
    struct im_ctl *ctl = NULL;
    int err = im_ctl_connect(at->path, &ctl, text);

    if (err < 0)
        return err;
    err = im_ctl_send(ctl, NULL, copy_of(request));
    while (err == 0 && im_now() < deadline && strcmp(now.path, at->path) == 0) {
        err = im_ctl_receive(ctl, LOOK_MS, NULL, ret);
        if (err == 0 && im_ctl_find(run_dir, &now) < 0)
            now = *at;
    }
    im_ctl_close(&ctl, 0);
    return err;
}

bool sv_ask_is_stopped(const char *run_dir, struct im_text *text)
{
    struct im_ctl_record record = {.pid = 0};
    pid_t group;

    if (im_ctl_read_record(run_dir, &record) < 0 || record.pid <= 0 ||
        im_process_letter((int32_t)record.pid) != 'T')
        return false;
    group = getpgid((pid_t)record.pid);
    im_fail(text, -ETIMEDOUT,
            "the run is stopped (Ctrl-Z, or SIGSTOP to process %" PRId64
            "): `fg` in its terminal or `kill -CONT -- -%d` lets it go on",
            record.pid, (int)group);
    return true;
}

static int ask(const char *run_dir, const struct im_json *request, struct im_json **ret, struct im_text *text)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS / 2 * 1000000L};
    im_ns deadline = im_now() + ANSWER_NS;
    struct im_ctl_record record = {.pid = 0};
    int got = 0;

    while (got == 0 && im_now() < deadline) {
        int found = im_ctl_find(run_dir, &record);

        if (found == -EACCES)
            return fail_of_permission(run_dir, "control socket", text);
        if (found < 0)
            nanosleep(&pause, NULL); /* it may be starting */
        else
            got = ask_at(run_dir, &record, request, deadline, ret, text);
    }
    if (got > 0)
        return 0;
    if (got < 0)
        return text->s[0] ? got : im_fail(text, got, "no answer from the supervisor: %s", strerror(-got));
    if (sv_ask_is_stopped(run_dir, text))
        return -ETIMEDOUT;
    if (!record.path[0])
        return fail_without_socket(run_dir, &record, text);
    return im_fail(text, -ETIMEDOUT,
                   "the supervisor did not answer within 3 s; it may be starting anew, try again");
}

/* The command that continues the run; it has the options in its folder. */
static const char *command_for(const struct im_conf *conf, char *s, size_t n)
{
    const bool elsewhere = strcmp(conf->workspace, "runs") != 0;

    snprintf(s, n, "imsuper start --run-name %s%s%s", conf->run_name, elsewhere ? " --workspace " : "",
             elsewhere ? conf->workspace : "");
    return s;
}

static bool has_state(const char *run_dir)
{
    struct sv_state_file saved;
    bool has;

    sv_saved_read(run_dir, &saved);
    has = saved.exists;
    sv_saved_close(&saved);
    return has;
}

/* "first  done, 5/5 epochs, best validation top-1 47.30%  runs/first" */
static void print_not_running(const struct im_conf *conf, bool done)
{
    char epochs[48], best[32], command[2 * IM_CONF_TEXT_BYTES + 64];
    struct sv_run_epochs e;
    const char *state = sv_run_state(conf->run_dir);

    sv_run_epochs(conf->run_dir, &e);
    im_say(stdout, "%s  %s, %s epochs%s%s  %s", conf->run_name,
           done                              ? "done"
           : strcmp(state, "stopped") == 0   ? "not running: stopped"
           : strcmp(state, "unstarted") == 0 ? "not running: never begun"
                                             : "not running: it failed or was killed",
           sv_run_epochs_format(&e, epochs, sizeof epochs),
           !isfinite(e.top1) ? ""
           : e.multi_label   ? ", best validation "
                             : ", best validation top-1 ",
           isfinite(e.top1) ? sv_run_best_format(&e, best, sizeof best) : "", conf->run_dir);
    if (!done)
        im_say(stdout, "`%s` %s it", command_for(conf, command, sizeof command),
               has_state(conf->run_dir) ? "continues" : "begins");
}

static int say_not_running(const struct im_conf *conf)
{
    const bool done = sv_rundir_done_epochs(conf->run_dir) > 0;
    struct sv_run_epochs e;
    struct im_json *j;

    if (!conf->json) {
        print_not_running(conf, done);
        return IM_EXIT_NOT_RUNNING;
    }
    j = im_json_object();
    sv_run_epochs(conf->run_dir, &e);
    im_json_set_str(j, "schema", "imsuper.status/1");
    im_json_set_str(j, "run", conf->run_name);
    im_json_set_str(j, "run_dir", conf->run_dir);
    im_json_set_str(j, "state", done ? "done" : "not running");
    sv_run_epochs_add_json(&e, j);
    im_json_print(j, stdout);
    im_json_free(&j);
    return IM_EXIT_NOT_RUNNING;
}

/* What a run left that was killed as a whole. */
static void remove_left_socket(const char *run_dir)
{
    struct im_ctl_record record;
    struct sv_rundir_lock lock;

    if (im_ctl_read_record(run_dir, &record) < 0)
        return;
    if (!sv_rundir_try_lock(run_dir, &lock))
        return;
    im_ctl_remove(run_dir);
    sv_rundir_unlock(&lock);
}

static bool has_socket_here(const char *run_dir)
{
    struct im_ctl_record record = {.pid = 0};
    struct stat st;

    return im_ctl_find(run_dir, &record) == 0 && lstat(record.path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* The folder may be shared by several machines, and node 0, whose run it is, be another: then the node that runs here is
 * asked, and asks the others. */
static void choose_node_here(struct im_conf *conf)
{
    char path[sizeof conf->run_dir];

    if (has_socket_here(conf->run_dir))
        return;
    for (int node = 0; node < IM_RANKS_MAX; node++) {
        if (snprintf(path, sizeof path, "%s/nodes/node%d", conf->run_dir, node) >= (int)sizeof path)
            return;
        if (!has_socket_here(path) || !sv_rundir_is_live(path))
            continue;
        memcpy(conf->run_dir, path, strlen(path) + 1);
        return;
    }
}

int sv_ask(struct im_conf *conf, struct im_json *request, struct im_json **ret)
{
    struct im_text text = {""};
    int status = IM_EXIT_OK, live = 0, err = sv_rundir_find(conf, &text);

    *ret = NULL;
    if (err == 0)
        choose_node_here(conf);
    if (err == 0)
        live = sv_rundir_look(conf->run_dir);
    if (live < 0 && sv_rundir_done_epochs(conf->run_dir) > 0 && !has_socket_here(conf->run_dir))
        live = 0; /* another user's, but its files say how it ended */
    if (err < 0) {
        status = sv_print_failure(&text, err == -EACCES ? IM_EXIT_FAILED : IM_EXIT_UNKNOWN_RUN);
    } else if (live < 0) {
        fail_of_permission(conf->run_dir, "lock", &text);
        status = sv_print_failure(&text, IM_EXIT_FAILED);
    } else if (!live) {
        remove_left_socket(conf->run_dir);
        status = say_not_running(conf);
    } else if (ask(conf->run_dir, request, ret, &text) < 0) {
        status = sv_print_failure(&text, IM_EXIT_FAILED);
    } else if (im_json_get(*ret, "error")) {
        im_fail(&text, 0, "%s", im_json_str_or(*ret, "error", ""));
        status = sv_print_failure(&text, (int)im_json_int_or(*ret, "exit_status", IM_EXIT_FAILED));
        im_json_free(ret);
    }
    im_json_free(&request);
    return status;
}
