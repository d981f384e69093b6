/* `imsuper trace`: a timeline of all processes of a run that goes on, as a file that Perfetto and chrome://tracing open. The
 * processes keep what they do while we ask the supervisor for it (ipc/spans.h); we read it in the run's shared memory, which
 * the supervisor has open. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ipc/base/clock.h"
#include "ipc/base/output.h"
#include "ipc/base/printable.h"
#include "ipc/base/thread.h"
#include "ipc/ctl.h"
#include "supervisor/cli/ask.h"
#include "supervisor/cli/commands.h"
#include "supervisor/report/chrome_trace.h"
#include "supervisor/report/rundir.h"

#define DEFAULT_FILE "trace.json"
/* Between two looks; a process that keeps more than IM_SPANS meanwhile loses some. As far apart as leaves room for four
 * times as many spans as were kept since the last one: each look interrupts who computes. */
#define PAUSE_LEAST_NS (5 * IM_MS)
#define PAUSE_MOST_NS (50 * IM_MS)
#define ASK_NS (IM_SECOND / 2)
#define SILENCE_NS                                                                                           \
    (IM_SECOND + IM_SECOND / 5) /* the supervisor may have died: another one answers at another place */
#define BYTES_MAX ((size_t)1 << 30)

struct tracing {
    struct im_conf *conf;
    struct im_ctl *ctl;
    im_ns connected, answered;
    struct im_run run; /* read-only */
    struct sv_chrome chrome;
    FILE *out; /* in memory */
    char *bytes;
    size_t size;
};

static struct im_json *make_request(void)
{
    struct im_json *request = im_json_object();

    im_json_set_str(request, "cmd", "trace");
    return request;
}

/* The shared memory of the run, by what its supervisor answered. */
static int open_run(struct tracing *t, const struct im_json *answer, struct im_text *text)
{
    char path[64];
    int fd;

    if (strcmp(im_json_str_or(answer, "schema", ""), "imsuper.spans/2") != 0)
        return im_fail(text, -EBADMSG,
                       "the run in %s goes on with another version of imsuper: trace it with that one",
                       t->conf->run_dir);
    snprintf(path, sizeof path, "/proc/%" PRId64 "/fd/%" PRId64, im_json_int_or(answer, "pid", 0),
             im_json_int_or(answer, "descriptor", -1));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return im_fail(
            text, -errno,
            "cannot open the shared memory of the run in %s (%s): %s; trace it as the user who started it, "
            "in the same container",
            t->conf->run_dir, path, strerror(errno));
    return im_run_watch(fd, &t->run, text);
}

/* Asks again, where there is somebody, and takes what has been answered. Waits for nothing: what the processes keep is there
 * to be read in any case. */
static void ask_again(struct tracing *t)
{
    const im_ns now = im_now();
    struct im_ctl_record record;
    struct im_json *answer = NULL;

    if (t->ctl && now - t->connected > SILENCE_NS && now - t->answered > SILENCE_NS)
        im_ctl_close(&t->ctl, 0);
    if (!t->ctl && im_ctl_find(t->conf->run_dir, &record) == 0 &&
        im_ctl_connect(record.path, &t->ctl, NULL) == 0)
        t->connected = now;
    if (!t->ctl)
        return;
    while (im_ctl_receive(t->ctl, 0, NULL, &answer) > 0) {
        t->answered = now;
        im_json_free(&answer);
    }
    im_ctl_send(t->ctl, NULL, make_request());
}

static im_ns next_pause(im_ns pause, size_t spans)
{
    const im_ns most = pause * IM_SPANS / 4 / (spans > 0 ? spans : 1);

    return most < PAUSE_LEAST_NS ? PAUSE_LEAST_NS : most > PAUSE_MOST_NS ? PAUSE_MOST_NS : most;
}

