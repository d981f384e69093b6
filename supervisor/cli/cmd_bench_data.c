/* `imsuper bench data`: readers and augmenters as a run has them, through its rings, into stand-ins for trainers. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/abi.h"
#include "ipc/base/earlier.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/base/output.h"
#include "ipc/base/printable.h"
#include "ipc/base/sysinfo.h"
#include "supervisor/cli/bench_data.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/program.h"
#include "supervisor/report/plot.h"

static const char *const stage_names[] = {"read", "augment", "train"};

#define SCHEMA "imsuper.bench-data/1"

static struct im_json *stage_json(const struct sv_bench *b, int stage)
{
    const struct sv_bench_stage *s = &b->stage[stage];
    struct im_json *j = im_json_object();

    im_json_set_str(j, "name", stage_names[stage]);
    im_json_set_int(j, "processes", s->processes);
    im_json_set_real(j, "busy", s->busy);
    im_json_set_real(j, "wait_input", s->wait_input);
    im_json_set_real(j, "wait_output", s->wait_output);
    im_json_set_real(j, "images_per_second", b->seconds > 0 ? s->samples / b->seconds : 0);
    im_json_set_real(j, "cpu_ms_per_image", sv_bench_cpu_ms(b, stage));
    return j;
}

static void fill_json(const struct im_conf *conf, const struct sv_bench *b, struct im_json *j)
{
    struct im_json *rate = im_json_object(), *passes = im_json_array(), *stages = im_json_array();
    struct im_text verdict = {""};
    const double more = sv_bench_verdict(b, conf->images_per_second, &verdict);

    im_json_set_int(j, "readers", b->readers);
    im_json_set_int(j, "augmenters", b->augmenters);
    im_json_set_int(j, "trainers", b->trainers);
    im_json_set_int(j, "cores", b->cores);
    im_json_set_int(j, "batch_size", conf->batch_size);
    im_json_set_int(j, "image_size", conf->image_size);
    im_json_set_str(j, "augment", im_conf_choice(IM_KEY_augment, conf->augment));
    im_json_set_bool(j, "cold", conf->cold);
    if (conf->cold)
        im_json_set_real(j, "still_cached", b->still_cached);
    im_json_set_real(j, "images_per_second_of_a_trainer", conf->images_per_second);
    im_json_set_real(rate, "mean", b->rate.mean);
    im_json_set_real(rate, "sigma", b->rate.sigma);
    im_json_set_real(rate, "min", b->rate.least);
    im_json_set_real(rate, "median", b->rate.median);
    im_json_set_real(rate, "max", b->rate.most);
    im_json_set(j, "images_per_second", rate);
    for (size_t i = 0; i < b->passes; i++)
        im_json_append_real(passes, b->rates[i]);
    im_json_set(j, "passes", passes);
    im_json_set_real(j, "batch_p50_ms", b->p50_ms);
    im_json_set_real(j, "batch_p99_ms", b->p99_ms);
    for (int s = 0; s < 3; s++)
        im_json_append(stages, stage_json(b, s));
    im_json_set(j, "stages", stages);
    im_json_set_real(j, "cpu_ms_per_image", sv_bench_cpu_ms_all(b));
    im_json_set_real(j, "cores_used", sv_bench_cores_used(b));
    im_json_set_real(j, "cores_free", sv_bench_cores_free(b));
    im_json_set_str(j, "limit", sv_bench_limit_name(b));
    im_json_set_real(j, "with_one_more", more);
    im_json_set_str(j, "verdict", verdict.s);
}

static int bench_data_print_json(const struct im_conf *conf, const struct sv_bench *b,
                                 const struct im_earlier *c)
{
    struct im_json *j = im_json_object();
    int err;

    im_json_set_str(j, "schema", SCHEMA);
    im_json_set_str(j, "version", IMSUPER_VERSION);
    fill_json(conf, b, j);
    im_earlier_add_json(c, &b->rate, true, j);
    err = im_json_print(j, stdout);
    im_json_free(&j);
    return err;
}

/* How many cores like these the trainers that are asked for need. */
static void say_needs(const struct im_conf *conf, const struct sv_bench *b)
{
    const double wanted = conf->images_per_second * (double)b->trainers, ms = sv_bench_cpu_ms_all(b);

    if (ms <= 0)
        return;
    if (wanted > 0)
        printf("sizing    %" PRId64
               " trainers x %.0f images/s = %.0f images/s take %.1f cores like these for reading and "
               "decoding; here are %" PRId64 "\n",
               b->trainers, conf->images_per_second, wanted, wanted * ms / 1e3, b->cores);
    else
        printf("sizing    a core like these: %.0f images/s; 32 of them: %.0f\n", 1e3 / ms, 32e3 / ms);
}

