/* `imsuper status` and `imsuper stop`: clients of the supervisor's control socket. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/clock.h"
#include "ipc/base/printable.h"
#include "ipc/child.h"
#include "supervisor/cli/ask.h"
#include "supervisor/cli/commands.h"
#include "supervisor/report/rundir.h"
#include "supervisor/report/screen.h"

#define STOP_TIMEOUT_NS (600 * IM_SECOND) /* a step and a checkpoint of the largest network, with room */

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

static void print_gpus(const struct im_json *status)
{
    const struct im_json *gpus = im_json_get(status, "gpus");
    const double mfu = im_json_real_or(status, "mfu", 0);

    if (im_json_count(gpus) == 0)
        return;
    printf("RANK  GPU   BUSY     MEMORY   POWER   TEMP   SM CLOCK  THROTTLED BY\n");
    for (size_t i = 0; i < im_json_count(gpus); i++) {
        const struct im_json *j = im_json_at(gpus, i), *throttled = im_json_get(j, "throttled");

        printf("%4lld %4lld ", (long long)im_json_int_or(j, "rank", 0),
               (long long)im_json_int_or(j, "gpu", 0));
        print_cell(j, "busy", 100, 5, "%");
        print_cell(j, "memory_bytes", 1.0 / (1 << 20), 10, " MiB");
        print_cell(j, "power_w", 1, 7, " W");
        print_cell(j, "temperature_c", 1, 6, " C");
        print_cell(j, "sm_mhz", 1, 10, " MHz");
        for (size_t k = 0; k < im_json_count(throttled); k++) {
            const char *word = "";

            im_json_as_str(im_json_at(throttled, k), &word);
            printf("  %s", im_shown(&(struct im_shown){""}, word));
        }
        printf("\n");
    }
    printf("gpus      %.0f img/s each", im_json_real_or(status, "images_per_second_per_gpu", 0));
    if (mfu > 0)
        printf(", %.1f%% of their peak rate (MFU)", 100 * mfu);
    printf("\n");
}

static void print_processes(const struct im_json *processes)
{
    printf("PROCESS         PID      STATE     RESTARTS     IMAGES   BAD   P50 ms   P99 ms  NOW\n");
    for (size_t i = 0; i < im_json_count(processes); i++) {
        const struct im_json *j = im_json_at(processes, i);
        char name[40];

        snprintf(name, sizeof name, "%s#%lld", im_json_str_or(j, "role", "?"),
                 (long long)im_json_int_or(j, "index", 0));
        im_say(stdout, "%-15s %-8lld %-9s %8lld %10lld %5lld %8.2f %8.2f  %s", name,
               (long long)im_json_int_or(j, "pid", 0), im_json_str_or(j, "state", "?"),
               (long long)im_json_int_or(j, "restarts", 0), (long long)im_json_int_or(j, "samples", 0),
               (long long)im_json_int_or(j, "bad", 0), im_json_real_or(j, "item_p50_ms", 0),
               im_json_real_or(j, "item_p99_ms", 0), im_json_str_or(j, "activity", "-"));
    }
}

static void print_ledger(const struct im_json *ledger, const char *split)
{
    const struct im_json *j = im_json_get(ledger, split);
    const long long left_out = im_json_int_or(j, "left_out", 0);

    printf("ledger    %s: this pass %lld delivered, %lld twice, %lld unusable; finished passes %lld, %s once "
           "%lld",
           split, (long long)im_json_int_or(j, "delivered", 0), (long long)im_json_int_or(j, "duplicates", 0),
           (long long)im_json_int_or(j, "bad", 0), (long long)im_json_int_or(j, "passes", 0),
           left_out > 0 ? "at most" : "exactly", (long long)im_json_int_or(j, "passes_exactly_once", 0));
    printf(left_out > 0 ? ", %lld left out of each\n" : "\n", left_out);
}

static void print_status(const struct im_json *j)
{
    char up[24], rate[24];

    im_say(stdout,
           "%s  %s for %s, epoch %lld/%lld %s step %lld/%lld of %lldx%lld px, %s img/s, loss %.4f, limited "
           "by %s",
           im_json_str_or(j, "run", "?"), im_json_str_or(j, "state", "?"),
           sv_format_seconds(im_json_real_or(j, "up_seconds", -1), up, sizeof up),
           (long long)im_json_int_or(j, "epoch", 0), (long long)im_json_int_or(j, "epochs", 0),
           im_json_str_or(j, "split", "-"), (long long)im_json_int_or(j, "step", 0),
           (long long)im_json_int_or(j, "steps", 0), (long long)im_json_int_or(j, "batch_size", 0),
           (long long)im_json_int_or(j, "image_size", 0),
           sv_format_rate(im_json_real_or(j, "images_per_second", 0), rate, sizeof rate),
           im_json_real_or(j, "loss", 0), im_json_str_or(j, "limited_by", "?"));
    print_stages(im_json_get(j, "stages"));
    print_gpus(j);
    print_processes(im_json_get(j, "processes"));
    printf("rings     %lld files and %lld batches ready; %lld deaths, %lld resets, %lld files left out\n",
           (long long)im_json_int_or(j, "ready_cells", 0), (long long)im_json_int_or(j, "ready_batches", 0),
           (long long)im_json_int_or(j, "deaths", 0), (long long)im_json_int_or(j, "resets", 0),
           (long long)im_json_int_or(j, "bad_samples", 0));
    print_ledger(im_json_get(j, "ledger"), "train");
    print_ledger(im_json_get(j, "ledger"), "val");
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
    im_ns deadline = im_now() + STOP_TIMEOUT_NS;
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
        nanosleep(&pause, NULL);
    }
    if (conf->json)
        printf("{\"schema\":\"imsuper.reply/1\",\"ok\":\"stopped\"}\n");
    else
        im_say(stdout, "%s  stopped  %s", conf->run_name, conf->run_dir);
    return IM_EXIT_OK;
}
