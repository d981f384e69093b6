/* Attaching to a run: each field of the header, damaged, is refused with a sentence. */
#include "tests/unit/ipc/small_run.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

enum { FIRST_FD = 100, PLACES = IM_FD_BATCH - IM_FD_CONTROL + SMALL_RANKS };

/* The run's descriptors at the places where a child finds them. */
static int setup(void **state)
{
    struct small_run *s;
    int err = small_setup(state);

    if (err)
        return err;
    s = *state;
    if (dup2(s->run.control_segment.fd, FIRST_FD) < 0 ||
        dup2(s->run.encoded_segment.fd, FIRST_FD + IM_FD_ENCODED - IM_FD_CONTROL) < 0)
        return -1;
    for (int r = 0; r < SMALL_RANKS; r++)
        if (dup2(s->run.batch_segment[r].fd, FIRST_FD + IM_FD_BATCH - IM_FD_CONTROL + r) < 0)
            return -1;
    return 0;
}

static int teardown(void **state)
{
    for (int fd = FIRST_FD; fd < FIRST_FD + PLACES; fd++)
        close(fd);
    return small_teardown(state);
}

static const struct im_attach all = {
    .encoded_read = true, .batch_write = true, .batch_read_rank = -1, .first_fd = FIRST_FD};

static void test_a_sound_run_is_attached_and_shares_its_words(void **state)
{
    struct small_run *s = *state;
    struct im_run run;

    assert_int_equal(im_run_attach(&all, &run, NULL), 0);
    assert_memory_equal(&run.geometry, &s->run.geometry, sizeof run.geometry);
    assert_memory_equal(run.conf, "x=1\n", 5);
    atomic_store_explicit(&s->run.encoded_word[3], 1234, memory_order_release);
    assert_int_equal(atomic_load_explicit(&run.encoded_word[3], memory_order_acquire), 1234);
    im_run_close(&run);
}

static void test_each_role_maps_what_it_needs_and_no_more(void **state)
{
    const struct im_attach trainer = {.batch_read_rank = 1, .first_fd = FIRST_FD};
    struct im_run run;

    (void)state;
    assert_int_equal(im_run_attach(&trainer, &run, NULL), 0);
    assert_null(run.encoded_segment.map);
    assert_null(run.batch_segment[0].map);
    assert_non_null(run.batch_segment[1].map);
    im_run_close(&run);
}

static void refuse(const struct im_attach *how)
{
    struct im_text text = {""};
    struct im_run run;

    assert_int_equal(im_run_attach(how, &run, &text), -EBADMSG);
    assert_true(text.s[0] != 0);
}

/* Attaches and lets go; the descriptors stay, for im_run_close() would close them. */
static void check_sound(void)
{
    struct im_attach how = all;
    struct im_run run;

    how.first_fd = FIRST_FD + 20;
    for (int i = 0; i < PLACES; i++)
        if (fcntl(FIRST_FD + i, F_GETFD) >= 0)
            assert_true(dup2(FIRST_FD + i, how.first_fd + i) >= 0);
    assert_int_equal(im_run_attach(&how, &run, NULL), 0);
    im_run_close(&run);
    for (int i = 0; i < PLACES; i++)
        close(how.first_fd + i);
}

/* im_run_attach() closes what it had attached when it fails: each trial gets descriptors of its own. */
static void refuse_copy(struct small_run *s)
{
    struct im_attach how = all;

    how.first_fd = FIRST_FD + 40;
    assert_true(dup2(s->run.control_segment.fd, how.first_fd) >= 0);
    assert_true(dup2(s->run.encoded_segment.fd, how.first_fd + IM_FD_ENCODED - IM_FD_CONTROL) >= 0);
    for (int r = 0; r < SMALL_RANKS; r++)
        assert_true(dup2(s->run.batch_segment[r].fd, how.first_fd + IM_FD_BATCH - IM_FD_CONTROL + r) >= 0);
    refuse(&how);
    for (int i = 0; i < PLACES; i++)
        close(how.first_fd + i);
}

/* With the field changed the run is refused; put back, it is taken. */
#define REFUSES(field, value)                                                                                \
    do {                                                                                                     \
        struct small_run *s_ = *state;                                                                       \
        typeof(s_->run.control->field) was_ = s_->run.control->field;                                        \
        s_->run.control->field = (value);                                                                    \
        refuse_copy(s_);                                                                                     \
        s_->run.control->field = was_;                                                                       \
        check_sound();                                                                                       \
    } while (0)

static void test_a_damaged_identity_is_refused(void **state)
{
    REFUSES(magic, 0);
    REFUSES(magic, IM_MAGIC ^ 1);
    REFUSES(abi_version, IM_ABI_VERSION + 1);
    REFUSES(control_bytes_of_header, sizeof(struct im_control) + 8);
    REFUSES(build_hash, s_->run.control->build_hash ^ 1);
}

static void test_damaged_sizes_are_refused(void **state)
{
    REFUSES(segment_bytes, 0);
    REFUSES(segment_bytes, s_->run.control->segment_bytes + IM_PAGE);
    REFUSES(segment_bytes, UINT64_MAX);
    REFUSES(conf_bytes, IM_CONF_BYTES + 1);
    REFUSES(conf_bytes, UINT32_MAX);
}

