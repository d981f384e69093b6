#include "supervisor/report/run_state.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/exit.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "supervisor/report/rundir.h"

#define TAIL_BYTES 16384

void sv_run_tail(const char *run_dir, const char *name, char *ret, size_t n)
{
    char path[PATH_MAX + 32];
    struct stat st;
    ssize_t got;
    int fd;

    ret[0] = 0;
    snprintf(path, sizeof path, "%s/%s", run_dir, name);
    fd = im_open_regular(path, &st, NULL);
    if (fd < 0)
        return;
    got = pread(fd, ret, n - 1, st.st_size > (off_t)(n - 1) ? st.st_size - (off_t)(n - 1) : 0);
    ret[got > 0 ? got : 0] = 0;
    close(fd);
}

/* The last whole line that parses; NULL: none. */
static struct im_json *last_event(const char *run_dir)
{
    char tail[TAIL_BYTES + 1];
    struct im_json *event = NULL;
    char *newline;

    sv_run_tail(run_dir, "events.jsonl", tail, sizeof tail);
    while (!event && (newline = strrchr(tail, '\n'))) {
        *newline = 0;

        char *line = strrchr(tail, '\n');

        line = line ? line + 1 : tail;
        im_json_parse(line, strlen(line), &event, NULL);
    }
    return event;
}

static bool exists(const char *run_dir, const char *name)
{
    char path[PATH_MAX + 32];

    snprintf(path, sizeof path, "%s/%s", run_dir, name);
    return access(path, F_OK) == 0;
}

const char *sv_run_state(const char *run_dir)
{
    struct im_json *event;
    const char *word;
    int64_t status;
    const int live = sv_rundir_look(run_dir);

    if (live == 1)
        return sv_rundir_is_described(run_dir) ? "running" : "starting";
    if (sv_rundir_done_epochs(run_dir) > 0)
        return "done";
    if (!sv_rundir_is_described(run_dir) && !exists(run_dir, "events.jsonl"))
        return "unstarted";
    event = last_event(run_dir);
    status = im_json_int_or(event, "exit_status", -1);
    if (strcmp(im_json_str_or(event, "event", ""), "run.ended") != 0)
        word = live < 0 ? "unknown" : "crashed";
    else
        word = status == IM_EXIT_RESUMABLE || status == IM_EXIT_FORCED ? "stopped" : "failed";
    im_json_free(&event);
    return word;
}

/* " role=reader id=0 " behind the time and the level; lines of libraries have none. */
bool sv_log_is_of(const char *line, size_t bytes, const char *role, int64_t index)
{
    char wanted[96];
    const char *at;
    size_t length;

    if (!role)
        return true;
    if (bytes < 3 || strncmp(line, "ts=", 3) != 0)
        return false;
    if (index >= 0)
        length = (size_t)snprintf(wanted, sizeof wanted, " role=%.32s id=%lld ", role, (long long)index);
    else
        length = (size_t)snprintf(wanted, sizeof wanted, " role=%.32s ", role);
    at = memmem(line, bytes, " role=", 6); /* the first is ours: the message is behind it */
    return at && (size_t)(line + bytes - at) >= length && memcmp(at, wanted, length) == 0;
}
