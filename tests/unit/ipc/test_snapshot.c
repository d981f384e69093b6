/* The snapshot's two slots: what was committed last is what a successor reads, wherever the writer was
 * killed; and nothing in the segment is believed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

#include "ipc/base/fault.h"
#include "ipc/snapshot.h"
#include "tests/unit/ipc/base/unit.h"

enum {
    ROOM = 3 * (1 << 20) + 5,
    SLOT = (ROOM + IM_PAGE - 1) / IM_PAGE * IM_PAGE,
    SEGMENT = IM_PAGE + 2 * SLOT
};

static int open_empty(void **state)
{
    static int fd;

    fd = im_segment_create_empty("a test", NULL);
    *state = &fd;
    return fd < 0;
}

static int close_it(void **state)
{
    return close(*(int *)*state);
}

static struct im_snapshot must_open(int fd)
{
    struct im_text text = {""};
    struct im_snapshot s;

    if (im_snapshot_open(fd, ROOM, &s, &text) < 0)
        fail_msg("%s", text.s);
    return s;
}

/* A snapshot of n bytes, each `value`, in three pieces. */
static int write_one(struct im_snapshot *s, unsigned char value, size_t n)
{
    unsigned char *bytes = malloc(n);
    int err = bytes ? 0 : -ENOMEM;

    if (err == 0) {
        memset(bytes, value, n);
        im_snapshot_begin(s);
        err = im_snapshot_append(s, bytes, n / 3, NULL);
    }
    if (err == 0)
        err = im_snapshot_append(s, bytes, n / 3, NULL);
    if (err == 0)
        err = im_snapshot_append(s, bytes, n - 2 * (n / 3), NULL);
    if (err == 0)
        im_snapshot_commit(s);
    free(bytes);
    return err;
}

/* The snapshot that is there must be n bytes of one value; returns it. 0: there is none. */
static int read_one(int fd, size_t n)
{
    struct im_text text = {""};
    char *bytes = NULL;
    size_t got = 0;
    int value, err = im_snapshot_read(fd, &bytes, &got, &text);

    if (err == -ENOENT)
        return 0;
    if (err < 0)
        fail_msg("%s", text.s);
    assert_int_equal(got, n);
    value = bytes[0];
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != value)
            fail_msg("byte %zu is %d, not %d", i, bytes[i], value);
    free(bytes);
    return value;
}

static void an_empty_segment_holds_no_snapshot(void **state)
{
    int fd = *(int *)*state;
    struct im_snapshot s;

    assert_int_equal(read_one(fd, 0), 0);
    s = must_open(fd);
    assert_int_equal(read_one(fd, 0), 0);
    im_snapshot_close(&s);
    assert_int_equal(read_one(fd, 0), 0);
}

static void the_last_committed_is_read(void **state)
{
    int fd = *(int *)*state;
    struct im_snapshot s = must_open(fd);

    for (int i = 1; i <= 5; i++) {
        assert_int_equal(write_one(&s, (unsigned char)i, ROOM - (size_t)i), 0);
        assert_int_equal(read_one(fd, ROOM - (size_t)i), i);
    }
    im_snapshot_close(&s);
    assert_int_equal(read_one(fd, ROOM - 5), 5);
}

static void what_is_not_committed_is_not_there(void **state)
{
    int fd = *(int *)*state;
    struct im_snapshot s = must_open(fd);

    assert_int_equal(write_one(&s, 1, ROOM), 0);
    im_snapshot_begin(&s);
    assert_int_equal(im_snapshot_append(&s, "torn", 4, NULL), 0);
    assert_int_equal(read_one(fd, ROOM), 1);
    assert_int_equal(write_one(&s, 2, 9), 0);
    assert_int_equal(read_one(fd, 9), 2);
    im_snapshot_close(&s);
}

static void a_snapshot_longer_than_its_slot_is_refused(void **state)
{
    int fd = *(int *)*state;
    struct im_snapshot s = must_open(fd);
    struct im_text text = {""};

    assert_int_equal(write_one(&s, 1, SLOT), 0);
    assert_int_equal(write_one(&s, 2, SLOT + 1), -ENOSPC);
    im_snapshot_begin(&s);
    assert_int_equal(im_snapshot_append(&s, "", SIZE_MAX, &text), -ENOSPC);
    assert_non_null(strstr(text.s, "longer than"));
    assert_int_equal(read_one(fd, SLOT), 1);
    im_snapshot_close(&s);
}