static void bench_data_print_text(const struct im_conf *conf, const struct sv_bench *b,
                                  const struct im_earlier *c)
{
    struct im_text verdict = {""}, compared;

    sv_bench_verdict(b, conf->images_per_second, &verdict);
    printf("readers %" PRId64 ", augmenters %" PRId64 ", simulated trainers %" PRId64 "; batch %" PRId64
           ", %" PRId64 " px, --augment %s, %s\n",
           b->readers, b->augmenters, b->trainers, conf->batch_size, conf->image_size,
           im_conf_choice(IM_KEY_augment, conf->augment), conf->cold ? "cold" : "warm");
    printf("images/s  %.1f +- %.1f (%.1f to %.1f, %zu passes)\n", b->rate.mean, b->rate.sigma, b->rate.least,
           b->rate.most, b->passes);
    printf("batches   every %.1f ms (p50), %.1f (p99)\n\n", b->p50_ms, b->p99_ms);
    printf("%-9s %9s %7s %9s %9s %12s\n", "STAGE", "PROCESSES", "BUSY", "WAIT-IN", "WAIT-OUT",
           "CPU ms/image");
    for (int s = 0; s < 3; s++)
        printf("%-9s %9" PRId64 " %6.0f%% %8.0f%% %8.0f%% %12.3f\n", stage_names[s], b->stage[s].processes,
               100 * b->stage[s].busy, 100 * b->stage[s].wait_input, 100 * b->stage[s].wait_output,
               sv_bench_cpu_ms(b, s));
    printf("\nverdict   %s\n", verdict.s);
    say_needs(conf, b);
    if (*im_earlier_sentence(c, &b->rate, true, "images/s", &compared))
        printf("compared  %s\n", compared.s);
}

static void warn_warm(const struct im_conf *conf, const struct sv_bench *b)
{
    if (conf->cold && b->still_cached > 0.25)
        im_say(stderr,
               "imsuper: %.0f%% of the files' pages stayed in memory (tmpfs, or mapped by others): not cold",
               100 * b->still_cached);
}

/* A process takes its CPU time with it. */
static void warn_deaths(const struct sv_bench *b)
{
    const int64_t n = b->stage[0].replaced + b->stage[1].replaced;

    if (n > 0)
        im_say(stderr,
               "imsuper: warning: %" PRId64
               " of the processes died while it was measured: CPU times, one more "
               "core and sizing are not right; measure again",
               n);
}

static int once(const struct im_conf *conf, const struct im_earlier *c)
{
    struct sv_bench *b = malloc(sizeof *b);
    struct im_text text = {""};
    int err = 0, status = b ? sv_bench_data_run(conf, b) : IM_EXIT_FAILED;

    if (status == 0) {
        sv_release_stop_signals();
        warn_warm(conf, b);
        warn_deaths(b);
        if (conf->json)
            err = bench_data_print_json(conf, b, c);
        else
            bench_data_print_text(conf, b, c);
    }
    free(b);
    return err < 0 ? im_command_fail(err, &text) : status;
}

struct rows {
    double *x, *rate, *ideal;
    size_t count;
};

static int write_plot(const struct im_conf *conf, const struct sv_scan *scan, const struct rows *r,
                      struct im_text *text)
{
    const double zero[] = {0, 0}, ends[] = {r->x[0], r->x[r->count - 1]};
    const struct sv_plot_line lines[] = {
        {NULL, ends, zero, 2, SV_PLOT_GREY, .faint = true}, /* the axis begins there */
        {"in proportion to the first", r->x, r->ideal, r->count, SV_PLOT_GREY, .faint = true},
        {"measured", r->x, r->rate, r->count, SV_PLOT_BLUE, .dots = true},
    };
    double top = 0;
    char title[128];

    for (size_t i = 0; i < r->count; i++)
        top = r->rate[i] > top ? r->rate[i] : top;
    snprintf(title, sizeof title, "imsuper bench data: %d cores, %" PRId64 " px, --augment %s",
             im_cpu_count(), conf->image_size, im_conf_choice(IM_KEY_augment, conf->augment));
    return sv_plot_png(&(struct sv_plot){.title = title,
                                         .x_label = scan->readers ? "readers" : "augmenters",
                                         .y_label = "images/s",
                                         .line = lines,
                                         .lines = 3,
                                         .whole_x = true,
                                         .y_most = 1.25 * top},
                       conf->output, text);
}

static int scan_row(const struct im_conf *conf, const struct sv_scan *scan, int64_t n, struct sv_bench *b,
                    struct rows *r, struct im_json *list)
{
    struct im_conf *c = malloc(sizeof *c);
    int status = IM_EXIT_FAILED;

