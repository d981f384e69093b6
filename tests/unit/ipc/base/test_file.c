/* Crash-safe files. The heart: a writer killed, or failed, at each step of a replacement leaves the old
 * content or the new. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "tests/unit/ipc/base/unit.h"

#define OLD_BYTES "the old content"
#define NEW_BYTES "the new content, which is longer"

/* In the order in which a replacement passes them; from `file.dirsync` on the new content is in place. */
static const char *const steps[] = {"file.create", "file.write",   "file.fsync", "file.close",
                                    "file.rename", "file.dirsync", "file.done"};

static const char *join(const char *directory, const char *name)
{
    static char path[2][4096];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", directory, name);
    return path[turn];
}

static void assert_content(const char *path, const char *want)
{
    struct im_text text = {""};
    char *bytes;
    size_t n;

    assert_int_equal(im_read_file(path, 1000, &bytes, &n, &text), 0);
    assert_int_equal(n, strlen(want));
    assert_string_equal(bytes, want);
    free(bytes);
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

static int replace(void *path)
{
    struct im_text text;

    return im_file_replace(path, NEW_BYTES, strlen(NEW_BYTES), &text) < 0;
}

static void replace_makes_and_replaces(void **state)
{
    const char *path = join(*state, "f");
    struct im_text text = {""};
    struct stat st;

    umask(022);
    assert_int_equal(im_file_replace(path, OLD_BYTES, strlen(OLD_BYTES), &text), 0);
    assert_content(path, OLD_BYTES);
    assert_int_equal(im_file_replace(path, NEW_BYTES, strlen(NEW_BYTES), &text), 0);
    assert_content(path, NEW_BYTES);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    assert_int_equal(count_files(*state), 1);
}

static void skip_without_fault_points(void)
{
    if (im_fault_arm("", NULL) == -ENOTSUP)
        skip();
}

static void a_kill_at_each_step_leaves_old_or_new(void **state)
{
    const char *path = join(*state, "f");
    struct im_text text = {""};

    skip_without_fault_points();
    for (size_t i = 0; i < IM_COUNT(steps); i++) {
        char rule[100];
        int status;

        assert_int_equal(im_file_replace(path, OLD_BYTES, strlen(OLD_BYTES), &text), 0);
        snprintf(rule, sizeof rule, "%s=kill", steps[i]);
        assert_int_equal(im_fault_arm(rule, &text), 0);
        status = in_child(replace, (void *)(uintptr_t)path);
        assert_int_equal(im_fault_arm("", &text), 0);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_content(path, i < 5 ? OLD_BYTES : NEW_BYTES);
        assert_int_equal(im_file_sweep(*state), i >= 1 && i < 5 ? 1 : 0);
        assert_int_equal(count_files(*state), 1);
    }
}

static void a_failure_at_each_step_leaves_old_or_new_and_nothing_else(void **state)
{
    const char *path = join(*state, "f");
    struct im_text text = {""};

    skip_without_fault_points();
    for (size_t i = 0; i < IM_COUNT(steps) - 1; i++) {
        char rule[100];

        assert_int_equal(im_file_replace(path, OLD_BYTES, strlen(OLD_BYTES), &text), 0);
        snprintf(rule, sizeof rule, "%s=fail:ENOSPC", steps[i]);
        assert_int_equal(im_fault_arm(rule, &text), 0);
        assert_int_equal(im_file_replace(path, NEW_BYTES, strlen(NEW_BYTES), &text), -ENOSPC);
        assert_non_null(strstr(text.s, path));
        assert_non_null(strstr(text.s, "No space left on device"));
        assert_int_equal(im_fault_arm("", &text), 0);
        assert_content(path, i < 5 ? OLD_BYTES : NEW_BYTES);
        assert_int_equal(count_files(*state), 1);
    }
}

static void pieces_become_visible_at_commit_only(void **state)
{
    const char *path = join(*state, "f");
    struct im_text text = {""};
    struct im_file_writer w;

    assert_int_equal(im_file_begin(&w, path, &text), 0);
    assert_int_equal(im_file_write(&w, "one ", 4, &text), 0);
    assert_int_equal(im_file_write(&w, "two", 3, &text), 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(im_file_commit(&w, &text), 0);
    assert_content(path, "one two");
    im_file_abort(&w);
    assert_content(path, "one two");
}

static void abort_leaves_nothing(void **state)
{
    struct im_file_writer w = {0};
    struct im_text text = {""};

    im_file_abort(&w);
    assert_int_equal(im_file_begin(&w, join(*state, "f"), &text), 0);
    assert_int_equal(im_file_write(&w, "x", 1, &text), 0);
    im_file_abort(&w);
    assert_int_equal(count_files(*state), 0);
    assert_int_equal(im_file_write(&w, "x", 1, &text), -EBADF);
    assert_int_equal(im_file_commit(&w, &text), -EBADF);
}

static void a_writer_that_did_not_begin_removes_nothing(void **state)
{
    char name[300];
    struct im_file_writer w;
    struct im_text text = {""};

    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(im_file_begin(&w, join(*state, name), &text), -ENAMETOOLONG);
    assert_int_equal(w.tmp_path[0], '\0');
    im_file_abort(&w);
    assert_int_equal(im_file_commit(&w, &text), -EBADF);
}

static void two_writers_of_one_path_do_not_mix(void **state)
{
    const char *path = join(*state, "f");
    struct im_file_writer a, b;

    assert_int_equal(im_file_begin(&a, path, NULL), 0);
    assert_int_equal(im_file_begin(&b, path, NULL), 0);
    assert_int_equal(im_file_write(&b, "from b", 6, NULL), 0);
    assert_int_equal(im_file_write(&a, "from a", 6, NULL), 0);
    assert_int_equal(im_file_commit(&a, NULL), 0);
    assert_content(path, "from a");
    assert_int_equal(im_file_commit(&b, NULL), 0);
    assert_content(path, "from b");
}

static void replace_into_a_missing_directory_says_so(void **state)
{
    struct im_text text = {""};

    assert_int_equal(im_file_replace(join(*state, "none/f"), "x", 1, &text), -ENOENT);
    assert_non_null(strstr(text.s, "cannot write "));
    assert_non_null(strstr(text.s, "none/f: No such file or directory"));
    assert_int_equal(im_file_replace(join(*state, "none/"), "x", 1, &text), -EISDIR);
}

static void sweep_takes_temporary_files_only(void **state)
{
    static const char *const names[] = {".f.tmp-12-0", ".f.tmp-x", "f.tmp-12-0",
                                        ".tmp-1-1",    ".profile", ".a.tmp-1.tmp-3-4"};

    for (size_t i = 0; i < IM_COUNT(names); i++)
        close(open(join(*state, names[i]), O_CREAT | O_WRONLY, 0600));
    assert_int_equal(im_file_sweep(*state), 2);
    assert_int_equal(access(join(*state, ".f.tmp-12-0"), F_OK), -1);
    assert_int_equal(access(join(*state, ".f.tmp-x"), F_OK), 0);
    assert_int_equal(im_file_sweep(join(*state, "none")), -ENOENT);
}

static void read_is_bounded(void **state)
{
    const char *path = join(*state, "f");
    struct im_text text = {""};
    char *bytes;
    size_t n;

    assert_int_equal(im_file_replace(path, "12345", 5, &text), 0);
    assert_int_equal(im_read_file(path, 5, &bytes, &n, &text), 0);
    free(bytes);
    assert_int_equal(im_read_file(path, 4, &bytes, &n, &text), -EFBIG);
    assert_non_null(strstr(text.s, "larger than 4 bytes"));
    assert_int_equal(im_read_file(join(*state, "none"), 4, &bytes, &n, &text), -ENOENT);
    assert_int_equal(im_read_file(*state, 4000, &bytes, &n, &text), -EISDIR);
}

static void read_takes_files_of_unknown_size(void **state)
{
    char *bytes;
    size_t n;

    (void)state;
    assert_int_equal(im_read_file("/proc/self/status", 100000, &bytes, &n, NULL), 0);
    assert_int_equal(n, strlen(bytes));
    assert_true(n > 100);
    free(bytes);
}

/* At once: a pipe without a writer would be waited for, /dev/zero read for ever. */
static void only_regular_files_are_opened(void **state)
{
    const char *path = join(*state, "pipe");
    struct im_text text = {""};
    struct stat st;
    char *bytes;
    size_t n;
    int fd;

    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(5);
    assert_int_equal(im_open_regular(path, &st, &text), -EINVAL);
    assert_non_null(strstr(text.s, "is a pipe"));
    assert_int_equal(im_read_file("/dev/zero", 100000, &bytes, &n, &text), -EINVAL);
    assert_non_null(strstr(text.s, "is a device"));
    assert_int_equal(im_open_regular(*state, &st, &text), -EISDIR);
    assert_non_null(strstr(text.s, "is a folder"));
    alarm(0);
    fd = im_open_regular("/proc/self/status", &st, &text);
    assert_true(fd >= 0);
    close(fd);
}

static void mkdirs_makes_what_is_missing(void **state)
{
    struct im_text text = {""};
    const char *path = join(*state, "a/b//c/");
    struct stat st;

    assert_int_equal(im_mkdirs(path, 0700, &text), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(im_mkdirs(path, 0700, &text), 0);
}

static void mkdirs_over_a_file_says_so(void **state)
{
    struct im_text text = {""};

    assert_int_equal(im_file_replace(join(*state, "f"), "x", 1, &text), 0);
    assert_int_equal(im_mkdirs(join(*state, "f"), 0700, &text), -ENOTDIR);
    assert_non_null(strstr(text.s, "a file has that name"));
    assert_int_equal(im_mkdirs(join(*state, "f/g"), 0700, &text), -ENOTDIR);
    assert_int_equal(im_mkdirs("", 0700, &text), -EINVAL);
}

static void lines_are_appended_whole(void **state)
{
    const char *path = join(*state, "lines");
    int fd = im_lines_open(path, NULL);

    assert_true(fd >= 0);
    assert_int_equal(im_append_line(fd, "{\"a\":1}"), 0);
    assert_int_equal(im_append_line(fd, ""), 0);
    assert_int_equal(im_append_line(fd, "a\nb"), -EINVAL);
    close(fd);
    assert_content(path, "{\"a\":1}\n\n");
}

static void a_torn_last_line_is_cut_off_on_opening(void **state)
{
    const char *path = join(*state, "lines");
    char *torn = malloc(10001);
    int fd;

    memset(torn, 't', 10000);
    memcpy(torn, "whole\n", 6);
    assert_int_equal(im_file_replace(path, torn, 10000, NULL), 0);
    free(torn);
    fd = im_lines_open(path, NULL);
    assert_int_equal(im_append_line(fd, "next"), 0);
    close(fd);
    assert_content(path, "whole\nnext\n");
    assert_int_equal(im_file_replace(path, "torn", 4, NULL), 0);
    fd = im_lines_open(path, NULL);
    close(fd);
    assert_content(path, "");
}

static void a_line_that_does_not_fit_is_taken_back(void **state)
{
    const char *path = join(*state, "lines");
    int fd = im_lines_open(path, NULL);
    struct rlimit limit;

    assert_int_equal(im_append_line(fd, "first"), 0);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){10, limit.rlim_max}), 0);
    assert_true(im_append_line(fd, "does not fit") < 0);
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_int_equal(im_append_line(fd, "second"), 0);
    close(fd);
    assert_content(path, "first\nsecond\n");
}

