/* imsuper bench trainer and imsuper profile trainer.
 *
 * A round is a second's worth of steps (one at least) after a first step that plans and warms up; --passes
 * says how many rounds. Bench takes the clock around a round. Profile takes it around every op: two calls of
 * some 25 ns each, so its steps are those of bench. It reports medians of a layer's times, which other load
 * on the machine affects less than means. */
#include "trainer/tools/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ipc/base/clock.h"
#include "ipc/base/earlier.h"
#include "ipc/base/err.h"
#include "ipc/base/json.h"
#include "ipc/base/output.h"
#include "ipc/base/rng.h"
#include "ipc/base/speedscope.h"
#include "trainer/backends/cuda/device.h"
#include "trainer/backends/cuda/module.h"
#include "trainer/backends/cuda/plan_cache.h"
#include "trainer/backends/step.h"
#include "trainer/network_config.h"

#define BENCH_SCHEMA "imsuper.bench-trainer/1"

enum { STEPS_MAX = 1000 }; /* steps whose times are stored */

struct bench {
    struct im_conf conf;
    struct tr_network *net;
    bool locked;          /* the pixels are pinned */
    char plans[PATH_MAX]; /* path of the plan cache */
    struct tr_graph *graph;
    struct tr_batch batch;
    uint8_t *pixels;
    int32_t *labels;
    uint64_t steps;
    double *rates; /* images/s of each round */
    struct im_earlier earlier;
    double cpu_ms; /* of all threads, for an image; measured on top of rates */
    int layers;
    struct tr_layer_time *times; /* [STEPS_MAX][layers]; profile only, as the next ones */
    double *totals, *updates;    /* ms of each step, and of its update */
    double *rests;               /* what else of each step takes time */
    int kept;
};

static double median(double *values, int count)
{
    for (int i = 1; i < count; i++)
        for (int k = i; k > 0 && values[k] < values[k - 1]; k--) {
            double swap = values[k];

            values[k] = values[k - 1];
            values[k - 1] = swap;
        }
    return values[count / 2];
}

static void draw(struct bench *b)
{
    struct im_rng r = im_rng_at(b->conf.seed, IM_RNG_SYNTH, 0, 0);
    size_t pixels = (size_t)b->batch.n * (size_t)b->batch.size * (size_t)b->batch.size * 3;

    for (size_t i = 0; i < pixels; i++)
        b->pixels[i] = (uint8_t)im_rng_u32(&r);
    for (int i = 0; i < b->batch.n; i++)
        b->labels[i] = (int32_t)im_rng_below(&r, (uint64_t)b->conf.classes);
}

/* Pins the pixels, as a run pins its ring. */
static void lock(struct bench *b, size_t bytes)
{
    struct im_text why = {""};

    b->locked = tr_network_pin_host(b->net, b->pixels, bytes, &why) == 0;
    if (!b->locked)
        fprintf(stderr, "imsuper: the batch is not page-locked, and copied once more: %s\n", why.s);
}

/* --amp auto as a run on this GPU takes it. */
static int choose_precision(struct im_conf *conf, struct im_text *text)
{
    const struct tr_cuda_table *module;
    struct tr_gpu_properties gpu = {0};
    int err;

    if (conf->amp != IM_AMP_AUTO || conf->backend != IM_BACKEND_CUDA)
        return 0;
    err = tr_cuda_load(&module, text);
    if (err == 0)
        err = module->gpu_query(im_conf_gpu(conf, 0) >= 0 ? im_conf_gpu(conf, 0) : 0, &gpu, text);
    conf->amp = (int32_t)im_conf_auto_amp(gpu.sm);
    return err;
}

