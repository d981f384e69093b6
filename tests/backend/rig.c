#include "tests/backend/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/rng.h"

enum { GUARD = 4096, SENTINEL = 0xa5 };

size_t rig_count(struct tr_shape s)
{
    return (size_t)s.n * (size_t)s.c * (size_t)s.h * (size_t)s.w;
}

struct tensor rig_draw(size_t count, uint64_t item, double low, double high)
{
    struct tensor t = {.count = count, .v = calloc(count + 1, sizeof(float))};
    struct im_rng r = im_rng_at(11, IM_RNG_TEST, 2, item);

    for (size_t i = 0; i < count; i++)
        t.v[i] = (float)im_rng_uniform(&r, low, high);
    return t;
}

struct values rig_values(const struct tr_op *op, bool fork)
{
    size_t taps = (size_t)op->y.c * (size_t)op->x.c * (size_t)op->kernel * (size_t)op->kernel;
    size_t weights = op->kind == TR_OP_CONV ? taps
                     : op->kind == TR_OP_FC ? (size_t)op->y.c * (size_t)op->x.c
                                            : (size_t)op->y.c;
    size_t channels = (size_t)op->y.c;
    struct values v = {
        .x = rig_draw(rig_count(op->x), 1, -1, 1),
        .x2 = rig_draw(rig_count(op->x), 2, -1, 1),
        .y = rig_draw(rig_count(op->y), 3, 0, 0),
        .dy = {rig_draw(rig_count(op->y), 4, -1, 1), {0}},
        .dx = rig_draw(rig_count(op->x), 10, op->sums_dx ? -1 : 0, op->sums_dx ? 1 : 0),
        .dx2 = rig_draw(rig_count(op->x), 3, 0, 0),
        .w = rig_draw(weights, 5, 0.5, 1.5),
        .b = rig_draw(channels, 6, -1, 1),
        .dw = rig_draw(weights, 3, 0, 0),
        .db = rig_draw(channels, 3, 0, 0),
        .run_mean = rig_draw(channels, 7, -1, 1),
        .run_var = rig_draw(channels, 8, 0.5, 1.5),
    };

    if (fork)
        v.dy[1] = rig_draw(rig_count(op->y), 9, -1, 1);
    return v;
}

void rig_values_free(struct values *v)
{
    struct tensor *all[] = {&v->x, &v->x2, &v->y,  &v->dy[0], &v->dy[1],    &v->dx,     &v->dx2,
                            &v->w, &v->b,  &v->dw, &v->db,    &v->run_mean, &v->run_var};

    for (size_t i = 0; i < IM_COUNT(all); i++)
        free(all[i]->v);
}

/* ---- guarded buffers ---- */

char *rig_buffer(struct rig *r, size_t bytes)
{
    size_t total = bytes + 2 * GUARD;
    char *host = malloc(total);
    void *buffer = NULL;

    memset(host, SENTINEL, total);
    assert_int_equal(r->ops->buffer_new(r->b, total, &buffer), 0);
    assert_int_equal(r->ops->copy_in(r->b, buffer, host, total), 0);
    free(host);
    return (char *)buffer + GUARD;
}

void rig_buffer_free(struct rig *r, char *data, size_t bytes)
{
    size_t total = bytes + 2 * GUARD;
    unsigned char *host = malloc(total);

    if (data) {
        assert_int_equal(r->ops->copy_out(r->b, host, data - GUARD, total), 0);
        for (size_t i = 0; i < GUARD; i++) {
            assert_int_equal(host[i], SENTINEL);
            assert_int_equal(host[GUARD + bytes + i], SENTINEL);
        }
        r->ops->buffer_free(r->b, data - GUARD, total);
    }
    free(host);
}

static char *value_in(struct rig *r, const struct tr_layout *layout, struct tr_shape shape, size_t bytes,
                      const struct tensor *t)
{
    char *data = rig_buffer(r, bytes);

    assert_int_equal(r->ops->value_in(r->b, layout, shape, t->v, data), 0);
    return data;
}

static float *plain_in(struct rig *r, const struct tensor *t)
{
    char *data = rig_buffer(r, t->count * sizeof(float));

    assert_int_equal(r->ops->copy_in(r->b, data, t->v, t->count * sizeof(float)), 0);
    return (float *)(void *)data;
}

static void plain_out(struct rig *r, float *data, struct tensor *t)
{
    assert_int_equal(r->ops->copy_out(r->b, t->v, data, t->count * sizeof(float)), 0);
    rig_buffer_free(r, (char *)data, t->count * sizeof(float));
}

/* ---- running one op ---- */

/* The layout that a convolution in front of the op would give its input. */
static const struct tr_layout *network_layout(struct rig *r, struct tr_shape x)
{
    struct tr_op conv = {.kind = TR_OP_CONV,
                         .precision = r->op.precision,
                         .x = x,
                         .y = x,
                         .kernel = 1,
                         .stride = 1,
                         .weight_id = -1};
    struct tr_plan_info info;
    struct tr_op_plan *plan;

    assert_int_equal(r->ops->plan(r->b, &conv, &plan, &info, NULL), 0);
    r->ops->plan_free(r->b, plan);
    return info.y_layout;
}

