/* Max-pooling, blurring, global average pooling and the stem against trainer/backends/ref/pool.c,
 * trainer/backends/ref/blur.c and trainer/backends/ref/norm.c. */
#include "tests/cuda/emulator/help.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "ipc/base/count.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/pool.h"
#include "trainer/backends/ref/ops.h"

/* A layer of one op. */
struct layer {
    int n, c, h, w, pitch, kernel, stride, pad;
    bool is_aligned;
};

static const struct layer layers[] = {
    {1, 1, 1, 1, 1, 3, 2, 1, true},   {2, 3, 7, 5, 3, 3, 2, 1, true},    {1, 10, 6, 9, 16, 3, 2, 1, true},
    {2, 16, 5, 4, 16, 3, 1, 1, true}, {1, 24, 4, 6, 24, 3, 2, 1, false}, {3, 8, 9, 8, 8, 2, 2, 0, true},
};
enum { LAYERS = IM_COUNT(layers) };

static struct tr_op op_of(const struct layer *l, enum tr_op_kind kind)
{
    const int oh = (l->h + 2 * l->pad - l->kernel) / l->stride + 1,
              ow = (l->w + 2 * l->pad - l->kernel) / l->stride + 1;

    return (struct tr_op){.kind = kind,
                          .x = {l->n, l->c, l->h, l->w},
                          .y = {l->n, l->c, oh, ow},
                          .kernel = l->kernel,
                          .stride = l->stride,
                          .pad = l->pad,
                          .training = true};
}

static struct imk_cuda_window window_of(const struct layer *l, const struct tr_op *op, enum imk_dtype type)
{
    return (struct imk_cuda_window){.n = l->n,
                                    .h = l->h,
                                    .w = l->w,
                                    .oh = op->y.h,
                                    .ow = op->y.w,
                                    .pitch = l->pitch,
                                    .kernel = l->kernel,
                                    .stride = l->stride,
                                    .pad = l->pad,
                                    .type = type};
}

static size_t stored(struct tr_shape s, int pitch)
{
    return (size_t)s.n * (size_t)s.h * (size_t)s.w * (size_t)pitch;
}

/* What a test of one layer in one type holds. x and dy are the reference's and the kernel's,
 * the same numbers. */
struct bench {
    struct layer l;
    struct tr_op op;
    struct imk_cuda_window window;
    enum imk_dtype type;
    float *x, *dy[2], *y, *dx, *got;
    struct array ax, ady[2], ay, adx;
    uint8_t *place; /* as long as y is stored */
};

static struct bench bench_new(const struct layer *l, enum tr_op_kind kind, enum imk_dtype type)
{
    struct bench b = {.l = *l, .op = op_of(l, kind), .type = type};
    size_t most;

    b.window = window_of(l, &b.op, type);
    most = numbers(b.op.x) > numbers(b.op.y) ? numbers(b.op.x) : numbers(b.op.y);
    b.x = drawn(numbers(b.op.x), 1);
    for (size_t i = 0; i < numbers(b.op.x); i += 3) /* equal values, so that the first of them matters */
        b.x[i] = (float)round((double)b.x[i]);
    b.ax = array_of(type, b.op.x, l->pitch, b.x, l->is_aligned);
    for (int k = 0; k < 2; k++) {
        b.dy[k] = drawn(numbers(b.op.y), 2 + (uint64_t)k);
        b.ady[k] = array_of(type, b.op.y, l->pitch, b.dy[k], l->is_aligned);
    }
    b.y = blank(numbers(b.op.y));
    b.dx = blank(numbers(b.op.x));
    b.got = blank(most);
    b.ay = array_new(type, stored(b.op.y, l->pitch), l->is_aligned);
    b.adx = array_new(type, stored(b.op.x, l->pitch), l->is_aligned);
    b.place = malloc(stored(b.op.y, l->pitch));
    return b;
}

static void bench_free(struct bench *b)
{
    free(b->x);
    free(b->y);
    free(b->dx);
    free(b->got);
    free(b->place);
    for (int k = 0; k < 2; k++) {
        free(b->dy[k]);
        array_free(&b->ady[k]);
    }
    array_free(&b->ax);
    array_free(&b->ay);
    array_free(&b->adx);
}

static void check_y(struct bench *b, const char *what, double slack)
{
    plain_of(&b->ay, b->op.y, b->l.pitch, b->got);
    check_near(what, b->type, b->got, b->y, numbers(b->op.y), slack);
}

static void check_dx(struct bench *b, const char *what, double slack)
{
    plain_of(&b->adx, b->op.x, b->l.pitch, b->got);
    check_near(what, b->type, b->got, b->dx, numbers(b->op.x), slack);
}

