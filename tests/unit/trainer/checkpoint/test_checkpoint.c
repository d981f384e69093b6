/* Checkpoints: a kill or failure at any step of a save leaves a state that loads, damage is found and
 * survived, and the files for others hold the model and nothing else. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include "ipc/base/err.h"
#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/checkpoint/checkpoint.h"

/* A model of one layer. Every value is the step, so that any mixture of two saves shows. */
struct model {
    float weight[6], bias[2], momentum[6];
    int64_t tracked;
    struct tr_tensor tensors[5];
    char step[24];
    struct tr_pair metadata[2];
    struct tr_checkpoint_content content;
};

#define MODEL_TENSORS 4 /* the fifth is the optimiser's */

static void fill(struct model *m, int step)
{
    *m = (struct model){.tracked = step};
    for (int i = 0; i < 6; i++)
        m->weight[i] = m->momentum[i] = (float)step;
    m->bias[0] = m->bias[1] = (float)step;
    m->tensors[0] = (struct tr_tensor){"fc.weight", TR_F32, 2, {2, 3}, m->weight};
    m->tensors[1] = (struct tr_tensor){"fc.bias", TR_F32, 1, {2}, m->bias};
    m->tensors[2] = (struct tr_tensor){"bn1.num_batches_tracked", TR_I64, 0, {0}, &m->tracked};
    m->tensors[3] = (struct tr_tensor){"none", TR_F32, 1, {0}, NULL};
    m->tensors[4] = (struct tr_tensor){"optimizer.momentum.fc.weight", TR_F32, 2, {2, 3}, m->momentum};
    snprintf(m->step, sizeof m->step, "%d", step);
    m->metadata[0] = (struct tr_pair){"step", m->step};
    m->metadata[1] = (struct tr_pair){"seed", "18446744073709551615"};
    m->content =
        (struct tr_checkpoint_content){m->tensors, IM_COUNT(m->tensors), m->metadata, IM_COUNT(m->metadata)};
}

static const char *join(const char *directory, const char *name)
{
    static char path[4][4096];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", directory, name);
    return path[turn];
}

static bool exists(const char *directory, const char *name)
{
    return access(join(directory, name), F_OK) == 0;
}

static int count_files(const char *directory)
{
    DIR *d = opendir(directory);
    int n = -2;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static struct tr_checkpoint_store open_store(const char *directory)
{
    struct tr_checkpoint_store store;
    struct im_text text = {""};

    assert_int_equal(tr_checkpoint_store_open(&store, directory, 2, &text), 0);
    return store;
}

static int save(const char *directory, int step, int epoch, unsigned best, struct im_text *text)
{
    struct tr_checkpoint_store store = open_store(directory);
    struct model m;

    fill(&m, step);
    return tr_checkpoint_save(&store, &m.content, epoch, best, text);
}

static void must_save(const char *directory, int step, int epoch, unsigned best)
{
    struct im_text text = {""};

    if (save(directory, step, epoch, best, &text) < 0)
        fail_msg("%s", text.s);
}

/* A number of the metadata, which must be there. */
static uint64_t number_of(const struct tr_safetensors *file, const char *key)
{
    const char *value = tr_safetensors_metadata(file, key);
    char *end;
    uint64_t number;

    assert_non_null(value);
    number = strtoull(value, &end, 10);
    assert_true(end > value && *end == '\0');
    return number;
}

/* The step in a state or export, which must be whole and of one save. */
static int step_of(const struct tr_safetensors *file, bool whole)
{
    struct model want, got;
    void *destinations[] = {got.weight, got.bias, &got.tracked, NULL, got.momentum};
    struct im_text text = {""};
    uint64_t step = number_of(file, "step");

    fill(&want, (int)step);
    got = want;
    memset(got.weight, 0xee, sizeof got.weight);
    if (tr_checkpoint_restore(file, want.tensors, destinations, whole ? 5 : MODEL_TENSORS, NULL, &text) < 0)
        fail_msg("%s", text.s);
    assert_memory_equal(got.weight, want.weight, sizeof want.weight);
    assert_memory_equal(got.bias, want.bias, sizeof want.bias);
    assert_memory_equal(got.momentum, want.momentum, sizeof want.momentum);
    assert_int_equal(got.tracked, step);
    return (int)step;
}

static int model_step(const char *directory, const char *name)
{
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};
    int step = -1;

    if (tr_checkpoint_open_file(join(directory, name), &file, &text) < 0)
        fail_msg("%s", text.s);
    assert_string_equal(tr_safetensors_metadata(file, "format"), "pt");
    step = step_of(file, false);
    tr_safetensors_close(&file);
    return step;
}

