/* `imsuper status` and `imsuper stop`: clients of the supervisor's control socket. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "ipc/base/printable.h"
#include "ipc/child.h"
#include "supervisor/cli/ask.h"
#include "supervisor/cli/commands.h"
#include "supervisor/report/fold.h"
#include "supervisor/report/rundir.h"
#include "supervisor/report/screen.h"

#define STOP_TIMEOUT_NS (600 * IM_SECOND) /* a step and a checkpoint of the largest network, with room */
#define STOP_LOOK_NS (3 * IM_SECOND)      /* a run ends sooner, unless it saves, or stands still */

static void print_stages(const struct im_json *stages)
{
    printf("STAGE     PROCESSES   BUSY  WAIT-IN  WAIT-OUT     IMG/S\n");
    for (size_t i = 0; i < im_json_count(stages); i++) {
        const struct im_json *j = im_json_at(stages, i);

        im_say(stdout, "%-9s %9lld  %4.0f%%    %4.0f%%     %4.0f%%  %8.1f", im_json_str_or(j, "stage", "?"),
               (long long)im_json_int_or(j, "processes", 0), 100 * im_json_real_or(j, "busy", 0),
               100 * im_json_real_or(j, "wait_input", 0), 100 * im_json_real_or(j, "wait_output", 0),
               im_json_real_or(j, "per_second", 0));
    }
}

/* "-" where the driver says nothing. */
static void print_cell(const struct im_json *j, const char *key, double scale, int width, const char *unit)
{
    double value = im_json_real_or(j, key, (double)NAN);

    if (isnan(value))
        printf(" %*s", width, "-");
    else
        printf(" %*.0f%s", width - (int)strlen(unit), scale * value, unit);
}

static void print_throttles(const struct im_json *throttled)
{
    const char *word = "";

    for (size_t k = 0; k < im_json_count(throttled); k++)
        if (im_json_as_str(im_json_at(throttled, k), &word) == 0)
            printf("%s%s", k > 0 ? "," : "  ", im_shown(&(struct im_shown){""}, word));
    printf("\n");
}

static void print_nodes(const struct im_json *nodes)
{
    if (im_json_count(nodes) > 0)
        printf("NODE  NAME              STATE    RANKS     IMG/S  TRAIN IMAGES  SILENT  DEATHS\n");
    for (size_t i = 0; i < im_json_count(nodes); i++) {
        const struct im_json *j = im_json_at(nodes, i);
        struct im_shown shown;

        printf("%4lld  %-16.16s  %-7s  %5lld  %8.1f  %12lld  %4.0f s  %6lld\n",
               (long long)im_json_int_or(j, "node", 0), im_shown(&shown, im_json_str_or(j, "name", "?")),
               im_json_str_or(j, "state", "?"), (long long)im_json_int_or(j, "ranks", 0),
               im_json_real_or(j, "images_per_second", 0), (long long)im_json_int_or(j, "train_images", 0),
               im_json_real_or(j, "silent_seconds", 0), (long long)im_json_int_or(j, "deaths", 0));
    }
}

static const struct im_json *find_stage(const struct im_json *row, const char *name)
{
    const struct im_json *stages = im_json_get(row, "stages");

    for (size_t i = 0; i < im_json_count(stages); i++)
        if (strcmp(im_json_str_or(im_json_at(stages, i), "stage", ""), name) == 0)
            return im_json_at(stages, i);
    return NULL;
}

