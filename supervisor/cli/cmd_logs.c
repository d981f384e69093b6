/* `imsuper logs`: what the processes of a run have said, in log.txt of its folder: all, or those of a stage or one
 * process; -f goes on as long as the run does. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "supervisor/cli/ask.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/stage.h"
#include "supervisor/report/log_line.h"
#include "supervisor/report/run_state.h"
#include "supervisor/report/rundir.h"

#define LINE_MAX_BYTES 65536
#define WAIT_MS 200

struct reader {
    const struct im_conf *conf;
    char path[PATH_MAX];
    int fd; /* -1: there is no file yet */
    ino_t inode;
    const char *role; /* whose lines are shown; NULL: all */
    int64_t index;
    char line[LINE_MAX_BYTES];
    size_t used;
    bool failed; /* nobody reads what we print */
    uint64_t printed;
};

static int print_json(const char *line)
{
    struct im_json *j = sv_log_json(line);
    char *s = im_json_dump(j);
    const int err = s && printf("%s\n", s) >= 0 ? 0 : -1;

    free(s);
    im_json_free(&j);
    return err;
}

static void print_line(struct reader *r)
{
    if (!sv_log_is_of(r->line, r->used, r->role, r->index))
        return;
    r->line[r->used] = 0;
    r->printed++;
    r->failed |= (r->conf->json ? print_json(r->line) : im_say(stdout, "%s", r->line)) < 0;
}

/* A last line that a crash has torn. */
static void end_line(struct reader *r)
{
    if (r->used > 0)
        print_line(r);
    r->used = 0;
}