/* Loads as a trainer does when it starts: returns tr_checkpoint_load()'s result, and the step; the export is
 * right after it. */
static int load(const char *directory, int *ret_step, struct im_text *text)
{
    struct tr_checkpoint_store store = open_store(directory);
    struct tr_safetensors *state = NULL;
    struct im_text mend_text = {""};
    int result = tr_checkpoint_load(&store, &state, text);

    if (result >= 0) {
        *ret_step = step_of(state, true);
        if (tr_checkpoint_repair(&store, state, &mend_text) < 0)
            fail_msg("%s", mend_text.s);
        assert_int_equal(tr_checkpoint_repair(&store, state, &mend_text), 0);
        assert_int_equal(model_step(directory, "last.safetensors"), *ret_step);
        tr_safetensors_close(&state);
    }
    assert_null(state);
    return result;
}

static void assert_loads(const char *directory, int step)
{
    struct im_text text = {""};
    int got = -1;

    if (load(directory, &got, &text) != 0)
        fail_msg("%s", text.s);
    assert_int_equal(got, step);
    assert_string_equal(text.s, "");
}

/* Changes one byte, counted from the end when negative. */
static void damage(const char *directory, const char *name, off_t at)
{
    int fd = open(join(directory, name), O_RDWR);
    unsigned char byte;

    assert_true(fd >= 0);
    if (at < 0)
        at += lseek(fd, 0, SEEK_END);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void what_is_saved_is_what_loads(void **state)
{
    struct tr_checkpoint_store store = open_store(*state);
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};

    must_save(*state, 7, -1, false);
    assert_loads(*state, 7);
    assert_int_equal(tr_checkpoint_load(&store, &file, &text), 0);
    assert_true(number_of(file, "seed") == UINT64_MAX);
    tr_safetensors_close(&file);
}

static void an_empty_directory_has_no_checkpoint(void **state)
{
    struct im_text text = {""};
    int step = -1;

    assert_int_equal(load(join(*state, "made/here"), &step, &text), -ENOENT);
    assert_non_null(strstr(text.s, "no checkpoint"));
}

static void exports_hold_the_model_and_nothing_of_the_optimiser(void **state)
{
    must_save(*state, 5, 1, true);
    assert_int_equal(model_step(*state, "last.safetensors"), 5);
    assert_int_equal(model_step(*state, "best.safetensors"), 5);
    assert_int_equal(model_step(*state, "epoch_001.safetensors"), 5);
}

static void the_newest_epochs_and_the_best_stay(void **state)
{
    for (int epoch = 1; epoch <= 12; epoch++)
        must_save(*state, epoch * 10, epoch, epoch == 3);
    assert_int_equal(model_step(*state, "epoch_012.safetensors"), 120);
    assert_int_equal(model_step(*state, "epoch_011.safetensors"), 110);
    assert_int_equal(model_step(*state, "best.safetensors"), 30);
    assert_int_equal(count_files(*state), 2 + 1 + 1 + 2); /* epochs, best, last, states */
}

static void a_run_begun_anew_keeps_its_first_epochs(void **state)
{
    must_save(*state, 900, 90, false);
    must_save(*state, 890, 89, false);
    must_save(*state, 10, 1, false);
    assert_int_equal(model_step(*state, "epoch_001.safetensors"), 10);
    assert_true(exists(*state, "epoch_090.safetensors"));
}

