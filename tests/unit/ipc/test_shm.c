/* Segments: made, handed on, refused; and never a SIGBUS, however little /dev/shm has. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include "ipc/base/sysinfo.h"
#include "ipc/shm.h"
#include "tests/unit/ipc/base/unit.h"

enum { BYTES = 1 << 20, TINY_SHM_BYTES = 1 << 16, NO_NAMESPACE = 77 };

static void touch(const struct im_segment *s)
{
    memset(s->map, 0x5a, s->bytes);
}

static void test_a_segment_is_zeroed_and_all_there(void **state)
{
    struct im_segment s;
    const unsigned char *bytes;

    (void)state;
    assert_int_equal(im_segment_create("a test", BYTES, &s, NULL), 0);
    assert_int_equal(s.bytes, BYTES);
    bytes = s.map;
    for (size_t i = 0; i < BYTES; i++)
        assert_int_equal(bytes[i], 0);
    touch(&s);
    im_segment_close(&s);
}

static size_t names_in_shm(void)
{
    DIR *dir = opendir("/dev/shm");
    struct dirent *entry;
    char mine[64];
    size_t n = 0;

    snprintf(mine, sizeof mine, "imsuper-%d-", (int)getpid());
    while (dir && (entry = readdir(dir)))
        n += strncmp(entry->d_name, mine, strlen(mine)) == 0;
    if (dir)
        closedir(dir);
    return n;
}

static void test_a_segment_has_no_name_that_could_be_left_behind(void **state)
{
    struct im_segment s;

    (void)state;
    assert_int_equal(im_segment_create("a test", BYTES, &s, NULL), 0);
    assert_int_equal(names_in_shm(), 0);
    im_segment_close(&s);
}

static void test_attached_it_is_the_same_memory(void **state)
{
    struct im_segment made, same;

    (void)state;
    assert_int_equal(im_segment_create("a test", BYTES, &made, NULL), 0);
    assert_int_equal(im_segment_attach(dup(made.fd), 1, BYTES, &same, NULL), 0);
    ((char *)made.map)[BYTES - 1] = 42;
    assert_int_equal(((char *)same.map)[BYTES - 1], 42);
    assert_true(fcntl(same.fd, F_GETFD) & FD_CLOEXEC);
    im_segment_close(&same);
    im_segment_close(&made);
}

static int write_read_only(void *argument)
{
    struct im_segment *s = argument;

    atomic_store_explicit((_Atomic char *)s->map, 1, memory_order_relaxed);
    return 0;
}

static void test_read_only_cannot_be_written(void **state)
{
    struct im_segment made, same;
    int status;

    (void)state;
    assert_int_equal(im_segment_create("a test", BYTES, &made, NULL), 0);
    assert_int_equal(im_segment_attach(dup(made.fd), 0, BYTES, &same, NULL), 0);
    status = in_child(write_read_only, &same);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    im_segment_close(&same);
    im_segment_close(&made);
}

static void test_what_is_no_segment_is_refused(void **state)
{
    struct im_segment s;
    struct im_text text = {""};
    int small = memfd_create("small", MFD_CLOEXEC), pipes[2];

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(im_segment_attach(-1, 1, 1, &s, &text), -EBADF);
    assert_int_equal(im_segment_attach(pipes[0], 1, 1, &s, &text), -EBADMSG);
    assert_int_equal(im_segment_attach(small, 1, 0, &s, &text), -EBADMSG); /* empty */
    assert_int_equal(ftruncate(small, 4096), 0);
    assert_int_equal(im_segment_attach(small, 1, 4097, &s, &text), -EBADMSG);
    assert_true(text.s[0] != 0);
    assert_true(fcntl(small, F_GETFD) >= 0); /* still the caller's */
    close(small);
    close(pipes[0]);
    close(pipes[1]);
}

