/* MixUp, CutMix and soft targets, with both losses, on each backend against timm
 * (tests/golden/make_recipe.py), and what timm has no rule for: masked samples, batches of an odd size. */
#include <math.h>

#include "ipc/base/count.h"
#include "tests/backend/pair.h"
#include "tests/support/gpu.h"
#include "trainer/optim/mix.h"

enum { N = 6, SIZE = 9, PLANE = SIZE * SIZE, CLASSES = 7 };

/* A batch, and what the two ops make of it. */
struct batch {
    uint8_t pixels[N * PLANE * 3];
    int32_t labels[N];
    uint8_t valid[N];
    float logits[N * CLASSES];
    struct tr_mix mix;
    struct tr_loss loss;
    float x[N * PLANE * 3], dlogits[N * CLASSES];
    struct tr_tally tally;
};

static void fill(struct batch *b)
{
    memset(b, 0, sizeof *b);
    for (uint32_t i = 0; i < sizeof b->pixels; i++)
        b->pixels[i] = (uint8_t)(draw_bits(PIXELS, i) >> 24);
    draw_labels(b->labels, b->valid, N, CLASSES);
    draw_logits(b->logits, N * CLASSES);
}

/* in: what the loss reads; out: what the op makes. */
static void run_op(const struct tr_backend_ops *ops, const struct tr_op *op, struct tr_exec *e,
                   const float *in, float *out)
{
    struct tr_plan_info info;
    struct tr_backend *b;
    struct tr_op_plan *plan;
    void *y, *x = NULL;
    size_t bytes;

    assert_int_equal(ops->open(2, &b, NULL), 0);
    assert_int_equal(ops->plan(b, op, &plan, &info, NULL), 0);
    bytes = in ? info.x_bytes : info.y_bytes;
    assert_int_equal(ops->buffer_new(b, bytes, &y), 0);
    if (in) {
        assert_int_equal(ops->buffer_new(b, bytes, &x), 0);
        assert_int_equal(ops->copy_in(b, x, in, bytes), 0);
        e->x = x;
        e->dx = y;
    } else {
        e->y = y;
    }
    assert_int_equal(ops->forward(b, plan, e), 0);
    if (in) {
        assert_int_equal(ops->copy_out(b, out, y, bytes), 0);
        ops->buffer_free(b, x, bytes);
    } else {
        assert_int_equal(ops->value_out(b, info.y_layout, op->y, y, out), 0);
    }
    ops->buffer_free(b, y, bytes);
    ops->plan_free(b, plan);
    ops->close(b);
}

/* n: samples of the batch that count. */
static void run(const struct tr_backend_ops *ops, struct batch *b, int n)
{
    struct tr_op input = {.kind = TR_OP_INPUT,
                          .x = {n, 3, SIZE, SIZE},
                          .y = {n, 3, SIZE, SIZE},
                          .mean = {0.485f, 0.456f, 0.406f},
                          .std = {0.229f, 0.224f, 0.225f},
                          .training = true};
    struct tr_op loss = {.kind = TR_OP_LOSS,
                         .x = {n, CLASSES, 1, 1},
                         .y = {n, CLASSES, 1, 1},
                         .needs_dx = true,
                         .training = true,
                         .loss = b->loss};

    run_op(ops, &input, &(struct tr_exec){.pixels = b->pixels, .mix = &b->mix}, NULL, b->x);
    run_op(ops, &loss,
           &(struct tr_exec){
               .labels = b->labels, .valid = b->valid, .mix = &b->mix, .smoothing = 0.1f, .tally = &b->tally},
           b->logits, b->dlogits);
}

static void check_tensor(const char *what, const float *v, size_t count, const double want[6])
{
    double squares = 0, dot = 0;

    for (size_t i = 0; i < count; i++) {
        squares += (double)v[i] * (double)v[i];
        dot += (double)v[i] * draw(DRAW_DOT_STREAM, (uint32_t)i);
    }
    if (!(fabs(sqrt(squares) - want[0]) < 1e-6 * want[0] && fabs(dot - want[1]) < 1e-6 * want[0]))
        fail_msg("%s: norm %.9g, dot %.9g; timm has %.9g, %.9g", what, sqrt(squares), dot, want[0], want[1]);
    for (int i = 0; i < 4; i++)
        assert_true(fabs((double)v[i] - want[2 + i]) < 1e-6 * want[0]);
}

static void set_mix(struct batch *b, int cut, double lambda, int cy, int cx)
{
    b->mix = cut ? tr_mix_box(lambda, SIZE, cy, cx) : (struct tr_mix){.kind = TR_MIX_UP, .lambda = lambda};
}