static int open_bench(struct bench *b, bool is_profile, struct im_text *text)
{
    int n = (int)b->conf.batch_size, size = (int)b->conf.image_size;
    int err = choose_precision(&b->conf, text);
    struct tr_network_config config;

    if (err < 0)
        return err;

    b->pixels = malloc((size_t)n * (size_t)size * (size_t)size * 3);
    b->labels = calloc((size_t)n, sizeof *b->labels);
    b->rates = calloc((size_t)b->conf.passes, sizeof *b->rates);
    if (!b->pixels || !b->labels || !b->rates)
        return im_fail(text, -ENOMEM, "no memory for a batch of %d images", n);
    b->batch = (struct tr_batch){.pixels = b->pixels, .labels = b->labels, .n = n, .size = size};
    draw(b);
    err = tr_network_configure(&b->conf, (int)b->conf.classes, &config, text);
    config.plain_steps = is_profile; /* a captured graph cannot be timed per layer */
    if (err == 0 && im_conf_gpu(&b->conf, 0) >= 0)
        config.device.index = im_conf_gpu(&b->conf, 0);
    if (err == 0 && tr_plan_cache_path(b->plans, sizeof b->plans) == 0)
        config.device.cache = b->plans;
    if (err == 0)
        err = tr_network_new(&config, &b->net, text);
    if (err == 0)
        lock(b, (size_t)n * (size_t)size * (size_t)size * 3);
    if (err == 0)
        err = tr_network_graph(b->net, n, size, true, &b->graph, text);
    if (err < 0 || !is_profile)
        return err;
    b->layers = tr_graph_layers(b->graph);
    b->times = calloc((size_t)STEPS_MAX * (size_t)b->layers, sizeof *b->times);
    b->totals = calloc(STEPS_MAX, sizeof *b->totals);
    b->updates = calloc(STEPS_MAX, sizeof *b->updates);
    b->rests = calloc(STEPS_MAX, sizeof *b->rests);
    return b->times && b->totals && b->updates && b->rests
               ? 0
               : im_fail(text, -ENOMEM, "no memory for the times");
}

static void close_bench(struct bench *b)
{
    if (b->locked)
        tr_network_unpin_host(b->net, b->pixels);
    tr_network_free(b->net);
    free(b->pixels);
    free(b->labels);
    free(b->rates);
    free(b->times);
    free(b->totals);
    free(b->updates);
    free(b->rests);
}

static int bench_step(struct bench *b, struct im_text *text)
{
    const struct tr_step how = {.divisor = b->batch.n,
                                .number = 1,
                                .last = true,
                                .hyper = {.lr = 1e-3,
                                          .momentum = 0.9,
                                          .weight_decay = 1e-4,
                                          .unscale = 1,
                                          .loss_scale = 1,
                                          .updates = b->steps++}};
    struct tr_outcome outcome;
    int err;

    b->batch.step = b->steps;
    err = tr_network_step_begin(b->net, &b->batch, &how, text);
    if (err == 0) /* the next batch, as a run has it */
        err = tr_network_prefetch(b->net, &b->batch, text);
    return err < 0 ? err : tr_network_step_end(b->net, &outcome, text);
}

static int step_with_times(struct bench *b, struct im_text *text)
{
    struct tr_step_times times = {.layers = b->times + (size_t)b->kept * (size_t)b->layers};
    const im_ns began = im_now();
    int err;

    memset(times.layers, 0, (size_t)b->layers * sizeof *times.layers);
    tr_network_time(b->net, &times);
    err = bench_step(b, text);
    tr_network_time(b->net, NULL);
    if (err < 0)
        return err;
    b->updates[b->kept] = (double)times.update / 1e6;
    b->totals[b->kept] = (double)(im_now() - began) / 1e6;
    b->rests[b->kept] = b->totals[b->kept] - b->updates[b->kept];
    for (int i = 0; i < b->layers; i++)
        b->rests[b->kept] -= (double)(times.layers[i].forward + times.layers[i].backward) / 1e6;
    if (b->steps > 1 && b->kept < STEPS_MAX - 1)
        b->kept++;
    return 0;
}

/* CPU time of the threads, which depends less than wall time on other load; includes waiting unless
 * OMP_WAIT_POLICY is passive. */
static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int measure(struct bench *b, struct im_text *text)
{
    int (*const take)(struct bench *, struct im_text *) = b->times ? step_with_times : bench_step;
    int err = take(b, text);
    double cpu = cpu_ms();

    for (int64_t pass = 0; err == 0 && pass < b->conf.passes; pass++) {
        im_ns began = im_now(), took = 0;
        int steps = 0;

        for (; err == 0 && took < IM_SECOND; took = im_now() - began, steps++)
            err = take(b, text);
        b->rates[pass] = (double)steps * b->batch.n * 1e9 / (double)took;
    }
    b->cpu_ms = (cpu_ms() - cpu) / (double)(b->steps - 1) / b->batch.n;
    return err;
}

/* ---- output ---- */

static struct im_json *head(struct bench *b, const char *schema)
{
    struct im_json *j = im_json_object();
    struct tr_network_bytes bytes = tr_network_bytes(b->net);
    int rounds = (int)b->conf.passes;

