/* The samples that the draws of a balanced epoch stand for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reader/balance.h"
#include "reader/dataset/index_file.h"
#include "tests/unit/reader/tree.h"

enum { SAMPLES = 103, CLASSES = 4 };
/* The first has no image. The others come one after the other, as in a table that nobody sorted. */
static const uint64_t images[CLASSES] = {0, 70, 25, 8};

struct set {
    void *bytes;
    struct rd_index index;
    struct rd_balance balance;
};

static struct set make(void)
{
    const struct rd_index_origin origin = {.root = "/data", .layout = RD_LAYOUT_FOLDERS};
    struct rd_index_writer w = {.sample_count = {0}};
    uint64_t left[CLASSES];
    struct set s = {.bytes = NULL};
    struct im_text text = {""};
    size_t size;
    int64_t directory;

    memcpy(left, images, sizeof left);
    for (int c = 0; c < CLASSES; c++)
        rd_writer_class(&w, (const char *[]){"a", "b", "c", "d"}[c]);
    directory = rd_writer_directory(&w, "train");
    for (int i = 0, label = 0; i < SAMPLES; i++) {
        do
            label = (label + 1) % CLASSES;
        while (left[label] == 0);
        left[label]--;
        assert_int_equal(rd_writer_sample(&w, IM_TRAIN, (uint32_t)directory, "x.jpg", (uint32_t)label), 0);
    }
    assert_int_equal(rd_writer_finish(&w, &origin, &s.bytes, &size), 0);
    if (rd_index_attach(s.bytes, size, &s.index, &text) < 0)
        fail_msg("%s", text.s);
    assert_int_equal(rd_balance_open(&s.index, &s.balance), 0);
    rd_writer_fini(&w);
    return s;
}

static void free_set(struct set *s)
{
    rd_balance_close(&s->balance);
    rd_index_close(&s->index);
    free(s->bytes);
}

/* How often each sample comes in an epoch. */
static void count(const struct set *s, uint64_t seed, uint32_t epoch, unsigned times[SAMPLES])
{
    memset(times, 0, SAMPLES * sizeof *times);
    for (uint64_t draw = 0; draw < SAMPLES; draw++) {
        const uint64_t sample = rd_balance_sample(&s->balance, seed, epoch, draw);

        assert_true(sample < SAMPLES);
        times[sample]++;
    }
}

static void every_class_comes_as_often(void **state)
{
    struct set s = make();

    (void)state;
    assert_int_equal(s.balance.classes, 3);
    for (uint32_t epoch = 0; epoch < 5; epoch++) {
        unsigned times[SAMPLES], of_class[CLASSES] = {0};

        count(&s, 7, epoch, times);
        for (uint64_t i = 0; i < SAMPLES; i++) {
            const uint32_t label = rd_index_label(&s.index, IM_TRAIN, i);
            const unsigned least = (unsigned)(SAMPLES / 3 / images[label]);

            of_class[label] += times[i];
            assert_in_range(times[i], least, least + 2); /* evenly within its class */
        }
        assert_int_equal(of_class[0], 0);
        for (int c = 1; c < CLASSES; c++)
            assert_in_range(of_class[c], SAMPLES / 3, SAMPLES / 3 + 1);
    }
    free_set(&s);
}

/* No image of a large class is left out for ever. */
static void all_samples_come_within_some_epochs(void **state)
{
    unsigned times[SAMPLES], all[SAMPLES] = {0};
    struct set s = make();

    (void)state;
    for (uint32_t epoch = 0; epoch < 30; epoch++) {
        count(&s, 7, epoch, times);
        for (int i = 0; i < SAMPLES; i++)
            all[i] += times[i];
    }
    for (int i = 0; i < SAMPLES; i++)
        assert_true(all[i] > 0);
    free_set(&s);
}

static void it_is_a_function_of_seed_and_epoch(void **state)
{
    struct set s = make(), same = make();
    int other_seed = 0, other_epoch = 0;

    (void)state;
    for (uint64_t draw = 0; draw < SAMPLES; draw++) {
        const uint64_t sample = rd_balance_sample(&s.balance, 7, 1, draw);

        assert_int_equal(rd_balance_sample(&same.balance, 7, 1, draw), sample);
        other_seed += rd_balance_sample(&s.balance, 8, 1, draw) != sample;
        other_epoch += rd_balance_sample(&s.balance, 7, 2, draw) != sample;
    }
    assert_true(other_seed > SAMPLES / 2 && other_epoch > SAMPLES / 2);
    free_set(&s);
    free_set(&same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_comes_as_often),
        cmocka_unit_test(all_samples_come_within_some_epochs),
        cmocka_unit_test(it_is_a_function_of_seed_and_epoch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
