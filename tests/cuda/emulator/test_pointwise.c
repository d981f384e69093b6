/* Additions, stochastic depth, casts, biases and packing: what is exact but for one rounding. */
#include "tests/cuda/emulator/help.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "kernels/cuda/gelu.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/pointwise.h"
#include "trainer/backends/ref/ops.h"

static const size_t counts[] = {1, 7, 8, 9, 2048, 5003};
enum { COUNTS = IM_COUNT(counts) };

static struct tr_shape flat(size_t count)
{
    return (struct tr_shape){1, 1, 1, (int)count};
}

/* What a row of count numbers should be. */
static void check_row(const char *what, const struct array *a, const float *want, double slack)
{
    float *got = blank(a->count);

    plain_of(a, flat(a->count), 1, got);
    check_near(what, a->type, got, want, a->count, slack);
    free(got);
}

static void check_add(size_t count, enum imk_dtype type, bool relu, bool is_aligned)
{
    float *x = drawn(count, 1), *x2 = drawn(count, 2), *want = blank(count);
    struct array ax = array_of(type, flat(count), 1, x, is_aligned),
                 ax2 = array_of(type, flat(count), 1, x2, is_aligned);
    struct array ay = array_new(type, count, is_aligned);
    uint8_t *mask = malloc(imk_cuda_mask_bytes(1, count));
    const struct imk_cuda_add a = {count, type, ax.data, ax2.data, ay.data, relu, mask};
    const struct imk_cuda_add_backward back = {count, type, ax.data, ax2.data, relu ? mask : NULL, ay.data};

    EACH_ORDER(order)
    {
        for (size_t i = 0; i < count; i++)
            want[i] = relu ? fmaxf(0, x[i] + x2[i]) : x[i] + x2[i];
        RUN(imk_cuda_add(&a, NULL));
        check_row("sum", &ay, want, 0);
        for (size_t i = 0; relu && i < count; i++)
            assert_int_equal(mask[i / 8] >> i % 8 & 1, x[i] + x2[i] > 0);
        for (size_t i = 0; relu && i < count; i++)
            want[i] = x[i] + x2[i] > 0 ? x[i] + x2[i] : 0;
        RUN(imk_cuda_add_backward(&back, NULL));
        check_row("gradient of a sum", &ay, want, 0);
    }
    free(x), free(x2), free(want), free(mask);
    array_free(&ax), array_free(&ax2), array_free(&ay);
}

static void sums_relu_and_its_mask_are_exact(void **state)
{
    (void)state;
    for (int i = 0; i < COUNTS; i++)
        EACH_TYPE(type)
    for (int k = 0; k < 4; k++)
        check_add(counts[i], type, k & 1, k & 2);
}

static void sums_may_be_in_place_and_of_one_operand(void **state)
{
    float *x = drawn(100, 3), *want = blank(100);
    struct array a = array_of(IMK_BF16, flat(100), 1, x, true);

    (void)state;
    for (int i = 0; i < 100; i++)
        want[i] = fmaxf(0, x[i]);
    RUN(imk_cuda_add(&(struct imk_cuda_add){100, IMK_BF16, a.data, NULL, a.data, true, NULL}, NULL));
    check_row("ReLU in place", &a, want, 0);
    array_set(&a, 5, (double)NAN);
    RUN(imk_cuda_add(&(struct imk_cuda_add){100, IMK_BF16, a.data, NULL, a.data, true, NULL}, NULL));
    assert_true(isnan(array_get(&a, 5)));
    free(x), free(want);
    array_free(&a);
}

static void check_droppath(int n, size_t per_sample, enum imk_dtype type, bool is_aligned)
{
    const size_t count = (size_t)n * per_sample;
    float *x = drawn(count, 1), *x2 = drawn(count, 2), *want = blank(count), *scale = blank((size_t)n);
    struct array ax = array_of(type, flat(count), 1, x, is_aligned),
                 ax2 = array_of(type, flat(count), 1, x2, is_aligned);
    struct array ay = array_new(type, count, is_aligned);

    for (int i = 0; i < n; i++)
        scale[i] = i % 2 ? 0 : 1.25f;
    for (int k = 0; k < 2; k++) {
        const struct imk_cuda_droppath a = {n,     per_sample, type, ax.data, k ? ax2.data : NULL,
                                            scale, ay.data};

        for (size_t i = 0; i < count; i++)
            want[i] = scale[i / per_sample] * (k ? x[i] + x2[i] : x[i]);
        EACH_ORDER(order)
        {
            RUN(imk_cuda_droppath(&a, NULL));
            check_row("drop-path", &ay, want, 1e-6);
        }
    }
    free(x), free(x2), free(want), free(scale);
    array_free(&ax), array_free(&ax2), array_free(&ay);
}

