/* run_network BACKEND THREADS: the gradients of a whole network, for tests/bench/peers/gradient_errors.py.
 *
 * Standard input: a line "MODEL CLASSES N SIZE AMP", AMP being 0 (fp32) or 1 (bf16); then, in the order of the model's
 * tensors, fp32 numbers of each (of batch norms' counters nothing), the batch's pixels as bytes, and its labels as
 * int32. Standard output: fp32 numbers, the mean loss and the gradients of the parameters in the same order. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/base/err.h"
#include "tests/support/train_step.h"
#include "trainer/network/network.h"

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "run_network: %s\n", what);
    exit(1);
}

static void take(void *to, size_t size, size_t count)
{
    if (fread(to, size, count, stdin) != count)
        die("the input is too short");
}

static void give(const float *v, size_t count)
{
    if (fwrite(v, sizeof *v, count, stdout) != count)
        die("cannot write");
}

static void *zeroes(size_t size, size_t count)
{
    void *p = calloc(count + 1, size);

    if (!p)
        die("no memory");
    return p;
}

static void take_tensors(struct tr_network *net)
{
    const struct tr_model *m = tr_network_model(net);
    float *params = zeroes(sizeof *params, m->param_floats), *stats = zeroes(sizeof *stats, m->stat_floats);

    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];

        if (tr_tensor_home(t) != TR_HOME_COUNTER)
            take((tr_tensor_home(t) == TR_HOME_STATS ? stats : params) + t->offset, sizeof(float), t->count);
    }
    if (tr_network_write(net, TR_ARENA_PARAMS, params) < 0 ||
        tr_network_write(net, TR_ARENA_STATS, stats) < 0)
        die("cannot write the weights");
    free(params);
    free(stats);
}

static void give_gradients(struct tr_network *net)
{
    const struct tr_model *m = tr_network_model(net);
    float *grads = zeroes(sizeof *grads, m->param_floats);

    if (tr_network_read(net, TR_ARENA_GRADS, grads) < 0)
        die("cannot read the gradients");
    for (int i = 0; i < m->tensor_count; i++)
        if (tr_tensor_home(&m->tensors[i]) == TR_HOME_PARAMS)
            give(grads + m->tensors[i].offset, m->tensors[i].count);
    free(grads);
}

int main(int argc, char **argv)
{
    const struct imk_hyper hyper = {.lr = 0};
    struct tr_network_config config = {.mean = {0.485f, 0.456f, 0.406f}, .std = {0.229f, 0.224f, 0.225f}};
    struct tr_batch batch = {.n = 0};
    struct im_text text = {""};
    struct tr_network *net;
    struct tr_tally tally;
    char line[200], model[32];
    uint8_t *pixels, *valid;
    int32_t *labels;
    size_t bytes;
    float loss;
    int amp;

    if (argc != 3)
        die("usage: run_network BACKEND THREADS");
    if (!fgets(line, sizeof line, stdin) ||
        sscanf(line, "%31s %d %d %d %d", model, &config.classes, &batch.n, &batch.size, &amp) != 5)
        die("the first line is no network");
    config.model = model;
    config.backend = argv[1];
    config.threads = (int)strtol(argv[2], NULL, 10);
    config.precision = amp ? IMK_BF16 : IMK_F32;
    if (tr_network_new(&config, &net, &text) < 0)
        die(text.s);
    take_tensors(net);
    bytes = (size_t)batch.n * (size_t)batch.size * (size_t)batch.size * 3;
    pixels = zeroes(1, bytes);
    take(pixels, 1, bytes);
    labels = zeroes(sizeof *labels, (size_t)batch.n);
    take(labels, sizeof *labels, (size_t)batch.n);
    valid = zeroes(1, (size_t)batch.n);
    for (int i = 0; i < batch.n; i++)
        valid[i] = 1;
    batch.pixels = pixels;
    batch.labels = labels;
    batch.valid = valid;
    if (train_step(net, &batch, &hyper, 0, &tally, &text) != 0)
        die(text.s);
    loss = (float)(tally.loss_sum / tally.valid);
    give(&loss, 1);
    give_gradients(net);
    tr_network_free(net);
    free(pixels);
    free(labels);
    free(valid);
    return 0;
}
