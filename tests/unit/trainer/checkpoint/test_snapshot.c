/* Snapshots of a real network's state, and which of snapshot and checkpoint a trainer goes on from. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "ipc/base/file.h"
#include "ipc/base/log.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/checkpoint/resume.h"
#include "trainer/checkpoint/snapshot.h"

enum { CLASSES = 4, TRAIN = 64, VAL = 16 };

/* The state of a trainer of rank 0, without rings and a supervisor. */
struct scene {
    struct im_conf conf;
    struct im_run run;
    struct im_plan plan;
    struct im_stats stats;
    struct im_child child;
    struct tr_network *net;
    struct tr_state state;
    struct tr_checkpoint_store store;
    struct tr_snapshot snapshot;
    char *directory;
};

static struct tr_network *new_network(int classes)
{
    const struct tr_network_config config = {
        .model = "resnet20", .classes = classes, .backend = "ref", .threads = 1, .std = {1, 1, 1}};
    struct tr_network *net = NULL;
    struct im_text text = {""};

    if (tr_network_new(&config, &net, &text) < 0)
        fail_msg("%s", text.s);
    return net;
}

static void set_key(struct scene *s, const char *key, const char *value)
{
    assert_int_equal(im_conf_set(&s->conf, key, value, NULL), 0);
}

static int set_up(void **state)
{
    const uint64_t samples[IM_SPLITS] = {TRAIN, VAL};
    struct scene *s = aligned_alloc(_Alignof(struct scene), sizeof *s);
    void *directory = NULL;

    if (!s || make_directory(&directory) < 0)
        return -1;
    memset(s, 0, sizeof *s);
    s->directory = directory;
    im_conf_defaults(&s->conf);
    set_key(s, "batch-size", "16");
    set_key(s, "epochs", "2");
    set_key(s, "snapshot-interval", "0");
    set_key(s, "snapshot-steps", "3");
    s->child = (struct im_child){.run = &s->run,
                                 .plan = &s->plan,
                                 .conf = &s->conf,
                                 .stats = &s->stats,
                                 .role = IM_ROLE_TRAINER,
                                 .snapshot_fd = im_segment_create_empty("a test", NULL)};
    memcpy(s->run.geometry.samples, samples, sizeof samples);
    s->net = new_network(CLASSES);
    *state = s;
    return s->child.snapshot_fd < 0 || im_plan_from_conf(&s->conf, samples, &s->plan, NULL) < 0 ||
           tr_state_init(&s->state, s->net) < 0 ||
           tr_checkpoint_store_open(&s->store, s->directory, 1, NULL) < 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    void *directory = s->directory;

    tr_snapshot_close(&s->snapshot);
    tr_state_fini(&s->state);
    tr_network_free(s->net);
    im_plan_fini(&s->plan);
    close(s->child.snapshot_fd);
    free(s);
    return remove_directory(&directory);
}

/* The state after `batch` batches: every parameter says so. */
static struct tr_position_text reach(struct scene *s, uint64_t batch)
{
    struct tr_position at = tr_position_start(&s->conf);
    size_t floats = tr_network_floats(s->net, TR_ARENA_PARAMS);
    float *params = malloc(floats * sizeof *params);
    struct tr_position_text text;

    assert_non_null(params);
    at.next_batch = at.steps = at.updates = batch;
    at.sums[IM_TRAIN] = (struct tr_sums){.loss = 0.1 * (double)batch, .valid = batch};
    for (size_t i = 0; i < floats; i++)
        params[i] = (float)batch;
    assert_int_equal(tr_network_write(s->net, TR_ARENA_PARAMS, params), 0);
    free(params);
    tr_network_set_tracked(s->net, (int64_t)batch);
    tr_position_write(&at, &s->conf, &s->plan, s->run.geometry.samples, &text);
    return text;
}

