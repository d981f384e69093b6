#include "supervisor/top/top.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/thread.h"
#include "supervisor/report/event.h"
#include "supervisor/report/fold.h"
#include "supervisor/report/run_state.h"
#include "supervisor/report/rundir.h"
#include "supervisor/top/client.h"
#include "supervisor/top/draw.h"
#include "supervisor/top/window.h"

#define RUNS_MAX 64
#define SCAN_NS (3 * IM_SECOND)
#define FILES_NS IM_SECOND
#define MESSAGE_NS (4 * IM_SECOND)
#define TURN_MS 500 /* at most: keys and answers end it */
#define EVENTS_BYTES 16384
#define LOG_BYTES (256 * 1024)
#define ANSWER_NS (5 * IM_SECOND)
#define PRINT_NS IM_SECOND
#define PRINT_TURN_MS 50

struct top {
    struct im_conf *conf;
    struct sv_window window;
    struct sv_canvas canvas;
    struct sv_top_client client;
    struct sv_top_run *run[RUNS_MAX]; /* owned */
    int runs, at, chosen;
    im_ns scanned, looked; /* at the workspace; at the run's files */
    char message[256];
    im_ns said;
    bool help, over, fresh; /* fresh: there is something new to show */
    bool logs;
    int log_back;
    char *log, *raw_log; /* LOG_BYTES each */
    char log_of[32];
};

/* --- runs ------------------------------------------------------------------------------------------------------- */

static struct sv_top_run *shown(const struct top *t)
{
    return t->runs > 0 ? t->run[t->at] : NULL;
}

/* Its number; -1: there are too many. */
static int add_run(struct top *t, const char *name)
{
    struct sv_top_run *r;

    for (int i = 0; i < t->runs; i++)
        if (strcmp(t->run[i]->name, name) == 0)
            return i;
    r = t->runs < RUNS_MAX ? calloc(1, sizeof *r) : NULL;
    if (!r)
        return -1;
    snprintf(r->name, sizeof r->name, "%s", name);
    if (snprintf(r->run_dir, sizeof r->run_dir, "%s/%s", t->conf->workspace, name) >=
        (int)sizeof r->run_dir) {
        free(r);
        return -1;
    }
    t->run[t->runs++] = r;
    t->fresh = true;
    return t->runs - 1;
}

