#include "supervisor/cli/predict_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/base/printable.h"
#include "ipc/base/thread.h"
#include "ipc/base/verdict.h"
#include "supervisor/cli/program.h"
#include "supervisor/report/evaluation.h"
#include "supervisor/serving/prediction.h"

#define LOOK_NS 50000000l
#define JOIN_LOOK_NS (100 * IM_MS)
#define STOPPED_WAIT_NS (500 * IM_MS) /* for a reader to take a line, after Ctrl-C */

enum { GOING_ON, WHOLE, BROKEN };

/* What became of an image: its record, or why there is none. */
struct answer {
    const char *name, *error;
    const struct im_outcome *outcome; /* NULL: error says why */
};

struct printer {
    struct sv_lines *lines;
    struct sv_evaluation names; /* classes, tops; no records */
    struct im_outcome *record;
    int file;       /* -1: not there yet */
    size_t next;    /* of the inputs */
    uint64_t place; /* of the next record */
};

static int predict_lines_print_json(const struct sv_evaluation *e, const struct answer *a, uint32_t tops)
{
    struct im_json *j = sv_prediction_json(a->name, e->class_name, tops, a->outcome, a->error);
    int err = j ? im_json_print(j, stdout) : -ENOMEM;

    im_json_free(&j);
    return err;
}

static int predict_lines_print_text(const struct sv_evaluation *e, const struct answer *a, uint32_t tops)
{
    char *line = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&line, &n);
    int err;

    if (!out)
        return -ENOMEM;
    fprintf(out, "%s: ", a->name);
    if (a->error)
        fprintf(out, "error: %s", a->error);
    for (uint32_t i = 0; a->outcome && i < tops; i++)
        fprintf(out, "%s%s %.2f %%", i ? ", " : "", e->class_name[a->outcome->top[i].class],
                100 * (double)a->outcome->top[i].probability);
    if (a->outcome && tops == 0)
        fputs("none", out);
    err = fclose(out) ? -ENOMEM : 0;
    if (err == 0 && (im_say(stdout, "%s", line) < 0 || fflush(stdout) != 0))
        err = -errno;
    free(line);
    return err;
}

static const char *why_not(int err)
{
    return err == -EINVAL ? "this is no regular file" : strerror(-err);
}

/* The files of the pass, once its first record is there. False: they are not, or cannot be used. */
static bool open_files(struct printer *p)
{
    struct sv_lines *l = p->lines;
    char path[PATH_MAX];

    if (p->file >= 0)
        return true;
    snprintf(path, sizeof path, "%s/" IM_OUTCOMES_FILE, l->pass->run_dir);
    p->file = open(path, O_RDONLY | O_CLOEXEC);
    if (p->file < 0)
        return false;
    l->err = sv_evaluation_read_names(&p->names, l->pass, &l->text);
    p->record = l->err == 0 ? calloc(1, p->names.record_bytes) : NULL;
    if (l->err == 0 && !p->record)
        l->err = -ENOMEM;
    return l->err == 0;
}

/* The record at this place. False: it is not there. */
static bool read_record(struct printer *p)
{
    size_t bytes;

    if (!open_files(p))
        return false;
    bytes = p->names.record_bytes;
    if (pread(p->file, p->record, bytes, (off_t)(p->place * bytes)) != (ssize_t)bytes ||
        p->record->sample_plus_1 == 0)
        return false;
    if (!sv_evaluation_takes(&p->names, p->record))
        p->lines->err = im_fail(&p->lines->text, -EBADMSG, "a record of " IM_OUTCOMES_FILE " is damaged");
    return p->lines->err == 0;
}

/* Prints what there is, up to the first image whose record is missing; with `all`, that one is an error. */
static void print_more(struct printer *p, bool all)
{
    struct sv_lines *l = p->lines;

    for (; p->next < l->inputs->count && l->err == 0; p->next++) {
        const struct sv_input *in = &l->inputs->item[p->next];
        struct answer a = {.name = in->name};
        const bool has_record = in->path && read_record(p);
        uint32_t tops;

        if (l->err < 0 || (in->path && !has_record && !all))
            return;
        p->place += in->path != NULL;
        if (!in->path)
            a.error = why_not(in->err);
        else if (!has_record)
            a.error = "there is no answer for it";
        else if (p->record->verdict != 0)
            a.error = im_verdict_sentence(p->record->verdict);
        else
            a.outcome = p->record;
        l->bad += a.error != NULL;
        tops = a.outcome ? im_outcome_above(a.outcome, p->names.tops, l->conf->threshold) : 0;
        l->err = l->conf->json ? predict_lines_print_json(&p->names, &a, tops)
                               : predict_lines_print_text(&p->names, &a, tops);
    }
}

static void *print_lines(void *argument)
{
    struct sv_lines *l = argument;
    struct printer p = {.lines = l, .file = -1};
    const struct timespec pause = {.tv_nsec = LOOK_NS};
    int state;

    do {
        state = atomic_load_explicit(&l->state, memory_order_acquire);
        if (state != BROKEN)
            print_more(&p, state == WHOLE);
        if (l->err < 0 && state == GOING_ON) { /* the rest is worked out for nobody */
            kill(getpid(), SIGTERM);
            break;
        }
        if (state == GOING_ON)
            nanosleep(&pause, NULL);
    } while (state == GOING_ON);
    if (p.file >= 0)
        close(p.file);
    free(p.record);
    sv_evaluation_fini(&p.names);
    return NULL;
}

int sv_lines_begin(struct sv_lines *l, const struct im_conf *conf, const struct sv_inputs *inputs,
                   const char *run_dir)
{
    int err;

    *l = (struct sv_lines){.conf = conf, .inputs = inputs, .pass = malloc(sizeof *l->pass)};
    if (!l->pass)
        return -ENOMEM;
    *l->pass = *conf;
    if (snprintf(l->pass->run_dir, sizeof l->pass->run_dir, "%s", run_dir) >= (int)sizeof l->pass->run_dir)
        return -ENAMETOOLONG;
    err = im_thread_begin(print_lines, l, &l->thread);
    l->has_thread = err == 0;
    return err;
}

/* False: it waits for a reader, and a signal asks all to end. */
static bool join(struct sv_lines *l, bool is_stopped)
{
    struct timespec until;

    for (im_ns waited = 0;; waited += JOIN_LOOK_NS) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)JOIN_LOOK_NS;
        until.tv_sec += until.tv_nsec / (long)IM_SECOND;
        until.tv_nsec %= (long)IM_SECOND;
        if (pthread_clockjoin_np(l->thread, NULL, CLOCK_MONOTONIC, &until) == 0)
            return true;
        if (waited >= STOPPED_WAIT_NS && (is_stopped || sv_stop_signal()))
            return false;
    }
}

int64_t sv_lines_end(struct sv_lines *l, bool whole, bool is_stopped)
{
    atomic_store_explicit(&l->state, whole ? WHOLE : BROKEN, memory_order_release);
    if (l->has_thread && !join(l, is_stopped))
        return -EINTR;
    l->has_thread = false;
    free(l->pass);
    l->pass = NULL;
    return l->err < 0 ? l->err : l->bad;
}
