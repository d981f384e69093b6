/* Images per second of a training or evaluation step on random pixels, the decode side left out.
 *
 *   bench_step --model resnet18 --stem auto --batch 32 --size 64 [--classes 1000] [--backend onednn]
 *              [--threads 0] [--seconds 10] [--bf16] [--eval]
 *
 * Prints one line of key=value. One step is run before the clock starts. `imsuper bench trainer` lists layers. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"
#include "ipc/base/rng.h"
#include "ipc/config/conf.h"
#include "tests/support/train_step.h"

struct options {
    const char *model, *stem, *backend;
    int batch, size, classes, threads;
    double seconds;
    int eval, bf16;
};

static int number(const char *text)
{
    return (int)strtol(text, NULL, 10);
}

static struct options parse(int argc, char **argv)
{
    struct options o = {.model = "resnet18",
                        .stem = "auto",
                        .backend = "onednn",
                        .batch = 32,
                        .size = 64,
                        .classes = 1000,
                        .seconds = 10};
    const struct option table[] = {
        {"model", required_argument, NULL, 'm'},
        {"stem", required_argument, NULL, 's'},
        {"backend", required_argument, NULL, 'b'},
        {"batch", required_argument, NULL, 'n'},
        {"size", required_argument, NULL, 'p'},
        {"classes", required_argument, NULL, 'c'},
        {"threads", required_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 'd'},
        {"eval", no_argument, &o.eval, 1},
        {"bf16", no_argument, &o.bf16, 1},
        {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (c) {
        case 'm':
            o.model = optarg;
            break;
        case 's':
            o.stem = optarg;
            break;
        case 'b':
            o.backend = optarg;
            break;
        case 'n':
            o.batch = number(optarg);
            break;
        case 'p':
            o.size = number(optarg);
            break;
        case 'c':
            o.classes = number(optarg);
            break;
        case 't':
            o.threads = number(optarg);
            break;
        case 'd':
            o.seconds = strtod(optarg, NULL);
            break;
        case 0:
            break;
        default:
            exit(2);
        }
    }
    return o;
}

static int step(struct tr_network *net, const struct options *o, const struct tr_batch *batch,
                struct im_text *text)
{
    struct imk_hyper hyper = {.lr = 0.01, .momentum = 0.9, .weight_decay = 1e-4};
    struct tr_tally tally;

    return o->eval ? tr_network_evaluate(net, batch, false, NULL, &tally, text)
                   : train_step(net, batch, &hyper, 0.1f, &tally, text);
}

/* Processor time of all threads: what a step costs, also on a machine that others use. Set
 * OMP_WAIT_POLICY=passive, or waiting counts too. */
static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int measure(struct tr_network *net, const struct options *o, const struct tr_batch *batch,
                   struct im_text *text)
{
    struct tr_network_bytes bytes;
    im_ns start, best = UINT64_MAX, total;
    int steps = 0, err = step(net, o, batch, text);
    double cpu = cpu_seconds();

    start = im_now();
    while (err == 0 && (steps < 3 || (double)(im_now() - start) < o->seconds * (double)IM_SECOND)) {
        im_ns before = im_now(), took;

        err = step(net, o, batch, text);
        took = im_now() - before;
        best = took < best ? took : best;
        steps++;
    }
    if (err < 0)
        return err;
    total = im_now() - start;
    cpu = cpu_seconds() - cpu;
    bytes = tr_network_bytes(net);
    printf("model=%s backend=%s mode=%s batch=%d size=%d threads=%d steps=%d images_per_s=%.2f "
           "best_images_per_s=%.2f cpu_ms_per_image=%.2f arenas_mib=%zu "
           "activations_mib=%zu private_mib=%zu\n",
           o->model, o->backend, o->eval ? "eval" : "train", o->batch, o->size, o->threads, steps,
           (double)steps * o->batch * 1e9 / (double)total, o->batch * 1e9 / (double)best,
           cpu * 1e3 / (double)steps / o->batch, bytes.arenas >> 20, bytes.activations >> 20,
           bytes.backend >> 20);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = parse(argc, argv);
    struct tr_network_config config = {
        .model = o.model,
        .classes = o.classes,
        .backend = o.backend,
        .threads = o.threads,
        .precision = o.bf16 ? IMK_BF16 : IMK_F32,
        .seed = 1,
        .mean = {0.485f, 0.456f, 0.406f},
        .std = {0.229f, 0.224f, 0.225f},
    };
    struct im_rng r = im_rng_at(1, IM_RNG_SYNTH, 0, 0);
    size_t pixel_count = (size_t)o.batch * (size_t)o.size * (size_t)o.size * 3;
    uint8_t *pixels = malloc(pixel_count);
    int32_t *labels = calloc((size_t)o.batch, sizeof *labels);
    struct tr_batch batch = {.pixels = pixels, .labels = labels, .n = o.batch, .size = o.size};
    struct tr_network *net = NULL;
    struct im_text text = {{0}};
    struct im_conf conf;
    int err;

    im_conf_defaults(&conf);
    err = pixels && labels ? im_conf_set(&conf, "stem", o.stem, &text) : -1;
    config.stem = (enum tr_stem)conf.stem;

    for (size_t i = 0; err == 0 && i < pixel_count; i++)
        pixels[i] = (uint8_t)im_rng_u32(&r);
    for (int i = 0; err == 0 && i < o.batch; i++)
        labels[i] = (int32_t)im_rng_below(&r, (uint64_t)o.classes);
    if (err == 0)
        err = tr_network_new(&config, &net, &text);
    if (err == 0)
        err = measure(net, &o, &batch, &text);
    if (err < 0)
        fprintf(stderr, "bench_step: %s\n", text.s);
    tr_network_free(net);
    free(pixels);
    free(labels);
    return err < 0 ? 1 : 0;
}