static bool is_folder(const char *path, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_DIR;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The newest run, if it goes on or there is no other to show. */
static void add_newest(struct top *t)
{
    struct im_conf newest = *t->conf;
    int number;

    newest.run_name[0] = 0;
    if (sv_rundir_find(&newest, NULL) < 0 || (t->runs > 0 && !sv_rundir_is_live(newest.run_dir)))
        return;
    number = add_run(t, newest.run_name);
    t->at = number >= 0 ? number : t->at;
}

/* The runs that go on. */
static void scan(struct top *t, im_ns now)
{
    const bool first = t->scanned == 0 && !t->conf->run_name[0];
    DIR *d = opendir(t->conf->workspace);
    struct dirent *entry;

    t->scanned = now;
    while (d && (entry = readdir(d))) {
        char path[PATH_MAX];

        if (entry->d_name[0] != '.' &&
            snprintf(path, sizeof path, "%s/%s", t->conf->workspace, entry->d_name) < (int)sizeof path &&
            is_folder(path, entry) && sv_rundir_is_live(path))
            add_run(t, entry->d_name);
    }
    if (d)
        closedir(d);
    if (first || t->runs == 0)
        add_newest(t);
}

static void read_log(struct top *t, const struct sv_top_run *r)
{
    char role[32];
    const char *hash = strchr(t->log_of, '#');
    size_t used = 0;

    snprintf(role, sizeof role, "%.*s", (int)(hash ? hash - t->log_of : 0), t->log_of);
    sv_run_tail(r->run_dir, "log.txt", t->raw_log, LOG_BYTES);
    for (const char *line = t->raw_log, *end; (end = strchr(line, '\n')); line = end + 1) {
        const size_t n = (size_t)(end - line) + 1;

        if (!sv_log_is_of(line, n, role, hash ? strtoll(hash + 1, NULL, 10) : -1))
            continue;
        memcpy(t->log + used, line, n);
        used += n;
    }
    t->log[used] = 0;
}

/* What the run's folder says: is it over, and what happened. */
static void look_at_files(struct top *t, im_ns now)
{
    struct sv_top_run *r = shown(t);
    char tail[EVENTS_BYTES];
    bool was_over;

    t->looked = now;
    if (!r)
        return;
    was_over = r->state[0] != 0;
    if (sv_rundir_is_live(r->run_dir)) {
        r->state[0] = 0;
    } else {
        snprintf(r->state, sizeof r->state, "%s", sv_run_state(r->run_dir));
        if (strcmp(r->state, "running") == 0) /* since just now */
            r->state[0] = 0;
    }
    if (!r->status || (r->state[0] && !was_over))
        sv_top_read_epochs(r);
    sv_run_tail(r->run_dir, "events.jsonl", tail, sizeof tail);
    sv_top_read_events(r, tail);
    if (t->logs)
        read_log(t, r);
    t->fresh |=
        !r->status || r->state[0] || was_over || t->logs; /* else shown with the answer that comes soon */
}

static void turn_to(struct top *t, int number, im_ns now)
{
    t->at = number;
    t->chosen = 0;
    t->logs = false;
    look_at_files(t, now);
}

/* --- the run's answers -------------------------------------------------------------------------------------------- */

static void say(struct top *t, im_ns now, const char *text)
{
    snprintf(t->message, sizeof t->message, "%s", text);
    t->said = now;
    t->fresh = true;
}

static void receive(struct top *t, im_ns now)
{
    struct sv_top_run *r = shown(t);
    struct im_json *j;

    while ((j = sv_top_client_receive(&t->client))) {
        if (strncmp(im_json_str_or(j, "schema", ""), "imsuper.status/", 15) != 0) {
            say(t, now, im_json_str_or(j, "error", im_json_str_or(j, "ok", "?")));
            im_json_free(&j);
        } else if (r) {
            sv_top_take(r, j, now);
            r->state[0] = 0;
            t->chosen = t->chosen < r->processes ? t->chosen : r->processes > 0 ? r->processes - 1 : 0;
            t->fresh = true;
        } else {
            im_json_free(&j);
        }
    }
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

static struct im_json *make_command(const char *cmd)
{
    struct im_json *j = im_json_object();

    im_json_set_str(j, "cmd", cmd);
    return j;
}

static void send_command(struct top *t, im_ns now, struct im_json *command)
{
    if (!sv_top_client_send(&t->client, command))
        say(t, now, "the run does not answer");
}

static const struct im_json *chosen_process(const struct top *t)
{
    const struct sv_top_run *r = shown(t);

    return r ? im_json_at(im_json_get(r->status, "processes"), (size_t)t->chosen) : NULL;
}

static void restart(struct top *t, im_ns now)
{
    const struct im_json *p = chosen_process(t);
    struct im_json *command;

    if (!p)
        return;
    command = make_command("restart");
    im_json_set_str(command, "stage", im_json_str_or(p, "role", ""));
    im_json_set_int(command, "index", im_json_int_or(p, "index", 0));
    send_command(t, now, command);
}

static void scale(struct top *t, im_ns now, int by)
{
    const char *role = im_json_str_or(chosen_process(t), "role", "");
    const bool reads = strcmp(role, "reader") == 0;
    const struct im_json *stages = im_json_get(shown(t)->status, "stages");
    const struct im_json *stage = im_json_at(stages, reads ? 0 : 1);
    struct im_json *command;

    if (!reads && strcmp(role, "augmenter") != 0) {
        say(t, now, "only readers and augmenters can be more or fewer: choose one with the arrows");
        return;
    }
    if (im_json_int_or(stage, "wanted", 0) + by < 1) {
        say(t, now, "one is the least");
        return;
    }
    command = make_command("scale");
    im_json_set_int(command, reads ? "readers" : "augmenters", im_json_int_or(stage, "wanted", 0) + by);
    send_command(t, now, command);
}

static void toggle_log(struct top *t)
{
    const struct sv_top_run *r = shown(t);

    t->logs = !t->logs && r && t->chosen < r->processes;
    t->log_back = 0;
    if (!t->logs)
        return;
    snprintf(t->log_of, sizeof t->log_of, "%s", r->process[t->chosen].name);
    read_log(t, r);
}

/* Arrows scroll the log, or choose a process. */
static void step(struct top *t, int by)
{
    const struct sv_top_run *r = shown(t);
    const int last = r && r->processes > 0 ? r->processes - 1 : 0;

    if (t->logs) {
        t->log_back = t->log_back - by > 0 ? t->log_back - by : 0; /* the layout bounds it */
        return;
    }
    t->chosen += by;
    t->chosen = t->chosen < 0 ? 0 : t->chosen > last ? last : t->chosen;
}

/* Keys that ask something of the run. */
static void act(struct top *t, int key, im_ns now)
{
    const struct sv_top_run *r = shown(t);

    if (!r || !r->status || r->state[0])
        return;
    switch (key) {
    case 'r':
        restart(t, now);
        break;
    case '+':
    case '=':
        scale(t, now, 1);
        break;
    case '-':
        scale(t, now, -1);
        break;
    case 'p':
        send_command(t, now, make_command(im_json_bool_or(r->status, "paused", false) ? "resume" : "pause"));
        break;
    default:
        break;
    }
}

static void on_key(struct top *t, int key, im_ns now)
{
    t->fresh = true;
    switch (key) {
    case 'q':
    case SV_KEY_QUIT:
        t->over = true;
        break;
    case 'h':
    case '?':
    case SV_KEY_HELP:
        t->help = !t->help;
        break;
    case SV_KEY_ESCAPE:
        t->help = t->logs = false;
        break;
    case '\t':
        if (t->runs > 1)
            turn_to(t, (t->at + 1) % t->runs, now);
        break;
    case 'l':
        toggle_log(t);
        break;
    case SV_KEY_UP:
    case 'k':
        step(t, -1);
        break;
    case SV_KEY_DOWN:
    case 'j':
        step(t, 1);
        break;
    case SV_KEY_PAGE_UP:
        step(t, -10);
        break;
    case SV_KEY_PAGE_DOWN:
        step(t, 10);
        break;
    case SV_KEY_HOME:
        step(t, -SV_TOP_PROCESSES);
        break;
    case SV_KEY_END:
        step(t, SV_TOP_PROCESSES);
        break;
    default:
        act(t, key, now);
    }
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static void show(struct top *t, im_ns now)
{
    const struct sv_top_run *r = shown(t);
    const struct sv_top_screen s = {.run = r,
                                    .runs = t->runs,
                                    .at = t->at + 1,
                                    .workspace = t->conf->workspace,
                                    .now = now,
                                    .chosen = t->chosen,
                                    .utf8 = sv_locale_is_utf8(),
                                    .help = t->help,
                                    .message = t->message[0] ? t->message : NULL,
                                    .log = t->logs ? t->log : NULL,
                                    .log_of = t->log_of,
                                    .log_back = t->log_back};
    int columns, rows;

    sv_window_size(&columns, &rows);
    if (sv_canvas_resize(&t->canvas, columns, rows) < 0)
        return;
    sv_top_draw(&s, &t->canvas);
    sv_window_show(&t->window, &t->canvas);
    t->fresh = false;
}

static void top_turn(struct top *t, int signals)
{
    struct pollfd p[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                         {.fd = signals, .events = POLLIN},
                         {.fd = im_ctl_fd(t->client.ctl), .events = POLLIN}};
    const struct sv_top_run *r;
    im_ns now;
    int key;

    poll(p, 3, TURN_MS); /* a change of size ends it, too */
    now = im_now();
    t->over |= (p[1].revents & POLLIN) || (p[0].revents & (POLLHUP | POLLERR | POLLNVAL));
    while (!t->over && (key = sv_window_key()) != SV_KEY_NONE)
        on_key(t, key, now);
    if (t->scanned == 0 || now - t->scanned >= SCAN_NS)
        scan(t, now);
    r = shown(t);
    if (r)
        sv_top_client_point(&t->client, r->run_dir);
    receive(t, now);
    sv_top_client_turn(&t->client, now);
    if (t->looked == 0 || now - t->looked >= FILES_NS)
        look_at_files(t, now);
    if (t->message[0] && now - t->said >= MESSAGE_NS)
        t->message[0] = 0;
    if (t->fresh && !t->over)
        show(t, now);
}

static int open_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void close_all(struct top *t)
{
    sv_top_client_close(&t->client);
    sv_canvas_free(&t->canvas);
    for (int i = 0; i < t->runs; i++) {
        sv_top_forget(t->run[i]);
        free(t->run[i]);
    }
    free(t->log);
    free(t->raw_log);
}

int sv_top_main(struct im_conf *conf, struct im_text *text)
{
    struct top t = {
        .conf = conf, .fresh = true, .log = calloc(1, LOG_BYTES), .raw_log = calloc(1, LOG_BYTES)};
    const char *no_color = getenv("NO_COLOR");
    const bool color =
        conf->color == IM_COLOR_ALWAYS || (conf->color == IM_COLOR_AUTO && !(no_color && *no_color));
    int signals = -1, err = t.log && t.raw_log ? 0 : -ENOMEM;

    im_thread_interrupt_nobody();
    if (err == 0 && conf->run_name[0])
        add_run(&t, conf->run_name);
    if (err == 0)
        err = sv_window_open(&t.window, color, text);
    if (err == 0) {
        signals = open_signals();
        err = signals < 0 ? -errno : 0;
    }
    while (err == 0 && !t.over)
        top_turn(&t, signals);
    sv_window_close(&t.window);
    close_all(&t);
    if (signals >= 0)
        close(signals);
    return err;
}

/* --- for programs --------------------------------------------------------------------------------------------------- */

/* Until the run has answered anew, twice for the first time (rates are of two answers), or is over. */
static void hear(struct top *t, int number)
{
    const im_ns until = im_now() + ANSWER_NS;
    struct sv_top_run *r = t->run[number];
    im_ns before = r->answered, now = im_now();
    int answers = before ? 1 : 2;

    turn_to(t, number, now);
    sv_top_client_point(&t->client, r->run_dir);
    while (!r->state[0] && answers > 0 && now < until) {
        sv_top_client_turn(&t->client, now);
        poll(&(struct pollfd){.fd = im_ctl_fd(t->client.ctl), .events = POLLIN}, 1, PRINT_TURN_MS);
        now = im_now();
        receive(t, now);
        answers -= r->answered != before;
        before = r->answered;
        if (now - t->looked >= FILES_NS)
            look_at_files(t, now);
    }
}

static int print_runs(const struct top *t)
{
    struct im_json *j = im_json_object(), *list = im_json_array();
    char ts[40];
    int err;

    sv_event_time(ts, sizeof ts);
    im_json_set_str(j, "schema", "imsuper.top/1");
    im_json_set_str(j, "ts", ts);
    im_json_set_str(j, "workspace", t->conf->workspace);
    for (int i = 0; i < t->runs; i++)
        im_json_append(list, sv_top_run_json(t->run[i]));
    im_json_set(j, "runs", list);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

int sv_top_print(struct im_conf *conf, struct im_text *text)
{
    struct top t = {.conf = conf};
    bool live = true;
    int err = 0;

    if (conf->run_name[0])
        add_run(&t, conf->run_name);
    while (err == 0 && live) {
        const im_ns began = im_now();

        live = false;
        if (!conf->run_name[0])
            scan(&t, began);
        for (int i = 0; i < t.runs; i++) {
            hear(&t, i);
            live |= !t.run[i]->state[0];
        }
        err = print_runs(&t);
        live &= conf->follow;
        if (live && im_now() - began < PRINT_NS)
            poll(NULL, 0, (int)((PRINT_NS - (im_now() - began)) / IM_MS));
    }
    close_all(&t);
    return err < 0 && err != -EPIPE ? im_fail(text, err, "cannot write the answer: %s", strerror(-err)) : 0;
}