static void open_snapshot(struct scene *s)
{
    struct tr_position_text position = reach(s, 0);
    struct im_text text = {""};

    if (tr_snapshot_open(&s->snapshot, &s->child, &s->state, &position, 0, false, &text) < 0)
        fail_msg("%s", text.s);
}

static void snapshot_at(struct scene *s, uint64_t batch)
{
    struct tr_position_text position = reach(s, batch);
    struct im_text text = {""};

    if (tr_snapshot_take(&s->snapshot, &s->state, &position, batch, &text) < 0)
        fail_msg("%s", text.s);
}

static void checkpoint_at(struct scene *s, uint64_t batch)
{
    struct tr_position_text position = reach(s, batch);

    assert_int_equal(tr_state_collect(&s->state, NULL), 0);
    assert_int_equal(tr_state_save(&s->state, &s->store, &position, -1, 0, NULL), 0);
}

/* What a new trainer would go on from: 0 nothing, 'c' the checkpoint, 's' the snapshot; its batch must be
 * `batch`, and so must all parameters that come out of it. */
static int resume(struct scene *s, uint64_t batch)
{
    struct im_text text = {""};
    struct tr_resume from = {0};
    int source = 0;

    if (tr_resume_find(&s->child, &s->store, &from, &text) < 0)
        fail_msg("%s", text.s);
    if (from.state) {
        struct tr_network *net = new_network(CLASSES);
        size_t floats = tr_network_floats(net, TR_ARENA_PARAMS);
        float *params = malloc(floats * sizeof *params);
        struct tr_state state;

        source = from.state == from.snapshot ? 's' : 'c';
        assert_int_equal(from.at.next_batch, batch);
        assert_true(from.at.sums[IM_TRAIN].loss == 0.1 * (double)batch);
        assert_int_equal(tr_state_init(&state, net), 0);
        assert_int_equal(tr_state_restore(&state, from.state, from.at.window_batches > 0, &text), 0);
        assert_int_equal(tr_network_tracked(net), batch);
        assert_non_null(params);
        assert_int_equal(tr_network_read(net, TR_ARENA_PARAMS, params), 0);
        assert_true(params[0] == (float)batch && params[7] == (float)batch);
        free(params);
        tr_state_fini(&state);
        tr_network_free(net);
    }
    tr_resume_close(&from);
    return source;
}

/* Flips a bit in the middle of both slots. */
static void damage_snapshot(struct scene *s)
{
    unsigned char *slots = (unsigned char *)s->snapshot.memory.segment.map + IM_PAGE;

    slots[s->snapshot.memory.slot_bytes / 2] ^= 1;
    slots[s->snapshot.memory.slot_bytes * 3 / 2] ^= 1;
}

static void damage_checkpoint(struct scene *s)
{
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof path, "%s/last.state.safetensors", s->directory);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "X", 1, 100000), 1);
    close(fd);
}

static void without_either_a_run_begins(void **state)
{
    struct scene *s = *state;

    assert_int_equal(resume(s, 0), 0);
    open_snapshot(s);
    assert_int_equal(resume(s, 0), 0);
}

static void the_further_of_both_is_taken(void **state)
{
    struct scene *s = *state;

    open_snapshot(s);
    snapshot_at(s, 2);
    assert_int_equal(resume(s, 2), 's');
    checkpoint_at(s, 3);
    assert_int_equal(resume(s, 3), 'c');
    snapshot_at(s, 3);
    assert_int_equal(resume(s, 3), 'c');
    snapshot_at(s, 4);
    assert_int_equal(resume(s, 4), 's');
    checkpoint_at(s, 5);
    assert_int_equal(resume(s, 5), 'c');
}

static void of_a_damaged_one_the_other_takes_the_place(void **state)
{
    struct scene *s = *state;

    open_snapshot(s);
    snapshot_at(s, 1);
    checkpoint_at(s, 2);
    snapshot_at(s, 4);
    damage_snapshot(s);
    assert_int_equal(resume(s, 2), 'c');
    snapshot_at(s, 5);
    damage_checkpoint(s);
    assert_int_equal(resume(s, 5), 's');
}

