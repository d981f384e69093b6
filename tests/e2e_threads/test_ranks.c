/* Several ranks as threads of one process, with their own collectives over the loopback interface: N ranks
 * with batches of B train what one rank trains with batches of N x B, when batch norm goes over all of them,
 * and something else when it does not. A rank without a sample in a step changes nothing.
 *
 * What is compared is all that a step leaves: parameters, momentum, running statistics. The steps are few
 * and small (lr 0.01), for rounding errors grow with training; the bounds are 20 times what was seen. The
 * backend is `ref`: the ReLUs of a fast one differ now and then in the sign of a zero, with one rank and
 * with several, which after a few steps is seen everywhere (tests/backend/test_conformance.c has its batch
 * norm over ranks). */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "tests/support/dataset.h"
#include "tests/support/trained.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/class_weights.h"

static struct dataset set;

static struct im_conf configuration(const char *run_name, int ranks, int batch, bool sync)
{
    char numbers[2][16];
    const char *const keys[][2] = {
        {"epochs", "1"},
        {"image-size", "8"},
        {"model", "resnet20"},
        {"stem", "small"},
        {"lr", "0.01"},
        {"encoded-cells", "9"},
        {"cell-bytes", "4096"},
        {"queue-depth", "3"},
        {"batches-ahead", "2"},
        {"log-level", "error"},
        {"trainer-threads", "1"},
        {"readers", "1"},
        {"augmenters", "2"},
        {"seed", "5"},
        {"drop-last", "false"},
        {"backend", "ref"},
        {"ranks", numbers[0]},
        {"batch-size", numbers[1]},
        {"sync-bn", sync ? "true" : "false"},
    };
    struct im_text text = {""};
    struct im_conf conf;

    snprintf(numbers[0], sizeof numbers[0], "%d", ranks);
    snprintf(numbers[1], sizeof numbers[1], "%d", batch);
    im_conf_defaults(&conf);
    trained_set_keys(&conf, keys, IM_COUNT(keys));
    if (dataset_configure(&set, run_name, &conf, &text) < 0)
        fail_msg("%s", text.s);
    return conf;
}

/* Trains; every pass delivers each sample once. */
static struct im_conf trained(const char *run_name, int ranks, int batch, bool sync)
{
    struct im_conf conf = configuration(run_name, ranks, batch, sync);

    assert_int_equal(trained_run(&conf, UINT64_MAX, NULL, NULL, 1), IM_EXIT_OK);
    return conf;
}

/* The largest difference of a tensor's elements, as a share of its largest element; over all tensors. */
static double difference(const struct im_conf *a, const struct im_conf *b)
{
    struct tr_safetensors *ours = trained_state(a), *theirs = trained_state(b);
    double worst = 0;

    assert_true(tr_safetensors_count(ours) > 100);
    assert_int_equal(tr_safetensors_count(ours), tr_safetensors_count(theirs));
    for (size_t i = 0; i < tr_safetensors_count(ours); i++) {
        const struct tr_tensor *x = tr_safetensors_at(ours, i), *y = tr_safetensors_at(theirs, i);
        double largest = 0, apart = 0;
        size_t bytes;

        assert_string_equal(x->name, y->name);
        assert_int_equal(tr_tensor_bytes(x, &bytes), 0);
        if (x->dtype != TR_F32) {
            assert_memory_equal(x->data, y->data, bytes);
            continue;
        }
        for (size_t k = 0; k < bytes / sizeof(float); k++) {
            double p = (double)((const float *)x->data)[k], q = (double)((const float *)y->data)[k];

            largest = fmax(largest, fabs(q));
            apart = fmax(apart, fabs(p - q));
        }
        worst = fmax(worst, largest > 0 ? apart / largest : apart);
    }
    tr_safetensors_close(&ours);
    tr_safetensors_close(&theirs);
    return worst;
}

