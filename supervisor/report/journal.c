#include "supervisor/report/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/log.h"
#include "ipc/base/printable.h"
#include "supervisor/report/event.h"
#include "supervisor/report/history.h"
#include "supervisor/report/log_line.h"
#include "supervisor/report/page.h"
#include "supervisor/report/rundir.h"

#define HOOK_COMMAND_NS (60 * IM_SECOND)
#define DRAIN_BYTES_MAX ((size_t)1 << 20) /* of log lines a call: whoever floods the pipe holds nobody up */

static int add_file(struct sv_journal *j, const char *name, int *ret, struct im_text *text)
{
    char path[PATH_MAX];
    int file;

    snprintf(path, sizeof path, "%s/%s", j->run_dir, name);
    file = im_writer_file(j->writer, path, name, -1, NULL, NULL);
    if (file < 0)
        return im_fail(text, file, "cannot write %s: %s", path, strerror(-file));
    *ret = file;
    return 0;
}

static int open_hook(struct sv_journal *j, struct im_text *text)
{
    const struct sv_hook_limits limits = {.command = HOOK_COMMAND_NS};
    char path[PATH_MAX];
    int err;

    if (!j->conf->on_event[0] || j->conf->lr_range_test)
        return 0;
    snprintf(path, sizeof path, "%s/on-event.log", j->run_dir);
    err = sv_hook_open(&j->hook, j->conf->on_event, path, &limits);
    return err < 0 ? im_fail(text, err, "no thread for --on-event: %s", strerror(-err)) : 0;
}

int sv_journal_open(struct sv_journal *j, const struct im_conf *conf, int pipe_fd, struct sv_screen *screen,
                    int level_shown, struct im_text *text)
{
    int err;

    *j = (struct sv_journal){.pipe_fd = pipe_fd,
                             .run_dir = conf->run_dir,
                             .conf = conf,
                             .screen = screen,
                             .level_shown = level_shown};
    err = im_writer_open(&j->writer);
    if (err == 0)
        err = add_file(j, "events.jsonl", &j->events, text);
    if (err == 0)
        err = add_file(j, "log.txt", &j->log, text);
    if (err == 0)
        err = add_file(j, "stages.jsonl", &j->stages, text);
    if (err == 0)
        err = open_hook(j, text);
    if (conf->json && !im_conf_is_probe(conf))
        j->answers = sv_terminal_open(STDOUT_FILENO);
    sv_tensorboard_init(&j->tensorboard, j->run_dir);
    return err < 0 ? err : im_writer_open(&j->reports);
}

/* Work of the writers' threads. */
static int write_page(void *context, struct im_text *text)
{
    const struct sv_journal *j = context;

    return sv_page_write(j->run_dir, text);
}

void sv_journal_close(struct sv_journal *j, im_ns timeout)
{
    const im_ns by = im_now() + timeout;
    uint64_t lost = im_writer_close(&j->writer, timeout);

    if (lost > 0)
        sv_screen_warn(j->screen, SV_WARN, "%" PRIu64 " lines of events.jsonl and log.txt were not written",
                       lost);
    if (!im_conf_is_probe(j->conf)) { /* all that they are made from is written now */
        sv_journal_report(j);
        im_writer_do(j->reports, write_page, j, "report.html");
    }
    im_writer_close(&j->reports, by > im_now() ? by - im_now() : 0);
    lost = sv_hook_close(&j->hook, 0);
    if (lost > 0)
        sv_screen_warn(j->screen, SV_WARN, "%" PRIu64 " events were not passed to the command of --on-event",
                       lost);
    sv_terminal_close(&j->answers, by > im_now() ? by - im_now() : 0);
}

static int draw(void *context, struct im_text *text)
{
    const struct sv_journal *j = context;

    return sv_history_write(j->run_dir, text);
}

static int report(void *context, struct im_text *text)
{
    struct sv_journal *j = context;

    return sv_tensorboard_update(&j->tensorboard, text);
}

static int accept(void *context, struct im_text *text)
{
    const struct sv_journal *j = context;

    (void)text;
    sv_rundir_accept(j->conf);
    return 0;
}

static int withdraw(void *context, struct im_text *text)
{
    const struct sv_journal *j = context;

    (void)text;
    sv_rundir_withdraw(j->conf);
    return 0;
}

static int tidy(void *context, struct im_text *text)
{
    const struct sv_journal *j = context;

    (void)text;
    sv_history_tidy(j->run_dir);
    return 0;
}

static int read_done(void *context, struct im_text *text)
{
    struct sv_journal *j = context;

    (void)text;
    sv_rundir_done(j->run_dir, &j->done);
    return 0;
}

