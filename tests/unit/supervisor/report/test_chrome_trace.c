/* The timeline of a run, from the spans in its shared memory, as text. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/cell_word.h"
#include "supervisor/report/chrome_trace.h"
#include "tests/unit/ipc/small_run.h"

/* The run as `imsuper trace` sees it, and what it writes. */
struct watching {
    struct im_run run;
    struct sv_chrome chrome;
    FILE *out;
    char *text;
    size_t n;
};

static struct watching *begin(const struct small_run *s)
{
    struct watching *w = calloc(1, sizeof *w);

    assert_non_null(w);
    assert_int_equal(im_run_watch(dup(s->run.control_segment.fd), &w->run, NULL), 0);
    w->out = open_memstream(&w->text, &w->n);
    assert_non_null(w->out);
    sv_chrome_begin(&w->chrome, "a \"run\"", w->out);
    return w;
}

static size_t look(struct watching *w)
{
    const size_t most = sv_chrome_look(&w->chrome, &w->run, w->out);

    fflush(w->out);
    return most;
}

static void end(struct watching *w)
{
    sv_chrome_end(&w->chrome, w->out);
    fclose(w->out);
    im_run_close(&w->run);
    free(w->text);
    free(w);
}

static void has(const struct watching *w, const char *event)
{
    if (!strstr(w->text, event))
        fail_msg("no %s in %s", event, w->text);
}

static struct im_stats *stats_of(const struct small_run *s, enum im_role role, uint32_t index, int32_t pid)
{
    const uint32_t slot = im_run_slot(&s->run, role, index);

    atomic_store_explicit(&s->run.process[slot].pid, pid, memory_order_relaxed);
    atomic_store_explicit(&s->run.stats[slot].spans_wanted, 1, memory_order_relaxed);
    return &s->run.stats[slot];
}

static void what_was_before_the_first_look_is_not_shown(void **state)
{
    struct im_stats *reader = stats_of(*state, IM_ROLE_READER, 0, 41);
    struct watching *w;

    im_spans_add(reader, im_span_of_activity(IM_WORK), 1000, 5);
    w = begin(*state);
    look(w);
    has(w, "\"otherData\":{\"run\":\"a \\\"run\\\"\"}");
    has(w, "\"ph\":\"M\",\"name\":\"process_name\",\"pid\":41,\"tid\":41,\"args\":{\"name\":\"reader#0\"}");
    assert_null(strstr(w->text, "\"ph\":\"X\""));
    im_spans_add(reader, im_span_of_activity(IM_WAIT_IO), 18446744073709551615u, 1234567);
    im_spans_add(reader, im_span_of_histogram(IM_H_ITEM), 5000, 250);
    assert_int_equal(look(w), 2); /* of the process that had most */
    assert_int_equal(look(w), 0);
    has(w, "{\"ph\":\"X\",\"name\":\"wait for I/O\",\"cat\":\"reader\",\"pid\":41,\"tid\":41,"
           "\"ts\":18446744073709551.615,\"dur\":1234.567}");
    has(w, "{\"ph\":\"b\",\"name\":\"read\",\"cat\":\"read\",\"id\":0,\"pid\":41,\"tid\":41,\"ts\":5.000}");
    has(w, "{\"ph\":\"e\",\"name\":\"read\",\"cat\":\"read\",\"id\":0,\"pid\":41,\"tid\":41,\"ts\":5.250}");
    end(w);
}

