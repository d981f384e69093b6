/* Cells whose bytes change after they were read. They are decoded before that is noticed: nothing may be learnt from
 * what was made of them, and the run's pixels are those of a run without damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/hash.h"
#include "ipc/cell_word.h"
#include "ipc/encoded.h"
#include "ipc/seek_file.h"
#include "ipc/seek_ring.h"
#include "ipc/wait.h"
#include "tests/support/dataset.h"
#include "tests/support/trained.h"

enum { CLASSES = 2, PER_CLASS = 12, VAL_PER_CLASS = 4, BATCH = 8, SIZE = 32, EPOCHS = 2, BATCHES = 8 };
enum { IMAGES = CLASSES * (PER_CLASS + VAL_PER_CLASS), DAMAGED = 3, RECORDS = 4 * IMAGES };
static_assert(EPOCHS * IMAGES == BATCHES * BATCH, "batches are full");

static struct dataset set;

enum kind { PLAIN, SEEK_INDEX, PIXEL_CACHE };

enum what { NOTHING, BYTES, BYTES_AFTER_A_DEATH, BYTES_OF_THE_DEAD, META };

/* What a run made of the images. */
struct made {
    struct pipeline *p;
    uint64_t pixels[BATCHES], verdicts;
    uint64_t key[RECORDS], index[RECORDS], wrong; /* seek indexes */
    uint32_t records;
    uint64_t rendered, faults, kept;
};

static struct im_conf configuration(const char *run_name, enum kind kind)
{
    const char *const keys[][2] = {
        {"epochs", "2"},          {"batch-size", "8"},    {"image-size", "32"},   {"model", "resnet20"},
        {"stem", "small"},        {"backend", "ref"},     {"encoded-cells", "7"}, {"queue-depth", "7"},
        {"batches-ahead", "2"},   {"drop-last", "false"}, {"log-level", "error"}, {"seed", "5"},
        {"cell-bytes", "262144"}, {"readers", "1"},       {"augmenters", "1"},    {"pixel-cache", "off"},
    };
    const char *const cache[][2] = {{"pixel-cache", "ram"}};
    struct im_text text = {""};
    struct im_seek_owner owner;
    struct im_conf conf;

    im_conf_defaults(&conf);
    trained_set_keys(&conf, keys, IM_COUNT(keys));
    if (kind == PIXEL_CACHE)
        trained_set_keys(&conf, cache, 1);
    if (dataset_configure(&set, run_name, &conf, &text) < 0)
        fail_msg("%s", text.s);
    if (kind == SEEK_INDEX) { /* empty, and owned by nobody: it stays so */
        snprintf(conf.seek_file, sizeof conf.seek_file, "%.900s/%s.seek", set.root, run_name);
        if (im_seek_own(conf.seek_file, IMAGES, &owner, &text) < 0)
            fail_msg("%s", text.s);
        im_seek_disown(&owner);
    }
    return conf;
}

/* Changes the first cells: their labels, or bits all over their bytes, header and end excepted, so that they can still be decoded. */
static void damage(struct im_run *run, enum what what)
{
    enum { PLACES = 16 };

    if (what == NOTHING)
        return;
    if (what == BYTES_AFTER_A_DEATH)
        im_encoded_compare_all(run);
    for (uint32_t cell = 0; cell < DAMAGED; cell++) {
        struct im_encoded_meta *meta = &run->encoded_meta[cell];
        unsigned char *bytes = im_run_cell_bytes(run, cell);

        assert_int_equal(im_word_state(atomic_load_explicit(&run->encoded_word[cell], memory_order_acquire)),
                         IM_READY);
        assert_int_equal(meta->by_reference, 0);
        for (uint32_t i = 2; i < PLACES && what != META; i++)
            bytes[(uint64_t)meta->bytes * i / PLACES] ^= 0x04;
        meta->label ^= what == META;
        atomic_store_explicit(&meta->ended, what == BYTES_OF_THE_DEAD, memory_order_relaxed);
    }
}