static void test_closing_twice_or_nothing_is_fine(void **state)
{
    struct im_segment s = {0};

    (void)state;
    im_segment_close(&s);
    assert_int_equal(im_segment_create("a test", BYTES, &s, NULL), 0);
    im_segment_close(&s);
    im_segment_close(&s);
}

static void test_more_than_the_memory_is_an_error_with_numbers(void **state)
{
    struct im_text text = {""};
    struct im_segment s;

    (void)state;
    if (im_memory_available() == 0)
        skip();
    assert_int_equal(im_segment_create("a test", UINT64_C(1) << 46, &s, &text), -ENOMEM);
    assert_non_null(strstr(text.s, "70368744177664 bytes"));
    assert_non_null(strstr(text.s, "a test"));
    assert_non_null(strstr(text.s, "--batch-size"));
}

/* Puts a tiny /dev/shm over the real one, for this (child) process alone. */
static int make_tiny_shm(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=65536") < 0)
        return NO_NAMESPACE;
    return 0;
}

static int seals_of_fallback(void *argument)
{
    struct im_segment s;
    int seals;

    (void)argument;
    if (make_tiny_shm())
        return NO_NAMESPACE;
    if (im_segment_create("a test", BYTES, &s, NULL) < 0)
        return 1;
    touch(&s); /* a SIGBUS here kills the child */
    seals = fcntl(s.fd, F_GET_SEALS);
    return seals == (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) && ftruncate(s.fd, 0) < 0 && errno == EPERM
               ? 0
               : 2;
}

static void test_a_too_small_dev_shm_is_replaced_by_a_sealed_memfd(void **state)
{
    int status = in_child(seals_of_fallback, NULL);

    (void)state;
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_NAMESPACE)
        skip();
    assert_int_equal(status, 0);
}

static int small_segment_in_tiny_shm(void *argument)
{
    struct im_segment s;

    (void)argument;
    if (make_tiny_shm())
        return NO_NAMESPACE;
    if (im_segment_create("a test", TINY_SHM_BYTES / 2, &s, NULL) < 0)
        return 1;
    touch(&s);
    return fcntl(s.fd, F_GET_SEALS) & F_SEAL_SHRINK ? 2 : 0; /* POSIX shared memory, no memfd */
}

static void test_a_segment_that_fits_a_small_dev_shm_is_there(void **state)
{
    int status = in_child(small_segment_in_tiny_shm, NULL);

    (void)state;
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_NAMESPACE)
        skip();
    assert_int_equal(status, 0);
}

static int huge_segment_in_tiny_shm(void *argument)
{
    struct im_text text = {""};
    struct im_segment s;

    (void)argument;
    if (make_tiny_shm())
        return NO_NAMESPACE;
    if (im_segment_create("a test", UINT64_C(1) << 46, &s, &text) != -ENOMEM)
        return 1;
    return strstr(text.s, "65536 in /dev/shm") ? 0 : 2;
}

static void test_too_much_for_both_is_an_error_that_names_both(void **state)
{
    int status = in_child(huge_segment_in_tiny_shm, NULL);

    (void)state;
    if (im_memory_available() == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == NO_NAMESPACE))
        skip();
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_segment_is_zeroed_and_all_there),
        cmocka_unit_test(test_a_segment_has_no_name_that_could_be_left_behind),
        cmocka_unit_test(test_attached_it_is_the_same_memory),
        cmocka_unit_test(test_read_only_cannot_be_written),
        cmocka_unit_test(test_what_is_no_segment_is_refused),
        cmocka_unit_test(test_closing_twice_or_nothing_is_fine),
        cmocka_unit_test(test_more_than_the_memory_is_an_error_with_numbers),
        cmocka_unit_test(test_a_too_small_dev_shm_is_replaced_by_a_sealed_memfd),
        cmocka_unit_test(test_a_segment_that_fits_a_small_dev_shm_is_there),
        cmocka_unit_test(test_too_much_for_both_is_an_error_that_names_both),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