/* Against the reference, with two contributions to the gradient, in and out of place. */
static void check_gelu(struct tr_shape s, int pitch, enum imk_dtype type, bool biased, bool is_aligned)
{
    const size_t count = numbers(s);
    const struct tr_op op = {
        .kind = TR_OP_GELU, .x = s, .y = s, .biased = biased, .training = true, .needs_dx = true};
    float *x = drawn(count, 1), *dy = drawn(count, 2), *dy2 = drawn(count, 3), *y = blank(count),
          *dx = blank(count), *got = blank(count), *bias = drawn((size_t)s.c, 4), *db = blank((size_t)s.c),
          *my_db = blank((size_t)s.c);
    struct array ax = array_of(type, s, pitch, x, is_aligned), ady = array_of(type, s, pitch, dy, is_aligned),
                 ady2 = array_of(type, s, pitch, dy2, is_aligned),
                 ay = array_of(type, s, pitch, y, is_aligned), adx = array_of(type, s, pitch, dx, is_aligned);
    const struct imk_cuda_rows rows = {(int64_t)s.n * s.h * s.w, s.c, pitch, type};
    const struct tr_exec e = {.x = x, .y = y, .dy = {dy, dy2}, .dx = dx, .b = bias, .db = db};
    void *scratch = malloc(imk_cuda_gelu_scratch(&rows));

    tr_ref_gelu_forward(&op, &e);
    tr_ref_gelu_backward(&op, &e);
    EACH_ORDER(order)
    {
        RUN(imk_cuda_gelu(&(struct imk_cuda_gelu){rows, ax.data, biased ? bias : NULL, ay.data}, NULL));
        plain_of(&ay, s, pitch, got);
        check_near("GELU", type, got, y, count, 2e-6);
        RUN(imk_cuda_gelu_backward(&(struct imk_cuda_gelu_backward){rows, ax.data, ady.data, ady2.data,
                                                                    biased ? bias : NULL, adx.data,
                                                                    biased ? my_db : NULL, scratch},
                                   NULL));
        plain_of(&adx, s, pitch, got);
        check_near("gradient of GELU", type, got, dx, count, 4e-6);
        if (biased)
            check_near("gradient of its bias", IMK_F32, my_db, db, (size_t)s.c, 1e-5 * (double)rows.rows);
    }
    free(x), free(dy), free(dy2), free(y), free(dx), free(got), free(bias), free(db), free(my_db),
        free(scratch);
    array_free(&ax), array_free(&ady), array_free(&ady2), array_free(&ay), array_free(&adx);
}

static void gelu_is_the_references(void **state)
{
    (void)state;
    EACH_TYPE(type)
    for (int biased = 0; biased < 2; biased++) {
        check_gelu((struct tr_shape){1, 1, 1, 1}, 1, type, biased, true);
        check_gelu((struct tr_shape){2, 24, 9, 7}, 24, type, biased, true);
        check_gelu((struct tr_shape){3, 10, 5, 4}, 16, type, biased, false);
        check_gelu((struct tr_shape){2, 64, 31, 31}, 64, type, biased, true);
    }
}

static void drop_path_scales_each_sample(void **state)
{
    (void)state;
    EACH_TYPE(type)
    {
        check_droppath(1, 1, type, true);
        check_droppath(5, 13, type, true);
        check_droppath(3, 16, type, false);
        check_droppath(3, 4096, type, true);
    }
}

/* Each bit pattern of a narrow type there and back, and the numbers half way between two,
 * and beside those. */
static void every_number_is_cast_as_it_is_defined(void **state)
{
    (void)state;
    EACH_TYPE(type)
    {
        const size_t count = 65536 * 4;
        float *x = blank(count), *got = blank(count);
        struct array from, to = array_new(type, count, true), back = array_new(IMK_F32, count, true);

        for (uint32_t i = 0; i < count; i++) {
            uint32_t bits = type == IMK_F16 ? (i >> 2) * 0x10001u : (i >> 2) << 16;

            /* fp16: its step is 2^13 fp32 steps in the normal range; bf16: 2^16. The ends and the middle. */
            bits += (uint32_t[]){0, 0x8000, 0x7fff, 0x8001}[i & 3];
            if (type == IMK_F16)
                bits = (bits & 0x80000000u) | (0x30000000u + (bits & 0x1fffffffu)) | ((i & 1) << 12);
            memcpy(&x[i], &bits, sizeof bits);
        }
        from = array_new(IMK_F32, count, true);
        memcpy(from.data, x, count * sizeof(float));
        RUN(imk_cuda_cast(&(struct imk_cuda_cast){count, IMK_F32, type, from.data, to.data}, NULL));
        RUN(imk_cuda_cast(&(struct imk_cuda_cast){count, type, IMK_F32, to.data, back.data}, NULL));
        for (size_t i = 0; i < count; i++) {
            const double want = round_to(type, (double)x[i]), is = array_get(&to, i);

            if (isnan(want) ? !isnan(is) : is != want)
                fail_msg("%.9g in %s is %.9g, not %.9g", (double)x[i], type_name(type), is, want);
            if (!isnan(want) && (double)((float *)back.data)[i] != want)
                fail_msg("%.9g comes back from %s as %.9g", want, type_name(type),
                         (double)((float *)back.data)[i]);
        }
        free(x), free(got);
        array_free(&from), array_free(&to), array_free(&back);
    }
}