    im_json_set_str(j, "schema", schema);
    im_json_set_str(j, "model", im_conf_choice(IM_KEY_model, b->conf.model));
    im_json_set_str(j, "amp", im_conf_choice(IM_KEY_amp, (int32_t)im_conf_amp(&b->conf)));
    im_json_set_int(j, "image_size", b->batch.size);
    im_json_set_int(j, "batch_size", b->batch.n);
    im_json_set_int(j, "threads", b->conf.trainer_threads);
    im_json_set_int(j, "rounds", rounds);
    im_json_set_real(j, "images_per_second", median(b->rates, rounds));
    im_json_set_real(j, "images_per_second_min", b->rates[0]);
    im_json_set_real(j, "images_per_second_max", b->rates[rounds - 1]);
    im_json_set(j, "rates", im_earlier_list(b->rates, (size_t)rounds));
    im_json_set_real(j, "cpu_ms_per_image", b->cpu_ms);
    im_json_set_int(j, "arena_bytes", (int64_t)bytes.arenas);
    im_json_set_int(j, "activation_bytes", (int64_t)bytes.activations);
    im_json_set_int(j, "backend_bytes", (int64_t)bytes.backend);
    return j;
}

static int bench_put(struct im_json *j)
{
    int err = im_json_print(j, stdout);

    im_json_free(&j);
    return err;
}

static void print_head(struct bench *b)
{
    const char *precision_warning = tr_network_precision_warning(b->net);
    struct tr_network_bytes bytes = tr_network_bytes(b->net);
    int rounds = (int)b->conf.passes;

    printf("%s, %d images of %d px a step, --amp %s, random pixels\n",
           im_conf_choice(IM_KEY_model, b->conf.model), b->batch.n, b->batch.size,
           im_conf_choice(IM_KEY_amp, (int32_t)im_conf_amp(&b->conf)));
    if (precision_warning)
        printf("%s\n", precision_warning);
    printf("%.1f images/s", median(b->rates, rounds));
    printf(" (median of %d rounds; %.1f to %.1f), %.2f ms of CPU each\n", rounds, b->rates[0],
           b->rates[rounds - 1], b->cpu_ms);
    printf("memory: parameters and optimiser %zu MiB, activations %zu MiB, backend %zu MiB\n",
           bytes.arenas >> 20, bytes.activations >> 20, bytes.backend >> 20);
}

/* Medians over the steps, in ms. */
struct times {
    double forward, backward;
};

static struct times layer_times(struct bench *b, int layer, double *scratch)
{
    struct times t;

    for (int i = 0; i < b->kept; i++)
        scratch[i] = (double)b->times[(size_t)i * (size_t)b->layers + (size_t)layer].forward / 1e6;
    t.forward = median(scratch, b->kept);
    for (int i = 0; i < b->kept; i++)
        scratch[i] = (double)b->times[(size_t)i * (size_t)b->layers + (size_t)layer].backward / 1e6;
    t.backward = median(scratch, b->kept);
    return t;
}

static struct im_json *layer_json(const char *layer, const struct tr_layer_work *f, struct times t,
                                  double total)
{
    struct im_json *j = im_json_object();
    double ms = t.forward + t.backward;

    im_json_set_str(j, "layer", layer);
    im_json_set_str(j, "op", f->name);
    im_json_set_str(j, "shape", f->shape);
    im_json_set_real(j, "forward_ms", t.forward);
    im_json_set_real(j, "backward_ms", t.backward);
    im_json_set_real(j, "share", ms / total);
    im_json_set_real(j, "gflop_per_second", ms > 0 ? f->flop / ms / 1e6 : 0);
    im_json_set_real(j, "gbyte_per_second", ms > 0 ? f->bytes / ms / 1e6 : 0);
    im_json_set_real(j, "bytes", f->bytes);
    im_json_set_str(j, "kernel", f->kernel);
    return j;
}

static void layer_line(const char *layer, const struct tr_layer_work *f, struct times t, double total)
{
    double ms = t.forward + t.backward;

    printf("%-22s %-8s %-30s %9.3f %9.3f %6.1f%% ", layer, f->name, f->shape, t.forward, t.backward,
           100 * ms / total);
    if (f->flop > 0)
        printf("%8.1f ", f->flop / ms / 1e6);
    else
        printf("%8s ", "");
    printf("%7.1f  %s\n", f->bytes / ms / 1e6, f->kernel);
}

static int bench_json(struct bench *b)
{
    struct im_json *j = head(b, BENCH_SCHEMA);
    const struct im_summary now = im_series_summary(b->rates, (size_t)b->conf.passes);

    im_earlier_add_json(&b->earlier, &now, true, j);
    return bench_put(j);
}

