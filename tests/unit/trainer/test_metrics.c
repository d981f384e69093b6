/* The run's numbers: what is written can be read, and opening at a step leaves exactly the lines up to it. */
#include <errno.h>
#include <math.h>
#include <sys/stat.h>

#include "ipc/base/err.h"
#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/metrics.h"

#define HEADER                                                                                               \
    "epoch,train_loss,train_top1,val_loss,val_top1,val_top5,lr,images_per_second,seconds,image_size,batch_"  \
    "size,"                                                                                                  \
    "ema_val_loss,ema_val_top1,ema_val_top5\n"
#define CONFIG "{\"event\":\"config\"}\n"

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

    assert_int_equal(im_read_file(join(directory, name), 1 << 20, &bytes, &n, &text), 0);
    assert_string_equal(bytes, want);
    free(bytes);
}

static void put(const char *directory, const char *name, const char *bytes, size_t n)
{
    struct im_text text = {""};

    assert_int_equal(im_file_replace(join(directory, name), bytes, n, &text), 0);
}

static int open_at(const char *directory, uint64_t step, uint32_t epoch)
{
    struct im_text text = {""};
    struct tr_metrics m;
    int removed = tr_metrics_open(&m, directory, step, epoch, false, &text);

    tr_metrics_close(&m);
    return removed;
}

static void write_line(struct tr_metrics *m, const char *line)
{
    struct im_json *object = NULL;
    struct im_text text = {""};

    assert_int_equal(im_json_parse(line, strlen(line), &object, &text), 0);
    assert_int_equal(tr_metrics_line(m, object, &text), 0);
    im_json_free(&object);
}

/* What a run of two epochs of two steps writes. */
static void write_run(const char *directory)
{
    const struct tr_summary one = {
        1, 2.5, 0.125, 2.25, 0.25, 0.5, 0.1, 1234.5, 60, 64, 256, 2, 0.5, NAN, {0.75, 0.5, 0.25}, {0, 0, 0}};
    const struct tr_summary two = {2,     1.5, 0.5, NAN, NAN, NAN, 0.05,      1e-9,
                                   61.25, 224, 64,  NAN, NAN, NAN, {0, 0, 0}, {0, 0, 0}};
    struct im_text text = {""};
    struct tr_metrics m;

    assert_int_equal(tr_metrics_open(&m, directory, 0, 0, false, &text), 0);
    write_line(&m, "{\"event\":\"config\"}");
    write_line(&m, "{\"step\":1,\"loss\":3.5}");
    write_line(&m, "{\"step\":2,\"loss\":2.5}");
    tr_metrics_summary(&m, &one);
    write_line(&m, "{\"step\":3,\"loss\":2}");
    write_line(&m, "{\"step\":4,\"loss\":1.5}");
    tr_metrics_summary(&m, &two);
    assert_int_equal(tr_metrics_sync(&m), 0);
    tr_metrics_close(&m);
}

static void assert_run(const char *directory)
{
    assert_content(directory, "metrics.jsonl",
                   CONFIG "{\"step\":1,\"loss\":3.5}\n{\"step\":2,\"loss\":2.5}\n{\"step\":3,\"loss\":2}\n"
                          "{\"step\":4,\"loss\":1.5}\n");
    assert_content(
        directory, "summary.csv",
        HEADER
        "1,2.5,0.125,2.25,0.25,0.5,0.1,1234.5,60,64,256,2,0.5,\n2,1.5,0.5,,,,0.05,1e-09,61.25,224,64,,,\n");
}

static void lines_and_epochs_are_written_as_documented(void **state)
{
    write_run(*state);
    assert_run(*state);
}

static void opening_at_the_end_removes_nothing(void **state)
{
    write_run(*state);
    assert_int_equal(open_at(*state, 4, 2), 0);
    assert_run(*state);
}

static void opening_at_an_earlier_place_removes_what_came_later(void **state)
{
    write_run(*state);
    assert_int_equal(open_at(*state, 2, 1), 3);
    assert_content(*state, "metrics.jsonl", CONFIG "{\"step\":1,\"loss\":3.5}\n{\"step\":2,\"loss\":2.5}\n");
    assert_content(*state, "summary.csv", HEADER "1,2.5,0.125,2.25,0.25,0.5,0.1,1234.5,60,64,256,2,0.5,\n");
}

