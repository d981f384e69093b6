/* `imsuper trace`: a timeline of all processes of a run that goes on, as a file that Perfetto and chrome://tracing open. The
 * processes keep what they do while we ask (ipc/spans.h); the supervisor passes it on. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ipc/base/clock.h"
#include "ipc/base/output.h"
#include "ipc/base/printable.h"
#include "ipc/ctl.h"
#include "supervisor/cli/ask.h"
#include "supervisor/cli/commands.h"
#include "supervisor/report/chrome_trace.h"
#include "supervisor/report/rundir.h"

#define DEFAULT_FILE "trace.json"
#define PAUSE_NS 10000000l
#define ANSWER_MS 500
#define BYTES_MAX ((size_t)1 << 30)

struct tracing {
    struct im_conf *conf;
    struct im_ctl *ctl;
    struct sv_chrome chrome;
    FILE *out; /* in memory */
    char *bytes;
    size_t size;
};

static struct im_json *make_request(const struct sv_chrome *c)
{
    struct im_json *request = im_json_object(), *from = im_json_array();

    im_json_set_str(request, "cmd", "trace");
    for (size_t i = 0; i < c->slots; i++)
        im_json_append_int(from, c->slot[i].answered ? c->slot[i].next : -1);
    im_json_set(request, "from", from);
    return request;
}

/* The supervisor may have died: another one answers, which has not got our question. 0, or negative errno. */
static int connect_anew(struct tracing *t, struct im_text *text)
{
    struct im_ctl_record record;
    int err = im_ctl_find(t->conf->run_dir, &record);

    im_ctl_close(&t->ctl, 0); /* an answer that comes late would be taken twice */
    if (err < 0)
        return im_fail(text, err, "the run in %s has no control socket any more", t->conf->run_dir);
    return im_ctl_connect(record.path, &t->ctl, text);
}

/* 1: another answer was taken; 0: none came; negative errno. */
static int turn(struct tracing *t, struct im_text *text)
{
    struct im_json *answer = NULL;
    int got = t->ctl ? 0 : connect_anew(t, text);

    if (got == 0)
        got = im_ctl_send(t->ctl, NULL, make_request(&t->chrome));
    if (got == 0)
        got = im_ctl_receive(t->ctl, ANSWER_MS, NULL, &answer);
    if (got > 0)
        sv_chrome_add(&t->chrome, answer, t->out);
    im_json_free(&answer);
    if (got == 0)
        im_ctl_close(&t->ctl, 0);
    return got >= 0 || text->s[0] ? got
                                  : im_fail(text, got, "no answer from the supervisor: %s", strerror(-got));
}

static int follow(struct tracing *t, struct im_text *text)
{
    const im_ns end = im_now() + (im_ns)(t->conf->trace_seconds * 1e9);
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    int err = 0;

    while (err >= 0 && im_now() < end && ftell(t->out) < (long)BYTES_MAX) {
        err = turn(t, text);
        if (err <= 0 && !sv_rundir_is_live(t->conf->run_dir)) { /* the run is over */
            err = 0;
            break;
        }
        nanosleep(&pause, NULL);
    }
    im_ctl_close(&t->ctl, 0);
    return err < 0 ? err : 0;
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

    t->out = open_memstream(&t->bytes, &t->size);
    if (!t->out)
        return -ENOMEM;
    sv_chrome_begin(&t->chrome, t->conf->run_name, t->out);
    sv_chrome_add(&t->chrome, first, t->out);
    err = follow(t, text);
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
        status = sv_ask(conf, make_request(&t->chrome), &first);
    }
    if (err == 0 && status == IM_EXIT_OK)
        err = trace(t, first, &text);
    im_json_free(&first);
    free(t);
    return err < 0 ? im_command_fail(err, &text) : status;
}
