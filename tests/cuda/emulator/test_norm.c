/* Batch norm against trainer/backends/ref/norm.c.
 *
 * Tolerances: x is of order 1, or has a large mean on purpose. Statistics: sums of fp32 differences from a
 * value of the same thread, 2^-24 relative each and fewer than 2^8 of them a thread: 2e-5 of the deviation.
 * Sums over m values of order 1 grow as sqrt(m). */
#include "tests/cuda/emulator/help.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "kernels/cuda/norm.h"
#include "trainer/backends/ref/ops.h"

struct layer {
    int n, c, h, w, pitch;
    bool is_aligned, relu, adds;
    float mean; /* of x */
};

static const struct layer layers[] = {
    {1, 1, 1, 2, 1, true, false, false, 0},    {2, 3, 5, 7, 3, true, true, false, 0},
    {1, 10, 6, 9, 16, true, true, true, 0.5f}, {4, 64, 9, 11, 64, true, true, false, 0},
    {2, 300, 3, 5, 304, true, true, true, -1}, {3, 24, 5, 5, 24, false, true, false, 2},
    {5, 8, 31, 33, 8, true, false, true, 0},   {1, 1000, 2, 3, 1000, true, true, false, 0},
};
enum { LAYERS = IM_COUNT(layers) };

/* A layer in one type: what the reference and the kernels read and write. */
struct bench {
    struct layer l;
    enum imk_dtype type;
    struct tr_op op;
    struct imk_cuda_rows rows;
    float *x, *x2, *dy[2], *y, *dx, *dx2, *got;                       /* NCHW */
    float *gamma, *beta, *save, *run_mean, *run_var, *dgamma, *dbeta; /* the reference's */
    float *mean, *var, *inv, *my_run_mean, *my_run_var, *my_dgamma, *my_dbeta, *sums;
    struct array ax, az, ady[2], ay, adx, adz;
    uint8_t *mask;
    void *scratch;
};

static struct array same_as(const struct array *a, bool is_aligned)
{
    return array_new(a->type, a->count, is_aligned);
}

static struct bench bench_new(const struct layer *l, enum imk_dtype type)
{
    struct bench b = {.l = *l, .type = type};
    const struct tr_shape s = {l->n, l->c, l->h, l->w};
    const size_t count = numbers(s), c = (size_t)l->c;
    float **const channels[] = {&b.run_var,     &b.dgamma,     &b.dbeta,     &b.mean,     &b.var, &b.inv,
                                &b.my_run_mean, &b.my_run_var, &b.my_dgamma, &b.my_dbeta, &b.sums};

    b.op =
        (struct tr_op){.kind = TR_OP_BN, .x = s, .y = s, .relu = l->relu, .adds = l->adds, .training = true};
    b.rows = (struct imk_cuda_rows){(int64_t)l->n * l->h * l->w, l->c, l->pitch, type};
    b.x = drawn(count, 1);
    for (size_t i = 0; i < count; i++)
        b.x[i] += l->mean;
    b.x2 = drawn(count, 2);
    b.dy[0] = drawn(count, 3);
    b.dy[1] = drawn(count, 4);
    b.y = blank(count), b.dx = blank(count), b.dx2 = blank(count), b.got = blank(count);
    b.gamma = drawn(c, 5), b.beta = drawn(c, 6), b.run_mean = drawn(c, 7);
    for (size_t i = 0; i < IM_COUNT(channels); i++)
        *channels[i] = blank(2 * c);
    b.save = blank(tr_ref_bn_save_bytes(&b.op) / sizeof(float) + 1);
    for (size_t i = 0; i < c; i++) {
        b.run_var[i] = b.my_run_var[i] = 0.5f + (float)i / (float)c;
        b.my_run_mean[i] = b.run_mean[i];
    }
    b.ax = array_of(type, s, l->pitch, b.x, l->is_aligned);
    b.az = array_of(type, s, l->pitch, b.x2, l->is_aligned);
    for (int k = 0; k < 2; k++)
        b.ady[k] = array_of(type, s, l->pitch, b.dy[k], l->is_aligned);
    b.ay = same_as(&b.ax, l->is_aligned);
    b.adx = same_as(&b.ax, l->is_aligned);
    b.adz = same_as(&b.ax, l->is_aligned);
    b.mask = malloc(imk_cuda_mask_bytes((size_t)b.rows.rows, (size_t)l->pitch));
    b.scratch = malloc(imk_cuda_bn_scratch(&b.rows));
    return b;
}