/* What each machine's stages do, and how often an image of a server was in its cache. */
static void print_node_stages(const struct im_json *nodes)
{
    static const char *const stages[] = {"read", "augment", "train"};

    if (im_json_count(nodes) > 0)
        printf("NODE  READERS  BUSY  AUGMENTERS  BUSY  TRAINERS  BUSY  LIMITED BY    CACHE HITS\n");
    for (size_t i = 0; i < im_json_count(nodes); i++) {
        static const int width[] = {7, 10, 8};
        const struct im_json *j = im_json_at(nodes, i), *cache = im_json_get(j, "cache");
        const double hits = im_json_real_or(cache, "hits", 0),
                     all = hits + im_json_real_or(cache, "misses", 0);
        struct im_shown shown;

        printf("%4lld", (long long)im_json_int_or(j, "node", 0));
        if (!im_json_get(j, "stages")) {
            printf("  has not answered\n");
            continue;
        }
        for (size_t k = 0; k < IM_COUNT(stages); k++) {
            const struct im_json *stage = find_stage(j, stages[k]);

            printf("  %*lld  %3.0f%%", width[k], (long long)im_json_int_or(stage, "processes", 0),
                   100 * im_json_real_or(stage, "busy", 0));
        }
        printf("  %-10.10s", im_shown(&shown, im_json_str_or(j, "limited_by", "?")));
        if (cache)
            printf("  %10.1f%%", all > 0 ? 100 * hits / all : 0.0);
        else
            printf("  %11s", "-");
        printf("\n");
    }
}

static void print_gpus(const struct im_json *status)
{
    const struct im_json *gpus = im_json_get(status, "gpus");
    const double mfu = im_json_real_or(status, "mfu", 0);

    if (im_json_count(gpus) == 0)
        return;
    printf("RANK  GPU   BUSY      MEMORY   POWER   TEMP   SM CLOCK  THROTTLED BY\n");
    for (size_t i = 0; i < im_json_count(gpus); i++) {
        const struct im_json *j = im_json_at(gpus, i);

        printf("%4lld %4lld ", (long long)im_json_int_or(j, "rank", 0),
               (long long)im_json_int_or(j, "gpu", 0));
        print_cell(j, "busy", 100, 5, "%");
        print_cell(j, "memory_bytes", 1.0 / (1 << 20), 11, " MiB");
        print_cell(j, "power_w", 1, 7, " W");
        print_cell(j, "temperature_c", 1, 6, " C");
        print_cell(j, "sm_mhz", 1, 10, " MHz");
        print_throttles(im_json_get(j, "throttled"));
    }
    printf("gpus      %.0f img/s each", im_json_real_or(status, "images_per_second_per_gpu", 0));
    if (mfu > 0)
        printf(", %.1f%% of their peak rate (MFU)", 100 * mfu);
    printf("\n");
}

/* Three digits are all that is known: "0.13", "8.39", "134", "2,030". */
static const char *format_ms(const struct im_json *j, const char *key, char *s, size_t n)
{
    const double ms = im_json_real_or(j, key, (double)NAN);

    if (isnan(ms))
        snprintf(s, n, "-");
    else if (ms < 100)
        snprintf(s, n, ms < 10 ? "%.2f" : "%.1f", ms);
    else
        sv_format_rate(ms, s, (int)n);
    return s;
}

static void print_process_rows(const struct im_json *processes)
{
    for (size_t i = 0; i < im_json_count(processes); i++) {
        const struct im_json *j = im_json_at(processes, i);
        const char *state = im_json_str_or(j, "state", "?");
        char name[40], p50[24], p99[24];

        snprintf(name, sizeof name, "%s#%lld", im_json_str_or(j, "role", "?"),
                 (long long)im_json_int_or(j, "index", 0));
        im_say(stdout, "%-13s %-7lld %-16s %8lld %9lld %4lld %7s %7s", name,
               (long long)im_json_int_or(j, "pid", 0),
               strcmp(state, "running") == 0 ? im_json_str_or(j, "activity", state) : state,
               (long long)im_json_int_or(j, "restarts", 0), (long long)im_json_int_or(j, "samples", 0),
               (long long)im_json_int_or(j, "bad", 0), format_ms(j, "item_p50_ms", p50, sizeof p50),
               format_ms(j, "item_p99_ms", p99, sizeof p99));
    }
}

