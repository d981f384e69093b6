/* run_op BACKEND THREADS: one op of a trainer's backend on given numbers, for tests/bench/peers/op_errors.py.
 *
 * Standard input: a line "KIND N C H W K OH OW KERNEL STRIDE PAD RELU ADDS TRAINING AMP", KIND being conv, bn, add,
 * maxpool, gap, blur, fc or loss, and AMP 0 (fp32) or 1 (bf16); then fp32 numbers: x, x2 if it adds, dy, w, b, running
 * mean, running variance. Of a loss dy is not read, and w holds the labels. Standard output: y, dx, dx2, dw, db, running
 * mean, running variance; of a loss y is the sum. Values lie as a convolution before the op would leave them. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "trainer/backends/backend.h"

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "run_op: %s\n", what);
    exit(1);
}

static void must(int err, const char *what)
{
    if (err < 0)
        die(what);
}

static void *take(size_t count)
{
    float *v = calloc(count + 1, sizeof *v);

    if (!v || fread(v, sizeof *v, count, stdin) != count)
        die("the input is too short");
    return v;
}

static void give(const void *v, size_t count)
{
    if (fwrite(v, sizeof(float), count, stdout) != count)
        die("cannot write");
}

static size_t count_of(struct tr_shape s)
{
    return (size_t)s.n * (size_t)s.c * (size_t)s.h * (size_t)s.w;
}

struct bench {
    const struct tr_backend_ops *ops;
    struct tr_backend *b;
    struct tr_op op;
};

static void *buffer(struct bench *r, size_t bytes)
{
    void *p = NULL;

    must(r->ops->buffer_new(r->b, bytes ? bytes : 64, &p), "no memory");
    return p;
}

static void *value(struct bench *r, const struct tr_layout *layout, struct tr_shape s, size_t bytes)
{
    float *plain = take(count_of(s));
    void *data = buffer(r, bytes);

    must(r->ops->value_in(r->b, layout, s, plain, data), "value_in");
    free(plain);
    return data;
}

static void show(struct bench *r, const struct tr_layout *layout, struct tr_shape s, const void *data)
{
    float *plain = calloc(count_of(s) + 1, sizeof *plain);

    if (!plain)
        die("no memory");
    must(r->ops->value_out(r->b, layout, s, data, plain), "value_out");
    give(plain, count_of(s));
    free(plain);
}

/* The layout that a convolution leaves. */
static const struct tr_layout *network_layout(struct bench *r)
{
    struct tr_op conv = {.kind = TR_OP_CONV,
                         .precision = r->op.precision,
                         .x = r->op.x,
                         .y = r->op.x,
                         .kernel = 1,
                         .stride = 1,
                         .weight_id = -1};
    struct tr_plan_info info;
    struct tr_op_plan *plan;

    must(r->ops->plan(r->b, &conv, &plan, &info, NULL), "plan");
    r->ops->plan_free(r->b, plan);
    return info.y_layout;
}

static bool read_op(struct tr_op *op)
{
    static const char *const kinds[] = {
        [TR_OP_CONV] = "conv", [TR_OP_BN] = "bn",     [TR_OP_ADD] = "add", [TR_OP_MAXPOOL] = "maxpool",
        [TR_OP_GAP] = "gap",   [TR_OP_BLUR] = "blur", [TR_OP_FC] = "fc",   [TR_OP_LOSS] = "loss"};
    int relu, adds, training, amp, h, w;
    char line[200], kind[16];

    *op = (struct tr_op){.weight_id = -1, .needs_dx = true};
    if (!fgets(line, sizeof line, stdin) ||
        sscanf(line, "%15s %d %d %d %d %d %d %d %d %d %d %d %d %d %d", kind, &op->x.n, &op->x.c, &h, &w,
               &op->y.c, &op->y.h, &op->y.w, &op->kernel, &op->stride, &op->pad, &relu, &adds, &training,
               &amp) != 15)
        return false;
    op->x.h = h;
    op->x.w = w;
    op->y.n = op->x.n;
    op->relu = relu != 0;
    op->adds = adds != 0;
    op->training = training != 0;
    op->precision = amp ? IMK_BF16 : IMK_F32;
    for (size_t i = 0; i < IM_COUNT(kinds); i++)
        if (kinds[i] && strcmp(kinds[i], kind) == 0) {
            op->kind = (enum tr_op_kind)i;
            return true;
        }
    return false;
}