static void bench_free(struct bench *b)
{
    float *const all[] = {b->x,           b->x2,         b->dy[0],     b->dy[1],    b->y,    b->dx,
                          b->dx2,         b->got,        b->gamma,     b->beta,     b->save, b->run_mean,
                          b->run_var,     b->dgamma,     b->dbeta,     b->mean,     b->var,  b->inv,
                          b->my_run_mean, b->my_run_var, b->my_dgamma, b->my_dbeta, b->sums};
    struct array *const arrays[] = {&b->ax, &b->az, &b->ady[0], &b->ady[1], &b->ay, &b->adx, &b->adz};

    for (size_t i = 0; i < IM_COUNT(all); i++)
        free(all[i]);
    for (size_t i = 0; i < IM_COUNT(arrays); i++)
        array_free(arrays[i]);
    free(b->mask);
    free(b->scratch);
}

static struct tr_exec exec_of(struct bench *b)
{
    return (struct tr_exec){.x = b->x,
                            .x2 = b->x2,
                            .y = b->y,
                            .save = b->save,
                            .dy = {b->dy[0], b->dy[1]},
                            .dx = b->dx,
                            .dx2 = b->dx2,
                            .w = b->gamma,
                            .b = b->beta,
                            .dw = b->dgamma,
                            .db = b->dbeta,
                            .run_mean = b->run_mean,
                            .run_var = b->run_var};
}

static void check_value(struct bench *b, const char *what, const struct array *a, const float *want,
                        double slack)
{
    plain_of(a, b->op.x, b->l.pitch, b->got);
    check_near(what, b->type, b->got, want, numbers(b->op.x), slack);
}

static void run_forward(struct bench *b, const float *mean, const float *inv)
{
    const struct imk_cuda_affine affine = {.mean = mean, .inv = inv, .gamma = b->gamma, .beta = b->beta};

    RUN(imk_cuda_bn_apply(&(struct imk_cuda_bn_apply){b->rows, affine, b->ax.data,
                                                      b->l.adds ? b->az.data : NULL, b->ay.data, b->l.relu,
                                                      b->mask},
                          NULL));
}

/* The reference's statistics go in, so that each kernel is judged for itself. */
static void run_backward(struct bench *b)
{
    const uint8_t *mask = b->l.relu ? b->mask : NULL;
    const double count = (double)b->rows.rows;
    const float *inv = b->save + b->l.c;

    RUN(imk_cuda_bn_sums(&(struct imk_cuda_bn_sums){b->rows, b->ax.data, b->ady[0].data, b->ady[1].data, mask,
                                                    b->save, inv, b->my_dgamma, b->my_dbeta, b->sums,
                                                    b->scratch},
                         NULL));
    assert_memory_equal(b->sums, b->my_dgamma, (size_t)b->l.c * sizeof(float));
    assert_memory_equal(b->sums + b->l.c, b->my_dbeta, (size_t)b->l.c * sizeof(float));
    RUN(imk_cuda_bn_dx(&(struct imk_cuda_bn_dx){b->rows, b->ax.data, b->ady[0].data, b->ady[1].data, mask,
                                                b->save, inv, b->gamma, b->dgamma, b->dbeta,
                                                b->l.adds ? &count : NULL, b->adx.data,
                                                b->l.adds ? b->adz.data : NULL, NULL, 0},
                       NULL));
}

static double largest(const float *v, size_t count)
{
    double most = 0;

    for (size_t i = 0; i < count; i++)
        most = fmax(most, fabs((double)v[i]));
    return most;
}

