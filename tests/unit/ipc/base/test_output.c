#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/base/output.h"
#include "tests/unit/ipc/base/unit.h"

static const char *in(void **state, const char *name)
{
    static char path[4][PATH_MAX];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", (const char *)*state, name);
    return path[turn];
}

static void assert_holds(const char *path, const char *want)
{
    struct im_text text = {""};
    char *bytes;
    size_t n;

    assert_int_equal(im_read_file(path, 1000, &bytes, &n, &text), 0);
    assert_string_equal(bytes, want);
    free(bytes);
}

static mode_t kind(const char *path)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & S_IFMT;
}

static void a_pipe_is_written_to(void **state)
{
    struct im_text text = {""};
    char got[8] = "", to[PATH_MAX];
    int fd;

    assert_int_equal(mkfifo(in(state, "fifo"), 0600), 0);
    fd = open(in(state, "fifo"), O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    assert_int_equal(im_output_write(in(state, "fifo"), "12345", 5, &text), 0);
    assert_int_equal(read(fd, got, sizeof got), 5);
    assert_string_equal(got, "12345");
    close(fd);
    assert_true(S_ISFIFO(kind(in(state, "fifo"))));
    snprintf(to, sizeof to, "%s", in(state, "fifo"));
    assert_int_equal(im_output_find_file(to, sizeof to, &text), -EINVAL);
    assert_non_null(strstr(text.s, "it is no file"));
}

/* What leads to a device: who may make a device is root alone, and /dev/full itself must be in no danger. */
static void a_device_is_written_to(void **state)
{
    struct im_text text = {""};
    char to[PATH_MAX];

    assert_int_equal(symlink("/dev/full", in(state, "link")), 0);
    assert_int_equal(im_output_write(in(state, "link"), "x", 1, &text), -ENOSPC);
    assert_non_null(strstr(text.s, "/link: No space left on device"));
    assert_true(S_ISLNK(kind(in(state, "link"))));
    snprintf(to, sizeof to, "%s", in(state, "link"));
    assert_int_equal(im_output_find_file(to, sizeof to, &text), -EINVAL);
    assert_true(S_ISCHR(kind("/dev/full")));
}

static void no_file_replaces_a_device(void **state)
{
    struct im_text text = {""};

    if (mknod(in(state, "d"), S_IFCHR | 0600, makedev(1, 3)) < 0)
        skip(); /* not root */
    assert_int_equal(im_file_replace(in(state, "d"), "x", 1, &text), -EINVAL);
    assert_non_null(strstr(text.s, "it is a device"));
    assert_true(S_ISCHR(kind(in(state, "d"))));
}

static void a_link_stays_and_its_file_is_replaced(void **state)
{
    struct im_text text = {""};
    char to[PATH_MAX], real[PATH_MAX];

    assert_int_equal(im_output_write(in(state, "f"), "old", 3, &text), 0);
    assert_int_equal(symlink("f", in(state, "link")), 0);
    assert_int_equal(im_output_write(in(state, "link"), "new", 3, &text), 0);
    assert_true(S_ISLNK(kind(in(state, "link"))));
    assert_holds(in(state, "f"), "new");
    snprintf(to, sizeof to, "%s", in(state, "link"));
    assert_int_equal(im_output_find_file(to, sizeof to, &text), 0);
    assert_non_null(realpath(in(state, "f"), real));
    assert_string_equal(to, real);
}

/* A link of /dev to an open file: the link must not be replaced by a file. */
static void an_open_file_is_written_to(void **state)
{
    struct im_text text = {""};
    char path[64], to[64] = "/dev/stdout";
    int fd = open(in(state, "f"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    assert_int_equal(im_output_write(path, "abc", 3, &text), 0);
    close(fd);
    assert_holds(in(state, "f"), "abc");
    assert_int_equal(im_output_find_file(to, sizeof to, &text), -EINVAL);
}

static void others_are_refused(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct im_text text = {""};
    char to[PATH_MAX];

    assert_int_equal(im_output_write(*state, "x", 1, &text), -EISDIR);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", in(state, "s"));
    assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(im_output_write(in(state, "s"), "x", 1, &text), -ENXIO);
    assert_true(S_ISSOCK(kind(in(state, "s"))));
    close(s);
    snprintf(to, sizeof to, "%s", in(state, "no/f"));
    assert_int_equal(im_output_find_file(to, sizeof to, &text), -ENOTDIR);
    assert_int_equal(symlink("none/there", in(state, "link")), 0);
    assert_int_equal(im_output_write(in(state, "link"), "x", 1, &text), -ENOTDIR);
    assert_true(S_ISLNK(kind(in(state, "link"))));
}

/* What a command asks before it works for long. */
static void a_file_that_could_not_be_written_is_known_before(void **state)
{
    static const struct {
        const char *name;
        int err;
    } cases[] = {{"new", 0},
                 {"old", 0},
                 {"none/new", -ENOTDIR},
                 {"d", -EISDIR},
                 {"old/new", -ENOTDIR},
                 {"d/", -EISDIR},
                 {"closed/new", -EACCES},
                 {"to-old", 0},
                 {"to-nothing", -ENOTDIR},
                 {"to-closed", -EACCES}};
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/old", (const char *)*state);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    snprintf(path, sizeof path, "%s/d", (const char *)*state);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/closed", (const char *)*state);
    assert_int_equal(mkdir(path, 0700), 0);
    close(open(in(state, "closed/old"), O_CREAT | O_WRONLY, 0600));
    assert_int_equal(chmod(path, 0500), 0);
    assert_int_equal(symlink("old", in(state, "to-old")), 0);
    assert_int_equal(symlink("none/there", in(state, "to-nothing")), 0);
    assert_int_equal(symlink("closed/old", in(state, "to-closed")), 0);
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        const bool may_all = cases[i].err == -EACCES && geteuid() == 0;
        struct im_text text = {""};

        snprintf(path, sizeof path, "%s/%s", (const char *)*state, cases[i].name);
        assert_int_equal(im_output_check(path, &text), may_all ? 0 : cases[i].err);
        assert_true((text.s[0] != 0) == (cases[i].err < 0 && !may_all));
    }
    assert_int_equal(im_output_check("here", NULL), 0);
    assert_int_equal(im_output_check("/dev/null", NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pipe_is_written_to, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_device_is_written_to, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(no_file_replaces_a_device, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_link_stays_and_its_file_is_replaced, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(an_open_file_is_written_to, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(others_are_refused, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_file_that_could_not_be_written_is_known_before, make_directory,
                                        remove_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