static void damage_anywhere_is_found_and_the_state_before_is_used(void **state)
{
    struct im_text text = {""};
    char *bytes = NULL;
    size_t n = 0;

    must_save(*state, 1, -1, false);
    must_save(*state, 2, -1, false);
    assert_int_equal(im_read_file(join(*state, "last.state.safetensors"), 1 << 20, &bytes, &n, &text), 0);
    for (size_t at = 0; at < n; at++) {
        FILE *file = fopen(join(*state, "last.state.safetensors"), "w");
        int step = -1;

        bytes[at] ^= 1;
        assert_int_equal(fwrite(bytes, 1, n, file), n);
        assert_int_equal(fclose(file), 0);
        bytes[at] ^= 1;
        if (load(*state, &step, &text) != 1 || step != 1 || !strstr(text.s, "last.state.safetensors"))
            fail_msg("byte %zu: step %d, \"%s\"", at, step, text.s);
    }
    free(bytes);
}

static void a_damaged_tensor_is_named_and_the_file_kept_aside(void **state)
{
    struct im_text text = {""};
    int step = -1;

    must_save(*state, 1, -1, false);
    must_save(*state, 2, -1, false);
    damage(*state, "last.state.safetensors", -1);
    assert_int_equal(load(*state, &step, &text), 1);
    assert_non_null(strstr(text.s, "optimizer.momentum.fc.weight"));
    assert_non_null(strstr(text.s, "continuing from"));
    assert_true(exists(*state, "last.damaged.state.safetensors"));
    /* The next save must not rotate anything over the good one before the new one is there. */
    must_save(*state, 3, -1, false);
    damage(*state, "last.state.safetensors", -1);
    assert_int_equal(load(*state, &step, &text), 1);
    assert_int_equal(step, 1);
}

/* A folder that holds something, an empty one, a pipe, a link to itself. */
static void put_no_file(const char *directory, const char *name, int kind)
{
    const char *path = join(directory, name);
    char inner[256];

    unlink(path);
    snprintf(inner, sizeof inner, "%s/%s/x", directory, name);
    if (kind == 2)
        assert_int_equal(mkfifo(path, 0600), 0);
    else if (kind == 3)
        assert_int_equal(symlink(name, path), 0);
    else
        assert_int_equal(mkdir(path, 0700), 0);
    if (kind == 0)
        assert_int_equal(mkdir(inner, 0700), 0);
}

#define KINDS 4

static void what_is_no_file_is_moved_aside_and_the_state_before_is_used(void **state)
{
    for (int turn = 0; turn < 2 * KINDS; turn++) { /* twice: what was moved aside before is in the way */
        struct im_text text = {""};
        int step = -1;

        must_save(*state, 3 * turn + 1, -1, false);
        must_save(*state, 3 * turn + 2, -1, false);
        put_no_file(*state, "last.state.safetensors", turn % KINDS);
        assert_int_equal(load(*state, &step, &text), 1);
        assert_int_equal(step, 3 * turn + 1);
        assert_false(exists(*state, "last.state.safetensors"));
        must_save(*state, 3 * turn + 3, -1, false);
        assert_loads(*state, 3 * turn + 3);
    }
}

/* Also of exports that are to be removed. */
static void a_save_moves_aside_what_is_no_file_where_exports_belong(void **state)
{
    static const char *const names[] = {"last.safetensors", "best.safetensors", "epoch_003.safetensors"};

    for (int kind = 0; kind < KINDS; kind++) {
        must_save(*state, 1, 1, TR_BEST_PLAIN);
        must_save(*state, 2, 2, TR_BEST_PLAIN);
        put_no_file(*state, "epoch_001.safetensors", kind);
        for (size_t i = 0; i < IM_COUNT(names); i++)
            put_no_file(*state, names[i], kind);
        must_save(*state, 3, 3, TR_BEST_PLAIN);
        for (size_t i = 0; i < IM_COUNT(names); i++) {
            assert_int_equal(model_step(*state, names[i]), 3);
            assert_true(exists(*state, kind == 0   ? "best.safetensors.1"
                                       : kind == 1 ? "best.safetensors.2"
                                                   : "best.safetensors.3"));
        }
        put_no_file(*state, "last.safetensors", kind);
        assert_loads(*state, 3);
        rmdir(join(*state, "epoch_001.safetensors/x"));
        rmdir(join(*state, "epoch_001.safetensors"));
    }
}