/* Forward exactly; backward adds up to 4 (stride 1: 9) numbers of a few units in fp32. */
static void max_pooling_is_the_references(void **state)
{
    (void)state;
    for (int i = 0; i < LAYERS; i++) {
        EACH_TYPE(type)
        {
            struct bench b = bench_new(&layers[i], TR_OP_MAXPOOL, type);
            int32_t *save = malloc(numbers(b.op.y) * sizeof *save);
            struct tr_exec e = {.x = b.x, .y = b.y, .save = save, .dx = b.dx, .dy = {b.dy[0], b.dy[1]}};

            tr_ref_maxpool_forward(&b.op, &e);
            tr_ref_maxpool_backward(&b.op, &e);
            EACH_ORDER(order)
            {
                RUN(imk_cuda_maxpool(&(struct imk_cuda_maxpool){b.window, b.ax.data, b.ay.data, b.place},
                                     NULL));
                check_y(&b, "max-pool", 0);
                RUN(imk_cuda_maxpool_backward(&(struct imk_cuda_maxpool_backward){b.window, b.ady[0].data,
                                                                                  b.ady[1].data, b.place,
                                                                                  b.adx.data},
                                              NULL));
                check_dx(&b, "gradient of max-pool", 4e-6);
            }
            RUN(imk_cuda_maxpool(&(struct imk_cuda_maxpool){b.window, b.ax.data, b.ay.data, NULL}, NULL));
            check_y(&b, "max-pool in evaluation", 0);
            free(save);
            bench_free(&b);
        }
    }
}

static void a_nan_wins_in_every_window_that_has_it(void **state)
{
    static const struct layer l = {1, 1, 3, 3, 1, 2, 1, 0, true};
    struct bench b = bench_new(&l, TR_OP_MAXPOOL, IMK_F32);
    int32_t save[4];

    (void)state;
    b.x[4] = (float)NAN;
    array_set(&b.ax, 4, (double)NAN);
    tr_ref_maxpool_forward(&b.op, &(struct tr_exec){.x = b.x, .y = b.y, .save = save});
    RUN(imk_cuda_maxpool(&(struct imk_cuda_maxpool){b.window, b.ax.data, b.ay.data, b.place}, NULL));
    check_y(&b, "max-pool", 0);
    for (int i = 0; i < 4; i++) /* it is the middle of 3 x 3 */
        assert_true(isnan(b.y[i]));
    bench_free(&b);
}

static void windows_that_do_not_fit_are_refused(void **state)
{
    struct imk_cuda_maxpool a = {.window = {1, 4, 4, 4, 2, 8, 3, 2, 1, IMK_F32}};

    (void)state;
    assert_int_equal(imk_cuda_maxpool(&a, NULL), -EINVAL); /* its last row of windows lies outside */
    a.window.oh = 2;
    a.window.kernel = IMK_CUDA_POOL_MAX + 1;
    assert_int_equal(imk_cuda_maxpool(&a, NULL), -EINVAL);
    a.window.kernel = 3;
    a.window.n = 0;
    assert_int_equal(imk_cuda_maxpool(&a, NULL), 0);
}

/* 9 numbers of a few units, with weights that add up to 1. */
static void blurring_is_the_references(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * LAYERS; i++) {
        struct layer l = layers[i / 2];

        l.kernel = 3;
        l.pad = 1;
        l.h += i % 2; /* odd and even sides, with mirrored borders and with zeros */
        l.w += i % 2;
        EACH_TYPE(type)
        {
            struct bench b = bench_new(&l, TR_OP_BLUR, type);
            struct tr_exec e = {.x = b.x, .y = b.y, .dx = b.dx, .dy = {b.dy[0], b.dy[1]}};
            bool reflect = i % 2;

            b.op.reflect = reflect;
            tr_ref_blur_forward(&b.op, &e);
            tr_ref_blur_backward(&b.op, &e);
            EACH_ORDER(order)
            {
                RUN(imk_cuda_blur(&(struct imk_cuda_blur){b.window, reflect, b.ax.data, b.ay.data}, NULL));
                check_y(&b, "blur", 2e-6);
                RUN(imk_cuda_blur_backward(&(struct imk_cuda_blur_backward){b.window, reflect, b.ady[0].data,
                                                                            b.ady[1].data, b.adx.data},
                                           NULL));
                check_dx(&b, "gradient of blur", 4e-6);
            }
            bench_free(&b);
        }
    }
}