static void with_both_damaged_a_trainer_refuses(void **state)
{
    struct scene *s = *state;
    struct tr_resume from = {0};
    struct im_text text = {""};

    open_snapshot(s);
    snapshot_at(s, 1);
    checkpoint_at(s, 2);
    damage_snapshot(s);
    damage_checkpoint(s);
    assert_int_equal(tr_resume_find(&s->child, &s->store, &from, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "every checkpoint in"));
    assert_null(from.state);
}

static void a_torn_snapshot_is_not_the_current_one(void **state)
{
    struct scene *s = *state;

    open_snapshot(s);
    snapshot_at(s, 1);
    im_snapshot_begin(&s->snapshot.memory);
    assert_int_equal(im_snapshot_append(&s->snapshot.memory, "torn", 4, NULL), 0);
    assert_int_equal(resume(s, 1), 's');
}

/* Complete by its sequence word and its length, but not what a trainer writes: the
 * checkpoint's own checks. */
static void bytes_that_are_no_checkpoint_are_passed_over(void **state)
{
    static const char *const lies[] = {"", "x", "\xff\xff\xff\xff\xff\xff\xff\xff{", "\2\0\0\0\0\0\0\0{}",
                                       "\x0f\0\0\0\0\0\0\0{\"__metadata__\":1"};
    static const size_t lengths[] = {0, 1, 9, 10, 23};
    struct scene *s = *state;

    open_snapshot(s);
    for (size_t i = 0; i < IM_COUNT(lies); i++) {
        im_snapshot_begin(&s->snapshot.memory);
        assert_int_equal(im_snapshot_append(&s->snapshot.memory, lies[i], lengths[i], NULL), 0);
        im_snapshot_commit(&s->snapshot.memory);
        assert_int_equal(resume(s, 0), 0);
    }
    checkpoint_at(s, 1);
    assert_int_equal(resume(s, 1), 'c');
}

static void a_run_of_other_flags_goes_on_from_neither(void **state)
{
    struct scene *s = *state;
    struct tr_resume from = {0};
    struct im_text text = {""};

    open_snapshot(s);
    checkpoint_at(s, 1);
    snapshot_at(s, 2);
    set_key(s, "seed", "4");
    assert_int_equal(tr_resume_find(&s->child, &s->store, &from, &text), -EINVAL);
    assert_non_null(strstr(text.s, "--seed"));
}

static void another_networks_snapshot_does_not_restore(void **state)
{
    struct scene *s = *state;
    struct tr_resume from = {0};
    struct im_text text = {""};
    struct tr_network *net = new_network(CLASSES + 1);
    struct tr_state other;

    open_snapshot(s);
    snapshot_at(s, 2);
    assert_int_equal(tr_state_init(&other, net), 0);
    assert_int_equal(tr_resume_find(&s->child, &s->store, &from, &text), 0);
    assert_int_equal(tr_state_restore(&other, from.state, false, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "another shape"));
    tr_resume_close(&from);
    tr_state_fini(&other);
    tr_network_free(net);
}

static void one_is_due_after_so_many_steps(void **state)
{
    struct scene *s = *state;

    assert_false(tr_snapshot_is_due(&s->snapshot, 100)); /* none are taken */
    open_snapshot(s);
    assert_false(tr_snapshot_is_due(&s->snapshot, 0));
    assert_false(tr_snapshot_is_due(&s->snapshot, 2));
    assert_true(tr_snapshot_is_due(&s->snapshot, 3));
    snapshot_at(s, 3);
    assert_false(tr_snapshot_is_due(&s->snapshot, 5));
    assert_true(tr_snapshot_is_due(&s->snapshot, 6));
    tr_snapshot_saved(&s->snapshot, 5);
    assert_false(tr_snapshot_is_due(&s->snapshot, 7));
    assert_true(tr_snapshot_is_due(&s->snapshot, 8));
}