/* Prints the whole lines that have come. A line that is too long is printed in pieces. */
static void drain(struct reader *r)
{
    char chunk[16384];
    ssize_t n;

    while (r->fd >= 0 && !r->failed && (n = read(r->fd, chunk, sizeof chunk)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            if (chunk[i] == '\n' || r->used == sizeof r->line - 1) {
                print_line(r);
                r->used = 0;
            }
            if (chunk[i] != '\n')
                r->line[r->used++] = chunk[i];
        }
    r->failed |= fflush(stdout) != 0;
}

/* Opens the file, or the new one that has taken its place, after what came into the old one meanwhile. -ENOENT: there
 * is none. */
static int open_file(struct reader *r, struct im_text *text)
{
    struct stat st;
    const int fd = im_open_regular(r->path, &st, text);

    if (fd < 0)
        return fd;
    if (r->fd >= 0 && st.st_ino == r->inode) {
        off_t at = lseek(r->fd, 0, SEEK_CUR);

        close(fd);
        if (at > st.st_size) /* it was emptied */
            lseek(r->fd, 0, SEEK_SET);
        return 0;
    }
    if (r->fd >= 0) {
        drain(r);
        close(r->fd);
        end_line(r);
    }
    r->fd = fd;
    r->inode = st.st_ino;
    return 0;
}

/* A file is read to its end before another is, and after the run has ended. */
static void follow(struct reader *r)
{
    bool live = true;

    while (live && !r->failed) {
        struct pollfd out = {.fd = STDOUT_FILENO};

        live = sv_rundir_is_live(r->conf->run_dir);
        drain(r);
        open_file(r, NULL);
        drain(r);
        if (live && poll(&out, 1, WAIT_MS) > 0 && out.revents & (POLLERR | POLLHUP))
            return; /* who read it has left */
    }
}

/* The words are a stage, a run, or both in any order. */
static void tell_words_apart(struct im_conf *conf)
{
    struct sv_stage_name stage;
    char other[sizeof conf->run_name];

    if (!conf->stage[0] || sv_stage_parse(conf->stage, &stage) == 0 ||
        (conf->run_name[0] && sv_stage_parse(conf->run_name, &stage) < 0))
        return;
    memcpy(other, conf->run_name, sizeof other);
    snprintf(conf->run_name, sizeof conf->run_name, "%s", conf->stage);
    snprintf(conf->stage, sizeof conf->stage, "%s", other);
}

/* ---- of another machine: pieces that its supervisor sends ---- */

static void take_text(struct reader *r, const char *text)
{
    for (; *text && !r->failed; text++) {
        if (*text == '\n' || r->used == sizeof r->line - 1) {
            print_line(r);
            r->used = 0;
        }
        if (*text != '\n')
            r->line[r->used++] = *text;
    }
    r->failed |= fflush(stdout) != 0;
}

/* 0, or an exit status, which was explained. */
static int read_node(struct im_conf *conf, struct reader *r)
{
    const struct timespec pause = {.tv_nsec = WAIT_MS * 1000000L};
    int64_t offset = 0, inode = 0;
    bool more = true;

    while ((more || conf->follow) && !r->failed) {
        struct im_json *request = im_json_object(), *answer = NULL;
        int status;

        if (!more)
            nanosleep(&pause, NULL);
        if (!more && !sv_rundir_is_live(conf->run_dir))
            return IM_EXIT_OK;
        im_json_set_str(request, "cmd", "logs");
        im_json_set_int(request, "node", conf->node);
        im_json_set_int(request, "offset", offset);
        im_json_set_int(request, "inode", inode);
        status = sv_ask(conf, request, &answer);
        if (status)
            return status;
        take_text(r, im_json_str_or(answer, "text", ""));
        offset = im_json_int_or(answer, "offset", 0);
        inode = im_json_int_or(answer, "inode", 0);
        more = im_json_bool_or(answer, "more", false);
        im_json_free(&answer);
    }
    return IM_EXIT_OK;
}

/* Without a run that goes on, and with a folder that all machines share, the file is there. */
static void choose_node_file(struct im_conf *conf)
{
    char path[sizeof conf->run_dir + 32];

    if (conf->node < 1)
        return;
    snprintf(path, sizeof path, "%s/nodes/node%" PRId64, conf->run_dir, conf->node);
    if (strlen(path) < sizeof conf->run_dir)
        memcpy(conf->run_dir, path, strlen(path) + 1);
}

static int print_file(struct im_conf *conf, struct reader *r)
{
    struct im_text text = {""};
    int err;

    snprintf(r->path, sizeof r->path, "%s/log.txt", conf->run_dir);
    err = open_file(r, &text);
    if (err < 0 && !(err == -ENOENT && conf->follow)) {
        im_say(stderr, "imsuper: %s", text.s);
        return IM_EXIT_FAILED;
    }
    drain(r);
    if (conf->follow)
        follow(r);
    return IM_EXIT_OK;
}

int sv_cmd_logs(struct im_conf *conf)
{
    struct reader r = {.conf = conf, .fd = -1, .index = -1};
    struct sv_stage_name stage;
    struct im_text text = {""};
    int err, status;

    tell_words_apart(conf);
    if (conf->stage[0]) {
        if (sv_stage_parse(conf->stage, &stage) < 0)
            return sv_stage_refuse(conf->stage);
        r.role = stage.name;
        r.index = stage.index;
    }
    err = sv_rundir_find(conf, &text);
    if (err < 0) {
        im_say(stderr, "imsuper: %s", text.s);
        return err == -EACCES ? IM_EXIT_FAILED : IM_EXIT_UNKNOWN_RUN;
    }
    if (conf->node >= 0 && sv_rundir_is_live(conf->run_dir)) {
        status = read_node(conf, &r);
    } else {
        choose_node_file(conf);
        status = print_file(conf, &r);
    }
    if (status)
        return status;
    end_line(&r);
    if (r.fd >= 0)
        close(r.fd);
    if (r.role && r.printed == 0 && !r.failed) { /* each process logs something at its start */
        im_say(
            stderr,
            "imsuper: %s has logged nothing in %s: %sit ended before it could; events.jsonl there says who "
            "died",
            conf->stage, conf->run_dir, r.index < 0 ? "" : "the run has no such process, or ");
        return IM_EXIT_FAILED;
    }
    return IM_EXIT_OK;
}