/* Node 0's, or those of the one machine, and of the others below. */
static void print_processes(const struct im_json *status)
{
    const struct im_json *nodes = im_json_get(status, "nodes");

    printf("PROCESS       PID     STATE            RESTARTS    IMAGES  BAD  P50 ms  P99 ms\n");
    print_process_rows(im_json_get(status, "processes"));
    for (size_t i = 0; i < im_json_count(nodes); i++) {
        const struct im_json *j = im_json_at(nodes, i);

        if (im_json_int_or(j, "node", 0) == 0 || im_json_count(im_json_get(j, "processes")) == 0)
            continue;
        im_say(stdout, "node %lld (%s):", (long long)im_json_int_or(j, "node", 0),
               im_json_str_or(j, "name", "?"));
        print_process_rows(im_json_get(j, "processes"));
    }
    printf("P50, P99: of a file, an image, a batch since it began; at most %.4g %% too high\n",
           100 * im_json_real_or(status, "quantile_error", 1));
}

static void print_ledger(const struct im_json *ledger)
{
    static const char *const splits[] = {"train", "val"};

    printf("LEDGER    THIS PASS  TWICE  UNUSABLE    PASSES  EACH ONCE  LEFT OUT\n");
    for (size_t i = 0; i < IM_COUNT(splits); i++) {
        const struct im_json *j = im_json_get(ledger, splits[i]);

        printf("%-6s %12lld %6lld %9lld %9lld %10lld %9lld\n", splits[i],
               (long long)im_json_int_or(j, "delivered", 0), (long long)im_json_int_or(j, "duplicates", 0),
               (long long)im_json_int_or(j, "bad", 0), (long long)im_json_int_or(j, "passes", 0),
               (long long)im_json_int_or(j, "passes_exactly_once", 0),
               (long long)im_json_int_or(j, "left_out", 0));
    }
}

__attribute__((format(printf, 3, 4))) static void status_add(char *s, size_t n, const char *format, ...)
{
    const size_t used = strlen(s);
    va_list args;

    va_start(args, format);
    vsnprintf(s + used, n - used, format, args);
    va_end(args);
}

static void say_folded(const char *line)
{
    char shown[4096], folded[8192];

    im_printable(line, shown, sizeof shown);
    puts(sv_fold(shown, isatty(STDOUT_FILENO) ? sv_terminal_columns(STDOUT_FILENO) : 0, folded,
                 sizeof folded));
}

static void print_place(const struct im_json *j)
{
    const double loss = im_json_real_or(j, "loss", (double)NAN), eta = im_json_real_or(j, "eta_seconds", -1);
    const double rate = im_json_real_or(j, "images_per_second", 0);
    const char *state = im_json_str_or(j, "state", "?");
    char line[1024] = "", time[24];

    status_add(line, sizeof line, "%s  %s%s %s", im_json_str_or(j, "run", "?"), state,
               strcmp(state, "running") == 0 ? " for" : ", up",
               sv_format_seconds(im_json_real_or(j, "up_seconds", -1), time, sizeof time));
    if (im_json_get(j, "epoch"))
        status_add(line, sizeof line, ", epoch %lld/%lld %s step %lld/%lld",
                   (long long)im_json_int_or(j, "epoch", 0), (long long)im_json_int_or(j, "epochs", 0),
                   im_json_str_or(j, "split", "-"), (long long)im_json_int_or(j, "step", 0),
                   (long long)im_json_int_or(j, "steps", 0));
    if (eta >= 0)
        status_add(line, sizeof line, ", eta %s", sv_format_seconds(eta, time, sizeof time));
    say_folded(line);
    line[0] = 0;
    if (!isnan(loss))
        status_add(line, sizeof line, "loss %.4f, lr %.4g, ", loss, im_json_real_or(j, "lr", 0));
    if (rate > 0) /* else it is not known yet */
        status_add(line, sizeof line, "%s img/s, ", sv_format_rate(rate, time, sizeof time));
    if (im_json_get(j, "batch_size"))
        status_add(line, sizeof line, "batch %lld%s%lld px, ", (long long)im_json_int_or(j, "batch_size", 0),
                   sv_locale_is_utf8() ? " · " : ", ", (long long)im_json_int_or(j, "image_size", 0));
    if (im_json_get(j, "amp"))
        status_add(line, sizeof line, "amp %s, ", im_json_str_or(j, "amp", "?"));
    status_add(line, sizeof line, "limited by %s", im_json_str_or(j, "limited_by", "?"));
    say_folded(line);
}