static void print_bench(struct bench *b)
{
    const struct im_summary now = im_series_summary(b->rates, (size_t)b->conf.passes);
    struct im_text compared;

    print_head(b);
    if (*im_earlier_sentence(&b->earlier, &now, true, "images/s", &compared))
        printf("compared: %s\n", compared.s);
}

/* The medians as stacks, in the order of a step: which way through the network, then the layer. */
static int write_profile(struct bench *b, struct im_text *text)
{
    const struct tr_model *model = tr_network_model(b->net);
    struct im_speedscope *s = im_speedscope_new(im_conf_choice(IM_KEY_model, b->conf.model));
    double *scratch = calloc((size_t)b->kept, sizeof *scratch);
    const double update = median(b->updates, b->kept);

    for (int k = 0; s && scratch && k < 2 * b->layers; k++) {
        const bool forward = k < b->layers;
        const int i = forward ? k : 2 * b->layers - 1 - k;
        const struct tr_layer_work work = tr_graph_layer(b->graph, i);
        const struct times t = layer_times(b, i, scratch);
        const double ms = forward ? t.forward : t.backward;
        char layer[160];

        snprintf(layer, sizeof layer, "%s %s %s", model->layers[i].name, work.name, work.shape);
        im_speedscope_add(s, (const char *const[]){"step", forward ? "forward" : "backward", layer}, 3, ms);
    }
    free(scratch);
    if (!s)
        return -ENOMEM;
    im_speedscope_add(s, (const char *const[]){"step", "update"}, 2, update);
    im_speedscope_add(s, (const char *const[]){"step", "rest"}, 2, median(b->rests, b->kept));
    return im_speedscope_write(s, b->conf.output, text);
}

/* One row each layer, then what lies beside them. */
static int report_profile(struct bench *b)
{
    double *scratch = calloc((size_t)b->kept, sizeof *scratch);
    struct im_json *layers = im_json_array(), *j;
    const struct tr_model *model = tr_network_model(b->net);
    double total = median(b->totals, b->kept), update = median(b->updates, b->kept),
           rest = median(b->rests, b->kept);

    if (!scratch)
        return -ENOMEM;
    if (!b->conf.json) {
        print_head(b);
        printf("\n%-22s %-8s %-30s %9s %9s %7s %8s %7s  %s\n", "layer", "op", "input -> output", "forward",
               "backward", "share", "GFLOP/s", "GB/s", "kernel (forward)");
    }
    for (int i = 0; i < b->layers; i++) {
        struct tr_layer_work work = tr_graph_layer(b->graph, i);
        struct times t = layer_times(b, i, scratch);

        if (!work.name[0])
            continue;
        if (b->conf.json)
            im_json_append(layers, layer_json(model->layers[i].name, &work, t, total));
        else
            layer_line(model->layers[i].name, &work, t, total);
    }
    free(scratch);
    if (!b->conf.json) {
        printf("%-62s %9.3f %9s %6.1f%%\n", "update", update, "", 100 * update / total);
        printf("%-62s %9.3f %9s %6.1f%%\n", "rest", rest, "", 100 * rest / total);
        printf("%-62s %9.3f\n\ntimes in ms, medians of %d steps\n", "step", total, b->kept);
        im_json_free(&layers);
        return 0;
    }
    j = head(b, "imsuper.profile-trainer/1");
    im_json_set_real(j, "step_ms", total);
    im_json_set_real(j, "update_ms", update);
    im_json_set(j, "layers", layers);
    return bench_put(j);
}

/* ---- commands ---- */

static int run(const struct im_conf *conf, bool is_profile)
{
    struct im_text text = {""};
    struct bench b = {.conf = *conf};
    int err = is_profile ? 0 : im_earlier_load(conf->compare, BENCH_SCHEMA, "rates", &b.earlier, &text);

    if (err == 0 && is_profile && *conf->output)
        err = im_output_check(conf->output, &text);
    if (err == 0)
        err = open_bench(&b, is_profile, &text);
    if (err == 0)
        err = measure(&b, &text);
    if (err == 0 && is_profile)
        err = report_profile(&b);
    else if (err == 0 && b.conf.json)
        err = bench_json(&b);
    else if (err == 0)
        print_bench(&b);
    if (err == 0 && is_profile && *conf->output)
        err = write_profile(&b, &text);
    close_bench(&b);
    return err < 0 ? im_command_fail(err, &text) : IM_EXIT_OK;
}

int tr_cmd_bench(struct im_conf *conf)
{
    return run(conf, false);
}

int tr_cmd_profile(struct im_conf *conf)
{
    return run(conf, true);
}