static void an_image_says_what_it_was_spent_on(void **state)
{
    struct im_stats *augmenter = stats_of(*state, IM_ROLE_AUGMENTER, 0, 42);
    struct watching *w = begin(*state);

    look(w);
    im_spans_add(augmenter, im_span_of_histogram(IM_H_RENDER), 2000000, 3000000);
    im_spans_add(augmenter, im_span_of_histogram(IM_H_DECODE), 2000000, 2000999);
    im_spans_add(augmenter, im_span_of_histogram(IM_H_RESIZE), 4000000, 7000);
    look(w); /* what follows may come with the next look */
    im_spans_add(augmenter, im_span_of_histogram(IM_H_TRANSFORM), 4000000, 999999);
    im_spans_add(augmenter, im_span_of_histogram(IM_H_ITEM), 1000000, 4000000);
    look(w);
    has(w, "{\"ph\":\"X\",\"name\":\"render\",\"cat\":\"augmenter\",\"pid\":42,\"tid\":100000042,"
           "\"ts\":2000.000,\"dur\":3000.000,\"args\":{\"decode_ms\":2.000,\"resize_ms\":0.007,\"transform_"
           "ms\":0.999}}");
    has(w, "\"name\":\"image\",\"cat\":\"augmenter\",\"pid\":42,\"tid\":100000042,\"ts\":1000.000,\"dur\":"
           "4000.000}");
    end(w);
}

static void what_is_overwritten_is_counted_and_marked(void **state)
{
    struct im_stats *trainer = stats_of(*state, IM_ROLE_TRAINER, 1, 43);
    struct watching *w = begin(*state);

    look(w);
    for (int i = 0; i < IM_SPANS + 7; i++)
        im_spans_add(trainer, im_span_of_histogram(IM_H_ITEM), 1, 1);
    look(w);
    assert_true(w->chrome.lost >= 7 && w->chrome.lost <= 8);
    has(w, " events lost before this\",\"pid\":43");
    has(w, "\"name\":\"batch\",\"cat\":\"trainer\"");
    end(w);
}

static void a_process_in_the_place_of_a_dead_one_has_its_own_tracks(void **state)
{
    struct im_stats *reader = stats_of(*state, IM_ROLE_READER, 0, 41);
    struct watching *w = begin(*state);

    look(w);
    im_spans_add(reader, im_span_of_activity(IM_WORK), 1, 1);
    stats_of(*state, IM_ROLE_READER, 0, 0); /* dead; what it left is its own */
    look(w);
    has(w, "\"name\":\"work\",\"cat\":\"reader\",\"pid\":41");
    stats_of(*state, IM_ROLE_READER, 0, 51);
    im_spans_add(reader, im_span_of_activity(IM_IDLE), 2, 1);
    look(w);
    has(w, "\"name\":\"process_name\",\"pid\":51");
    has(w, "\"name\":\"idle\",\"cat\":\"reader\",\"pid\":51");
    assert_int_equal(w->chrome.processes, 2);
    end(w);
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;

    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

static void rings_are_written_when_their_fill_changes(void **state)
{
    struct small_run *s = *state;
    struct watching *w = begin(s);

    look(w);
    look(w);
    assert_int_equal(count(w->text, "\"ph\":\"C\""), 2);
    small_publish(s, 1, 0, 1);
    small_set_batch_word(s, 1, 0, 2, im_word(IM_DONE, 0, 0));
    look(w);
    has(w, "\"name\":\"encoded cells ready\",\"pid\":0,\"args\":{\"count\":2}");
    has(w, "\"name\":\"images ready\",\"pid\":0,\"args\":{\"count\":1}");
    assert_int_equal(count(w->text, "\"ph\":\"C\""), 4);
    end(w);
}

static void no_run_is_refused_and_its_descriptor_closed(void **state)
{
    struct im_text text = {""};
    struct im_run run;
    char path[] = "/tmp/imsuper-test-XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    assert_true(im_run_watch(fd, &run, &text) < 0);
    assert_string_not_equal(text.s, "");
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_before_the_first_look_is_not_shown, small_setup,
                                        small_teardown),
        cmocka_unit_test_setup_teardown(an_image_says_what_it_was_spent_on, small_setup, small_teardown),
        cmocka_unit_test_setup_teardown(what_is_overwritten_is_counted_and_marked, small_setup,
                                        small_teardown),
        cmocka_unit_test_setup_teardown(a_process_in_the_place_of_a_dead_one_has_its_own_tracks, small_setup,
                                        small_teardown),
        cmocka_unit_test_setup_teardown(rings_are_written_when_their_fill_changes, small_setup,
                                        small_teardown),
        cmocka_unit_test(no_run_is_refused_and_its_descriptor_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