static void print_cache(const struct im_json *j)
{
    const long long hits = im_json_int_or(j, "hits", 0), all = hits + im_json_int_or(j, "misses", 0);

    if (!j)
        return;
    im_say(stdout, "cache     %.1f%% of %lld images were here; %lld fetched, %.1f MB/s from %.200s",
           all ? 100.0 * (double)hits / (double)all : 0.0, all, (long long)im_json_int_or(j, "fetched", 0),
           im_json_real_or(j, "bytes_per_second", 0) / 1e6, im_json_str_or(j, "from", "?"));
    printf("cache     %.1f MiB kept; %lld made room for others\n",
           (double)im_json_int_or(j, "bytes", 0) / (1 << 20), (long long)im_json_int_or(j, "evicted", 0));
}

static void print_events(const struct im_json *j)
{
    static const char *const rows[][3] = {{"deaths", "death", "deaths"},
                                          {"resets", "reset", "resets"},
                                          {"bad_samples", "file left out", "files left out"}};

    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        const long long n = im_json_int_or(j, rows[i][0], 0);

        printf("%s%lld %s", i ? ", " : "events    ", n, rows[i][n == 1 ? 1 : 2]);
    }
    printf("\n");
}

static void print_status(const struct im_json *j)
{
    print_place(j);
    print_stages(im_json_get(j, "stages"));
    print_gpus(j);
    print_nodes(im_json_get(j, "nodes"));
    print_node_stages(im_json_get(j, "nodes"));
    print_processes(j);
    print_cache(im_json_get(j, "cache"));
    printf("rings     %lld of %lld files and %lld of %lld batches are ready\n",
           (long long)im_json_int_or(j, "ready_cells", 0), (long long)im_json_int_or(j, "cells", 0),
           (long long)im_json_int_or(j, "ready_batches", 0), (long long)im_json_int_or(j, "batches", 0));
    print_events(j);
    print_ledger(im_json_get(j, "ledger"));
}

int sv_cmd_status(struct im_conf *conf)
{
    struct im_json *request, *answer = NULL;
    char *dumped;
    int status;

    request = im_json_object();
    im_json_set_str(request, "cmd", "status");
    status = sv_ask(conf, request, &answer);
    if (status)
        return status;
    if (conf->json) {
        dumped = im_json_dump_indented(answer);
        fputs(dumped ? dumped : "", stdout);
        free(dumped);
    } else {
        print_status(answer);
    }
    im_json_free(&answer);
    return IM_EXIT_OK;
}

int sv_cmd_stop(struct im_conf *conf)
{
    struct im_json *request, *answer = NULL;
    im_ns deadline = im_now() + STOP_TIMEOUT_NS, look_at = im_now() + STOP_LOOK_NS;
    struct im_text text;
    int status;

    request = im_json_object();
    im_json_set_str(request, "cmd", "stop");
    im_json_set_bool(request, "now", conf->now);
    status = sv_ask(conf, request, &answer);
    if (status)
        return status;
    im_json_free(&answer);
    while (sv_rundir_is_live(conf->run_dir)) {
        const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

        if (im_now() > deadline) {
            fprintf(
                stderr,
                "imsuper: the run has not stopped within 10 minutes; `imsuper stop --now` ends it at once\n");
            return IM_EXIT_FAILED;
        }
        if (look_at != 0 && im_now() > look_at) {
            look_at = im_now() + STOP_LOOK_NS;
            if (sv_ask_is_stopped(conf->run_dir, &text)) {
                im_say(stderr, "imsuper: waiting: %s", text.s);
                look_at = 0; /* once */
            }
        }
        nanosleep(&pause, NULL);
    }
    if (conf->json)
        printf("{\"schema\":\"imsuper.reply/1\",\"ok\":\"stopped\"}\n");
    else
        im_say(stdout, "%s  stopped  %s", conf->run_name, conf->run_dir);
    return IM_EXIT_OK;
}
