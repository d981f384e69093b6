/* Binary cross-entropy of samples with sets of labels, on each backend: against PyTorch (tests/golden/make_multi_label.py), and
 * where PyTorch has no rule, for masked samples, against the reference. */
#include <math.h>

#include "tests/backend/pair.h"

enum { N = 12, CLASSES = 37, SETS = 5, WORDS = 2 };

struct batch {
    uint32_t sets[SETS * WORDS];
    int32_t labels[N];
    uint8_t valid[N];
    float logits[N * CLASSES], weights[CLASSES], dlogits[N * CLASSES];
    bool is_weighted;
    struct tr_mix mix;
    struct tr_tally tally;
};

static void fill(struct batch *b, const char *name)
{
    memset(b, 0, sizeof *b);
    for (uint32_t s = 0; s + 1 < SETS; s++)
        for (uint32_t k = 0; k < CLASSES; k++)
            b->sets[s * WORDS + k / 32] |= (draw_bits(LABELS, s * CLASSES + k) & 1) << (k % 32);
    for (uint32_t i = 0; i < N; i++) {
        b->labels[i] = (int32_t)(i % SETS);
        b->valid[i] = 1;
    }
    draw_logits(b->logits, N * CLASSES);
    draw_weights(b->weights, CLASSES);
    b->is_weighted = strcmp(name, "weighted") == 0;
    if (strcmp(name, "mixed") == 0)
        b->mix = (struct tr_mix){.kind = TR_MIX_UP, .lambda = 0.7};
}

static void run(const struct tr_backend_ops *ops, struct batch *batch, bool training)
{
    struct tr_op op = {.kind = TR_OP_LOSS,
                       .x = {N, CLASSES, 1, 1},
                       .y = {N, CLASSES, 1, 1},
                       .needs_dx = training,
                       .training = training,
                       .loss = {.kind = TR_LOSS_BCE, .set_words = WORDS, .set_count = SETS}};
    struct tr_exec e = {
        .labels = batch->labels, .valid = batch->valid, .mix = &batch->mix, .tally = &batch->tally};
    struct tr_plan_info info;
    struct tr_backend *b;
    struct tr_op_plan *plan;
    void *x, *dx, *weights, *sets;

    assert_int_equal(ops->open(2, &b, NULL), 0);
    weights = copied_in(ops, b, batch->weights, sizeof batch->weights);
    sets = copied_in(ops, b, batch->sets, sizeof batch->sets);
    x = copied_in(ops, b, batch->logits, sizeof batch->logits);
    dx = copied_in(ops, b, batch->dlogits, sizeof batch->dlogits);
    op.loss.sets = sets;
    op.loss.weights = batch->is_weighted ? weights : NULL;
    e.x = x;
    e.dx = dx;
    assert_int_equal(ops->plan(b, &op, &plan, &info, NULL), 0);
    assert_int_equal(ops->forward(b, plan, &e), 0);
    assert_int_equal(ops->copy_out(b, batch->dlogits, dx, sizeof batch->dlogits), 0);
    ops->plan_free(b, plan);
    ops->buffer_free(b, weights, sizeof batch->weights);
    ops->buffer_free(b, sets, sizeof batch->sets);
    ops->buffer_free(b, x, sizeof batch->logits);
    ops->buffer_free(b, dx, sizeof batch->dlogits);
    ops->close(b);
}

static void losses_and_gradients_are_pytorchs(void **state)
{
    FILE *file = fopen(golden_path, "r");
    char word[16], name[16] = "";
    double want;
    struct batch b;
    int compared = 0;

    (void)state;
    assert_non_null(file);
    for (size_t k = 0; k < 2; k++) {
        rewind(file);
        while (fscanf(file, "%15s", word) == 1 &&
               (strcmp(word, "loss") == 0 || strcmp(word, "dlogits") == 0)) {
            const bool is_loss = word[0] == 'l';

            if (is_loss) {
                assert_int_equal(fscanf(file, "%15s", name), 1);
                fill(&b, name);
                run(both[k], &b, true);
            }
            for (int i = 0; i < (is_loss ? 1 : N * CLASSES); i++, compared++) {
                const double ours = is_loss ? b.tally.loss_sum / N : (double)b.dlogits[i];

                assert_int_equal(fscanf(file, "%lf", &want), 1);
                if (!(fabs(ours - want) < (is_loss ? 2e-7 : 1e-9)))
                    fail_msg("%s: %s %d, %s, is %.9g, PyTorch has %.9g", both[k]->name, word, i, name, ours,
                             want);
            }
        }
    }
    fclose(file);
    assert_int_equal(compared, 2 * 3 * (1 + N * CLASSES));
}

static void masked_samples_are_the_references(void **state)
{
    struct batch b[2];

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        fill(&b[k], "mixed");
        b[k].valid[1] = 0;
        run(both[k], &b[k], true);
    }
    assert_int_equal(b[0].tally.valid, N - 2);
    assert_int_equal(b[1].tally.valid, N - 2);
    assert_true(fabs(b[1].tally.loss_sum - b[0].tally.loss_sum) < 1e-6 * b[0].tally.loss_sum);
    for (int i = 0; i < N * CLASSES; i++)
        assert_true(fabs((double)b[1].dlogits[i] - (double)b[0].dlogits[i]) < 1e-9);
}

/* Not those of softmax, and without weights; and no accuracy, which there is none of. */
static void validation_has_the_plain_loss(void **state)
{
    struct batch b, plain;

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        fill(&b, "weighted");
        run(both[k], &b, false);
        fill(&plain, "plain");
        run(both[k], &plain, true);
        assert_true(fabs(b.tally.loss_sum - plain.tally.loss_sum) < 1e-6);
        assert_int_equal(b.tally.top1, 0);
        assert_int_equal(b.tally.top5, 0);
        assert_int_equal(plain.tally.top1, 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_gradients_are_pytorchs),
        cmocka_unit_test(masked_samples_are_the_references),
        cmocka_unit_test(validation_has_the_plain_loss),
    };

    if (argc < 2)
        return 2;
    golden_path = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
