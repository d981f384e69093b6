#include "trainer/consume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/base/log.h"
#include "ipc/base/series.h"
#include "ipc/process.h"
#include "ipc/stats.h"
#include "trainer/impl.h"

enum { BATCHES_MAX = 1 << 20, STAT_FIELDS_BEFORE_TIMES = 11 };

/* What a stage has done so far. */
struct stage {
    uint64_t time_ns[IM_ACTIVITIES];
    uint64_t samples;
    double cpu_seconds;
    uint32_t alive;
    uint32_t replaced; /* died since the first look: what they took of the CPU is not known */
};

struct look {
    struct stage stage[IM_ROLES];
    double idle_seconds; /* of all cores of the machine, since it was started; 0: not known */
    im_ns at;
};

struct consumer {
    struct tr_trainer trainer; /* only its child: for tr_batch_wait() */
    struct im_child *child;
    struct look first, last;      /* rank 0's, around what is measured */
    bool was_there[IM_SLOTS_MAX]; /* processes of the first look */
    uint32_t restarts[IM_SLOTS_MAX];
    double *rates; /* images/s of this rank, one a pass */
    uint32_t passes;
    double *intervals_ms; /* between batches */
    size_t intervals;
    im_ns began;      /* the data plane; then what is measured */
    im_ns pass_began; /* 0: still warming up */
    uint64_t pass_images;
};