/* Borders of fp16 that patterns miss: the least numbers, and what becomes infinite. */
static void fp16_rounds_its_borders_to_even(void **state)
{
    const float x[] = {65504,        65519.996f,   65520,           65536,      1e30f,
                       0x1p-24f,     0x1p-25f,     0x1.000002p-25f, 0x1.8p-24f, 0x1p-14f,
                       0x1.ff8p-15f, 0x1.ffep-15f, -0.0f,           -0x1p-26f,  6.0e-8f};
    enum { COUNT = IM_COUNT(x) };
    struct array y = array_new(IMK_F16, COUNT, true);

    (void)state;
    RUN(imk_cuda_cast(&(struct imk_cuda_cast){COUNT, IMK_F32, IMK_F16, x, y.data}, NULL));
    for (size_t i = 0; i < COUNT; i++)
        if (array_get(&y, i) != round_to(IMK_F16, (double)x[i]))
            fail_msg("%a becomes %a", (double)x[i], array_get(&y, i));
    array_free(&y);
}

static void odd_lengths_and_places_are_cast_too(void **state)
{
    (void)state;
    for (int i = 0; i < COUNTS; i++) {
        EACH_TYPE(from)
        {
            EACH_TYPE(to)
            {
                float *x = drawn(counts[i], 1);
                struct array ax = array_of(from, flat(counts[i]), 1, x, i % 2),
                             ay = array_new(to, counts[i], i % 2);

                RUN(imk_cuda_cast(&(struct imk_cuda_cast){counts[i], from, to, ax.data, ay.data}, NULL));
                check_row("cast", &ay, x, 0);
                free(x);
                array_free(&ax), array_free(&ay);
            }
        }
    }
}

/* Rows of logits. */
static void check_rows(int rows, int c, int pitch, enum imk_dtype type)
{
    const struct tr_shape s = {rows, c, 1, 1};
    float *x = drawn(numbers(s), 1), *x2 = drawn(numbers(s), 2), *b = drawn((size_t)c, 3),
          *want = blank(numbers(s));
    float *sums = blank((size_t)c), *want_sums = blank((size_t)c), *got = blank(numbers(s));
    struct array ax = array_of(type, s, pitch, x, true), ax2 = array_of(type, s, pitch, x2, true);

    for (int k = 0; k < c; k++) {
        double sum = 0;

        for (int i = 0; i < rows; i++) {
            const size_t at = (size_t)i * (size_t)c + (size_t)k;

            sum += (double)x[at] + (double)x2[at];
            want[at] = x[at] + b[k];
        }
        want_sums[k] = (float)sum;
    }
    EACH_ORDER(order)
    {
        RUN(imk_cuda_column_sums(
            &(struct imk_cuda_column_sums){rows, c, pitch, type, ax.data, ax2.data, sums}, NULL));
        check_near("column sums", IMK_F32, sums, want_sums, (size_t)c, 0);
    }
    RUN(imk_cuda_bias(&(struct imk_cuda_bias){rows, c, pitch, type, b, ax.data}, NULL));
    plain_of(&ax, s, pitch, got);
    check_near("bias", type, got, want, numbers(s), 0);
    free(x), free(x2), free(b), free(want), free(sums), free(want_sums), free(got);
    array_free(&ax), array_free(&ax2);
}

static void biases_and_their_gradients_are_exact(void **state)
{
    (void)state;
    EACH_TYPE(type)
    {
        check_rows(1, 1, 1, type);
        check_rows(5, 10, 16, type);
        check_rows(37, 100, 100, type);
        check_rows(3, 1000, 1000, type);
    }
}

/* ---- packing ---- */

/* Some tensors of a network: stem, padded stem, 3x3, projections, a classifier, a tensor of more than a tile
 * an output, and single numbers. */