static void training_is_the_references(void **state)
{
    (void)state;
    for (int i = 0; i < LAYERS; i++) {
        EACH_TYPE(type)
        {
            struct bench b = bench_new(&layers[i], type);
            struct tr_exec e = exec_of(&b);
            const size_t c = (size_t)b.l.c;
            const double root = sqrt((double)b.rows.rows);
            double steep;

            assert_int_equal(tr_ref_bn_forward(&b.op, &e), 0);
            assert_int_equal(tr_ref_bn_backward(&b.op, &e), 0);
            steep = largest(b.gamma, c) * largest(b.save + c, c);
            EACH_ORDER(order)
            {
                run_forward(&b, b.save, b.save + c);
                check_value(&b, "y", &b.ay, b.y, 1e-6 * (steep * 4 + 4));
                run_backward(&b);
                check_near("dgamma", IMK_F32, b.my_dgamma, b.dgamma, c, 1e-5 * root);
                check_near("dbeta", IMK_F32, b.my_dbeta, b.dbeta, c, 4e-6 * root);
                check_value(&b, "dx", &b.adx, b.dx, 3e-6 * steep * 4);
                if (b.l.adds)
                    check_value(&b, "dz", &b.adz, b.dx2, 1e-6);
            }
            bench_free(&b);
        }
    }
}

static void check_statistics(struct bench *b)
{
    for (int c = 0; c < b->l.c; c++) {
        const double inv = (double)b->save[b->l.c + c], deviation = 1 / inv;

        if (!(fabs((double)b->mean[c] - (double)b->save[c]) <=
              2e-5 * deviation + 1e-7 * fabs((double)b->save[c])))
            fail_msg("mean of channel %d is %.9g, not %.9g", c, (double)b->mean[c], (double)b->save[c]);
        if (!(fabs((double)b->inv[c] - inv) <= 2e-5 * inv))
            fail_msg("inverse deviation of channel %d is %.9g, not %.9g", c, (double)b->inv[c], inv);
        if (!(fabs((double)b->my_run_var[c] - (double)b->run_var[c]) <= 2e-5 * (double)b->run_var[c]))
            fail_msg("running variance of channel %d is %.9g, not %.9g", c, (double)b->my_run_var[c],
                     (double)b->run_var[c]);
    }
    check_near("running mean", IMK_F32, b->my_run_mean, b->run_mean, (size_t)b->l.c,
               1e-5 * (1 + fabs((double)b->l.mean)));
}

static void take_statistics(const struct layer *l, enum imk_dtype type, unsigned order)
{
    struct bench b = bench_new(l, type);
    struct tr_exec e = exec_of(&b);
    const struct imk_cuda_bn_stats a = {.shape = b.rows,
                                        .x = b.ax.data,
                                        .mean = b.mean,
                                        .var = b.var,
                                        .inv = b.inv,
                                        .run_mean = b.my_run_mean,
                                        .run_var = b.my_run_var,
                                        .eps = TR_BN_EPS,
                                        .momentum = TR_BN_MOMENTUM,
                                        .scratch = b.scratch};

    emulation_seed(order);
    assert_int_equal(tr_ref_bn_forward(&b.op, &e), 0);
    RUN(imk_cuda_bn_stats(&a, NULL));
    check_statistics(&b);
    bench_free(&b);
}

/* The first rows on one rank, the others on a second one: what both tell, added up, is told of the whole. */
static void take_statistics_of_two(const struct layer *l, enum imk_dtype type, unsigned order)
{
    struct bench b = bench_new(l, type);
    struct tr_exec e = exec_of(&b);
    const int64_t rows = b.rows.rows, first = (rows + 2) / 3;
    const size_t numbers_told = 2 * (size_t)l->c + 1;
    double *told[2] = {malloc(numbers_told * sizeof(double)), malloc(numbers_told * sizeof(double))}, count;
    const struct imk_cuda_bn_finish finish = {.c = l->c,
                                              .sums = told[0],
                                              .mean = b.mean,
                                              .inv = b.inv,
                                              .count = &count,
                                              .run_mean = b.my_run_mean,
                                              .run_var = b.my_run_var,
                                              .eps = TR_BN_EPS,
                                              .momentum = TR_BN_MOMENTUM};

    emulation_seed(order);
    memset(told[1], 0, numbers_told * sizeof(double));
    for (int k = 0; k < 2 && (k == 0 || rows > first); k++) {
        struct imk_cuda_bn_stats a = {.shape = b.rows, .sums = told[k], .scratch = b.scratch};

        a.shape.rows = k == 0 ? first : rows - first;
        a.x = (char *)b.ax.data + (size_t)(k * first * l->pitch) * type_bytes(type);
        RUN(imk_cuda_bn_stats(&a, NULL));
    }
    for (size_t i = 0; i < numbers_told; i++)
        told[0][i] += told[1][i];
    assert_int_equal(tr_ref_bn_forward(&b.op, &e), 0);
    RUN(imk_cuda_bn_finish(&finish, NULL));
    assert_true(count == (double)rows);
    check_statistics(&b);
    free(told[0]);
    free(told[1]);
    bench_free(&b);
}