/* Between validation's batches the step stands still: a position there is before the epoch's line, which has
 * the same step. */
static void an_epochs_line_goes_although_its_step_was_reached(void **state)
{
    static const char kept[] = CONFIG "{\"step\":2,\"epoch\":0}\n";
    static const char lines[] =
        CONFIG "{\"step\":2,\"epoch\":0}\n{\"event\":\"epoch\",\"step\":2,\"epoch\":1}\n";

    put(*state, "metrics.jsonl", lines, sizeof lines - 1);
    assert_int_equal(open_at(*state, 2, 1), 0);
    assert_content(*state, "metrics.jsonl", lines);
    assert_int_equal(open_at(*state, 2, 0), 1);
    assert_content(*state, "metrics.jsonl", kept);
}

static void beginning_anew_removes_all(void **state)
{
    write_run(*state);
    assert_int_equal(open_at(*state, 0, 0), 7);
    assert_content(*state, "metrics.jsonl", "");
    assert_content(*state, "summary.csv", HEADER);
}

static void torn_last_lines_are_removed(void **state)
{
    put(*state, "metrics.jsonl", CONFIG "{\"step\":1}\n{\"step\":2}", strlen(CONFIG) + 21);
    put(*state, "summary.csv", HEADER "1,2,3", strlen(HEADER) + 5);
    assert_int_equal(open_at(*state, 2, 1), 2);
    assert_content(*state, "metrics.jsonl", CONFIG "{\"step\":1}\n");
    assert_content(*state, "summary.csv", HEADER);
}

static void blocks_of_zeroes_and_lines_that_are_no_json_are_removed(void **state)
{
    static const char lines[] =
        CONFIG "{\"step\":1}\n\0\0\0\0\n{\"step\":\n{\"loss\":1}\n{\"step\":\"2\"}\n{\"step\":2}\n";

    put(*state, "metrics.jsonl", lines, sizeof lines - 1);
    assert_int_equal(open_at(*state, 2, 1), 4);
    assert_content(*state, "metrics.jsonl", CONFIG "{\"step\":1}\n{\"step\":2}\n");
}

static void a_torn_header_is_written_again(void **state)
{
    put(*state, "summary.csv", "epoch,tra", 9);
    assert_int_equal(open_at(*state, 1, 1), 1);
    assert_content(*state, "summary.csv", HEADER);
}

static void anothers_summary_is_moved_aside(void **state)
{
    put(*state, "summary.csv", "epoch,loss\n1,2\n", 15);
    assert_int_equal(open_at(*state, 0, 0), 0);
    assert_content(*state, "summary.csv", HEADER);
    assert_content(*state, "summary.csv.1", "epoch,loss\n1,2\n");
}

static bool is_kind(const char *directory, const char *name, mode_t kind)
{
    struct stat st;

    return lstat(join(directory, name), &st) == 0 && (st.st_mode & S_IFMT) == kind;
}

/* Folders, pipes and links to themselves; a second one gets another name. */
static void what_is_no_file_is_moved_aside(void **state)
{
    write_run(*state);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(unlink(join(*state, "metrics.jsonl")), 0);
        assert_int_equal(unlink(join(*state, "summary.csv")), 0);
        assert_int_equal(mkdir(join(*state, "metrics.jsonl"), 0700), 0);
        assert_int_equal(i ? symlink("summary.csv", join(*state, "summary.csv"))
                           : mkfifo(join(*state, "summary.csv"), 0600),
                         0);
        write_run(*state);
        assert_run(*state);
    }
    assert_true(is_kind(*state, "metrics.jsonl.1", S_IFDIR));
    assert_true(is_kind(*state, "metrics.jsonl.2", S_IFDIR));
    assert_true(is_kind(*state, "summary.csv.1", S_IFIFO));
    assert_true(is_kind(*state, "summary.csv.2", S_IFLNK));
    rmdir(join(*state, "metrics.jsonl.1"));
    rmdir(join(*state, "metrics.jsonl.2"));
}

