/* The whole pipeline as threads of one process: readers, augmenters and the trainer's own loop over one
 * mapping of the rings, on a small synthetic set with awkward files in it. Built with ThreadSanitizer it
 * shows that the words of the rings are all the synchronisation that the data behind them needs; in every
 * build it shows that what is trained does not depend on who did the work.
 *
 * The backend is `ref` with one thread: oneDNN and its OpenMP are not built with the sanitizers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/log.h"
#include "ipc/base/verdict.h"
#include "ipc/cell_word.h"
#include "ipc/encoded.h"
#include "ipc/process.h"
#include "ipc/shuffle.h"
#include "ipc/wait.h"
#include "reader/dataset/index.h"
#include "tests/support/dataset.h"
#include "tests/support/trained.h"
#include "trainer/checkpoint/checkpoint.h"

enum { CLASSES = 3, PER_CLASS = 9, VAL_PER_CLASS = 3, BAD = 2, EPOCHS = 2, BATCH = 8, SIZE = 8, CELL = 4096 };

/* train/class_000: one file without bytes, one that ends in its middle. Sample ids: sorted by name. */
static const char *const bad_files[BAD] = {"train/class_000/00003.jpg", "train/class_000/00005.jpg"};

static struct dataset set;

/* The smallest rings that there can be make everyone wait for everyone. */
static struct im_conf configuration(const char *run_name, const char *readers, const char *augmenters)
{
    const char *const keys[][2] = {
        {"epochs", "2"},        {"batch-size", "8"},        {"image-size", "8"},
        {"model", "resnet20"},  {"stem", "small"},          {"backend", "ref"},
        {"lr", "0.05"},         {"trainer-threads", "1"},   {"encoded-cells", "7"},
        {"cell-bytes", "4096"}, {"queue-depth", "3"},       {"batches-ahead", "2"},
        {"drop-last", "false"}, {"log-level", "error"},     {"seed", "5"},
        {"readers", readers},   {"augmenters", augmenters},
    };
    struct im_text text = {""};
    struct im_conf conf;

    im_conf_defaults(&conf);
    trained_set_keys(&conf, keys, IM_COUNT(keys));
    if (dataset_configure(&set, run_name, &conf, &text) < 0)
        fail_msg("%s", text.s);
    return conf;
}

static void assert_same_weights(const struct im_conf *a, const struct im_conf *b)
{
    struct tr_safetensors *ours = trained_state(a), *theirs = trained_state(b);

    assert_true(tr_safetensors_count(ours) > 100);
    assert_int_equal(tr_safetensors_count(ours), tr_safetensors_count(theirs));
    for (size_t i = 0; i < tr_safetensors_count(ours); i++) {
        const struct tr_tensor *x = tr_safetensors_at(ours, i), *y = tr_safetensors_at(theirs, i);
        size_t bytes, other;

        assert_string_equal(x->name, y->name);
        assert_int_equal(tr_tensor_bytes(x, &bytes), 0);
        assert_int_equal(tr_tensor_bytes(y, &other), 0);
        assert_int_equal(bytes, other);
        if (memcmp(x->data, y->data, bytes) != 0)
            fail_msg("%s differs", x->name);
    }
    tr_safetensors_close(&ours);
    tr_safetensors_close(&theirs);
}

/* The run of one reader and one augmenter that others are compared with; trained once. */
static const struct im_conf *plain_run(void)
{
    static struct im_conf conf;

    if (!conf.run_dir[0]) {
        conf = configuration("plain", "1", "1");
        assert_int_equal(trained_run(&conf, UINT64_MAX, NULL, NULL, EPOCHS), IM_EXIT_OK);
    }
    return &conf;
}

static void the_number_of_workers_does_not_change_a_bit(void **state)
{
    struct im_conf many = configuration("many", "2", "3");

    (void)state;
    assert_int_equal(trained_run(&many, UINT64_MAX, NULL, NULL, EPOCHS), IM_EXIT_OK);
    assert_same_weights(plain_run(), &many);
}

/* Fences off one reader and one augmenter after another, each while the run goes on, and starts it again. */
struct replacing {
    uint64_t last;
    uint32_t turn, replaced;
};

static void replace_one(void *context, struct pipeline *p, uint64_t next_batch)
{
    struct replacing *r = context;

    if (next_batch == r->last)
        return;
    r->last = next_batch;
    enum im_role role = r->turn % 2 ? IM_ROLE_READER : IM_ROLE_AUGMENTER;
    uint32_t index = r->turn++ / 2 % 2;
    int left = pipeline_stop(p, role, index, NULL);

    assert_int_equal(left, IM_EXIT_FENCED);
    assert_int_equal(pipeline_start(p, role, index, NULL), 0);
    r->replaced++;
}

static void replacing_workers_leaves_no_trace_in_the_weights(void **state)
{
    struct im_conf conf = configuration("replaced", "2", "2");
    struct replacing replacing = {0};

    (void)state;
    assert_int_equal(trained_run(&conf, UINT64_MAX, replace_one, &replacing, EPOCHS), IM_EXIT_OK);
    assert_true(replacing.replaced >= 4);
    assert_same_weights(plain_run(), &conf);
}