void sv_journal_draw(struct sv_journal *j)
{
    im_writer_do(j->writer, draw, j, "charts");
    im_writer_do(j->reports, write_page, j, "report.html");
}

void sv_journal_report(struct sv_journal *j)
{
    if (j->conf->tensorboard)
        im_writer_do(j->reports, report, j, "tensorboard");
}

void sv_journal_stages(struct sv_journal *j, struct im_json *line)
{
    char *dumped = im_json_dump(line);

    if (dumped)
        im_writer_line(j->writer, j->stages, dumped);
    free(dumped);
    im_json_free(&line);
}

void sv_journal_accept(struct sv_journal *j)
{
    im_writer_do(j->writer, accept, j, "config.yaml");
}

void sv_journal_withdraw(struct sv_journal *j)
{
    im_writer_do(j->writer, withdraw, j, "config.yaml");
}

void sv_journal_tidy(struct sv_journal *j)
{
    im_writer_do(j->writer, tidy, j, "plots");
}

void sv_journal_ask_done(struct sv_journal *j)
{
    im_writer_do(j->writer, read_done, j, "DONE");
}

bool sv_journal_done(struct sv_journal *j, im_ns wait, struct sv_done *ret)
{
    bool known = im_writer_wait(j->writer, false, wait) != -ETIMEDOUT;

    *ret = known ? j->done : (struct sv_done){.top1 = -1, .average = -1};
    return known;
}

static void tell_file(struct sv_journal *j, const struct im_writer_news *news)
{
    struct im_json *fields = im_json_object();

    im_json_set_str(fields, "file", news->name);
    if (news->err < 0)
        im_json_set_str(fields, "why", news->text.s);
    else
        im_json_set_int(fields, "lines_lost", (int64_t)news->lost);
    sv_journal_event(j, news->err < 0 ? "report.failed" : "report.continued", fields);
    if (news->err < 0 && news->is_work)
        sv_screen_warn(j->screen, SV_WARN, "no %s: %s; the run goes on", news->name, news->text.s);
    else if (news->err < 0)
        sv_screen_warn(j->screen, SV_WARN,
                       "%s cannot be written: %s; its lines are kept, and the run goes on", news->name,
                       news->text.s);
    else if (news->lost > 0)
        sv_screen_warn(j->screen, SV_WARN, "%s is written again; %" PRIu64 " lines are lost", news->name,
                       news->lost);
    else
        sv_screen_warn(j->screen, SV_WARN, "%s %s again; nothing is lost", news->name,
                       news->is_work ? "can be written" : "is written");
}

void sv_journal_tell(struct sv_journal *j)
{
    struct im_writer_news news;
    struct im_text why;
    uint64_t dropped;
    im_ns silence;

    while (im_writer_news(j->writer, &news) || im_writer_news(j->reports, &news)) {
        tell_file(j, &news);
        j->tellings++;
    }
    if (j->hook && sv_hook_news(j->hook, &why))
        sv_screen_warn(j->screen, SV_WARN, "%s; the run goes on", why.s);
    if (j->answers && sv_terminal_news(j->answers, &dropped, &silence))
        sv_screen_warn(j->screen, SV_WARN,
                       "standard output took nothing for %.0f s: %" PRIu64 " lines of --json were left out",
                       (double)silence / 1e9, dropped);
    if (sv_terminal_news(j->screen->terminal, &dropped, &silence)) {
        struct im_json *fields = im_json_object();

        im_json_set_int(fields, "lines_dropped", (int64_t)dropped);
        im_json_set_real(fields, "seconds", (double)silence / 1e9);
        sv_journal_event(j, "screen.continued", fields);
        sv_screen_warn(j->screen, SV_WARN,
                       "the terminal took nothing for %.0f s: %" PRIu64 " lines were not shown",
                       (double)silence / 1e9, dropped);
    }
}

/* Numbers, texts and truths; null is left out. */
static void copy_fields(struct im_json *to, const struct im_json *from)
{
    const struct im_json *value;

    for (const char *key = NULL; from && (value = im_json_next(from, &key));) {
        const char *s;
        int64_t i;
        double r;
        bool b;

        if (im_json_get(to, key))
            continue;
        if (im_json_as_str(value, &s) == 0)
            im_json_set_str(to, key, s);
        else if (im_json_as_int(value, &i) == 0)
            im_json_set_int(to, key, i);
        else if (im_json_as_real(value, &r) == 0)
            im_json_set_real(to, key, r);
        else if (im_json_as_bool(value, &b) == 0)
            im_json_set_bool(to, key, b);
    }
}