/* Nothing is known of the files in a folder that cannot be entered: they are not called damaged. */
static void a_folder_that_cannot_be_entered_is_no_damage(void **state)
{
    struct tr_checkpoint_store store;
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};
    FILE *there = fopen(join(*state, "away"), "we");

    assert_non_null(there);
    fclose(there);
    assert_int_equal(tr_checkpoint_store_view(&store, join(*state, "away"), &text), 0);
    assert_int_equal(tr_checkpoint_load(&store, &file, &text), -ENOTDIR);
    assert_non_null(strstr(text.s, "cannot be read"));
}

static void with_no_file_of_any_state_a_save_makes_way(void **state)
{
    static const char *const names[] = {"last.state.safetensors", "last.prev.state.safetensors",
                                        "next.state.safetensors"};

    for (int kind = 0; kind < KINDS; kind++) {
        struct im_text text = {""};
        int step = -1;

        must_save(*state, 1, -1, false);
        must_save(*state, 2, -1, false);
        for (size_t i = 0; i < IM_COUNT(names); i++)
            put_no_file(*state, names[i], kind);
        assert_int_equal(load(*state, &step, &text), -EBADMSG);
        must_save(*state, 3, -1, false);
        must_save(*state, 4, -1, false);
        assert_loads(*state, 4);
        damage(*state, "last.state.safetensors", -1);
        assert_int_equal(load(*state, &step, &text), 1);
        assert_int_equal(step, 3);
    }
}

static void a_folder_that_is_gone_is_made_again(void **state)
{
    struct im_text text = {""};
    struct tr_checkpoint_store store;
    char inner[256], moved[256];
    struct model m;

    snprintf(inner, sizeof inner, "%s/run/checkpoints", (const char *)*state);
    snprintf(moved, sizeof moved, "%s/moved", (const char *)*state);
    store = open_store(inner);
    for (int step = 1; step <= 2; step++) {
        fill(&m, step);
        assert_int_equal(tr_checkpoint_save(&store, &m.content, -1, 0, &text), 0);
        assert_true(store.state_is_saved);
        if (step == 1)
            assert_int_equal(rename(join(*state, "run"), moved), 0);
    }
    assert_loads(inner, 2);
}

/* What a save could not remove when it failed goes with the next one. */
static void what_a_failed_save_left_goes_with_the_next(void **state)
{
    struct tr_checkpoint_store store = open_store(*state);
    struct im_text text = {""};
    struct model m;

    if (im_fault_arm("", NULL) == -ENOTSUP)
        skip();
    fill(&m, 1);
    assert_int_equal(tr_checkpoint_save(&store, &m.content, -1, 0, &text), 0);
    assert_int_equal(im_fault_arm("checkpoint.models=fail:ENOSPC@1", &text), 0);
    assert_int_equal(tr_checkpoint_save(&store, &m.content, -1, 0, &text), -ENOSPC);
    assert_int_equal(im_fault_arm("", &text), 0);
    assert_true(store.state_is_saved);
    assert_int_equal(im_file_replace(join(*state, ".last.safetensors.tmp-1-0"), "x", 1, &text), 0);
    assert_int_equal(tr_checkpoint_save(&store, &m.content, -1, 0, &text), 0);
    assert_false(exists(*state, ".last.safetensors.tmp-1-0"));
}