static void batches_are_mixed_as_timm_does(void **state)
{
    FILE *file = fopen(golden_path, "r");
    char line[300], kind[16];
    double v[6], lambda;
    struct batch b;
    int compared = 0, cut, cy, cx, sums;

    (void)state;
    assert_non_null(file);
    for (size_t k = 0; k < 2; k++) {
        rewind(file);
        while (fgets(line, sizeof line, file)) {
            if (sscanf(line, "mix %d %lf %d %d", &cut, &lambda, &cy, &cx) == 4) {
                fill(&b);
                set_mix(&b, cut, lambda, cy, cx);
                run(both[k], &b, N);
            } else if (sscanf(line, "bce %lf %d", v, &sums) == 2) {
                b.loss = (struct tr_loss){.kind = TR_LOSS_BCE, .threshold = v[0], .sums_classes = sums != 0};
                run(both[k], &b, N);
            } else if (sscanf(line, "loss %lf", v) == 1) {
                assert_true(fabs(b.tally.loss_sum / N - v[0]) < 1e-6 * v[0]);
                compared++;
            } else if (sscanf(line, "%15s %lf %lf %lf %lf %lf %lf", kind, &v[0], &v[1], &v[2], &v[3], &v[4],
                              &v[5]) == 7 &&
                       (strcmp(kind, "x") == 0 || strcmp(kind, "dlogits") == 0)) {
                if (kind[0] == 'x')
                    check_tensor(kind, b.x, IM_COUNT(b.x), v);
                else
                    check_tensor(kind, b.dlogits, N * CLASSES, v);
                compared++;
            }
        }
    }
    fclose(file);
    assert_int_equal(compared, 2 * 4 * (3 + 4 * 2));
}

static void a_masked_sample_takes_its_partner_along(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct batch b, rest;

        fill(&b);
        set_mix(&b, 0, 0.7, 0, 0);
        b.valid[1] = 0;
        b.labels[1] = -1; /* nobody looks at it */
        run(both[k], &b, N);
        assert_int_equal(b.tally.valid, N - 2);
        for (int i = 0; i < CLASSES; i++)
            assert_true(b.dlogits[CLASSES + i] == 0 && b.dlogits[4 * CLASSES + i] == 0);
        /* The others are those of the whole batch, weighted as a batch of four. */
        fill(&rest);
        rest.mix = b.mix;
        run(both[k], &rest, N);
        for (int i = 0; i < CLASSES; i++)
            assert_true(fabs((double)b.dlogits[i] * 4 - (double)rest.dlogits[i] * 6) < 1e-6);
    }
}

static void the_middle_of_an_odd_batch_stays_itself(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        for (int cut = 0; cut < 2; cut++) {
            struct batch mixed, plain;
            const size_t image = 3 * PLANE, middle = 2;

            fill(&mixed);
            set_mix(&mixed, cut, 0.6, 4, 4);
            run(both[k], &mixed, N - 1);
            assert_int_equal(mixed.tally.valid, N - 1);
            fill(&plain);
            run(both[k], &plain, N - 1);
            for (size_t i = 0; i < image; i++)
                assert_true(fabs((double)mixed.x[middle * image + i] - (double)plain.x[middle * image + i]) <
                            1e-6);
            assert_memory_equal(mixed.dlogits + middle * CLASSES, plain.dlogits + middle * CLASSES,
                                CLASSES * sizeof(float));
            assert_true(memcmp(mixed.x, plain.x, image * sizeof(float)) != 0);
            assert_true(memcmp(mixed.dlogits, plain.dlogits, CLASSES * sizeof(float)) != 0);
        }
    }
}

/* Logits that name the partner's label are right while the partner has the larger share. */
static void accuracy_goes_by_the_larger_share(void **state)
{
    static const struct {
        double lambda;
        uint32_t top1;
    } rows[] = {{0.8, 0}, {0.5, 0}, {0.49, 4}, {0.1, 4}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        struct batch b;

        fill(&b);
        for (int n = 0; n < 4; n++) {
            b.labels[n] = n;
            for (int k = 0; k < CLASSES; k++)
                b.logits[n * CLASSES + k] = k == 3 - n ? 5 : 0;
        }
        b.mix = (struct tr_mix){.kind = TR_MIX_UP, .lambda = rows[i].lambda};
        run(both[i % 2], &b, 4);
        assert_int_equal(b.tally.top1, rows[i].top1);
        assert_int_equal(b.tally.valid, 4);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_are_mixed_as_timm_does),
        cmocka_unit_test(a_masked_sample_takes_its_partner_along),
        cmocka_unit_test(the_middle_of_an_odd_batch_stays_itself),
        cmocka_unit_test(accuracy_goes_by_the_larger_share),
    };

    if (argc != 2)
        return 2;
    golden_path = argv[1];
#ifdef TESTS_GPU
    if (!has_gpu(both[1]))
        return 77;
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