    if (c) {
        *c = *conf;
        *(scan->readers ? &c->readers : &c->augmenters) = n;
        status = sv_bench_data_run(c, b);
    }
    if (status == 0) {
        sv_release_stop_signals();
        r->x[r->count] = (double)n;
        r->rate[r->count] = b->rate.mean;
        r->ideal[r->count] = r->rate[0] * (double)n / r->x[0];
        r->count++;
    }
    if (status == 0 && conf->json) {
        struct im_json *j = im_json_object();

        fill_json(c, b, j);
        im_json_append(list, j);
    } else if (status == 0) {
        if (r->count == 1) /* a measurement that is refused prints no table */
            printf("%10s %22s %8s %10s %9s  %s\n", scan->readers ? "readers" : "augmenters", "images/s",
                   "p99 ms", "efficiency", "cores", "limit");
        printf("%10" PRId64 " %10.1f +- %-8.1f %8.1f %9.0f%% %9.1f  %s\n", n, b->rate.mean, b->rate.sigma,
               b->p99_ms, 100 * r->rate[r->count - 1] / r->ideal[r->count - 1], sv_bench_cores_used(b),
               sv_bench_limit_name(b));
        fflush(stdout);
    }
    free(c);
    return status;
}

static int scan_rows(const struct im_conf *conf, const struct sv_scan *scan, struct rows *r,
                     struct im_text *text)
{
    struct sv_bench *b = malloc(sizeof *b);
    struct im_json *j = im_json_object(), *list = im_json_array();
    int status = b ? 0 : IM_EXIT_FAILED, err = 0;

    for (int64_t n = scan->low; status == 0 && n <= scan->high; n++)
        status = scan_row(conf, scan, n, b, r, list);
    if (status == 0 && *conf->output)
        err = write_plot(conf, scan, r, text);
    if (status == 0 && err == 0 && conf->json) {
        im_json_set_str(j, "schema", "imsuper.bench-data-scan/1");
        im_json_set_str(j, "scan", conf->scan);
        im_json_set(j, "rows", list), list = NULL;
        err = im_json_print(j, stdout);
    }
    im_json_free(&list);
    im_json_free(&j);
    free(b);
    return err < 0 ? im_command_fail(err, text) : status;
}

static int scan_all(const struct im_conf *conf, const struct sv_scan *scan)
{
    const size_t n = (size_t)(scan->high - scan->low + 1);
    struct rows r = {calloc(n, sizeof(double)), calloc(n, sizeof(double)), calloc(n, sizeof(double)), 0};
    struct im_text text = {""};
    int status = r.x && r.rate && r.ideal ? scan_rows(conf, scan, &r, &text) : IM_EXIT_FAILED;

    free(r.x);
    free(r.rate);
    free(r.ideal);
    return status;
}

/* --gpus N is the number of trainers to simulate; it need not have one. */
static int take_gpus(struct im_conf *conf, struct im_text *text)
{
    char *end;
    const long n = strtol(conf->gpus, &end, 10);

    if (strcmp(conf->gpus, "auto") == 0 || strcmp(conf->gpus, "0") == 0)
        return 0; /* --ranks */
    if (end == conf->gpus || *end || n < 1 || n > IM_RANKS_MAX)
        return im_fail(text, -EINVAL, "--gpus %.50s: the number of trainers to simulate, 1 to %d", conf->gpus,
                       IM_RANKS_MAX);
    conf->ranks = n;
    return 0;
}

/* What a measurement does not have: sizes that change. */
static int take_first_sizes(struct im_conf *conf, struct im_text *text)
{
    struct im_conf_resize resize;
    struct im_conf_sizes first;
    int err = im_conf_resize(conf, &resize, text);

    if (err < 0)
        return err;
    first = im_conf_resize_at(&resize, 0);
    conf->image_size = first.image_size;
    conf->batch_size = first.batch_size;
    conf->resize_schedule[0] = '\0';
    return 0;
}

int sv_cmd_bench_data(struct im_conf *conf)
{
    struct im_earlier old = {.given = false};
    struct im_text text = {""};
    struct sv_scan scan;
    int err = take_gpus(conf, &text);

    if (err == 0)
        err = take_first_sizes(conf, &text);
    if (err == 0 && *conf->scan)
        err = sv_bench_scan_parse(conf->scan, &scan, &text);
    if (err == 0 && *conf->scan && *conf->compare)
        err = im_fail(&text, -EINVAL, "--compare has no effect with --scan");
    else if (err == 0 && *conf->compare)
        err = im_earlier_load(conf->compare, SCHEMA, "passes", &old, &text);
    if (err == 0 && *conf->output && !*conf->scan)
        err = im_fail(&text, -EINVAL, "--output has no effect without --scan");
    if (err == 0 && *conf->output)
        err = im_output_check(conf->output, &text);
    if (err < 0) {
        im_command_fail(err, &text);
        return IM_EXIT_USAGE;
    }
    return *conf->scan ? scan_all(conf, &scan) : once(conf, &old);
}
