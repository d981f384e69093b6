/* Cross-entropy with a weight for each class, on each backend: against PyTorch (tests/golden/make_class_weights.py),
 * and where PyTorch has no rule, for mixed and masked samples, against the reference. */
#include <math.h>

#include "tests/backend/pair.h"

enum { N = 6, CLASSES = 7 };

struct batch {
    int32_t labels[N];
    uint8_t valid[N];
    float logits[N * CLASSES], weights[CLASSES], dlogits[N * CLASSES];
    struct tr_mix mix;
    struct tr_tally tally;
};

static void fill(struct batch *b)
{
    memset(b, 0, sizeof *b);
    draw_labels(b->labels, b->valid, N, CLASSES);
    draw_logits(b->logits, N * CLASSES);
    draw_weights(b->weights, CLASSES);
}

static void run(const struct tr_backend_ops *ops, struct batch *batch, float smoothing, bool training)
{
    struct tr_op op = {.kind = TR_OP_LOSS,
                       .x = {N, CLASSES, 1, 1},
                       .y = {N, CLASSES, 1, 1},
                       .needs_dx = training,
                       .training = training};
    struct tr_exec e = {.labels = batch->labels,
                        .valid = batch->valid,
                        .mix = &batch->mix,
                        .smoothing = smoothing,
                        .tally = &batch->tally};
    struct tr_plan_info info;
    struct tr_backend *b;
    struct tr_op_plan *plan;
    void *x, *dx, *weights;

    assert_int_equal(ops->open(2, &b, NULL), 0);
    weights = copied_in(ops, b, batch->weights, sizeof batch->weights);
    x = copied_in(ops, b, batch->logits, sizeof batch->logits);
    dx = copied_in(ops, b, batch->dlogits, sizeof batch->dlogits);
    if (training)
        op.loss.weights = weights;
    e.x = x;
    e.dx = dx;
    assert_int_equal(ops->plan(b, &op, &plan, &info, NULL), 0);
    assert_int_equal(ops->forward(b, plan, &e), 0);
    assert_int_equal(ops->copy_out(b, batch->dlogits, dx, sizeof batch->dlogits), 0);
    ops->plan_free(b, plan);
    ops->buffer_free(b, weights, sizeof batch->weights);
    ops->buffer_free(b, x, sizeof batch->logits);
    ops->buffer_free(b, dx, sizeof batch->dlogits);
    ops->close(b);
}

/* The sum of the weights of the labels, which the mean loss is divided by. */
static double sum_of_weights(const struct batch *b)
{
    double sum = 0;

    for (int i = 0; i < N; i++)
        sum += (double)b->weights[b->labels[i]];
    return sum;
}

static void losses_and_gradients_are_pytorchs(void **state)
{
    FILE *file = fopen(golden_path, "r");
    char word[16];
    float smoothing = 0;
    double want;
    struct batch b;
    int compared = 0;

    (void)state;
    assert_non_null(file);
    for (size_t k = 0; k < 2; k++) {
        rewind(file);
        while (fscanf(file, "%15s", word) == 1) {
            if (strcmp(word, "smoothing") == 0) {
                assert_int_equal(fscanf(file, "%f", &smoothing), 1);
                fill(&b);
                run(both[k], &b, smoothing, true);
                continue;
            }
            for (int i = 0; i < (strcmp(word, "loss") == 0 ? 1 : N * CLASSES); i++, compared++) {
                const double ours =
                    word[0] == 'l' ? b.tally.loss_sum / sum_of_weights(&b) : (double)b.dlogits[i];

                assert_int_equal(fscanf(file, "%lf", &want), 1);
                if (!(fabs(ours - want) < 2e-7))
                    fail_msg("%s: %s %d with smoothing %g is %.9g, PyTorch has %.9g", both[k]->name, word, i,
                             (double)smoothing, ours, want);
            }
        }
    }
    fclose(file);
    assert_int_equal(compared, 2 * 2 * (1 + N * CLASSES));
}

static void mixed_and_masked_samples_are_the_references(void **state)
{
    (void)state;
    for (int masked = 0; masked < 2; masked++) {
        struct batch b[2];

        for (size_t k = 0; k < 2; k++) {
            fill(&b[k]);
            b[k].mix = (struct tr_mix){.kind = TR_MIX_UP, .lambda = 0.7};
            b[k].valid[1] = !masked;
            run(both[k], &b[k], 0.1f, true);
        }
        assert_int_equal(b[0].tally.valid, masked ? N - 2 : N);
        assert_int_equal(b[1].tally.valid, b[0].tally.valid);
        assert_true(fabs(b[1].tally.loss_sum - b[0].tally.loss_sum) < 1e-6 * b[0].tally.loss_sum);
        for (int i = 0; i < N * CLASSES; i++)
            assert_true(fabs((double)b[1].dlogits[i] - (double)b[0].dlogits[i]) < 1e-7);
    }
}

/* Each sample's gradient sums to zero: a softmax's does, by whatever its sample is multiplied. */
static void a_gradient_moves_no_sum(void **state)
{
    struct batch b;

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        fill(&b);
        run(both[k], &b, 0.1f, true);
        for (int n = 0; n < N; n++) {
            double sum = 0;

            for (int i = 0; i < CLASSES; i++)
                sum += (double)b.dlogits[n * CLASSES + i];
            assert_true(fabs(sum) < 1e-6);
        }
    }
}

static void validation_knows_no_weights(void **state)
{
    struct batch b, plain;

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        fill(&b);
        run(both[k], &b, 0, false);
        fill(&plain);
        for (int i = 0; i < CLASSES; i++)
            plain.weights[i] = 1;
        run(both[k], &plain, 0, true);
        assert_true(fabs(b.tally.loss_sum - plain.tally.loss_sum) < 1e-6);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_gradients_are_pytorchs),
        cmocka_unit_test(mixed_and_masked_samples_are_the_references),
        cmocka_unit_test(a_gradient_moves_no_sum),
        cmocka_unit_test(validation_knows_no_weights),
    };

    if (argc < 2)
        return 2;
    golden_path = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
