/* What a run's folder says: its state in a word, the end of a file, whose a line of the log is. */
#include "supervisor/report/run_state.h"
#include "tests/unit/ipc/base/unit.h"

static void put(const char *directory, const char *name, const char *text)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void a_run_that_is_over_has_a_word(void **state)
{
    const char *dir = *state;

    assert_string_equal(sv_run_state(dir), "unstarted");
    put(dir, "events.jsonl",
        "{\"event\":\"run.started\"}\n{\"event\":\"run.ended\",\"exit_status\":75}\n{\"torn");
    assert_string_equal(sv_run_state(dir), "stopped");
    put(dir, "events.jsonl", "{\"event\":\"run.ended\",\"exit_status\":1}\n");
    assert_string_equal(sv_run_state(dir), "failed");
    put(dir, "events.jsonl", "{\"event\":\"run.ended\",\"exit_status\":75}\n{\"event\":\"run.continued\"}\n");
    assert_string_equal(sv_run_state(dir), "crashed");
    put(dir, "DONE", "{\"epochs\":3}");
    assert_string_equal(sv_run_state(dir), "done");
}

static void the_end_of_a_file_is_cut_to_the_room(void **state)
{
    const char *dir = *state;
    char tail[8];

    sv_run_tail(dir, "none", tail, sizeof tail);
    assert_string_equal(tail, "");
    put(dir, "short", "abc");
    sv_run_tail(dir, "short", tail, sizeof tail);
    assert_string_equal(tail, "abc");
    put(dir, "long", "0123456789");
    sv_run_tail(dir, "long", tail, sizeof tail);
    assert_string_equal(tail, "3456789");
}

static bool is_of(const char *line, const char *role, int64_t index)
{
    return sv_log_is_of(line, strlen(line), role, index);
}

static void a_line_belongs_to_who_wrote_it(void **state)
{
    static const char line[] =
        "ts=2026-11-30T04:01:06Z level=info role=augmenter id=1 msg=\"x role=reader id=0 y\"";

    (void)state;
    assert_true(is_of(line, NULL, -1));
    assert_true(is_of(line, "augmenter", -1));
    assert_true(is_of(line, "augmenter", 1));
    assert_false(is_of(line, "augmenter", 11));
    assert_false(is_of(line, "augmenter", 0));
    assert_false(is_of(line, "reader", -1)); /* its message has it */
    assert_false(is_of("a library says role=reader id=0 ", "reader", 0));
    assert_true(is_of("a library says something", NULL, -1));
    assert_false(is_of("ts=1 level=info role=augmenter id=1", "augmenter", 1)); /* torn */
    assert_false(is_of("", "reader", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_run_that_is_over_has_a_word, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(the_end_of_a_file_is_cut_to_the_room, make_directory,
                                        remove_directory),
        cmocka_unit_test(a_line_belongs_to_who_wrote_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
