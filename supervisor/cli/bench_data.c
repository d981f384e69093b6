#include "supervisor/cli/bench_data.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/base/printable.h"
#include "ipc/base/sysinfo.h"
#include "ipc/child.h"
#include "ipc/config/command.h"
#include "supervisor/cli/data_flags.h"
#include "supervisor/cli/program.h"
#include "supervisor/cli/start.h"
#include "supervisor/cli/temporary.h"
#include "supervisor/report/observe.h"

#define RUN_NAME "bench-data"
#define LOOK_NS 50000000L       /* for the end of the run, and for signals */
#define END_NS (30 * IM_SECOND) /* for a run that was asked to stop */
#define FASTEST 40000           /* images/s of one trainer, for which there are to be enough batches */

enum { RESULT_BYTES_MAX = 1 << 20, SCAN_MAX = 512 };

/* A run's configuration with stand-ins for trainers. Counts that nobody chose: as on a machine where the trainers compute
 * elsewhere, so that all cores are for reading and decoding. */
static void prepare(struct im_conf *c, const char *folder)
{
    const double seconds = c->warm_up_seconds + (double)c->passes * c->pass_seconds + 2;
    double batches = seconds * FASTEST / (double)c->batch_size;

    c->consume = true;
    c->lr_range_test = true; /* saves nothing, and is no run that could be continued */
    c->num_iter = batches < 30 ? 30 : batches > 100000 ? 100000 : (int64_t)batches;
    c->snapshot_interval = 0;
    c->snapshot_steps = 0;
    c->quiet = true;
    c->json = false; /* the answer is ours */
    snprintf(c->gpus, sizeof c->gpus, "0");
    c->backend = IM_BACKEND_AUTO;
    if (c->readers == 0)
        c->readers = (c->ranks + 1) / 2;
    if (c->augmenters == 0)
        c->augmenters = im_cpu_count() > c->readers ? im_cpu_count() - c->readers : 1;
    snprintf(c->workspace, sizeof c->workspace, "%s", folder);
    snprintf(c->run_name, sizeof c->run_name, RUN_NAME);
}

static void run_as_child(const struct im_conf *conf, const sigset_t *mask)
{
    struct im_conf *own = malloc(sizeof *own);
    int status;

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigprocmask(SIG_SETMASK, mask, NULL);
    if (!own)
        _exit(IM_EXIT_FAILED);
    *own = *conf;
    status = sv_start_run(own);
    fflush(NULL);
    _exit(status);
}

/* Waits for the run. A signal that asks us to stop waits until we have cleaned up; the run is asked, once, and goes on
 * if it was stopped. One that does not end is killed, and its processes leave. */