static void take_records(struct made *m)
{
    static unsigned char bytes[IM_SEEK_BYTES_MAX];
    struct im_seek_ring *ring = &pipeline_run(m->p)->seek_ring[0];
    uint64_t key;
    int n;

    while ((n = im_seek_ring_take(ring, &key, bytes, sizeof bytes)) >= 0) {
        assert_true(m->records < RECORDS);
        m->wrong += n == 0;
        m->key[m->records] = key;
        m->index[m->records++] = im_hash64(bytes, (size_t)n, 0);
    }
}

static int take(void *context, uint64_t batch, const struct im_phase *phase, const struct im_batch_view *view,
                uint32_t count)
{
    struct made *m = context;

    (void)phase;
    assert_int_equal(count, BATCH);
    m->pixels[batch] = im_hash64(view->pixels, (size_t)count * SIZE * SIZE * 3,
                                 im_hash64(view->labels, count * sizeof *view->labels, 0));
    for (uint32_t i = 0; i < count; i++)
        m->verdicts += view->verdicts[i] != 0;
    take_records(m);
    return 0;
}

static uint64_t rendered(const struct im_stats *stats)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < IM_HISTOGRAM_BUCKETS; i++)
        n += atomic_load_explicit(&stats->histogram[IM_H_RENDER][i], memory_order_relaxed);
    return n;
}

/* A run whose first cells are damaged before the augmenter sees them, or not. */
static void run(const char *name, enum kind kind, enum what what, struct made *ret)
{
    struct im_conf conf = configuration(name, kind);
    struct im_text text = {""};
    struct im_stats_view stats;
    struct im_run *run;
    const struct im_stats *page;

    *ret = (struct made){.p = trained_open(&conf)};
    run = pipeline_run(ret->p);
    page = &run->stats[im_run_slot(run, IM_ROLE_AUGMENTER, 0)];
    atomic_store_explicit(&run->control->seek_wanted, kind == SEEK_INDEX, memory_order_relaxed);
    pipeline_begin(ret->p, 0);
    assert_int_equal(pipeline_start(ret->p, IM_ROLE_READER, 0, NULL), 0);
    for (int i = 0; i < 200 && im_encoded_count(run, IM_READY) < run->geometry.encoded_cells; i++)
        im_event_wait(&run->control->event_ready, im_event_look(&run->control->event_ready), IM_WAIT_MAX_NS);
    damage(run, what);
    assert_int_equal(pipeline_start(ret->p, IM_ROLE_AUGMENTER, 0, NULL), 0);
    if (pipeline_consume(ret->p, 0, 0, BATCHES, take, ret, &text) != 0)
        fail_msg("%s", text.s);
    pipeline_stop(ret->p, IM_ROLE_AUGMENTER, 0, NULL);
    take_records(ret);
    im_stats_read(page, im_now(), &stats);
    ret->rendered = rendered(page);
    ret->faults = stats.counter[IM_C_FAULTS];
    ret->kept = stats.counter[IM_C_PIXELS_MADE];
    for (uint32_t cell = 0; cell < run->geometry.encoded_cells; cell++)
        assert_int_equal(atomic_load_explicit(&run->encoded_meta[cell].ended, memory_order_relaxed), 0);
    assert_int_equal(atomic_load_explicit(&run->bad_sample[0].key, memory_order_relaxed), 0);
    pipeline_close(&ret->p);
}

static void assert_same_pixels(const struct made *damaged, const struct made *plain)
{
    assert_int_equal(plain->faults, 0);
    assert_int_equal(damaged->faults, DAMAGED);
    assert_int_equal(plain->verdicts + damaged->verdicts, 0);
    for (int i = 0; i < BATCHES; i++)
        assert_int_equal(damaged->pixels[i], plain->pixels[i]);
}

static void those_of_one_ticket_in_some_are_compared_while_nothing_died(void **state)
{
    static_assert(DAMAGED > 1 && DAMAGED <= IM_COMPARED_EACH, "the first one is compared, and no other");
    struct made damaged;

    (void)state;
    run("seldom", PLAIN, BYTES, &damaged);
    assert_int_equal(damaged.faults, 1);
    assert_int_equal(damaged.rendered, EPOCHS * IMAGES + 1);
}