static void a_state_cut_short_is_found(void **state)
{
    struct im_text text = {""};
    int step = -1;

    must_save(*state, 1, -1, false);
    must_save(*state, 2, -1, false);
    assert_int_equal(truncate(join(*state, "last.state.safetensors"), 100), 0);
    assert_int_equal(load(*state, &step, &text), 1);
    assert_int_equal(step, 1);
}

static void with_no_good_state_loading_fails_and_names_both(void **state)
{
    struct im_text text = {""};
    int step = -1;

    must_save(*state, 1, -1, false);
    must_save(*state, 2, -1, false);
    damage(*state, "last.state.safetensors", -1);
    damage(*state, "last.prev.state.safetensors", -1);
    assert_int_equal(load(*state, &step, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "last.state.safetensors"));
    assert_non_null(strstr(text.s, "last.prev.state.safetensors"));
    assert_true(exists(*state, "last.state.safetensors"));
}

static void a_damaged_only_state_is_no_new_run(void **state)
{
    struct im_text text = {""};
    int step = -1;

    must_save(*state, 1, -1, false);
    damage(*state, "last.state.safetensors", -1);
    assert_int_equal(load(*state, &step, &text), -EBADMSG);
}

static void anothers_safetensors_is_refused(void **state)
{
    struct im_text text = {""};
    struct model m;
    int step = -1;

    fill(&m, 1);
    assert_int_equal(
        tr_safetensors_write(join(*state, "last.state.safetensors"), m.tensors, 5, m.metadata, 2, &text), 0);
    assert_int_equal(load(*state, &step, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "no checksums"));
}

static void an_export_of_another_save_is_mended(void **state)
{
    char *bytes = NULL;
    size_t n = 0;
    struct im_text text = {""};

    must_save(*state, 1, -1, false);
    assert_int_equal(im_read_file(join(*state, "last.safetensors"), 1 << 20, &bytes, &n, &text), 0);
    must_save(*state, 2, -1, false);
    assert_int_equal(im_file_replace(join(*state, "last.safetensors"), bytes, n, &text), 0);
    free(bytes);
    assert_loads(*state, 2);
    damage(*state, "last.safetensors", -1);
    assert_loads(*state, 2);
    assert_int_equal(unlink(join(*state, "last.safetensors")), 0);
    assert_loads(*state, 2);
}

/* Averages are exported beside the model, without their prefix, kept as long as it, and mended with it. */
static void averages_are_exported_beside_the_model(void **state)
{
    struct tr_checkpoint_store store = open_store(*state);
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};
    const float average[2] = {7, 8};
    const unsigned best[] = {TR_BEST_PLAIN | TR_BEST_AVERAGE, 0, TR_BEST_AVERAGE, 0};
    struct tr_tensor tensors[6];
    struct model m;

    for (int epoch = 1; epoch <= 4; epoch++) {
        fill(&m, epoch);
        memcpy(tensors, m.tensors, sizeof m.tensors);
        tensors[5] = (struct tr_tensor){"ema.fc.bias", TR_F32, 1, {2}, average};
        m.content.tensors = tensors;
        m.content.tensor_count = IM_COUNT(tensors);
        assert_int_equal(tr_checkpoint_save(&store, &m.content, epoch, best[epoch - 1], &text), 0);
    }
    /* Each is that of its own best epoch, and stays when the files of that epoch have gone. */
    assert_int_equal(model_step(*state, "best.safetensors"), 1);
    assert_int_equal(count_files(*state), 2 * (2 + 1 + 1) + 2); /* each: epochs, best, last; states */
    assert_true(exists(*state, "epoch_003.ema.safetensors") && !exists(*state, "epoch_002.ema.safetensors"));
    assert_int_equal(tr_checkpoint_open_file(join(*state, "best.ema.safetensors"), &file, &text), 0);
    assert_int_equal(tr_safetensors_count(file), 1);
    assert_string_equal(tr_safetensors_metadata(file, "step"), "3");
    assert_memory_equal(tr_safetensors_find(file, "fc.bias")->data, average, sizeof average);
    assert_true(tr_checkpoint_is_export(file));
    tr_safetensors_close(&file);
    assert_int_equal(tr_checkpoint_open_file(join(*state, "last.safetensors"), &file, &text), 0);
    assert_int_equal(tr_safetensors_count(file), MODEL_TENSORS);
    tr_safetensors_close(&file);
    unlink(join(*state, "last.ema.safetensors"));
    assert_int_equal(tr_checkpoint_load(&store, &file, &text), 0);
    assert_false(tr_checkpoint_is_export(file));
    assert_int_equal(tr_checkpoint_repair(&store, file, &text), 1);
    assert_int_equal(tr_checkpoint_repair(&store, file, &text), 0);
    assert_true(exists(*state, "last.ema.safetensors"));
    tr_safetensors_close(&file);
}