static void a_successor_goes_on_where_the_writer_died(void **state)
{
    int fd = *(int *)*state;
    struct im_snapshot s = must_open(fd);

    assert_int_equal(write_one(&s, 1, 100), 0);
    im_snapshot_begin(&s);
    assert_int_equal(im_snapshot_append(&s, "torn", 4, NULL), 0);
    im_snapshot_close(&s);
    s = must_open(fd);
    assert_int_equal(read_one(fd, 100), 1);
    assert_int_equal(write_one(&s, 2, 50), 0);
    assert_int_equal(read_one(fd, 50), 2);
    im_snapshot_close(&s);
}

static void its_size_is_final(void **state)
{
    int fd = *(int *)*state;
    struct im_snapshot s = must_open(fd);
    struct im_text text = {""};

    assert_int_equal(s.segment.bytes, SEGMENT);
    assert_int_equal(im_snapshot_segment_bytes(ROOM), SEGMENT);
    assert_true(ftruncate(fd, SEGMENT - 1) < 0 && errno == EPERM);
    assert_true(ftruncate(fd, SEGMENT + 1) < 0 && errno == EPERM);
    im_snapshot_close(&s);
    assert_int_equal(im_snapshot_open(fd, ROOM + IM_PAGE, &s, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "not a segment for two snapshots of"));
    assert_int_equal(im_snapshot_open(fd, 5, &s, &text), 0); /* a predecessor needed more */
    assert_int_equal(s.segment.bytes, SEGMENT);
    assert_int_equal(s.slot_bytes, (SEGMENT - IM_PAGE) / 2);
    im_snapshot_close(&s);
}

static void a_segment_that_was_not_sealed_is_sealed_by_the_next(void **state)
{
    int fd = *(int *)*state;
    struct im_snapshot s;

    assert_int_equal(ftruncate(fd, SEGMENT), 0);
    assert_int_equal(read_one(fd, 0), 0);
    s = must_open(fd);
    assert_true(im_segment_is_fixed(fd));
    assert_int_equal(write_one(&s, 7, 10), 0);
    assert_int_equal(read_one(fd, 10), 7);
    im_snapshot_close(&s);
}

static void more_than_the_memory_is_an_error_with_numbers(void **state)
{
    int fd = *(int *)*state;
    struct im_text text = {""};
    struct im_snapshot s;

    assert_int_equal(im_snapshot_open(fd, UINT64_C(1) << 37, &s, &text), -ENOMEM);
    assert_non_null(strstr(text.s, "274877911040 bytes (256.00 GiB)"));
    assert_int_equal(im_snapshot_open(fd, UINT64_MAX / 2, &s, &text), -EFBIG);
    assert_int_equal(read_one(fd, 0), 0);
}

static void what_is_no_memfd_is_refused(void **state)
{
    struct im_text text = {""};
    struct im_snapshot s;
    char *bytes;
    size_t n;
    int pipes[2], file = open("/tmp", O_TMPFILE | O_RDWR, 0600);

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(im_snapshot_open(pipes[0], ROOM, &s, &text), -EBADMSG);
    assert_int_equal(im_snapshot_open(-1, ROOM, &s, &text), -EBADMSG);
    assert_int_equal(im_snapshot_read(pipes[0], &bytes, &n, &text), -ENOENT);
    assert_int_equal(im_snapshot_read(-1, &bytes, &n, &text), -ENOENT);
    if (file >= 0) {
        assert_int_equal(ftruncate(file, SEGMENT), 0);
        assert_int_equal(im_snapshot_read(file, &bytes, &n, &text), -ENOENT);
        close(file);
    }
    close(pipes[0]);
    close(pipes[1]);
}

/* Whoever else can write the segment cannot make its reader read past it. */
static void a_header_that_lies_is_refused(void **state)
{
    int fd = *(int *)*state;
    struct im_snapshot s = must_open(fd);
    struct im_snapshot_header good;
    struct im_snapshot again;
    char *bytes = NULL;
    size_t n = 0;

    assert_int_equal(write_one(&s, 3, 200), 0);
    good = *s.header;
    for (int i = 0; i < 5; i++) {
        struct im_text text = {""};

        *s.header = good;
        if (i == 0)
            s.header->magic ^= 1;
        if (i == 1)
            s.header->abi_version++;
        if (i == 2)
            s.header->header_bytes = 0;
        if (i == 3)
            s.header->bytes[1] = SLOT + 1;
        if (i == 4)
            s.header->bytes[1] = UINT64_MAX;
        assert_int_equal(im_snapshot_read(fd, &bytes, &n, &text), -EBADMSG);
        assert_true(text.s[0] != 0);
        if (i < 3) { /* the segment is this run's alone: what is in it is not believed, and it begins anew */
            assert_int_equal(im_snapshot_open(fd, ROOM, &again, &text), 0);
            assert_int_equal(im_snapshot_read(fd, &bytes, &n, &text), -ENOENT);
            im_snapshot_close(&again);
        }
    }
    *s.header = good;
    atomic_store_explicit(&s.header->sequence, UINT64_MAX, memory_order_release);
    assert_int_equal(read_one(fd, 200), 3); /* odd: the same slot */
    assert_int_equal(write_one(&s, 4, 10), 0);
    im_snapshot_close(&s);
}