static int writes_and_reads_closed(void *arg)
{
    char byte;
    int fd;

    (void)arg;
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    im_standard_files();
    fd = open("/dev/null", O_RDONLY);
    return fd <= STDERR_FILENO || write(STDOUT_FILENO, "x", 1) >= 0 || read(STDIN_FILENO, &byte, 1) >= 0;
}

/* An answer that goes nowhere has failed, and no file gets the number of a standard one. */
static void standard_files_that_are_closed_take_nothing(void **state)
{
    (void)state;
    assert_int_equal(in_child(writes_and_reads_closed, NULL), 0);
}

static int names_the_limit(void *arg)
{
    const struct rlimit size = {65536, 65536}, files = {40, 40};
    struct im_text text = {""};

    (void)arg;
    if (setrlimit(RLIMIT_FSIZE, &size) < 0 || setrlimit(RLIMIT_NOFILE, &files) < 0)
        return 1;
    im_fail(&text, -EFBIG, "cannot write a file: %s", strerror(EFBIG));
    if (!strstr(text.s, "; a file may have 64 KiB here: `ulimit -f unlimited`"))
        return 2;
    im_fail(&text, -EMFILE, "cannot open a file: %s", strerror(EMFILE));
    if (!strstr(text.s, "; a process may have 40 open here: raise `ulimit -n`"))
        return 3;
    im_fail(&text, -EMFILE, "%s", text.s); /* once */
    if (strstr(strstr(text.s, "ulimit") + 1, "ulimit"))
        return 4;
    im_fail(&text, -EIO, "cannot write a file: %s", strerror(EIO));
    return strstr(text.s, "ulimit") ? 5 : 0;
}

static void errors_of_a_limit_name_it(void **state)
{
    (void)state;
    assert_int_equal(in_child(names_the_limit, NULL), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(replace_makes_and_replaces),
        TEST(a_kill_at_each_step_leaves_old_or_new),
        TEST(a_failure_at_each_step_leaves_old_or_new_and_nothing_else),
        TEST(pieces_become_visible_at_commit_only),
        TEST(abort_leaves_nothing),
        TEST(a_writer_that_did_not_begin_removes_nothing),
        TEST(two_writers_of_one_path_do_not_mix),
        TEST(replace_into_a_missing_directory_says_so),
        TEST(sweep_takes_temporary_files_only),
        TEST(read_is_bounded),
        TEST(read_takes_files_of_unknown_size),
        TEST(only_regular_files_are_opened),
        TEST(mkdirs_makes_what_is_missing),
        TEST(mkdirs_over_a_file_says_so),
        TEST(lines_are_appended_whole),
        TEST(a_torn_last_line_is_cut_off_on_opening),
        TEST(a_line_that_does_not_fit_is_taken_back),
        TEST(standard_files_that_are_closed_take_nothing),
        TEST(errors_of_a_limit_name_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