static void restoring_is_strict(void **state)
{
    static const char *const says[] = {"needs 4", "fc.beta", "is F32", "another shape", "another shape"};
    struct tr_checkpoint_store store = open_store(*state);
    struct tr_safetensors *file = NULL;
    float untouched[8] = {1, 2, 3};
    void *destinations[] = {untouched, untouched, untouched, untouched, untouched};

    must_save(*state, 1, -1, false);
    assert_int_equal(tr_checkpoint_load(&store, &file, NULL), 0);
    for (size_t i = 0; i < IM_COUNT(says); i++) {
        struct im_text text = {""};
        struct model m;

        fill(&m, 9);
        if (i == 1)
            m.tensors[1].name = "fc.beta";
        if (i == 2)
            m.tensors[1].dtype = TR_I32;
        if (i == 3)
            m.tensors[1].shape[0] = 3;
        if (i == 4)
            m.tensors[1].rank = 2;
        assert_int_equal(tr_checkpoint_restore(file, m.tensors, destinations, i ? 5 : 4, NULL, &text),
                         -EBADMSG);
        if (!strstr(text.s, says[i]))
            fail_msg("\"%s\" does not say \"%s\"", text.s, says[i]);
        assert_true(untouched[0] == 1 && untouched[2] == 3);
    }
    tr_safetensors_close(&file);
}

static void reserved_metadata_is_refused(void **state)
{
    struct tr_checkpoint_store store = open_store(*state);
    struct im_text text = {""};
    struct model m;

    fill(&m, 1);
    m.metadata[1].key = "checksum";
    assert_int_equal(tr_checkpoint_save(&store, &m.content, -1, 0, &text), -EINVAL);
    assert_int_equal(count_files(*state), 0);
}

struct buffer {
    char bytes[8192];
    size_t n;
};

static int append(void *context, const void *bytes, size_t n, struct im_text *text)
{
    struct buffer *b = context;

    if (n > sizeof b->bytes - b->n)
        return im_fail(text, -ENOSPC, "full");
    memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
    return 0;
}

static char *copy_of(const char *bytes, size_t n)
{
    char *copy = malloc(n);

    assert_non_null(copy);
    memcpy(copy, bytes, n);
    return copy;
}

static void in_memory_a_state_is_the_very_file(void **state)
{
    struct buffer got = {.n = 0};
    const struct tr_sink sink = {&got, append};
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};
    struct model m;
    char *bytes = NULL;
    size_t n = 0;

    fill(&m, 6);
    assert_int_equal(tr_checkpoint_put("memory", &sink, &m.content, &text), 0);
    must_save(*state, 6, -1, false);
    assert_int_equal(im_read_file(join(*state, "last.state.safetensors"), 1 << 20, &bytes, &n, &text), 0);
    assert_int_equal(got.n, n);
    assert_memory_equal(got.bytes, bytes, n);
    free(bytes);
    assert_int_equal(tr_checkpoint_take("memory", copy_of(got.bytes, got.n), got.n, &file, &text), 0);
    assert_int_equal(step_of(file, true), 6);
    tr_safetensors_close(&file);
    m.metadata[1].key = "checksum";
    assert_int_equal(tr_checkpoint_put("memory", &sink, &m.content, &text), -EINVAL);
}