static void a_stopped_run_goes_on_to_the_same_weights(void **state)
{
    struct im_conf conf = configuration("stopped", "1", "2");

    (void)state;
    assert_int_equal(trained_run(&conf, 2, NULL, NULL, 0), IM_EXIT_RESUMABLE);
    assert_int_equal(trained_run(&conf, UINT64_MAX, NULL, NULL, 0), IM_EXIT_OK);
    assert_same_weights(plain_run(), &conf);
}

/* Fences the trainer off when two batches are done; notes where it began. */
struct fencing {
    uint64_t first; /* UINT64_MAX: not seen yet */
    bool fences;
};

static void fence_trainer(void *context, struct pipeline *p, uint64_t next_batch)
{
    struct im_run *run = pipeline_run(p);
    uint32_t slot = im_run_slot(run, IM_ROLE_TRAINER, 0);
    struct fencing *f = context;

    if (f->first == UINT64_MAX)
        f->first = next_batch;
    if (f->fences && next_batch >= 2)
        im_process_mark_dead(run, slot, im_process_incarnation(run, slot));
}

static void a_trainer_goes_on_from_the_snapshot_of_another(void **state)
{
    struct im_conf conf = configuration("snapshot", "1", "2");
    struct fencing first = {.first = UINT64_MAX, .fences = true}, second = {.first = UINT64_MAX};
    const char *const often[][2] = {{"snapshot-interval", "0"}, {"snapshot-steps", "1"}};
    struct im_text text = {""};
    struct pipeline *p;

    (void)state;
    trained_set_keys(&conf, often, 2);
    p = trained_open(&conf);
    assert_int_equal(pipeline_train(p, UINT64_MAX, fence_trainer, &first, &text), IM_EXIT_FENCED);
    if (pipeline_train(p, UINT64_MAX, fence_trainer, &second, &text) != IM_EXIT_OK)
        fail_msg("%s", text.s);
    assert_true(second.first >= 2);
    assert_same_weights(plain_run(), &conf);
    pipeline_close(&p);
}

/* What a consumer saw of both splits. */
struct seen {
    const struct im_conf *conf;
    uint64_t samples;
    uint32_t bad;
};

static bool is_grey(const unsigned char *pixels, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (pixels[i] != pixels[0])
            return false;
    return true;
}

static int check_batch(void *context, uint64_t batch, const struct im_phase *phase,
                       const struct im_batch_view *view, uint32_t count)
{
    struct seen *seen = context;
    bool training = phase->split == IM_TRAIN;
    uint64_t n = CLASSES * (training ? PER_CLASS : VAL_PER_CLASS);
    uint64_t first = (batch - phase->first_batch) * BATCH;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t id = training ? im_shuffle(seen->conf->seed, phase->epoch, n, first + i) : first + i;
        bool bad = training && (id == 3 || id == 5);

        assert_int_equal(view->samples[i], id);
        assert_int_equal(view->labels[i], id / (training ? PER_CLASS : VAL_PER_CLASS));
        assert_int_equal(view->verdicts[i] != 0, bad);
        assert_int_equal(is_grey(view->pixels + i * (SIZE * SIZE * 3), SIZE * SIZE * 3), bad);
        seen->bad += bad;
    }
    seen->samples += count;
    return 0;
}

static void every_sample_comes_once_at_its_place(void **state)
{
    struct im_conf conf = configuration("consumed", "2", "2");
    struct pipeline *p = trained_open(&conf);
    struct seen seen = {.conf = &conf};
    struct im_text text = {""};

    (void)state;
    pipeline_begin(p, 0);
    assert_int_equal(pipeline_start_workers(p), 0);
    if (pipeline_consume(p, 0, 0, pipeline_plan(p)->batches, check_batch, &seen, &text) != 0)
        fail_msg("%s", text.s);
    assert_int_equal(seen.samples, EPOCHS * CLASSES * (PER_CLASS + VAL_PER_CLASS));
    assert_int_equal(seen.bad, EPOCHS * BAD);
    pipeline_close(&p);
}

/* Inverts the first byte of up to `most` cells that are ready. Returns of how many. */
static uint32_t overwrite_ready_cells(struct im_run *run, uint32_t most)
{
    uint32_t overwritten = 0;

    for (uint32_t cell = 0; cell < run->geometry.encoded_cells && overwritten < most; cell++) {
        uint64_t word = atomic_load_explicit(&run->encoded_word[cell], memory_order_acquire);

        if (im_word_state(word) != IM_READY || run->encoded_meta[cell].bytes == 0)
            continue;
        *im_run_cell_bytes(run, cell) ^= 0xff;
        overwritten++;
    }
    return overwritten;
}

