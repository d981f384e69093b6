#include "supervisor/report/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/base/log.h"

static int open_lines(const char *run_dir, const char *name, struct im_text *text)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", run_dir, name);
    return im_lines_open(path, text);
}

int sv_journal_open(struct sv_journal *j, const char *run_dir, int pipe_fd, struct sv_screen *screen,
                    int level_shown, struct im_text *text)
{
    *j = (struct sv_journal){
        .events_fd = -1, .log_fd = -1, .pipe_fd = pipe_fd, .screen = screen, .level_shown = level_shown};
    j->events_fd = open_lines(run_dir, "events.jsonl", text);
    if (j->events_fd < 0)
        return j->events_fd;
    j->log_fd = open_lines(run_dir, "log.txt", text);
    return j->log_fd < 0 ? j->log_fd : 0;
}

void sv_journal_close(struct sv_journal *j)
{
    if (j->events_fd >= 0)
        close(j->events_fd);
    if (j->log_fd >= 0)
        close(j->log_fd);
    j->events_fd = j->log_fd = -1;
}

static void timestamp(char *buffer, size_t n)
{
    struct timespec now;
    struct tm utc;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(buffer, n, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(buffer + strlen(buffer), n - strlen(buffer), ".%03ldZ", now.tv_nsec / 1000000);
}

void sv_journal_event(struct sv_journal *j, const char *event, struct im_json *fields)
{
    struct im_json *whole = im_json_object();
    const struct im_json *value;
    const char *key = NULL;
    char ts[40], *line;

    timestamp(ts, sizeof ts);
    im_json_set_str(whole, "ts", ts);
    im_json_set_str(whole, "event", event);
    while (fields && (value = im_json_next(fields, &key))) {
        const char *s;
        int64_t i;
        double r;

        if (im_json_as_str(value, &s) == 0)
            im_json_set_str(whole, key, s);
        else if (im_json_as_int(value, &i) == 0)
            im_json_set_int(whole, key, i);
        else if (im_json_as_real(value, &r) == 0)
            im_json_set_real(whole, key, r);
    }
    line = im_json_dump(whole);
    if (line)
        im_append_line(j->events_fd, line);
    free(line);
    im_json_free(&whole);
    im_json_free(&fields);
}

/* The level in a log line of ours; -1 for a line of somebody else (a library, a sanitizer). */
static int level_of(const char *line)
{
    static const char *const names[] = {"level=debug", "level=info", "level=warn", "level=error"};

    if (strncmp(line, "ts=", 3) != 0)
        return -1;
    for (int level = IM_LOG_DEBUG; level <= IM_LOG_ERROR; level++)
        if (strstr(line, names[level]))
            return level;
    return -1;
}

/* Copies the value of `key` in a logfmt line, without its quotes and escapes; empty when there is none. */
static void value_of(const char *line, const char *key, char *ret, size_t n)
{
    char wanted[32];
    const char *at;
    size_t used = 0;
    bool quoted;

    snprintf(wanted, sizeof wanted, " %s=", key);
    at = strstr(line, wanted);
    at = at ? at + strlen(wanted) : "";
    quoted = *at == '"';
    at += quoted;
    while (*at && *at != (quoted ? '"' : ' ') && used + 1 < n) {
        if (quoted && *at == '\\' && at[1])
            at++;
        ret[used++] = *at++;
    }
    ret[used] = 0;
}

/* A log line of a role, as shown on the terminal: who, what, and the rest as it is. */
static void show(struct sv_journal *j, const char *line, int level)
{
    char role[32], id[16], msg[256];
    const char *rest = strstr(line, " msg=");

    value_of(line, "role", role, sizeof role);
    value_of(line, "id", id, sizeof id);
    value_of(line, "msg", msg, sizeof msg);
    rest = rest ? rest + 5 : "";
    rest = *rest == '"' ? strchr(rest + 1, '"') : strchr(rest, ' ');
    rest = rest ? rest + 1 : "";
    if (level >= IM_LOG_WARN)
        sv_screen_warn(j->screen, level == IM_LOG_WARN ? SV_WARN : SV_ERROR, "%s#%s: %s%s", role, id, msg,
                       rest);
    else
        sv_screen_say(j->screen, "%s#%s: %s%s", role, id, msg, rest);
}

static void take_line(struct sv_journal *j, const char *line)
{
    int level = level_of(line);
    char msg[32];

    im_append_line(j->log_fd, line);
    value_of(line, "msg", msg, sizeof msg);
    if (level == IM_LOG_ERROR && strcmp(msg, "leaving") == 0)
        value_of(line, "why", j->last_reason, sizeof j->last_reason); /* shown with what follows from it */
    else if (level < 0)
        sv_screen_warn(j->screen, SV_ERROR, "%s", line);
    else if (level >= j->level_shown)
        show(j, line, level);
}

void sv_journal_drain(struct sv_journal *j)
{
    char chunk[16384];
    ssize_t n;

    while ((n = read(j->pipe_fd, chunk, sizeof chunk)) > 0) {
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