static void damage_in_memory_is_found_as_in_a_file(void **state)
{
    struct buffer got = {.n = 0};
    const struct tr_sink sink = {&got, append};
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};
    struct model m;

    (void)state;
    fill(&m, 6);
    assert_int_equal(tr_checkpoint_put("memory", &sink, &m.content, &text), 0);
    for (size_t at = 0; at < got.n; at++) {
        char *bytes = copy_of(got.bytes, got.n);

        bytes[at] ^= 1;
        if (tr_checkpoint_take("the bytes", bytes, got.n, &file, &text) >= 0 || !strstr(text.s, "the bytes"))
            fail_msg("byte %zu: \"%s\"", at, text.s);
        assert_null(file);
        assert_true(tr_checkpoint_take("a part", copy_of(got.bytes, at ? at : 1), at, &file, &text) < 0);
    }
}

static void a_full_memory_ends_the_writing(void **state)
{
    struct buffer got = {.n = sizeof got.bytes - 300};
    const struct tr_sink sink = {&got, append};
    struct im_text text = {""};
    struct model m;

    (void)state;
    fill(&m, 6);
    assert_int_equal(tr_checkpoint_put("memory", &sink, &m.content, &text), -ENOSPC);
    assert_string_equal(text.s, "full");
}

static int save_two(void *directory)
{
    return save(directory, 2, 2, true, NULL) < 0;
}

/* Kills a save at the n-th passing of a point; false when it passed the point less often and so came
 * to its end. */
static bool kill_save(const char *directory, const char *point, int n)
{
    struct im_text text = {""};
    char rule[64];
    int status;

    snprintf(rule, sizeof rule, "%s=kill@%d", point, n);
    assert_int_equal(im_fault_arm(rule, &text), 0);
    status = in_child(save_two, (void *)(uintptr_t)directory);
    assert_int_equal(im_fault_arm("", &text), 0);
    assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || status == 0);
    return status != 0;
}

/* Every point that a save passes, each time that it passes it; four files are written, each passes file.* at
 * least once. */
static void a_kill_at_each_step_of_a_save_leaves_a_state_that_loads(void **state)
{
    static const struct {
        const char *name;
        int passes_min;
        int old_max; /* passings, from the first, after which the old state must load; from then on the new
                        one */
    } points[] = {{"file.create", 4, 1},        {"file.write", 20, 6},        {"file.fsync", 4, 1},
                  {"file.close", 4, 1},         {"file.rename", 4, 1},        {"file.dirsync", 4, 1},
                  {"file.done", 4, 1},          {"checkpoint.written", 1, 1}, {"checkpoint.link", 1, 1},
                  {"checkpoint.rotated", 1, 1}, {"checkpoint.state", 1, 0},   {"checkpoint.models", 1, 0}};
    struct im_text text = {""};

    if (im_fault_arm("", NULL) == -ENOTSUP)
        skip();
    for (size_t i = 0; i < IM_COUNT(points); i++) {
        int n = 0, step = -1;

        for (must_save(*state, 1, 1, true); kill_save(*state, points[i].name, n + 1);
             must_save(*state, 1, 1, true)) {
            n++;
            if (load(*state, &step, &text) != 0 || step != (n <= points[i].old_max ? 1 : 2))
                fail_msg("%s, passing %d: step %d, %s", points[i].name, n, step, text.s);
            assert_true(model_step(*state, "best.safetensors") <= step);
            assert_false(exists(*state, "next.state.safetensors"));
        }
        if (n < points[i].passes_min)
            fail_msg("%s was passed %d times", points[i].name, n);
        assert_loads(*state, 2); /* the round that was not killed */
    }
    assert_int_equal(im_file_sweep(*state), 0);
}