/* The folder of the run is a file: lines are kept, counted, and written when it is back. */
static void a_folder_that_is_away_is_waited_for(void **state)
{
    struct im_text text = {""};
    struct tr_metrics m;
    char run[1024], away[1024];

    snprintf(run, sizeof run, "%s/run", (const char *)*state);
    snprintf(away, sizeof away, "%s/away", (const char *)*state);
    assert_int_equal(mkdir(run, 0700), 0);
    write_run(run);
    assert_int_equal(rename(run, away), 0);
    put(*state, "run", "x", 1);
    assert_int_equal(tr_metrics_open(&m, run, 2, 1, false, &text), 0);
    write_line(&m, "{\"step\":3,\"loss\":9}");
    assert_int_equal(tr_metrics_settle(&m), -ENOTDIR);
    assert_int_equal(unlink(run), 0);
    assert_int_equal(rename(away, run), 0);
    assert_int_equal(tr_metrics_settle(&m), 0);
    assert_int_equal(tr_metrics_close(&m), 0);
    assert_content(run, "metrics.jsonl",
                   CONFIG "{\"step\":1,\"loss\":3.5}\n{\"step\":2,\"loss\":2.5}\n{\"step\":3,\"loss\":9}\n");
    assert_int_equal(unlink(join(run, "metrics.jsonl")), 0);
    assert_int_equal(unlink(join(run, "summary.csv")), 0);
    assert_int_equal(rmdir(run), 0);
}

static void a_line_without_a_step_is_refused(void **state)
{
    struct im_json *object = im_json_object();
    struct im_text text = {""};
    struct tr_metrics m;

    assert_int_equal(tr_metrics_open(&m, *state, 0, 0, false, &text), 0);
    assert_int_equal(im_json_set_real(object, "loss", 1.0), 0);
    assert_int_equal(tr_metrics_line(&m, object, &text), -EINVAL);
    assert_non_null(strstr(text.s, "step"));
    im_json_free(&object);
    tr_metrics_close(&m);
    assert_content(*state, "metrics.jsonl", "");
}

static int open_in_child(void *directory)
{
    return open_at(directory, 2, 1) < 0;
}

/* A kill at any step of opening leaves files that the next opening makes right. */
static void a_kill_while_opening_loses_no_line_that_stays(void **state)
{
    static const char *const points[] = {"file.create", "file.write", "file.fsync", "file.rename",
                                         "file.done"};
    struct im_text text = {""};

    if (im_fault_arm("", NULL) == -ENOTSUP)
        skip();
    for (size_t i = 0; i < IM_COUNT(points) * 2; i++) {
        char rule[64];
        int status;

        write_run(*state);
        snprintf(rule, sizeof rule, "%s=kill@%zu", points[i / 2], i % 2 + 1);
        assert_int_equal(im_fault_arm(rule, &text), 0);
        status = in_child(open_in_child, *state);
        assert_int_equal(im_fault_arm("", &text), 0);
        assert_true(WIFSIGNALED(status));
        assert_true(open_at(*state, 2, 1) >= 0);
        assert_content(*state, "metrics.jsonl",
                       CONFIG "{\"step\":1,\"loss\":3.5}\n{\"step\":2,\"loss\":2.5}\n");
        assert_content(*state, "summary.csv",
                       HEADER "1,2.5,0.125,2.25,0.25,0.5,0.1,1234.5,60,64,256,2,0.5,\n");
        assert_int_equal(open_at(*state, 0, 0), 4);
        assert_int_equal(unlink(join(*state, "metrics.jsonl")), 0);
        assert_int_equal(unlink(join(*state, "summary.csv")), 0);
    }
}

