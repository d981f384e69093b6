/* The thread that writes files of lines: what a disk does stops nobody, and what comes back is whole. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "ipc/base/writer.h"
#include "tests/unit/ipc/base/unit.h"

#define BUSY_MACHINE_NS (15 * IM_SECOND) /* what waits for a disk that hangs waits for ever */

static const char *join(const char *directory, const char *name)
{
    static char path[4096];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void assert_content(const char *directory, const char *name, const char *want)
{
    struct im_text text = {""};
    char *bytes;
    size_t n;

    assert_int_equal(im_read_file(join(directory, name), 64 << 20, &bytes, &n, &text), 0);
    assert_string_equal(bytes, want);
    free(bytes);
}

static struct im_writer *open_writer(const char *directory)
{
    struct im_writer *w = NULL;

    assert_int_equal(im_writer_open(&w), 0);
    assert_int_equal(im_writer_file(w, join(directory, "a"), "a", -1, NULL, NULL), 0);
    assert_int_equal(im_writer_file(w, join(directory, "b"), "b", -1, NULL, NULL), 1);
    return w;
}

/* Waits for the next news. */
static struct im_writer_news await_news(struct im_writer *w)
{
    struct im_writer_news news = {0};
    im_ns until = im_now() + 20 * IM_SECOND;

    while (!im_writer_news(w, &news) && im_now() < until)
        poll(NULL, 0, 1);
    assert_true(im_now() < until);
    return news;
}

static int note_policy(void *context, struct im_text *text)
{
    (void)text;
    *(int *)context = sched_getscheduler(0);
    return 0;
}

static void a_writer_that_wakes_up_interrupts_nobody(void **state)
{
    struct im_writer *w = open_writer(*state);
    int policy = -1;

    im_writer_do(w, note_policy, &policy, "policy");
    assert_int_equal(im_writer_wait(w, false, BUSY_MACHINE_NS), 0);
    assert_int_equal(policy, SCHED_BATCH);
    assert_int_equal(sched_getscheduler(0), SCHED_OTHER); /* only the thread of its own */
    im_writer_close(&w, BUSY_MACHINE_NS);
}

static void lines_arrive_in_order(void **state)
{
    struct im_writer *w = open_writer(*state);

    im_writer_line(w, 0, "1");
    im_writer_line(w, 1, "x");
    im_writer_line(w, 0, "2");
    assert_int_equal(im_writer_wait(w, true, 20 * IM_SECOND), 0);
    assert_content(*state, "a", "1\n2\n");
    im_writer_line(w, 0, "3");
    assert_int_equal(im_writer_close(&w, 20 * IM_SECOND), 0);
    assert_null(w);
    assert_content(*state, "a", "1\n2\n3\n");
    assert_content(*state, "b", "x\n");
}

static void nothing_to_write_needs_no_thread(void **state)
{
    struct im_writer *w = open_writer(*state);

    assert_int_equal(im_writer_close(&w, 0), 0);
    assert_int_equal(im_writer_close(&w, 0), 0);
}

/* The other file goes on; each failure and each recovery is told once. */
static void an_error_is_told_once_and_made_up_for(void **state)
{
    struct im_writer *w = open_writer(*state);
    struct im_writer_news news;

    assert_int_equal(symlink("missing/x", join(*state, "a")), 0); /* cannot be opened */
    im_writer_line(w, 0, "1");
    im_writer_line(w, 1, "x");
    news = await_news(w);
    assert_string_equal(news.name, "a");
    assert_int_equal(news.err, -ENOENT);
    assert_non_null(strstr(news.text.s, "cannot open"));
    assert_false(im_writer_news(w, &news));
    im_writer_line(w, 0, "2");
    assert_int_equal(im_writer_wait(w, false, 20 * IM_SECOND), -ENOENT);
    assert_content(*state, "b", "x\n");
    assert_false(im_writer_news(w, &news));
    assert_int_equal(unlink(join(*state, "a")), 0);
    news = await_news(w); /* tried again by itself */
    assert_string_equal(news.name, "a");
    assert_int_equal(news.err, 0);
    assert_int_equal(news.lost, 0);
    assert_false(im_writer_news(w, &news));
    assert_content(*state, "a", "1\n2\n");
    assert_int_equal(im_writer_close(&w, 20 * IM_SECOND), 0);
}

static void a_folder_in_the_way_is_moved_aside(void **state)
{
    struct im_writer *w = open_writer(*state);
    uint64_t lost[2] = {9, 9};
    struct im_writer_news news;

    assert_int_equal(mkdir(join(*state, "a"), 0700), 0);
    im_writer_line(w, 0, "1");
    assert_int_equal(im_writer_wait(w, false, 20 * IM_SECOND), 0);
    assert_false(im_writer_news(w, &news));
    assert_content(*state, "a", "1\n");
    assert_int_equal(im_writer_close_each(&w, 20 * IM_SECOND, lost), 0);
    assert_true(lost[0] == 0 && lost[1] == 0);
    assert_int_equal(rmdir(join(*state, "a.1")), 0);
}

/* As rotation of logs does. While no new file can be made, the open one has the lines. */
static void a_file_that_was_renamed_has_a_successor(void **state)
{
    struct im_writer *w = open_writer(*state);
    char *folder = strdup(join(*state, "folder")), *moved = strdup(join(*state, "moved"));
    char *old = strdup(join(folder, "c"));

    assert_true(folder && moved && old);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(im_writer_file(w, old, "c", -1, NULL, NULL), 2);
    im_writer_line(w, 2, "1");
    assert_int_equal(im_writer_wait(w, false, 20 * IM_SECOND), 0);
    assert_int_equal(rename(old, join(folder, "d")), 0);
    im_writer_line(w, 2, "2");
    assert_int_equal(im_writer_wait(w, false, 20 * IM_SECOND), 0);
    assert_content(folder, "d", "1\n");
    assert_content(folder, "c", "2\n");
    assert_int_equal(rename(folder, moved), 0);
    im_writer_line(w, 2, "3");
    assert_int_equal(im_writer_close(&w, 20 * IM_SECOND), 0);
    assert_content(moved, "c", "2\n3\n");
    free(folder);
    free(moved);
    free(old);
}

/* A file that its owner opened, with a position and a header, is not begun anew without them. */
static void a_file_with_an_owner_is_written_where_it_is(void **state)
{
    struct im_writer *w = NULL;
    int fd = im_lines_open(join(*state, "a"), NULL);
    char moved[4096];

    snprintf(moved, sizeof moved, "%s/moved", (const char *)*state);
    assert_int_equal(im_writer_open(&w), 0);
    assert_int_equal(im_writer_file(w, join(*state, "a"), "a", fd, NULL, NULL), 0);
    im_writer_line(w, 0, "1");
    assert_int_equal(im_writer_wait(w, false, 20 * IM_SECOND), 0);
    assert_int_equal(rename(join(*state, "a"), moved), 0);
    im_writer_line(w, 0, "2");
    assert_int_equal(im_writer_close(&w, 20 * IM_SECOND), 0);
    assert_int_equal(access(join(*state, "a"), F_OK), -1);
    assert_content(*state, "moved", "1\n2\n");
}

static void lines_beyond_the_bound_are_counted(void **state)
{
    struct im_writer *w = open_writer(*state);
    struct im_writer_news news;
    char line[65536];
    int lines = (int)(IM_WRITER_FILE_BYTES / sizeof line);

    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    assert_int_equal(symlink("missing/x", join(*state, "a")), 0);
    for (int i = 0; i < lines + 7; i++)
        im_writer_line(w, 0, line);
    assert_int_equal(await_news(w).err, -ENOENT);
    assert_int_equal(unlink(join(*state, "a")), 0);
    assert_int_equal(im_writer_wait(w, false, 20 * IM_SECOND), 0);
    news = await_news(w);
    assert_int_equal(news.err, 0);
    assert_int_equal(news.lost, 7);
    assert_int_equal(im_writer_close(&w, 20 * IM_SECOND), 0);
}

/* A file at its limit takes a part of a line; nobody reads a torn one after that. */
static void a_line_that_did_not_fit_is_whole_in_the_end(void **state)
{
    struct im_writer *w = open_writer(*state);
    struct rlimit limit, small;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 10;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    im_writer_line(w, 0, "12345");
    im_writer_line(w, 0, "6789012345");
    im_writer_line(w, 0, "end");
    assert_int_equal(im_writer_wait(w, false, 20 * IM_SECOND) < 0, 1);
    assert_content(*state, "a", "12345\n");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(im_writer_wait(w, false, 20 * IM_SECOND), 0);
    assert_content(*state, "a", "12345\n6789012345\nend\n");
    assert_int_equal(im_writer_close(&w, 20 * IM_SECOND), 0);
}

/* A call that hangs holds neither the lines nor the end. */
static void a_disk_that_hangs_holds_nobody(void **state)
{
    struct im_writer *w = open_writer(*state);
    struct im_writer_news news;
    im_ns began = im_now();
    bool told;
    int fifo;

    assert_int_equal(mkfifo(join(*state, "a"), 0600), 0);
    assert_true((fifo = open(join(*state, "a"), O_RDWR | O_NONBLOCK)) >= 0);
    while (write(fifo, *state, 1) == 1) /* full: the thread blocks in its first write */
        continue;
    im_writer_line(w, 0, "1");
    for (int i = 0; i < 1000; i++)
        im_writer_line(w, 1, "x");
    told = im_writer_news(w, &news); /* on a machine that does much else */
    assert_true(im_now() - began < BUSY_MACHINE_NS);
    assert_int_equal(im_writer_wait(w, true, IM_SECOND / 10), -ETIMEDOUT);
    if (!told)
        news = await_news(w);
    assert_true(im_now() - began > IM_WRITER_SILENCE_NS);
    assert_string_equal(news.name, "a");
    assert_int_equal(news.err, -ETIMEDOUT);
    began = im_now();
    assert_int_equal(im_writer_close(&w, IM_SECOND / 10), 1001);
    assert_true(im_now() - began < BUSY_MACHINE_NS);
    fcntl(fifo, F_SETFL, 0);
    for (char c; read(fifo, &c, 1) == 1 && c != '1';) /* the thread ends, and frees what it has */
        continue;
    close(fifo);
    poll(NULL, 0, 100);
    assert_int_equal(access(join(*state, "b"), F_OK),
                     -1); /* what was told to be lost is not written any more */
}

static int compute(void *context, struct im_text *text)
{
    const im_ns until = im_now() + IM_WRITER_SILENCE_NS + IM_SECOND;

    (void)context, (void)text;
    while (im_now() < until)
        continue;
    return 0;
}

/* What computes, or waits for a processor, says nothing of the disk. */
static void a_busy_machine_is_no_silent_disk(void **state)
{
    struct im_writer *w = open_writer(*state);
    struct im_writer_news news;
    int err;

    im_writer_do(w, compute, NULL, "charts");
    do {
        err = im_writer_wait(w, false, IM_SECOND / 10);
        if (im_writer_news(w, &news))
            fail_msg("%s: %s", news.name, news.text.s);
    } while (err == -ETIMEDOUT);
    assert_int_equal(err, 0);
    assert_int_equal(im_writer_close(&w, 20 * IM_SECOND), 0);
}

struct count {
    _Atomic int runs;
    int err;
};

static int count_run(void *context, struct im_text *text)
{
    struct count *c = context;

    c->runs++;
    return c->err < 0 ? im_fail(text, c->err, "cannot draw") : 0;
}

static void work_that_fails_is_done_again_at_the_end(void **state)
{
    struct im_writer *w = open_writer(*state);
    struct count c = {.err = -ENOSPC};
    struct im_writer_news news;

    im_writer_do(w, count_run, &c, "charts");
    news = await_news(w);
    assert_true(news.is_work);
    assert_string_equal(news.text.s, "cannot draw");
    assert_int_equal(im_writer_wait(w, false, 20 * IM_SECOND), 0);
    assert_int_equal(c.runs, 1);
    c.err = 0;
    assert_int_equal(im_writer_close(&w, 20 * IM_SECOND), 0);
    assert_int_equal(c.runs, 2);
}

static int sleep_long(void *context, struct im_text *text)
{
    (void)context;
    (void)text;
    poll(NULL, 0, 200);
    return 0;
}

static void work_that_waits_is_done_once(void **state)
{
    struct im_writer *w = open_writer(*state);
    struct count c = {0};

    im_writer_do(w, sleep_long, NULL, "sleep");
    poll(NULL, 0, 20);
    for (int i = 0; i < 10; i++)
        im_writer_do(w, count_run, &c, "charts");
    assert_int_equal(im_writer_wait(w, false, 20 * IM_SECOND), 0);
    assert_int_equal(c.runs, 1);
    assert_int_equal(im_writer_close(&w, 20 * IM_SECOND), 0);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_writer_that_wakes_up_interrupts_nobody),
        IN_DIRECTORY(lines_arrive_in_order),
        IN_DIRECTORY(nothing_to_write_needs_no_thread),
        IN_DIRECTORY(an_error_is_told_once_and_made_up_for),
        IN_DIRECTORY(a_folder_in_the_way_is_moved_aside),
        IN_DIRECTORY(a_file_that_was_renamed_has_a_successor),
        IN_DIRECTORY(a_file_with_an_owner_is_written_where_it_is),
        IN_DIRECTORY(lines_beyond_the_bound_are_counted),
        IN_DIRECTORY(a_line_that_did_not_fit_is_whole_in_the_end),
        IN_DIRECTORY(a_busy_machine_is_no_silent_disk),
        IN_DIRECTORY(a_disk_that_hangs_holds_nobody),
        IN_DIRECTORY(work_that_fails_is_done_again_at_the_end),
        IN_DIRECTORY(work_that_waits_is_done_once),
    };

    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