/* Sums of h * w numbers of a few units. */
static void average_pooling_is_the_references(void **state)
{
    (void)state;
    for (int i = 0; i < LAYERS; i++) {
        const struct layer l = layers[i];
        const int y_pitch = i % 2 ? l.pitch : l.c;

        EACH_TYPE(type)
        {
            const struct tr_op op = {.kind = TR_OP_GAP, .x = {l.n, l.c, l.h, l.w}, .y = {l.n, l.c, 1, 1}};
            float *x = drawn(numbers(op.x), 1), *dy = drawn(numbers(op.y), 2), *y = blank(numbers(op.y));
            float *dx = blank(numbers(op.x)), *got = blank(numbers(op.x));
            struct array ax = array_of(type, op.x, l.pitch, x, l.is_aligned);
            struct array ady = array_of(type, op.y, y_pitch, dy, true);
            struct array ay = array_new(type, stored(op.y, y_pitch), true);
            struct array adx = array_new(type, stored(op.x, l.pitch), l.is_aligned);

            tr_ref_gap_forward(&op, &(struct tr_exec){.x = x, .y = y});
            tr_ref_gap_backward(&op, &(struct tr_exec){.dy = {dy, dy}, .dx = dx});
            EACH_ORDER(order)
            {
                RUN(imk_cuda_gap(
                    &(struct imk_cuda_gap){ax.data, ay.data, l.n, l.h * l.w, l.c, l.pitch, y_pitch, type},
                    NULL));
                plain_of(&ay, op.y, y_pitch, got);
                check_near("average", type, got, y, numbers(op.y), 1e-6);
                RUN(imk_cuda_gap_backward(&(struct imk_cuda_gap_backward){ady.data, ady.data, adx.data, l.n,
                                                                          l.h * l.w, l.c, l.pitch, y_pitch,
                                                                          type},
                                          NULL));
                plain_of(&adx, op.x, l.pitch, got);
                check_near("gradient of average", type, got, dx, numbers(op.x), 1e-6);
            }
            free(x), free(dy), free(y), free(dx), free(got);
            array_free(&ax), array_free(&ady), array_free(&ay), array_free(&adx);
        }
    }
}

/* ---- stem ---- */

/* The two ops of the reference, with the value between them rounded as it would be stored. */
struct stem {
    struct bench b;
    struct tr_op norm;
    float *normal, *dnormal, *save, *gamma, *beta, *run_mean, *run_var, *dgamma, *dbeta, *dx;
    int32_t *place;
};

static void stem_reference(struct stem *s)
{
    struct tr_exec norm = {.x = s->b.x,
                           .y = s->normal,
                           .save = s->save,
                           .w = s->gamma,
                           .b = s->beta,
                           .run_mean = s->run_mean,
                           .run_var = s->run_var,
                           .dx = s->dx,
                           .dw = s->dgamma,
                           .db = s->dbeta,
                           .dy = {s->dnormal}};
    struct tr_exec pool = {
        .x = s->normal, .y = s->b.y, .save = s->place, .dx = s->dnormal, .dy = {s->b.dy[0], s->b.dy[1]}};

    assert_int_equal(tr_ref_bn_forward(&s->norm, &norm), 0);
    for (size_t i = 0; i < numbers(s->norm.x); i++)
        s->normal[i] = (float)round_to(s->b.type, (double)s->normal[i]);
    tr_ref_maxpool_forward(&s->b.op, &pool);
    tr_ref_maxpool_backward(&s->b.op, &pool);
    assert_int_equal(tr_ref_bn_backward(&s->norm, &norm), 0);
}

static struct stem stem_new(const struct layer *l, enum imk_dtype type)
{
    struct stem s = {.b = bench_new(l, TR_OP_MAXPOOL, type)};
    const size_t c = (size_t)l->c;

    s.norm = (struct tr_op){.kind = TR_OP_BN, .x = s.b.op.x, .y = s.b.op.x, .relu = true, .training = true};
    s.normal = blank(numbers(s.norm.x));
    s.dnormal = blank(numbers(s.norm.x));
    s.dx = blank(numbers(s.norm.x));
    s.save = blank(tr_ref_bn_save_bytes(&s.norm) / sizeof(float) + 1);
    s.gamma = drawn(c, 21);
    s.beta = drawn(c, 22);
    s.run_mean = drawn(c, 23);
    s.run_var = blank(c);
    s.dgamma = blank(c);
    s.dbeta = blank(c);
    s.place = malloc(numbers(s.b.op.y) * sizeof *s.place);
    return s;
}

static void stem_free(struct stem *s)
{
    bench_free(&s->b);
    free(s->normal), free(s->dnormal), free(s->dx), free(s->save), free(s->gamma), free(s->beta);
    free(s->run_mean), free(s->run_var), free(s->dgamma), free(s->dbeta), free(s->place);
}

/* The kernels with the reference's mean and inverse deviation: fp32 sums of hundreds of numbers of a few
 * units; a value that is rounded the other way in bf16 or fp16 may move a maximum's place, so the channels'
 * sums are compared in fp32 only and forward values elsewhere. */