static void test_damaged_geometry_is_refused(void **state)
{
    REFUSES(geometry.samples[IM_TRAIN], 0);
    REFUSES(geometry.samples[IM_TRAIN], UINT64_MAX);
    REFUSES(geometry.samples[IM_VAL], UINT32_MAX - 1); /* sound, but not this segment's size */
    REFUSES(geometry.cell_bytes, 1);
    REFUSES(geometry.cell_bytes, 16 * IM_PAGE);  /* the encoded segment is smaller */
    REFUSES(geometry.batch_pixels_max, 1 << 20); /* the batch segment is smaller */
    REFUSES(geometry.encoded_cells, 0);
    REFUSES(geometry.encoded_cells, IM_CELLS_MAX);
    REFUSES(geometry.ranks, 0);
    REFUSES(geometry.ranks, UINT32_MAX);
    REFUSES(geometry.batches, IM_BATCHES_MAX + 1);
    REFUSES(geometry.batch_size_max, 0);
    REFUSES(geometry.batch_size_max, 65536);
    REFUSES(geometry.slots, 1);
    REFUSES(geometry.readers_max, 0);
    REFUSES(geometry.augmenters_max, UINT32_MAX);
    REFUSES(geometry.classes, 0);
}

/* Sound by itself, but not what the run was made with. */
static void test_what_changed_since_the_start_is_refused(void **state)
{
    struct small_run *s = *state;

    REFUSES(geometry.classes, 11);
    REFUSES(conf_bytes, 4);
    REFUSES(run_id, s_->run.control->run_id ^ 1);
    s->run.conf[2] = '2';
    refuse_copy(s);
    s->run.conf[2] = '1';
    check_sound();
}

static void test_a_header_that_changed_is_put_back(void **state)
{
    static struct im_header_copy copy;
    struct small_run *s = *state;

    im_run_copy_header(&s->run, &copy);
    assert_false(im_run_repair_header(&s->run, &copy));
    s->run.conf[2] = '2';
    s->run.control->geometry.classes ^= 1;
    assert_true(im_run_repair_header(&s->run, &copy));
    check_sound();
    s->run.control->header_check ^= 1;
    assert_true(im_run_repair_header(&s->run, &copy));
    check_sound();
}

static void test_a_segment_shorter_than_its_header_is_refused(void **state)
{
    int fd = memfd_create("short", MFD_CLOEXEC);
    const struct im_attach how = {.batch_read_rank = -1, .first_fd = fd};

    (void)state;
    assert_int_equal(ftruncate(fd, sizeof(struct im_control) - 1), 0);
    refuse(&how);
    close(fd);
}

static void test_a_missing_descriptor_is_an_error(void **state)
{
    const struct im_attach how = {.batch_read_rank = -1, .first_fd = 900};
    struct im_text text = {""};
    struct im_run run;

    (void)state;
    assert_int_equal(im_run_attach(&how, &run, &text), -EBADF);
    assert_true(text.s[0] != 0);
}

static void test_a_plan_that_does_not_fit_is_refused(void **state)
{
    struct small_run *s = *state;
    struct im_plan plan = s->plan;
    struct im_phase phase = s->plan.phase[0];

    assert_int_equal(im_run_check_plan(&s->run, &s->plan, NULL), 0);
    plan.ranks = SMALL_RANKS + 1;
    assert_int_equal(im_run_check_plan(&s->run, &plan, NULL), -EBADMSG);
    plan = (struct im_plan){.phase = &phase, .phases = 1, .ranks = SMALL_RANKS, .world = SMALL_RANKS};
    assert_int_equal(im_run_check_plan(&s->run, &plan, NULL), 0);
    phase.batch_size = SMALL_BATCH_SIZE + 1;
    assert_int_equal(im_run_check_plan(&s->run, &plan, NULL), -EBADMSG);
    phase.batch_size = SMALL_BATCH_SIZE;
    phase.image_size = 5;
    assert_int_equal(im_run_check_plan(&s->run, &plan, NULL), -EBADMSG);
    phase.image_size = UINT32_MAX;
    assert_int_equal(im_run_check_plan(&s->run, &plan, NULL), -EBADMSG);
    phase.image_size = 4;
    phase.samples = SMALL_TRAIN + 1;
    assert_int_equal(im_run_check_plan(&s->run, &plan, NULL), -EBADMSG);
}

static void test_a_configuration_that_is_too_long_is_refused(void **state)
{
    static char conf[IM_CONF_BYTES + 1];
    const struct im_geometry g = small_geometry();
    struct im_text text = {""};
    struct im_run run;

    (void)state;
    assert_int_equal(im_run_create(&g, conf, sizeof conf, &run, &text), -E2BIG);
    assert_true(text.s[0] != 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_sound_run_is_attached_and_shares_its_words),
        TEST(test_each_role_maps_what_it_needs_and_no_more),
        TEST(test_a_damaged_identity_is_refused),
        TEST(test_damaged_sizes_are_refused),
        TEST(test_damaged_geometry_is_refused),
        TEST(test_what_changed_since_the_start_is_refused),
        TEST(test_a_header_that_changed_is_put_back),
        TEST(test_a_segment_shorter_than_its_header_is_refused),
        TEST(test_a_missing_descriptor_is_an_error),
        TEST(test_a_plan_that_does_not_fit_is_refused),
        TEST(test_a_configuration_that_is_too_long_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