static size_t weights_of(const struct tr_op *op)
{
    const size_t pairs = (size_t)op->y.c * (size_t)op->x.c;

    switch (op->kind) {
    case TR_OP_CONV:
        return pairs * (size_t)op->kernel * (size_t)op->kernel;
    case TR_OP_FC:
        return pairs;
    case TR_OP_LOSS:
        return (size_t)op->x.n;
    default:
        return op->kind == TR_OP_BN ? (size_t)op->x.c : 0;
    }
}

static void run(struct bench *r, struct tr_op_plan *plan, const struct tr_plan_info *info)
{
    const struct tr_op *op = &r->op;
    const bool loss = op->kind == TR_OP_LOSS, sums = op->kind == TR_OP_BN || op->kind == TR_OP_FC;
    const size_t weights = weights_of(op), shifts = sums ? (size_t)op->y.c : 0,
                 stats = op->kind == TR_OP_BN ? (size_t)op->y.c : 0;
    struct tr_tally tally = {0};
    struct tr_exec e = {.param_version = 1, .tally = &tally};
    int32_t *labels = calloc((size_t)op->x.n, sizeof *labels);
    float total;

    e.x = value(r, info->x_layout, op->x, info->x_bytes);
    if (op->adds || op->kind == TR_OP_ADD)
        e.x2 = value(r, info->x_layout, op->x, info->x_bytes);
    e.dy[0] = loss ? NULL : value(r, info->y_layout, op->y, info->y_bytes);
    e.w = take(weights);
    e.b = take(shifts);
    e.run_mean = take(stats);
    e.run_var = take(stats);
    for (int i = 0; loss && i < op->x.n; i++)
        labels[i] = (int32_t)e.w[i];
    e.labels = labels;
    e.y = buffer(r, info->y_bytes);
    e.save = buffer(r, info->save_bytes);
    e.dx = buffer(r, info->x_bytes);
    e.dx2 = buffer(r, info->x_bytes);
    e.dw = buffer(r, weights * sizeof(float));
    e.db = buffer(r, shifts * sizeof(float));
    must(r->ops->forward(r->b, plan, &e), "forward");
    total = (float)tally.loss_sum;
    if (loss)
        give(&total, 1);
    else
        show(r, info->y_layout, op->y, e.y);
    if (op->training && !loss)
        must(r->ops->backward(r->b, plan, &e), "backward");
    show(r, info->x_layout, op->x, e.dx);
    if (op->adds)
        show(r, info->x_layout, op->x, e.dx2);
    give(e.dw, loss ? 0 : weights);
    give(e.db, shifts);
    give(e.run_mean, stats);
    give(e.run_var, stats);
}

int main(int argc, char **argv)
{
    struct im_text text = {""};
    struct tr_plan_info info;
    struct tr_op_plan *plan;
    struct bench r = {0};

    if (argc != 3)
        die("usage: run_op BACKEND THREADS");
    if (!read_op(&r.op))
        die("the first line is no op");
    if (tr_backend_find(argv[1], &r.ops, &text) < 0 ||
        r.ops->open((int)strtol(argv[2], NULL, 10), &r.b, &text) < 0)
        die(text.s);
    if (r.op.kind != TR_OP_FC && r.op.kind != TR_OP_LOSS && r.op.x.c != 3)
        r.op.x_layout = network_layout(&r);
    if (r.ops->plan(r.b, &r.op, &plan, &info, &text) < 0)
        die(text.s);
    run(&r, plan, &info);
    r.ops->plan_free(r.b, plan);
    return 0;
}