static const struct imk_cuda_packing shapes[] = {
    {.k = 5, .c = 3, .taps = 49, .pitch = 8},      {.k = 4, .c = 3, .taps = 49, .pitch = 4},
    {.k = 7, .c = 20, .taps = 9, .pitch = 24},     {.k = 3, .c = 1000, .taps = 9, .pitch = 1000},
    {.k = 70, .c = 65, .taps = 1, .pitch = 65},    {.k = 10, .c = 30, .taps = 1, .pitch = 32},
    {.k = 1, .c = 1, .taps = 1, .pitch = 1},       {.k = 2, .c = 40, .taps = 121, .pitch = 40},
    {.k = 1, .c = 4100, .taps = 1, .pitch = 4104}, {.k = 1, .c = 1, .taps = 9, .pitch = 1},
    {.k = 1, .c = 4093, .taps = 1, .pitch = 4093},
};
enum { ROWS = IM_COUNT(shapes) };

struct packing {
    struct imk_cuda_packing rows[ROWS];
    uint32_t blocks;
    size_t plain_count, packed_count;
};

static struct packing packing_new(void)
{
    struct packing p;

    p.plain_count = p.packed_count = 0;
    memcpy(p.rows, shapes, sizeof shapes);
    for (int i = 0; i < ROWS; i++) {
        const size_t outputs = (size_t)p.rows[i].k * (size_t)p.rows[i].taps;

        p.rows[i].plain = p.plain_count;
        p.rows[i].packed = p.packed_count;
        p.plain_count += (outputs * (size_t)p.rows[i].c + 15) / 16 * 16;
        p.packed_count += (outputs * (size_t)p.rows[i].pitch + 7) / 8 * 8;
    }
    p.blocks = imk_cuda_packing_blocks(p.rows, ROWS);
    return p;
}

static void weights_are_packed_and_gradients_unpacked(void **state)
{
    const struct packing p = packing_new();
    float *plain = drawn(p.plain_count, 1), *back = blank(p.plain_count);

    (void)state;
    EACH_TYPE(type)
    {
        struct array packed = array_new(type, p.packed_count, true);

        EACH_ORDER(order)
        {
            RUN(imk_cuda_pack(&(struct imk_cuda_pack){p.rows, ROWS, p.blocks, plain, packed.data, type},
                              NULL));
            for (int i = 0; i < ROWS; i++) {
                const struct imk_cuda_packing *r = &p.rows[i];

                for (int at = 0; at < r->k * r->taps * r->pitch; at++) {
                    const int c = at % r->pitch, tap = at / r->pitch % r->taps, k = at / r->pitch / r->taps;
                    const float w = c < r->c ? plain[r->plain + (size_t)((k * r->c + c) * r->taps + tap)] : 0;

                    assert_true(array_get(&packed, r->packed + (size_t)at) == round_to(type, (double)w));
                }
            }
        }
        if (type == IMK_F32) {
            EACH_ORDER(order)
            {
                memset(back, 0, p.plain_count * sizeof *back);
                RUN(imk_cuda_unpack(&(struct imk_cuda_unpack){p.rows, ROWS, p.blocks, packed.data, back},
                                    NULL));
                for (int i = 0; i < ROWS; i++)
                    assert_memory_equal(back + p.rows[i].plain, plain + p.rows[i].plain,
                                        (size_t)(p.rows[i].k * p.rows[i].c * p.rows[i].taps) * sizeof(float));
            }
        }
        array_free(&packed);
    }
    free(plain), free(back);
}

static void unpacking_leaves_the_gaps_alone(void **state)
{
    const struct packing p = packing_new();
    float *packed = drawn(p.packed_count, 1), *back = blank(p.plain_count);
    size_t end = 0;

    (void)state;
    RUN(imk_cuda_unpack(&(struct imk_cuda_unpack){p.rows, ROWS, p.blocks, packed, back}, NULL));
    for (int i = 0; i < ROWS; i++) {
        for (; end < p.rows[i].plain; end++)
            assert_true(back[end] == 0);
        end += (size_t)(p.rows[i].k * p.rows[i].c * p.rows[i].taps);
    }
    free(packed), free(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_relu_and_its_mask_are_exact),
        cmocka_unit_test(sums_may_be_in_place_and_of_one_operand),
        cmocka_unit_test(gelu_is_the_references),
        cmocka_unit_test(drop_path_scales_each_sample),
        cmocka_unit_test(every_number_is_cast_as_it_is_defined),
        cmocka_unit_test(fp16_rounds_its_borders_to_even),
        cmocka_unit_test(odd_lengths_and_places_are_cast_too),
        cmocka_unit_test(biases_and_their_gradients_are_exact),
        cmocka_unit_test(weights_are_packed_and_gradients_unpacked),
        cmocka_unit_test(unpacking_leaves_the_gaps_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