/* On a GPU every rig plans anew; `deterministic` takes the first engine, where timing all of them takes
 * seconds for each op. IMSUPER_TEST_PLANS: a file that keeps what was compiled. */
static int open_backend(struct rig *r, int threads, struct im_text *text)
{
    const struct tr_device_config config = {.deterministic = true, .cache = getenv("IMSUPER_TEST_PLANS")};

    return r->ops->open_device ? r->ops->open_device(&config, &r->b, text)
                               : r->ops->open(threads, &r->b, text);
}

void rig_open_with(struct rig *r, const struct tr_backend_ops *ops, const struct tr_op *op, bool in_network,
                   int threads)
{
    struct im_text text = {{0}};

    *r = (struct rig){.ops = ops, .op = *op};
    if (open_backend(r, threads, &text) < 0)
        fail_msg("%s", text.s);
    if (in_network)
        r->op.x_layout = network_layout(r, op->x);
    if (ops->plan(r->b, &r->op, &r->plan, &r->info, &text) < 0)
        fail_msg("%s", text.s);
}

void rig_open(struct rig *r, const struct tr_backend_ops *ops, const struct tr_op *op, bool in_network)
{
    rig_open_with(r, ops, op, in_network, 2);
}

void rig_close(struct rig *r)
{
    r->ops->plan_free(r->b, r->plan);
    r->ops->close(r->b);
}

void rig_run(struct rig *r, struct values *v, bool in_place)
{
    static const float scale[] = {1.25f, 0, 3, 0.5f};
    const struct tr_plan_info *info = &r->info;
    bool y_is_x = in_place && info->y_may_be_x,
         dx_is_dy = in_place && info->dx_may_be_dy && info->x_bytes == info->y_bytes;
    char *x = value_in(r, info->x_layout, r->op.x, info->x_bytes, &v->x), *x2 = NULL, *dy1 = NULL;
    char *y = y_is_x ? x : rig_buffer(r, info->y_bytes), *save = rig_buffer(r, info->save_bytes), *dy = NULL,
         *dx = NULL;
    struct tr_exec e = {.x = x,
                        .y = y,
                        .save = save,
                        .param_version = 1,
                        .scale = scale,
                        .sync = r->sync,
                        .w = plain_in(r, &v->w),
                        .b = plain_in(r, &v->b),
                        .dw = plain_in(r, &v->dw),
                        .db = plain_in(r, &v->db),
                        .run_mean = plain_in(r, &v->run_mean),
                        .run_var = plain_in(r, &v->run_var)};

    if (r->op.kind == TR_OP_ADD || r->op.adds)
        e.x2 = x2 = value_in(r, info->x_layout, r->op.x, info->x_bytes, &v->x2);
    assert_int_equal(r->ops->forward(r->b, r->plan, &e), 0);
    assert_int_equal(r->ops->value_out(r->b, info->y_layout, r->op.y, y, v->y.v), 0);
    if (r->op.training) {
        e.dy[0] = dy = value_in(r, info->y_layout, r->op.y, info->y_bytes, &v->dy[0]);
        if (v->dy[1].v)
            e.dy[1] = dy1 = value_in(r, info->y_layout, r->op.y, info->y_bytes, &v->dy[1]);
        e.dx = dx = dx_is_dy        ? dy
                    : r->op.sums_dx ? value_in(r, info->x_layout, r->op.x, info->x_bytes, &v->dx)
                                    : rig_buffer(r, info->x_bytes);
        if (r->op.adds)
            e.dx2 = rig_buffer(r, info->x_bytes);
        assert_int_equal(r->ops->backward(r->b, r->plan, &e), 0);
        if (r->op.needs_dx)
            assert_int_equal(r->ops->value_out(r->b, info->x_layout, r->op.x, dx, v->dx.v), 0);
        if (r->op.adds)
            assert_int_equal(r->ops->value_out(r->b, info->x_layout, r->op.x, e.dx2, v->dx2.v), 0);
        rig_buffer_free(r, e.dx2, info->x_bytes);
        rig_buffer_free(r, dx_is_dy ? NULL : dx, info->x_bytes);
        rig_buffer_free(r, dy, info->y_bytes);
        rig_buffer_free(r, dy1, info->y_bytes);
    }
    rig_buffer_free(r, y_is_x ? NULL : y, info->y_bytes);
    rig_buffer_free(r, x, info->x_bytes);
    rig_buffer_free(r, x2, info->x_bytes);
    rig_buffer_free(r, save, info->save_bytes);
    rig_buffer_free(r, (char *)(uintptr_t)e.w, v->w.count * sizeof(float));
    rig_buffer_free(r, (char *)(uintptr_t)e.b, v->b.count * sizeof(float));
    plain_out(r, e.dw, &v->dw);
    plain_out(r, e.db, &v->db);
    plain_out(r, e.run_mean, &v->run_mean);
    plain_out(r, e.run_var, &v->run_var);
}