static void statistics_are_the_references(void **state)
{
    (void)state;
    for (int i = 0; i < LAYERS; i++)
        EACH_TYPE(type)
    for (size_t k = 0; k < IM_COUNT(orders); k++)
        take_statistics(&layers[i], type, orders[k]);
}

static void statistics_of_two_ranks_are_those_of_one(void **state)
{
    (void)state;
    for (int i = 0; i < LAYERS; i++)
        EACH_TYPE(type)
    take_statistics_of_two(&layers[i], type, orders[i % 3]);
}

/* A deviation of 1 about a mean of 3000: sums of squares in fp32 would lose it whole. */
static void a_large_mean_does_not_swallow_the_variance(void **state)
{
    static const struct layer l = {4, 16, 17, 19, 16, true, false, false, 3000};

    (void)state;
    take_statistics(&l, IMK_F32, 7);
    take_statistics_of_two(&l, IMK_F32, 7);
}

/* Slices of rows and the cut into threads: more rows than a slice has, and fewer than a block has. */
static void statistics_of_many_rows_and_of_one(void **state)
{
    static const struct layer many = {2, 3, 211, 193, 3, true, false, false, 1},
                              one = {1, 40, 1, 1, 40, true, false, false, 0};

    (void)state;
    take_statistics(&many, IMK_BF16, 0);
    take_statistics_of_two(&many, IMK_BF16, 0);
    take_statistics(&one, IMK_F32, 0);
}

static void evaluation_takes_the_running_variance(void **state)
{
    (void)state;
    for (int i = 0; i < LAYERS; i++) {
        EACH_TYPE(type)
        {
            struct bench b = bench_new(&layers[i], type);
            const struct imk_cuda_affine affine = {
                .mean = b.run_mean, .var = b.run_var, .gamma = b.gamma, .beta = b.beta, .eps = TR_BN_EPS};
            struct tr_exec e = exec_of(&b);

            b.op.training = false;
            assert_int_equal(tr_ref_bn_forward(&b.op, &e), 0);
            RUN(imk_cuda_bn_apply(&(struct imk_cuda_bn_apply){b.rows, affine, b.ax.data,
                                                              b.l.adds ? b.az.data : NULL, b.ay.data,
                                                              b.l.relu, NULL},
                                  NULL));
            check_value(&b, "y in evaluation", &b.ay, b.y, 2e-5);
            bench_free(&b);
        }
    }
}

static void arguments_that_contradict_each_other_are_refused(void **state)
{
    float v[8] = {0};
    struct imk_cuda_bn_stats a = {.shape = {4, 8, 4, IMK_F32}, .x = v, .mean = v, .scratch = v};

    (void)state;
    assert_int_equal(imk_cuda_bn_stats(&a, NULL), -EINVAL); /* the pitch is below the channels */
    a.shape.pitch = 8;
    a.run_mean = v;
    assert_int_equal(imk_cuda_bn_stats(&a, NULL), -EINVAL); /* a running mean alone */
    a.run_mean = NULL;
    a.shape.rows = 0;
    assert_int_equal(imk_cuda_bn_stats(&a, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_is_the_references),
        cmocka_unit_test(statistics_are_the_references),
        cmocka_unit_test(statistics_of_two_ranks_are_those_of_one),
        cmocka_unit_test(a_large_mean_does_not_swallow_the_variance),
        cmocka_unit_test(statistics_of_many_rows_and_of_one),
        cmocka_unit_test(evaluation_takes_the_running_variance),
        cmocka_unit_test(arguments_that_contradict_each_other_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