/* 27 images, 8 a step: three steps and a short one. */
static void two_ranks_train_what_one_trains_with_twice_the_batch(void **state)
{
    struct im_conf one = trained("one", 1, 8, false), two = trained("two", 2, 4, true);
    double d = difference(&two, &one);

    (void)state;
    print_message("%.2g\n", d);
    assert_true(d < 3e-5);
}

/* 27 images, 25 a step: the second step has one for rank 0, one for rank 1, none for the others. */
static void a_rank_without_samples_changes_nothing(void **state)
{
    struct im_conf one = trained("one-25", 1, 25, false), five = trained("five", 5, 5, true);
    double d = difference(&five, &one);

    (void)state;
    print_message("%.2g\n", d);
    assert_true(d < 3e-5);
}

/* As `imsuper-reader data measure` writes it. */
static void write_class_weights(const struct im_conf *conf)
{
    static const double weights[TRAINED_CLASSES] = {0.25, 1, 4};
    char path[PATH_MAX];
    FILE *file;

    snprintf(path, sizeof path, "%.900s/" TR_CLASS_WEIGHTS_FILE, conf->run_dir);
    file = fopen(path, "w");
    assert_non_null(file);
    for (int k = 0; k < TRAINED_CLASSES; k++)
        fprintf(file, "%g\t%d\tclass_%03d\n", weights[k], TRAINED_PER_CLASS, k);
    assert_int_equal(fclose(file), 0);
}

/* With weights of the classes, over windows of two batches; every pass delivers each sample once. */
static struct im_conf trained_weighted(const char *run_name, int ranks, int batch, const char *weights)
{
    const char *const keys[][2] = {{"accumulate", "2"}, {"class-weights", weights}};
    struct im_conf conf = configuration(run_name, ranks, batch, true);

    trained_set_keys(&conf, keys, IM_COUNT(keys));
    write_class_weights(&conf);
    assert_int_equal(trained_run(&conf, UINT64_MAX, NULL, NULL, 1), IM_EXIT_OK);
    return conf;
}

/* The sum of the losses is divided by the sum of the weights of all batches of a step on all ranks: ranks and batches
 * have samples of different classes, and their own sums would give other weights. tests/backend/test_trajectory.c
 * compares one rank's with PyTorch. */
static void class_weights_are_divided_by_over_ranks_and_batches(void **state)
{
    struct im_conf one = trained_weighted("one-w", 1, 8, "balanced"),
                   two = trained_weighted("two-w", 2, 4, "balanced"),
                   plain = trained_weighted("one-p", 1, 8, "");
    double d = difference(&two, &one);

    (void)state;
    print_message("%.2g, from without weights %.2g\n", d, difference(&one, &plain));
    assert_true(d < 3e-5);
    assert_true(difference(&one, &plain) > 1e-2);
}

/* So that the bounds above mean something. */
static void without_sync_batch_norm_is_each_ranks_own(void **state)
{
    struct im_conf one = trained("one-again", 1, 8, false), two = trained("apart", 2, 4, false);
    double d = difference(&two, &one);

    (void)state;
    print_message("%.2g\n", d);
    assert_true(d > 1e-2);
}

static void ranks_give_the_same_bits_in_every_run(void **state)
{
    struct im_conf first = trained("first", 3, 3, true), second = trained("second", 3, 3, true);

    (void)state;
    assert_true(difference(&first, &second) == 0);
}

static int make_set(void **state)
{
    (void)state;
    trained_make_set(&set);
    return 0;
}

static int remove_set(void **state)
{
    (void)state;
    dataset_remove(&set);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_ranks_train_what_one_trains_with_twice_the_batch),
        cmocka_unit_test(a_rank_without_samples_changes_nothing),
        cmocka_unit_test(class_weights_are_divided_by_over_ranks_and_batches),
        cmocka_unit_test(without_sync_batch_norm_is_each_ranks_own),
        cmocka_unit_test(ranks_give_the_same_bits_in_every_run),
    };

    return cmocka_run_group_tests(tests, make_set, remove_set);
}