static void follow(struct tracing *t)
{
    im_ns pause = PAUSE_LEAST_NS;
    const im_ns begin = im_now(), end = begin + (im_ns)(t->conf->trace_seconds * 1e9);
    im_ns asked = begin;
    bool is_over = false;

    t->answered = begin;
    sv_chrome_look(&t->chrome, &t->run, t->out);
    while (!is_over && im_now() < end && ftell(t->out) < (long)BYTES_MAX) {
        nanosleep(&(struct timespec){.tv_nsec = (long)pause}, NULL);
        pause = next_pause(pause, sv_chrome_look(&t->chrome, &t->run, t->out));
        is_over = im_run_state(&t->run) == IM_RUN_ENDED;
        if (im_now() - asked < ASK_NS)
            continue;
        asked = im_now();
        is_over |= !sv_rundir_is_live(t->conf->run_dir);
        ask_again(t);
    }
    im_ctl_close(&t->ctl, 0);
    if (!is_over && im_now() - t->answered > 3 * SILENCE_NS)
        im_say(stderr,
               "imsuper: warning: the supervisor has not answered for %.0f s: the timeline may end before",
               (double)(im_now() - t->answered) / 1e9);
}

static int print(const struct tracing *t)
{
    struct im_json *j;
    int err;

    if (!t->conf->json) {
        im_say(stdout, "%s  %" PRIu64 " events of %zu processes in %.2f s%s", t->conf->output,
               t->chrome.events, t->chrome.processes, (double)(t->chrome.last_ns - t->chrome.first_ns) / 1e9,
               t->chrome.lost ? "; some were lost, see the marks in the file" : "");
        if (!t->conf->quiet)
            im_say(stderr, "imsuper: open it at https://ui.perfetto.dev, or in chrome://tracing");
        return 0;
    }
    j = im_json_object();
    im_json_set_str(j, "schema", "imsuper.trace/1");
    im_json_set_str(j, "file", t->conf->output);
    im_json_set_str(j, "run", t->conf->run_dir);
    im_json_set_int(j, "events", (int64_t)t->chrome.events);
    im_json_set_int(j, "processes", (int64_t)t->chrome.processes);
    im_json_set_int(j, "lost", (int64_t)t->chrome.lost);
    im_json_set_real(j, "seconds", (double)(t->chrome.last_ns - t->chrome.first_ns) / 1e9);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

/* The timeline in memory, then the file. */
static int trace(struct tracing *t, const struct im_json *first, struct im_text *text)
{
    int err;

    err = open_run(t, first, text);
    if (err < 0)
        return err;
    t->out = open_memstream(&t->bytes, &t->size);
    if (!t->out)
        return -ENOMEM;
    sv_chrome_begin(&t->chrome, t->conf->run_name, t->out);
    follow(t);
    sv_chrome_end(&t->chrome, t->out);
    if (ferror(t->out) | fclose(t->out))
        err = -ENOMEM;
    if (err == 0)
        err = im_output_write(t->conf->output, t->bytes, t->size, text);
    free(t->bytes);
    return err < 0 ? err : print(t);
}

int sv_cmd_trace(struct im_conf *conf)
{
    struct tracing *t = calloc(1, sizeof *t);
    struct im_json *first = NULL;
    struct im_text text = {""};
    int err = t ? 0 : -ENOMEM, status = IM_EXIT_OK;

    if (!conf->output[0])
        snprintf(conf->output, sizeof conf->output, DEFAULT_FILE);
    if (err == 0)
        err = im_output_find_file(conf->output, sizeof conf->output, &text);
    if (err == 0) {
        t->conf = conf;
        status = sv_ask(conf, make_request(), &first);
    }
    im_thread_interrupt_nobody();
    if (err == 0 && status == IM_EXIT_OK)
        err = trace(t, first, &text);
    im_json_free(&first);
    if (t)
        im_run_close(&t->run);
    free(t);
    return err < 0 ? im_command_fail(err, &text) : status;
}