/* Somebody writes into cells after their bytes were hashed, as a read of a killed reader may. */
static void overwritten_bytes_are_read_again(void **state)
{
    struct im_conf conf = configuration("overwritten", "1", "1");
    struct pipeline *p = trained_open(&conf);
    struct im_run *run = pipeline_run(p);
    struct seen seen = {.conf = &conf};
    struct im_stats_view stats;
    struct im_text text = {""};
    uint32_t overwritten;

    (void)state;
    pipeline_begin(p, 0);
    assert_int_equal(pipeline_start(p, IM_ROLE_READER, 0, NULL), 0);
    for (int i = 0; i < 200 && im_encoded_count(run, IM_READY) < run->geometry.encoded_cells; i++)
        im_event_wait(&run->control->event_ready, im_event_look(&run->control->event_ready), IM_WAIT_MAX_NS);
    /* An augmenter that finds more of them in a row leaves. */
    overwritten = overwrite_ready_cells(run, 3);
    assert_int_equal(overwritten, 3);
    assert_int_equal(pipeline_start(p, IM_ROLE_AUGMENTER, 0, NULL), 0);
    if (pipeline_consume(p, 0, 0, pipeline_plan(p)->batches, check_batch, &seen, &text) != 0)
        fail_msg("%s", text.s);
    assert_int_equal(seen.bad, EPOCHS * BAD);
    im_stats_read(&run->stats[im_run_slot(run, IM_ROLE_AUGMENTER, 0)], im_now(), &stats);
    assert_int_equal(stats.counter[IM_C_FAULTS], overwritten);
    pipeline_close(&p);
}

static int use_up(void *context, uint64_t batch, const struct im_phase *phase,
                  const struct im_batch_view *view, uint32_t count)
{
    uint64_t *samples = context;

    (void)batch;
    (void)phase;
    (void)view;
    *samples += count;
    return 0;
}

/* Batches that are freed at once keep readers and augmenters at the rings, where races would be. */
static void readers_and_augmenters_run_at_full_speed(void **state)
{
    struct im_conf conf = configuration("speed", "2", "3");
    const char *const epochs[2] = {"epochs", "20"};
    struct im_text text = {""};
    struct pipeline *p = NULL;
    uint64_t samples = 0;

    (void)state;
    trained_set_keys(&conf, &epochs, 1);
    p = trained_open(&conf);
    pipeline_begin(p, 0);
    assert_int_equal(pipeline_start_workers(p), 0);
    if (pipeline_consume(p, 0, 0, pipeline_plan(p)->batches, use_up, &samples, &text) != 0)
        fail_msg("%s", text.s);
    assert_int_equal(samples, 20 * CLASSES * (PER_CLASS + VAL_PER_CLASS));
    assert_int_equal(atomic_load_explicit(&pipeline_run(p)->control->bad_overflow, memory_order_relaxed), 0);
    pipeline_close(&p);
}

static void damage(const char *file, size_t bytes)
{
    struct im_text text = {""};
    char path[PATH_MAX], *content;
    size_t n;

    snprintf(path, sizeof path, "%s/%s", set.data, file);
    if (im_read_file(path, 1 << 20, &content, &n, &text) < 0)
        fail_msg("%s", text.s);
    assert_true(bytes < n);
    if (im_file_replace(path, content, bytes, &text) < 0)
        fail_msg("%s", text.s);
    free(content);
}

/* How many training files are larger than a cell, and go to the augmenters by reference. */
static uint32_t count_large(void)
{
    struct rd_index index;
    uint32_t large = 0;

    assert_int_equal(rd_index_open(set.index_file, &index, NULL), 0);
    for (uint64_t id = 0; id < rd_index_count(&index, IM_TRAIN); id++) {
        char path[PATH_MAX];
        struct stat st;

        assert_true(rd_index_path(&index, IM_TRAIN, id, path, sizeof path) > 0);
        assert_int_equal(stat(path, &st), 0);
        large += st.st_size > CELL;
    }
    rd_index_close(&index);
    return large;
}

static int make_set(void **state)
{
    /* Up to 96 pixels a side and 4096-byte cells: some files travel in a cell, some by reference. */
    const struct rd_synth synth = {.class_count = CLASSES,
                                   .per_class = PER_CLASS,
                                   .val_per_class = VAL_PER_CLASS,
                                   .seed = 3,
                                   .size_min = 16,
                                   .size_max = 96,
                                   .quality = 95};
    struct im_text text = {""};

    (void)state;
    im_log_level(IM_LOG_ERROR);
    if (dataset_make(&set, &synth, &text) < 0)
        fail_msg("%s", text.s);
    damage(bad_files[0], 0);
    damage(bad_files[1], 200);
    assert_in_range(count_large(), 1, CLASSES * PER_CLASS - 1);
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
        cmocka_unit_test(every_sample_comes_once_at_its_place),
        cmocka_unit_test(overwritten_bytes_are_read_again),
        cmocka_unit_test(readers_and_augmenters_run_at_full_speed),
        cmocka_unit_test(the_number_of_workers_does_not_change_a_bit),
        cmocka_unit_test(replacing_workers_leaves_no_trace_in_the_weights),
        cmocka_unit_test(a_stopped_run_goes_on_to_the_same_weights),
        cmocka_unit_test(a_trainer_goes_on_from_the_snapshot_of_another),
    };

    return cmocka_run_group_tests(tests, make_set, remove_set);
}