static void run_stem(struct stem *s)
{
    struct bench *b = &s->b;
    const int c = b->l.c;
    const struct imk_cuda_rows rows = {(int64_t)b->l.n * b->l.h * b->l.w, c, b->l.pitch, b->type};
    const struct imk_cuda_affine affine = {
        .mean = s->save, .inv = s->save + c, .gamma = s->gamma, .beta = s->beta};
    float *dgamma = blank((size_t)c), *dbeta = blank((size_t)c), *sums = blank(2 * (size_t)c);
    void *scratch = malloc(imk_cuda_bn_scratch(&rows));
    const double sum = 1e-5 * sqrt((double)rows.rows) + 1e-5;

    RUN(imk_cuda_stem(&(struct imk_cuda_stem){b->window, c, affine, b->ax.data, b->ay.data, b->place}, NULL));
    check_y(b, "stem", 3e-6 * 8);
    RUN(imk_cuda_stem_sums(&(struct imk_cuda_stem_sums){b->window, c, b->ax.data, b->ady[0].data,
                                                        b->ady[1].data, b->place, s->save, s->save + c,
                                                        dgamma, dbeta, sums, scratch},
                           NULL));
    assert_memory_equal(sums, dgamma, (size_t)c * sizeof(float));
    assert_memory_equal(sums + c, dbeta, (size_t)c * sizeof(float));
    if (b->type == IMK_F32) {
        check_near("stem's dgamma", IMK_F32, dgamma, s->dgamma, (size_t)c, sum * 4);
        check_near("stem's dbeta", IMK_F32, dbeta, s->dbeta, (size_t)c, sum);
    }
    RUN(imk_cuda_stem_dx(&(struct imk_cuda_stem_dx){b->window, c, b->ax.data, b->ady[0].data, b->ady[1].data,
                                                    b->place, s->save, s->save + c, s->gamma, dgamma, dbeta,
                                                    NULL, b->adx.data, NULL, 0},
                         NULL));
    if (b->type == IMK_F32) {
        plain_of(&b->adx, b->op.x, b->l.pitch, b->got);
        check_near("stem's dx", IMK_F32, b->got, s->dx, numbers(b->op.x), 5e-5 * (double)s->save[c] + 5e-5);
    }
    free(scratch), free(dgamma), free(dbeta), free(sums);
}

static void the_stem_is_batch_norm_relu_and_max_pool(void **state)
{
    (void)state;
    for (int i = 1; i < LAYERS; i++) {
        EACH_TYPE(type)
        {
            struct stem s = stem_new(&layers[i], type);

            stem_reference(&s);
            EACH_ORDER(order)
            run_stem(&s);
            stem_free(&s);
        }
    }
}

/* The same kernels one by one, in each type: the same bits forward, and the same gradients but for the
 * roundings of the value that the stem does not store. */
static void the_stem_is_the_same_bits_as_its_parts(void **state)
{
    static const struct layer l = {2, 16, 9, 7, 16, 3, 2, 1, true};

    (void)state;
    EACH_TYPE(type)
    {
        struct stem s = stem_new(&l, type);
        struct bench *b = &s.b;
        const struct imk_cuda_rows rows = {(int64_t)l.n * l.h * l.w, l.c, l.pitch, type};
        struct array normal = array_new(type, b->ax.count, true), pooled = array_new(type, b->ay.count, true);
        struct imk_cuda_affine affine = {
            .mean = s.save, .inv = s.save + l.c, .gamma = s.gamma, .beta = s.beta};
        uint8_t *place = malloc(b->ay.count);

        stem_reference(&s);
        RUN(imk_cuda_bn_apply(
            &(struct imk_cuda_bn_apply){rows, affine, b->ax.data, NULL, normal.data, true, NULL}, NULL));
        RUN(imk_cuda_maxpool(&(struct imk_cuda_maxpool){b->window, normal.data, pooled.data, place}, NULL));
        RUN(imk_cuda_stem(&(struct imk_cuda_stem){b->window, l.c, affine, b->ax.data, b->ay.data, b->place},
                          NULL));
        assert_memory_equal(pooled.data, b->ay.data, b->ay.count * type_bytes(type));
        for (size_t i = 0; i < b->ay.count; i++)
            assert_int_equal(b->place[i], array_get(&pooled, i) > 0 ? place[i] : IMK_CUDA_NO_PLACE);
        free(place);
        array_free(&normal);
        array_free(&pooled);
        stem_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(max_pooling_is_the_references),
        cmocka_unit_test(a_nan_wins_in_every_window_that_has_it),
        cmocka_unit_test(windows_that_do_not_fit_are_refused),
        cmocka_unit_test(blurring_is_the_references),
        cmocka_unit_test(average_pooling_is_the_references),
        cmocka_unit_test(the_stem_is_batch_norm_relu_and_max_pool),
        cmocka_unit_test(the_stem_is_the_same_bits_as_its_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