static void bytes_that_changed_are_decoded_again_and_blame_no_file(void **state)
{
    struct made plain, damaged;

    (void)state;
    run("plain", PLAIN, NOTHING, &plain);
    run("damaged", PLAIN, BYTES_AFTER_A_DEATH, &damaged);
    assert_same_pixels(&damaged, &plain);
    assert_int_equal(plain.rendered, EPOCHS * IMAGES);
    assert_int_equal(damaged.rendered, EPOCHS * IMAGES + DAMAGED);
}

static void bytes_that_an_augmenter_ended_on_are_compared_before_they_are_decoded(void **state)
{
    struct made plain, damaged;

    (void)state;
    run("plain_before", PLAIN, NOTHING, &plain);
    run("ended", PLAIN, BYTES_OF_THE_DEAD, &damaged);
    assert_same_pixels(&damaged, &plain);
    assert_int_equal(damaged.rendered, EPOCHS * IMAGES);
}

static void what_is_said_of_the_bytes_is_checked_first(void **state)
{
    struct made plain, damaged;

    (void)state;
    run("plain_meta", PLAIN, NOTHING, &plain);
    run("damaged_meta", PLAIN, META, &damaged);
    assert_same_pixels(&damaged, &plain);
    assert_int_equal(damaged.rendered, EPOCHS * IMAGES);
}

static void assert_indexes_of(const struct made *some, const struct made *plain)
{
    assert_int_equal(some->wrong, 0);
    for (uint32_t i = 0; i < some->records; i++) {
        uint32_t k = 0;

        while (k < plain->records && plain->key[k] != some->key[i])
            k++;
        assert_true(k < plain->records);
        assert_int_equal(some->index[i], plain->index[k]);
    }
}

static void no_seek_index_is_made_of_bytes_that_changed(void **state)
{
    struct made plain, damaged;

    (void)state;
    run("plain_seek", SEEK_INDEX, NOTHING, &plain);
    assert_int_equal(plain.wrong, 0);
    assert_true(plain.records >= IMAGES);
    run("damaged_seek", SEEK_INDEX, BYTES_AFTER_A_DEATH, &damaged);
    assert_same_pixels(&damaged, &plain);
    assert_int_equal(damaged.records, plain.records);
    assert_indexes_of(&damaged, &plain);
    run("seldom_seek", SEEK_INDEX, BYTES, &damaged);
    assert_indexes_of(&damaged, &plain);
}

/* The second epoch is cropped from what the first has kept. */
static void the_pixel_cache_keeps_nothing_of_bytes_that_changed(void **state)
{
    struct made plain, damaged;

    (void)state;
    run("plain_cache", PIXEL_CACHE, NOTHING, &plain);
    run("damaged_cache", PIXEL_CACHE, BYTES, &damaged);
    assert_same_pixels(&damaged, &plain);
    assert_int_equal(plain.kept, IMAGES);
    assert_int_equal(damaged.kept, IMAGES);
}

static int make_set(void **state)
{
    const struct rd_synth synth = {.class_count = CLASSES,
                                   .per_class = PER_CLASS,
                                   .val_per_class = VAL_PER_CLASS,
                                   .seed = 3,
                                   .size_min = 200,
                                   .size_max = 260,
                                   .quality = 97};
    struct im_text text = {""};

    (void)state;
    if (dataset_make(&set, &synth, &text) < 0)
        fail_msg("%s", text.s);
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
        cmocka_unit_test(those_of_one_ticket_in_some_are_compared_while_nothing_died),
        cmocka_unit_test(bytes_that_changed_are_decoded_again_and_blame_no_file),
        cmocka_unit_test(bytes_that_an_augmenter_ended_on_are_compared_before_they_are_decoded),
        cmocka_unit_test(what_is_said_of_the_bytes_is_checked_first),
        cmocka_unit_test(no_seek_index_is_made_of_bytes_that_changed),
        cmocka_unit_test(the_pixel_cache_keeps_nothing_of_bytes_that_changed),
    };

    return cmocka_run_group_tests(tests, make_set, remove_set);
}