static void a_failure_at_each_step_of_writing_is_reported_and_survived(void **state)
{
    static const char *const points[] = {"file.create", "file.write", "file.fsync", "file.close",
                                         "file.rename"};
    struct im_text text = {""};

    if (im_fault_arm("", NULL) == -ENOTSUP)
        skip();
    must_save(*state, 1, -1, false);
    must_save(*state, 2, -1, false);
    for (size_t i = 0; i < IM_COUNT(points); i++) {
        char rule[64];
        int step = -1;

        snprintf(rule, sizeof rule, "%s=fail:ENOSPC", points[i]);
        assert_int_equal(im_fault_arm(rule, &text), 0);
        assert_int_equal(save(*state, 3, -1, false, &text), -ENOSPC);
        assert_non_null(strstr(text.s, "No space left"));
        assert_int_equal(im_fault_arm("", &text), 0);
        assert_loads(*state, 2);
        /* A full disk has not cost us the one before either. */
        damage(*state, "last.state.safetensors", -1);
        assert_int_equal(load(*state, &step, &text), 1);
        assert_int_equal(step, 1);
        must_save(*state, 2, -1, false);
    }
}

static void without_hard_links_the_state_before_is_kept_too(void **state)
{
    struct im_text text = {""};
    int step = -1;

    if (im_fault_arm("", NULL) == -ENOTSUP)
        skip();
    must_save(*state, 1, -1, false);
    assert_int_equal(im_fault_arm("checkpoint.link=fail:EACCES", &text), 0);
    must_save(*state, 2, -1, false);
    assert_int_equal(im_fault_arm("", &text), 0);
    assert_loads(*state, 2);
    assert_int_equal(unlink(join(*state, "last.state.safetensors")), 0);
    assert_int_equal(load(*state, &step, &text), 1);
    assert_int_equal(step, 1);
    assert_non_null(strstr(text.s, "is missing"));
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(what_is_saved_is_what_loads),
        IN_DIRECTORY(an_empty_directory_has_no_checkpoint),
        IN_DIRECTORY(exports_hold_the_model_and_nothing_of_the_optimiser),
        IN_DIRECTORY(the_newest_epochs_and_the_best_stay),
        IN_DIRECTORY(a_run_begun_anew_keeps_its_first_epochs),
        IN_DIRECTORY(damage_anywhere_is_found_and_the_state_before_is_used),
        IN_DIRECTORY(a_damaged_tensor_is_named_and_the_file_kept_aside),
        IN_DIRECTORY(what_is_no_file_is_moved_aside_and_the_state_before_is_used),
        IN_DIRECTORY(a_save_moves_aside_what_is_no_file_where_exports_belong),
        IN_DIRECTORY(a_folder_that_cannot_be_entered_is_no_damage),
        IN_DIRECTORY(with_no_file_of_any_state_a_save_makes_way),
        IN_DIRECTORY(a_folder_that_is_gone_is_made_again),
        IN_DIRECTORY(what_a_failed_save_left_goes_with_the_next),
        IN_DIRECTORY(a_state_cut_short_is_found),
        IN_DIRECTORY(with_no_good_state_loading_fails_and_names_both),
        IN_DIRECTORY(a_damaged_only_state_is_no_new_run),
        IN_DIRECTORY(anothers_safetensors_is_refused),
        IN_DIRECTORY(an_export_of_another_save_is_mended),
        IN_DIRECTORY(averages_are_exported_beside_the_model),
        IN_DIRECTORY(restoring_is_strict),
        IN_DIRECTORY(reserved_metadata_is_refused),
        IN_DIRECTORY(in_memory_a_state_is_the_very_file),
        cmocka_unit_test(damage_in_memory_is_found_as_in_a_file),
        cmocka_unit_test(a_full_memory_ends_the_writing),
        IN_DIRECTORY(a_kill_at_each_step_of_a_save_leaves_a_state_that_loads),
        IN_DIRECTORY(a_failure_at_each_step_of_writing_is_reported_and_survived),
        IN_DIRECTORY(without_hard_links_the_state_before_is_kept_too),
    };

    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