static int await_run(pid_t pid)
{
    const struct timespec nap = {.tv_nsec = LOOK_NS};
    int status = 0, got;
    im_ns told = 0;

    while ((got = waitpid(pid, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
        if (told == 0 && sv_stop_signal() != 0) {
            told = im_now();
            kill(pid, SIGTERM);
            kill(pid, SIGCONT);
        } else if (told != 0 && im_now() - told > END_NS) {
            kill(pid, SIGKILL);
        }
        nanosleep(&nap, NULL);
    }
    return sv_stop_signal() ? IM_EXIT_FORCED : WIFEXITED(status) ? WEXITSTATUS(status) : IM_EXIT_FAILED;
}

/* The run in a process of its own, for it becomes a warden. Its exit status. */
static int run_apart(const struct im_conf *conf, const sigset_t *before)
{
    pid_t pid;

    fflush(NULL);
    pid = sv_stop_signal() ? -1 : fork();
    if (pid == 0)
        run_as_child(conf, before);
    return pid > 0 ? await_run(pid) : sv_stop_signal() ? IM_EXIT_FORCED : IM_EXIT_FAILED;
}

static struct im_json *read_result(const char *folder, unsigned rank)
{
    char path[PATH_MAX], *bytes = NULL;
    struct im_json *j = NULL;
    size_t n;

    snprintf(path, sizeof path, "%s/" RUN_NAME "/consumer-%u.json", folder, rank);
    if (im_read_file(path, RESULT_BYTES_MAX, &bytes, &n, NULL) == 0)
        im_json_parse(bytes, n, &j, NULL);
    free(bytes);
    return j;
}

static struct sv_bench_stage read_stage(const struct im_json *j)
{
    return (struct sv_bench_stage){.processes = im_json_int_or(j, "processes", 0),
                                   .replaced = im_json_int_or(j, "replaced", 0),
                                   .samples = (double)im_json_int_or(j, "samples", 0),
                                   .cpu_seconds = im_json_real_or(j, "cpu_seconds", 0),
                                   .busy = im_json_real_or(j, "busy", 0),
                                   .wait_input = im_json_real_or(j, "wait_input", 0),
                                   .wait_output = im_json_real_or(j, "wait_output", 0)};
}

static void add_stage(struct sv_bench_stage *sum, const struct sv_bench_stage *s, double share)
{
    sum->processes = s->processes;
    sum->replaced += s->replaced;
    sum->samples += s->samples;
    sum->cpu_seconds += s->cpu_seconds;
    sum->busy += share * s->busy;
    sum->wait_input += share * s->wait_input;
    sum->wait_output += share * s->wait_output;
}

/* Adds what one run's stand-ins wrote. The passes that all of them have; -ENOENT: one wrote nothing. `share`: of all runs. */
static int gather(const struct im_conf *conf, const char *folder, double share, struct sv_bench *b)
{
    size_t passes = SV_BENCH_PASSES_MAX;
    double *rates = b->rates + b->passes;

    for (unsigned rank = 0; rank < (unsigned)conf->ranks; rank++) {
        struct im_json *j = read_result(folder, rank);
        const struct im_json *list = im_json_get(j, "rates");

        if (!j)
            return -ENOENT;
        if (im_json_count(list) < passes)
            passes = im_json_count(list);
        for (size_t i = 0; i < passes && b->passes + i < SV_BENCH_PASSES_MAX; i++) {
            double rate = 0;

            im_json_as_real(im_json_at(list, i), &rate);
            rates[i] = (rank ? rates[i] : 0) + rate;
        }
        if (rank == 0) {
            const struct sv_bench_stage stages[] = {read_stage(im_json_get(j, "reader")),
                                                    read_stage(im_json_get(j, "augmenter")),
                                                    read_stage(im_json_get(j, "trainer"))};

            for (int s = 0; s < 3; s++)
                add_stage(&b->stage[s], &stages[s], share);
            b->seconds += im_json_real_or(j, "seconds", 0);
            b->idle_seconds += im_json_real_or(j, "idle_seconds", 0);
            b->p50_ms += share * im_json_real_or(j, "batch_p50_ms", 0);
            b->p99_ms += share * im_json_real_or(j, "batch_p99_ms", 0);
        }
        im_json_free(&j);
    }
    b->passes += passes < SV_BENCH_PASSES_MAX - b->passes ? passes : 0;
    return (int)passes;
}

static int find_limit(const struct sv_bench *b)
{
    struct sv_stage_view view[SV_STAGES] = {{0}};

    for (int s = 0; s < SV_STAGES; s++)
        view[s] = (struct sv_stage_view){.busy = b->stage[s].busy,
                                         .wait_input = b->stage[s].wait_input,
                                         .wait_output = b->stage[s].wait_output,
                                         .alive = (uint32_t)b->stage[s].processes};
    return sv_limiting_stage(view);
}

static int drop_cache(const struct im_conf *conf, double *ret_left)
{
    static const char *const none[] = {NULL};
    struct im_json *j;
    int status = sv_ask_data(conf, "imsuper-reader", "drop", none, &j);

    *ret_left = im_json_real_or(j, "still_cached", 0);
    im_json_free(&j);
    return status < 0 ? IM_EXIT_FAILED : status;
}

static int take_results(const struct im_conf *c, const char *folder, double share, struct sv_bench *b)
{
    const int passes = gather(c, folder, share, b);

    if (passes > 0)
        return 0;
    if (passes < 0)
        im_say(stderr, "imsuper: nothing was measured: the results in %s were removed by another program",
               folder);
    else
        im_say(stderr, "imsuper: nothing was measured: the images were over before the first pass was; use "
                       "more images, or shorter --warm-up-seconds and --pass-seconds");
    return IM_EXIT_FAILED;
}

/* One run, of conf->passes passes. */
static int one_run(struct im_conf *c, double share, struct sv_bench *b)
{
    struct sv_temporary folder;
    struct im_text text = {""};
    sigset_t before;
    double left = 0;
    int status = c->cold ? drop_cache(c, &left) : 0;

    if (status)
        return status;
    b->still_cached += share * left;
    sigprocmask(SIG_BLOCK, NULL, &before);
    sv_hold_stop_signals(); /* until whoever measures prints: what waits was meant for all that we do */
    if (sv_temporary_make(RUN_NAME, &folder, &text) < 0)
        return im_command_fail(-EIO, &text);
    prepare(c, folder.path);
    b->readers = c->readers, b->augmenters = c->augmenters, b->trainers = c->ranks, b->cores = im_cpu_count();
    status = run_apart(c, &before);
    if (status == IM_EXIT_RESUMABLE)
        status = IM_EXIT_FORCED;
    if (status == 0)
        status = take_results(c, folder.path, share, b);
    sv_temporary_drop(&folder);
    return status;
}

int sv_bench_data_run(const struct im_conf *conf, struct sv_bench *ret)
{
    const int64_t runs = conf->cold ? conf->passes : 1;
    struct im_conf *c = malloc(sizeof *c);
    int status = 0;

    if (!c)
        return IM_EXIT_FAILED;
    memset(ret, 0, sizeof *ret);
    for (int64_t run = 0; status == 0 && run < runs; run++) {
        *c = *conf;
        if (c->cold) { /* each pass is a run, whose files come from the disk */
            c->passes = 1;
            c->warm_up_seconds = 0;
        }
        status = one_run(c, 1.0 / (double)runs, ret);
    }
    ret->rate = im_series_summary(ret->rates, ret->passes);
    ret->limit = find_limit(ret);
    free(c);
    return status;
}

double sv_bench_cpu_ms(const struct sv_bench *b, int stage)
{
    return b->stage[stage].samples > 0 ? 1e3 * b->stage[stage].cpu_seconds / b->stage[stage].samples : 0;
}

double sv_bench_cpu_ms_all(const struct sv_bench *b)
{
    return sv_bench_cpu_ms(b, 0) + sv_bench_cpu_ms(b, 1);
}

double sv_bench_cores_used(const struct sv_bench *b)
{
    return b->seconds > 0 ? (b->stage[0].cpu_seconds + b->stage[1].cpu_seconds) / b->seconds : 0;
}

double sv_bench_cores_free(const struct sv_bench *b)
{
    const double idle = b->seconds > 0 ? b->idle_seconds / b->seconds : 0;
    const double left = (double)b->cores - sv_bench_cores_used(b);

    return idle < left ? idle : left > 0 ? left : 0;
}

/* One more process of the stage that limits: as much again as one of them does, but no more than the free cores allow. */
static double with_one_more(const struct sv_bench *b, double free_cores)
{
    const double n = (double)b->stage[b->limit].processes, ms = sv_bench_cpu_ms(b, b->limit);
    const double per_process = n > 0 ? b->rate.mean / n : 0;
    const double per_core = ms > 0 ? 1e3 * free_cores / ms : per_process;

    return b->rate.mean + (per_core < per_process ? per_core : per_process);
}

/* No core is left for one more process. */
static void say_no_core(const struct sv_bench *b, struct im_text *ret)
{
    static const char *const words[] = {"reading", "decoding and augmenting"};
    const double ms = sv_bench_cpu_ms_all(b), used = sv_bench_cores_used(b);
    const double others = (double)b->cores - used - sv_bench_cores_free(b);
    char whose[64] = "";

    if (others > 0.2)
        snprintf(whose, sizeof whose, " (%.1f by other programs)", others);
    im_fail(ret, 0,
            "%s limits, and all %" PRId64
            " cores are in use%s: one more process gives nothing, one more core %.0f images/s",
            words[b->limit], b->cores, whose, ms > 0 ? 1e3 / ms : 0);
}

/* Readers that wait for input wait for objects of another machine. */
static bool waits_for_network(const struct sv_bench *b)
{
    return b->limit == SV_STAGE_READ && b->stage[SV_STAGE_READ].wait_input > b->stage[SV_STAGE_READ].busy;
}

const char *sv_bench_limit_name(const struct sv_bench *b)
{
    static const char *const names[] = {"read", "augment", "train"};

    return b->limit < 0 ? "unknown" : waits_for_network(b) ? "network" : names[b->limit];
}

double sv_bench_verdict(const struct sv_bench *b, double images_per_second, struct im_text *ret)
{
    const double free_cores = sv_bench_cores_free(b);
    double more = 0;

    if (b->limit < 0) {
        im_fail(ret, 0, "this measurement is too short to tell which stage limits");
    } else if (b->limit == SV_STAGE_TRAIN && images_per_second > 0) {
        im_fail(ret, 0, "the trainers limit: they get the %.0f images/s that they can take",
                images_per_second * (double)b->trainers);
    } else if (b->limit == SV_STAGE_TRAIN) {
        im_fail(ret, 0, "nothing of the data path limits: batches are there when they are asked for");
    } else if (waits_for_network(b)) {
        im_fail(
            ret, 0,
            "the network limits: readers waited %.0f%% of the time for objects of the server (--connections)",
            100 * b->stage[SV_STAGE_READ].wait_input);
    } else if (free_cores < 0.25) {
        say_no_core(b, ret);
    } else {
        more = with_one_more(b, free_cores);
        im_fail(ret, 0,
                "%s limits: %" PRId64
                " of %s; one more would give about %.0f images/s%s (%.1f cores are free)",
                b->limit == SV_STAGE_READ ? "reading" : "decoding and augmenting",
                b->limit == SV_STAGE_READ ? b->readers : b->augmenters,
                b->limit == SV_STAGE_READ ? "--readers" : "--augmenters", more,
                b->limit == SV_STAGE_READ ? " where the disk allows it" : "", free_cores);
    }
    return more;
}

/* A number of 1 to SCAN_MAX at *at, which moves past it; 0: there is none. */
static int64_t take_number(const char **at)
{
    char *end;
    const long long value = **at >= '0' && **at <= '9' ? strtoll(*at, &end, 10) : 0;

    if (value < 1 || value > SCAN_MAX)
        return 0;
    *at = end;
    return value;
}

int sv_bench_scan_parse(const char *s, struct sv_scan *ret, struct im_text *text)
{
    const char *at = strchr(s, '=');

    *ret = (struct sv_scan){.readers = strncmp(s, "readers=", 8) == 0};
    if (at && (ret->readers || strncmp(s, "augmenters=", 11) == 0)) {
        at++;
        ret->low = take_number(&at);
        if (ret->low && strncmp(at, "..", 2) == 0) {
            at += 2;
            ret->high = take_number(&at);
        }
        if (ret->high >= ret->low && ret->low > 0 && *at == '\0')
            return 0;
    }
    return im_fail(
        text, -EINVAL,
        "--scan %.100s: expected augmenters=LOW..HIGH or readers=LOW..HIGH with numbers of 1 to %d, such as "
        "augmenters=1..8",
        s, SCAN_MAX);
}