/* As the command of --on-event and standard output get it; the caller's. */
static char *dump_event(const struct sv_journal *j, const char *event, const struct im_json *fields)
{
    struct im_json *whole = sv_event_json(event, j->conf->run_name, j->run_dir);
    char *line;

    copy_fields(whole, fields);
    line = im_json_dump(whole);
    im_json_free(&whole);
    return line;
}

static void put_answer(struct sv_journal *j, enum sv_text_kind kind, const char *line)
{
    const size_t n = strlen(line);
    char *whole = malloc(n + 1);

    if (whole) {
        memcpy(whole, line, n);
        whole[n] = '\n';
        sv_terminal_put(j->answers, kind, whole, n + 1);
    }
    free(whole);
}

void sv_journal_pass(struct sv_journal *j, const char *event, const struct im_json *fields)
{
    char *line;

    if (!j->hook && !j->answers)
        return;
    line = dump_event(j, event, fields);
    if (line && j->hook)
        sv_hook_event(j->hook, line);
    if (line && j->answers)
        put_answer(j, SV_TEXT_LINE, line);
    free(line);
}

void sv_journal_progress(struct sv_journal *j, const struct sv_progress *p)
{
    const im_ns now = im_now();
    struct im_json *fields;
    char *line;

    if (!j->answers || now - j->answered < (im_ns)(j->conf->status_interval * 1e9))
        return;
    j->answered = now;
    fields = sv_progress_json(p);
    line = dump_event(j, "progress", fields);
    if (line)
        put_answer(j, SV_TEXT_PROGRESS, line);
    free(line);
    im_json_free(&fields);
}

void sv_journal_event(struct sv_journal *j, const char *event, struct im_json *fields)
{
    struct im_json *whole = im_json_object();
    char ts[40], *line;

    sv_event_time(ts, sizeof ts);
    im_json_set_str(whole, "ts", ts);
    im_json_set_str(whole, "event", event);
    copy_fields(whole, fields);
    line = im_json_dump(whole);
    if (line)
        im_writer_line(j->writer, j->events, line);
    free(line);
    im_json_free(&whole);
    sv_journal_pass(j, event, fields);
    im_json_free(&fields);
}

/* A log line of a role, as shown on the terminal: who, what, and the rest as it is. */
static void show(struct sv_journal *j, const char *line, int level)
{
    char role[32], id[16], msg[256];
    const char *rest = sv_log_rest(line);

    sv_log_value(line, "role", role, sizeof role);
    sv_log_value(line, "id", id, sizeof id);
    sv_log_value(line, "msg", msg, sizeof msg);
    if (level >= IM_LOG_WARN)
        sv_screen_warn(j->screen, level == IM_LOG_WARN ? SV_WARN : SV_ERROR, "%s#%s: %s%s", role, id, msg,
                       rest);
    else
        sv_screen_say(j->screen, "%s#%s: %s%s", role, id, msg, rest);
}

static void take_line(struct sv_journal *j, const char *line)
{
    int level = sv_log_level(line);
    char msg[32], shown[SV_LINE_MAX * IM_ESCAPE_BYTES];

    /* Ours are escaped already; a library's may hold anything. */
    im_writer_line(j->writer, j->log, im_printable(line, shown, sizeof shown));
    sv_log_value(line, "msg", msg, sizeof msg);
    if (level == IM_LOG_ERROR && strcmp(msg, "leaving") == 0)
        sv_log_value(line, "why", j->last_reason,
                     sizeof j->last_reason); /* shown with what follows from it */
    else if (level < 0)
        sv_screen_warn(j->screen, SV_ERROR, "%s", line);
    else if (level >= j->level_shown)
        show(j, line, level);
}

void sv_journal_drain(struct sv_journal *j)
{
    char chunk[16384];
    size_t got = 0;
    ssize_t n;

    while (got < DRAIN_BYTES_MAX && (n = read(j->pipe_fd, chunk, sizeof chunk)) > 0) {
        got += (size_t)n;
        for (ssize_t i = 0; i < n; i++) {
            if (chunk[i] != '\n' && j->partial_bytes < sizeof j->partial - 1) {
                j->partial[j->partial_bytes++] = chunk[i];
                continue;
            }
            j->partial[j->partial_bytes] = 0;
            if (j->partial_bytes > 0)
                take_line(j, j->partial);
            j->partial_bytes = 0;
            if (chunk[i] != '\n')
                j->partial[j->partial_bytes++] = chunk[i];
        }
    }
}