/* A disk that is full when a run continues: the files are cut back, and written, once there is room. */
static void a_full_disk_at_the_opening_is_waited_for(void **state)
{
    struct im_text text = {""};
    struct im_writer_news news;
    struct tr_metrics m;

    if (im_fault_arm("", NULL) == -ENOTSUP)
        skip();
    write_run(*state);
    assert_int_equal(im_fault_arm("file.write=fail:ENOSPC@1/every", &text), 0);
    assert_int_equal(tr_metrics_open(&m, *state, 2, 1, false, &text), 0);
    assert_false(tr_metrics_is_new(&m));
    write_line(&m, "{\"step\":3,\"loss\":9}");
    assert_int_equal(tr_metrics_sync(&m), -ENOSPC);
    assert_true(tr_metrics_news(&m, &news));
    assert_int_equal(news.err, -ENOSPC);
    assert_int_equal(im_fault_arm("", &text), 0);
    assert_int_equal(tr_metrics_sync(&m), 0);
    assert_int_equal(tr_metrics_close(&m), 0);
    assert_content(*state, "metrics.jsonl",
                   CONFIG "{\"step\":1,\"loss\":3.5}\n{\"step\":2,\"loss\":2.5}\n{\"step\":3,\"loss\":9}\n");
    assert_content(*state, "summary.csv", HEADER "1,2.5,0.125,2.25,0.25,0.5,0.1,1234.5,60,64,256,2,0.5,\n");
}

static void lines_that_are_never_written_are_counted(void **state)
{
    struct im_text text = {""};
    struct tr_metrics m;

    if (im_fault_arm("", NULL) == -ENOTSUP)
        skip();
    assert_int_equal(tr_metrics_open(&m, *state, 0, 0, false, &text), 0);
    assert_int_equal(im_fault_arm("file.append=fail:EIO@1/every", &text), 0);
    write_line(&m, "{\"step\":1}");
    write_line(&m, "{\"step\":2}");
    assert_int_equal(tr_metrics_settle(&m), -EIO);
    assert_int_equal(tr_metrics_close(&m), 2);
    assert_int_equal(m.lost[m.lines], 2);
    assert_int_equal(m.lost[m.summary], 0);
    assert_int_equal(im_fault_arm("", &text), 0);
    assert_content(*state, "metrics.jsonl", "");
}

static bool is_done(const char *directory)
{
    return access(join(directory, "DONE"), F_OK) == 0;
}

static void done_is_there_between_set_and_clear(void **state)
{
    struct im_json *how = im_json_object();
    struct im_text text = {""};

    assert_false(is_done(*state));
    assert_int_equal(tr_done_clear(*state, &text), 0);
    assert_int_equal(im_json_set_int(how, "epochs", 3), 0);
    assert_int_equal(tr_done_set(*state, how, &text), 0);
    assert_true(is_done(*state));
    assert_content(*state, "DONE", "{\n  \"epochs\": 3\n}\n");
    assert_int_equal(tr_done_clear(*state, &text), 0);
    assert_false(is_done(*state));
    assert_int_equal(mkdir(join(*state, "DONE"), 0700), 0);
    assert_int_equal(tr_done_set(*state, how, &text), 0);
    assert_content(*state, "DONE", "{\n  \"epochs\": 3\n}\n");
    assert_true(is_kind(*state, "DONE.1", S_IFDIR));
    assert_int_equal(rmdir(join(*state, "DONE.1")), 0);
    im_json_free(&how);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(lines_and_epochs_are_written_as_documented),
        IN_DIRECTORY(opening_at_the_end_removes_nothing),
        IN_DIRECTORY(opening_at_an_earlier_place_removes_what_came_later),
        IN_DIRECTORY(an_epochs_line_goes_although_its_step_was_reached),
        IN_DIRECTORY(beginning_anew_removes_all),
        IN_DIRECTORY(torn_last_lines_are_removed),
        IN_DIRECTORY(blocks_of_zeroes_and_lines_that_are_no_json_are_removed),
        IN_DIRECTORY(a_torn_header_is_written_again),
        IN_DIRECTORY(anothers_summary_is_moved_aside),
        IN_DIRECTORY(what_is_no_file_is_moved_aside),
        IN_DIRECTORY(a_folder_that_is_away_is_waited_for),
        IN_DIRECTORY(a_line_without_a_step_is_refused),
        IN_DIRECTORY(a_kill_while_opening_loses_no_line_that_stays),
        IN_DIRECTORY(a_full_disk_at_the_opening_is_waited_for),
        IN_DIRECTORY(lines_that_are_never_written_are_counted),
        IN_DIRECTORY(done_is_there_between_set_and_clear),
    };

    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