static void a_sealed_segment_without_a_header_is_refused(void **state)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int fd = *(int *)*state;
    struct im_text text = {""};
    char *bytes;
    size_t n;

    assert_int_equal(ftruncate(fd, 100), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    assert_int_equal(im_snapshot_read(fd, &bytes, &n, &text), -EBADMSG);
    assert_non_null(strstr(text.s, "100 bytes"));
}

struct life {
    int fd;
    unsigned char value;
};

/* A trainer's life: open, write. */
static int live(void *context)
{
    const struct life *life = context;
    struct im_snapshot s;

    return im_snapshot_open(life->fd, ROOM, &s, NULL) < 0 || write_one(&s, life->value, ROOM) < 0;
}

static bool kill_life(struct life *life, const char *point, int n)
{
    struct im_text text = {""};
    char rule[64];
    int status;

    snprintf(rule, sizeof rule, "%s=kill@%d", point, n);
    assert_int_equal(im_fault_arm(rule, &text), 0);
    status = in_child(live, life);
    assert_int_equal(im_fault_arm("", &text), 0);
    assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || status == 0);
    return status != 0;
}

/* At every passing of every point: the one before stands, or after the commit the new one. */
static void a_kill_at_each_step_leaves_the_old_or_the_new(void **state)
{
    static const struct {
        const char *name;
        int passes;
        bool first_only; /* passed while the segment has not got its size, or no snapshot */
        bool is_new;
    } points[] = {
        {"shm.sized", 1, true, false},         {"snapshot.opened", 1, true, false},
        {"snapshot.begun", 1, false, false},   {"snapshot.piece", 6, false, false},
        {"snapshot.written", 1, false, false}, {"snapshot.committed", 1, false, true},
    };

    (void)state;
    if (im_fault_arm("", NULL) == -ENOTSUP)
        skip();
    for (size_t i = 0; i < IM_COUNT(points); i++) {
        for (int begun = 0; begun <= 1; begun++) {
            struct life life = {.fd = im_segment_create_empty("a test", NULL)};
            int n = 0, value = 0;

            assert_true(life.fd >= 0);
            if (begun)
                for (life.value = 1; life.value <= 2; life.value++)
                    assert_int_equal(in_child(live, &life), 0);
            value = begun ? 2 : 0;
            for (life.value = (unsigned char)(value + 1); kill_life(&life, points[i].name, n + 1);
                 life.value++) {
                n++;
                value = points[i].is_new ? life.value : value;
                assert_int_equal(read_one(life.fd, ROOM), value);
                if (points[i].first_only || points[i].passes == n)
                    break;
            }
            assert_int_equal(n, points[i].first_only && begun ? 0 : points[i].passes);
            life.value = 99;
            assert_int_equal(in_child(live, &life), 0);
            assert_int_equal(read_one(life.fd, ROOM), 99);
            close(life.fd);
        }
    }
}

#define WITH_SEGMENT(test) cmocka_unit_test_setup_teardown(test, open_empty, close_it)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SEGMENT(an_empty_segment_holds_no_snapshot),
        WITH_SEGMENT(the_last_committed_is_read),
        WITH_SEGMENT(what_is_not_committed_is_not_there),
        WITH_SEGMENT(a_snapshot_longer_than_its_slot_is_refused),
        WITH_SEGMENT(a_successor_goes_on_where_the_writer_died),
        WITH_SEGMENT(its_size_is_final),
        WITH_SEGMENT(a_segment_that_was_not_sealed_is_sealed_by_the_next),
        WITH_SEGMENT(more_than_the_memory_is_an_error_with_numbers),
        WITH_SEGMENT(what_is_no_memfd_is_refused),
        WITH_SEGMENT(a_header_that_lies_is_refused),
        WITH_SEGMENT(a_sealed_segment_without_a_header_is_refused),
        WITH_SEGMENT(a_kill_at_each_step_leaves_the_old_or_the_new),
    };

    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