/* User and system time of a process, in seconds; 0 where it is gone. */
static double process_seconds(pid_t pid)
{
    char path[64], text[1024] = "", *at;
    unsigned long user = 0, system = 0;
    size_t n;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    f = pid > 0 ? fopen(path, "re") : NULL;
    if (!f)
        return 0;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    at = strrchr(text, ')'); /* the name may hold anything */
    for (int field = 0; at && field < STAT_FIELDS_BEFORE_TIMES + 1; field++)
        at = strchr(at + 1, ' ');
    if (!at)
        return 0;
    user = strtoul(at, &at, 10);
    system = strtoul(at, NULL, 10);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* The fourth and fifth number of the first line of /proc/stat: idle, and idle while a disk is waited for. */
static double idle_seconds(void)
{
    char text[512] = "", *at = text;
    unsigned long long idle = 0;
    FILE *f = fopen("/proc/stat", "re");

    if (!f)
        return 0;
    if (!fgets(text, sizeof text, f))
        text[0] = '\0';
    fclose(f);
    at += strcspn(at, " ");
    for (int field = 1; field <= 5; field++) {
        const unsigned long long value = strtoull(at, &at, 10);

        idle += field >= 4 ? value : 0;
    }
    return (double)idle / (double)sysconf(_SC_CLK_TCK);
}

/* The second look is at the processes of the first: a rank that has left meanwhile leaves its numbers behind. Where what is measured
 * begins with the run, readers and augmenters may not be there yet at the first look: all that they did until the second counts. */
static void look_around(struct consumer *c, bool is_first, struct look *ret)
{
    const struct im_run *run = c->child->run;
    const bool is_from_start = c->child->conf->warm_up_seconds <= 0;

    *ret = (struct look){.at = im_now(), .idle_seconds = idle_seconds()};
    for (uint32_t slot = 0; slot < run->geometry.slots && slot < IM_SLOTS_MAX; slot++) {
        const struct im_process *p = &run->process[slot];
        struct im_stats_view view;
        struct stage *s;
        uint32_t restarts;

        if (is_first != is_from_start)
            c->was_there[slot] = im_process_state(run, slot) == IM_PROCESS_RUN && p->role < IM_ROLES;
        if (!c->was_there[slot] || (is_first && is_from_start))
            continue;
        s = &ret->stage[p->role];
        im_stats_read(&run->stats[slot], ret->at, &view);
        for (int a = 0; a < IM_ACTIVITIES; a++)
            s->time_ns[a] += view.time_ns[a];
        s->samples += view.counter[IM_C_SAMPLES];
        s->cpu_seconds += process_seconds(atomic_load_explicit(&p->pid, memory_order_relaxed));
        restarts = atomic_load_explicit(&p->restarts, memory_order_relaxed);
        if (is_first)
            c->restarts[slot] = restarts;
        s->replaced += restarts != c->restarts[slot];
        s->alive++;
    }
}

/* As long as a device of this rate works on the batch. */
static void take_time(const struct consumer *c, uint32_t images)
{
    const double rate = c->child->conf->images_per_second;
    im_ns until;

    if (rate <= 0)
        return;
    until = im_now() + (im_ns)((double)images / rate * 1e9);
    clock_nanosleep(
        CLOCK_MONOTONIC, TIMER_ABSTIME,
        &(struct timespec){.tv_sec = (time_t)(until / IM_SECOND), .tv_nsec = (long)(until % IM_SECOND)},
        NULL);
}

static void begin_passes(struct consumer *c, im_ns now)
{
    if (c->child->index == 0)
        look_around(c, true, &c->first);
    c->pass_began = now;
}

/* A batch was complete. A pass goes from one batch to another, so that none is cut. False: all passes are done. */
static bool count_batch(struct consumer *c, uint32_t images, im_ns now, im_ns before)
{
    const struct im_conf *conf = c->child->conf;

    if (c->pass_began == 0) {
        if ((double)(now - c->began) / 1e9 < conf->warm_up_seconds)
            return true;
        begin_passes(c, now);
        return true;
    }
    c->pass_images += images;
    if (c->intervals < BATCHES_MAX)
        c->intervals_ms[c->intervals++] = (double)(now - before) / 1e6;
    if ((double)(now - c->pass_began) / 1e9 < conf->pass_seconds)
        return true;
    c->rates[c->passes++] = (double)c->pass_images * 1e9 / (double)(now - c->pass_began);
    c->pass_began = now, c->pass_images = 0;
    return c->passes < conf->passes;
}

static void give_back(struct consumer *c, uint64_t g, uint32_t images)
{
    struct im_child *child = c->child;

    im_batch_free(child->run, child->index, g);
    atomic_store_explicit(&child->entry->position, g + 2, memory_order_release);
    atomic_fetch_add_explicit(&child->entry->progress, 1, memory_order_relaxed);
    im_stats_add(child->stats, IM_C_SAMPLES, images);
    im_stats_add(child->stats, IM_C_BATCHES, 1);
}

static int consume(struct consumer *c)
{
    const struct im_plan *plan = c->child->plan;
    /* In the second epoch the files come from memory. */
    const uint64_t end = c->child->conf->cold ? plan->phase[0].steps : plan->batches;
    im_ns now, before = im_now();
    bool more = true;

    c->began = before;
    if (c->child->conf->warm_up_seconds <= 0) /* the rings' filling counts */
        begin_passes(c, before);
    for (uint64_t g = 0; g < end && more; g++) {
        const uint32_t images = im_plan_batch_count(plan, g, c->child->index);
        int err = tr_batch_wait(&c->trainer, g, images);

        if (err)
            return err == IM_EXIT_RESUMABLE ? IM_EXIT_FORCED : err;
        im_stats_enter(c->child->stats, IM_WORK);
        now = im_now();
        more = count_batch(c, images, now, before);
        before = now;
        take_time(c, images);
        give_back(c, g, images);
    }
    if (more && c->pass_images > 0 && c->passes < c->child->conf->passes &&
        before > c->pass_began) /* the plan is over */
        c->rates[c->passes++] = (double)c->pass_images * 1e9 / (double)(before - c->pass_began);
    if (c->child->index == 0 && c->first.at)
        look_around(c, false, &c->last);
    return IM_EXIT_OK;
}

static struct im_json *stage_json(const struct consumer *c, enum im_role role)
{
    const struct stage *a = &c->first.stage[role], *b = &c->last.stage[role];
    struct im_json *j = im_json_object();
    double part[IM_ACTIVITIES], total = 0;

    for (int i = 0; i < IM_ACTIVITIES; i++) {
        part[i] = b->time_ns[i] > a->time_ns[i] ? (double)(b->time_ns[i] - a->time_ns[i]) : 0;
        total += i == IM_IDLE ? 0 : part[i];
    }
    total = total > 0 ? total : 1;
    im_json_set_int(j, "processes", b->alive);
    im_json_set_int(j, "replaced", b->replaced);
    im_json_set_int(j, "samples", b->samples > a->samples ? (int64_t)(b->samples - a->samples) : 0);
    im_json_set_real(j, "cpu_seconds", b->cpu_seconds > a->cpu_seconds ? b->cpu_seconds - a->cpu_seconds : 0);
    im_json_set_real(j, "busy", (part[IM_WORK] + part[IM_WAIT_IO]) / total);
    im_json_set_real(j, "wait_input", part[IM_WAIT_INPUT] / total);
    im_json_set_real(j, "wait_output", part[IM_WAIT_OUTPUT] / total);
    return j;
}

static int write_result(struct consumer *c, struct im_text *text)
{
    struct im_json *j = im_json_object(), *rates = im_json_array();
    char path[PATH_MAX], *dumped;
    int err;

    im_series_sort(c->intervals_ms, c->intervals);
    im_json_set_str(j, "schema", "imsuper.consumer/1");
    for (uint32_t i = 0; i < c->passes; i++)
        im_json_append_real(rates, c->rates[i]);
    im_json_set(j, "rates", rates);
    im_json_set_real(j, "batch_p50_ms", im_series_quantile(c->intervals_ms, c->intervals, 0.5));
    im_json_set_real(j, "batch_p99_ms", im_series_quantile(c->intervals_ms, c->intervals, 0.99));
    if (c->child->index == 0) {
        im_json_set_real(j, "seconds", (double)(c->last.at - c->first.at) / 1e9);
        im_json_set_real(j, "idle_seconds", c->last.idle_seconds - c->first.idle_seconds);
        im_json_set(j, "reader", stage_json(c, IM_ROLE_READER));
        im_json_set(j, "augmenter", stage_json(c, IM_ROLE_AUGMENTER));
        im_json_set(j, "trainer", stage_json(c, IM_ROLE_TRAINER));
    }
    dumped = im_json_dump_indented(j);
    im_json_free(&j);
    if (snprintf(path, sizeof path, "%s/" TR_CONSUMER_FILE, c->child->conf->run_dir, c->child->index) >=
        (int)sizeof path)
        err = -ENAMETOOLONG;
    else
        err = dumped ? im_file_replace(path, dumped, strlen(dumped), text) : -ENOMEM;
    free(dumped);
    return err;
}

int tr_consume(struct im_child *child, struct im_text *text)
{
    struct consumer *c = calloc(1, sizeof *c);
    int err = -ENOMEM;

    if (c) {
        c->trainer.child = c->child = child;
        c->rates = calloc((size_t)child->conf->passes + 1, sizeof *c->rates);
        c->intervals_ms = calloc(BATCHES_MAX, sizeof *c->intervals_ms);
        err = c->rates && c->intervals_ms ? 0 : -ENOMEM;
    }
    if (err == 0) {
        atomic_store_explicit(&child->entry->position, 1, memory_order_release);
        im_child_ready(child);
        err = tr_await_start(child);
    }
    if (err == 0)
        err = consume(c);
    im_stats_enter(child->stats, IM_IDLE);
    if (err == 0)
        err = write_result(c, text);
    if (err < 0) {
        im_log(IM_LOG_ERROR, "leaving", "why=%s",
               im_log_quote(&(struct im_quoted){0}, text->s[0] ? text->s : strerror(-err)));
        atomic_store_explicit(&child->entry->failed, (uint32_t)im_exit_status(err) + 1, memory_order_relaxed);
    }
    if (c) {
        free(c->rates);
        free(c->intervals_ms);
    }
    free(c);
    return err;
}