static void one_is_due_after_so_many_seconds_and_its_own_share(void **state)
{
    struct scene *s = *state;

    set_key(s, "snapshot-steps", "0");
    set_key(s, "snapshot-interval", "1000");
    open_snapshot(s);
    assert_false(tr_snapshot_is_due(&s->snapshot, 50));
    s->snapshot.due_at = im_now();
    assert_true(tr_snapshot_is_due(&s->snapshot, 50));
    assert_false(tr_snapshot_is_due(&s->snapshot, 0)); /* nothing new since the last */
    snapshot_at(s, 50);
    assert_false(tr_snapshot_is_due(&s->snapshot, 51));
    /* Hardly any interval: the snapshot's own cost sets it. */
    s->snapshot.interval_ns = 1;
    snapshot_at(s, 51);
    assert_false(tr_snapshot_is_due(&s->snapshot, 52));
}

/* The first after the first step, then later and later, then as usual. */
static void after_a_death_the_first_ones_come_early(void **state)
{
    static const char *const intervals[] = {"1000", "0"};
    struct scene *s = *state;
    struct tr_position_text position = reach(s, 5);

    for (size_t i = 0; i < IM_COUNT(intervals); i++) {
        im_ns before = 0;
        unsigned early = 0;

        set_key(s, "snapshot-interval", intervals[i]);
        assert_int_equal(tr_snapshot_open(&s->snapshot, &s->child, &s->state, &position, 5, true, NULL), 0);
        assert_false(tr_snapshot_is_due(&s->snapshot, 5));
        assert_true(tr_snapshot_is_due(&s->snapshot, 6));
        for (uint64_t batch = 6; s->snapshot.early_ns && early < 100; batch++, early++) {
            im_ns wait;

            snapshot_at(s, batch);
            assert_false(tr_snapshot_is_due(&s->snapshot, batch + 1));
            wait = s->snapshot.due_at - im_now();
            assert_true(wait <= 1000 * IM_SECOND && (wait > before || !s->snapshot.early_ns));
            before = s->snapshot.early_ns ? wait : before;
            s->snapshot.due_at = im_now();
            assert_int_equal(tr_snapshot_is_due(&s->snapshot, batch + 1), s->snapshot.early_ns || i == 0);
        }
        assert_true(early > 5 && early < 20);
        tr_snapshot_close(&s->snapshot);
    }
}

static void a_forgotten_one_is_none(void **state)
{
    struct scene *s = *state;

    tr_snapshot_forget(&s->snapshot); /* none are taken */
    open_snapshot(s);
    snapshot_at(s, 1);
    snapshot_at(s, 2);
    tr_snapshot_forget(&s->snapshot);
    assert_int_equal(resume(s, 0), 0);
    snapshot_at(s, 3);
    assert_int_equal(resume(s, 3), 's');
}

/* What the saver does: the bytes of the snapshot, and the weights beside them. */
static void a_snapshot_becomes_a_checkpoint_of_the_same_bytes(void **state)
{
    struct scene *s = *state;
    struct tr_resume from = {0};
    char path[PATH_MAX], *memory = NULL, *file = NULL;
    size_t memory_bytes = 0, file_bytes = 0;

    open_snapshot(s);
    checkpoint_at(s, 1);
    snapshot_at(s, 4);
    assert_int_equal(tr_resume_find(&s->child, &s->store, &from, NULL), 0);
    assert_ptr_equal(from.state, from.snapshot);
    assert_int_equal(tr_checkpoint_save_state(&s->store, from.state, NULL), 0);
    assert_int_equal(tr_checkpoint_repair(&s->store, from.state, NULL), 0); /* the export is its own */
    tr_resume_close(&from);

    snprintf(path, sizeof path, "%s/last.state.safetensors", s->directory);
    assert_int_equal(im_read_file(path, 1 << 26, &file, &file_bytes, NULL), 0);
    assert_int_equal(im_snapshot_read(s->child.snapshot_fd, &memory, &memory_bytes, NULL), 0);
    assert_int_equal(file_bytes, memory_bytes);
    assert_memory_equal(file, memory, memory_bytes);
    free(file);
    free(memory);
    assert_int_equal(resume(s, 4), 'c');
    snprintf(path, sizeof path, "%s/last.prev.state.safetensors", s->directory);
    assert_int_equal(access(path, F_OK), 0);
}

static void other_ranks_and_runs_without_them_reserve_nothing(void **state)
{
    struct scene *s = *state;
    struct tr_position_text position = reach(s, 0);
    char *bytes;
    size_t n;

    s->child.index = 1;
    assert_int_equal(tr_snapshot_open(&s->snapshot, &s->child, &s->state, &position, 0, false, NULL), 0);
    assert_false(tr_snapshot_is_due(&s->snapshot, 100));
    s->child.index = 0;
    set_key(s, "snapshot-steps", "0");
    assert_int_equal(tr_snapshot_open(&s->snapshot, &s->child, &s->state, &position, 0, false, NULL), 0);
    assert_false(tr_snapshot_is_due(&s->snapshot, 100));
    assert_int_equal(lseek(s->child.snapshot_fd, 0, SEEK_END), 0);
    assert_int_equal(im_snapshot_read(s->child.snapshot_fd, &bytes, &n, NULL), -ENOENT);
}

static void memory_that_cannot_be_had_is_named_with_the_way_out(void **state)
{
    struct scene *s = *state;
    struct tr_position_text position = reach(s, 0);
    struct im_text text = {""};
    int seals = F_SEAL_GROW;

    assert_int_equal(fcntl(s->child.snapshot_fd, F_ADD_SEALS, seals), 0);
    assert_true(tr_snapshot_open(&s->snapshot, &s->child, &s->state, &position, 0, false, &text) < 0);
    assert_non_null(strstr(text.s, "of shared memory for the snapshot"));
    assert_non_null(strstr(text.s, "--snapshot-interval 0"));
}

/* The slot is reserved before any position is known: no later one may outgrow it. */
static void the_longest_position_fits_its_slot(void **state)
{
    struct scene *s = *state;
    struct tr_position_text position;

    open_snapshot(s);
    position = reach(s, 1);
    for (size_t i = 0; i < position.count; i++)
        snprintf(position.value[i], sizeof position.value[i], "%063d", 1);
    assert_int_equal(tr_snapshot_take(&s->snapshot, &s->state, &position, 1, NULL), 0);
    assert_true(s->snapshot.memory.segment.bytes < 2 * tr_network_floats(s->net, TR_ARENA_PARAMS) * 9);
}

#define IN_SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCENE(without_either_a_run_begins),
        IN_SCENE(the_further_of_both_is_taken),
        IN_SCENE(of_a_damaged_one_the_other_takes_the_place),
        IN_SCENE(with_both_damaged_a_trainer_refuses),
        IN_SCENE(a_torn_snapshot_is_not_the_current_one),
        IN_SCENE(bytes_that_are_no_checkpoint_are_passed_over),
        IN_SCENE(a_run_of_other_flags_goes_on_from_neither),
        IN_SCENE(another_networks_snapshot_does_not_restore),
        IN_SCENE(one_is_due_after_so_many_steps),
        IN_SCENE(one_is_due_after_so_many_seconds_and_its_own_share),
        IN_SCENE(after_a_death_the_first_ones_come_early),
        IN_SCENE(a_forgotten_one_is_none),
        IN_SCENE(a_snapshot_becomes_a_checkpoint_of_the_same_bytes),
        IN_SCENE(other_ranks_and_runs_without_them_reserve_nothing),
        IN_SCENE(memory_that_cannot_be_had_is_named_with_the_way_out),
        IN_SCENE(the_longest_position_fits_its_slot),
    };

    im_log_level(IM_LOG_ERROR);
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
