/* Log lines as they arrive at descriptor 2. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <regex.h>

#include "ipc/base/log.h"
#include "tests/unit/ipc/base/unit.h"

struct capture {
    int saved, read_end;
    char s[2 * PIPE_BUF];
};

static void begin(struct capture *c)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    c->saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    c->read_end = ends[0];
}

static size_t end(struct capture *c)
{
    ssize_t n = read(c->read_end, c->s, sizeof c->s - 1);

    dup2(c->saved, STDERR_FILENO);
    close(c->saved);
    close(c->read_end);
    n = n < 0 ? 0 : n;
    c->s[n] = '\0';
    return (size_t)n;
}

static void assert_matches(const char *s, const char *pattern)
{
    regex_t regex;

    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, s, 0, NULL, 0) != 0)
        fail_msg("\"%s\" does not match %s", s, pattern);
    regfree(&regex);
}

static void a_line_has_time_level_identity_message_and_pairs(void **state)
{
    struct capture c;

    (void)state;
    begin(&c);
    im_log(IM_LOG_INFO, "opened the index", "images=%d path=%s", 7,
           im_log_quote(&(struct im_quoted){0}, "a b\"c"));
    end(&c);
    assert_matches(c.s, "^ts=20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{3}Z "
                        "level=info role=test "
                        "id=3 msg=\"opened the index\" images=7 path=\"a b\\\\\"c\"\n$");
}

static void no_pairs_leave_no_trace(void **state)
{
    struct capture c;

    (void)state;
    begin(&c);
    im_log(IM_LOG_ERROR, "gone", "");
    end(&c);
    assert_matches(c.s, "level=error role=test id=3 msg=\"gone\"\n$");
}

static void levels_below_the_limit_are_silent(void **state)
{
    struct capture c;

    (void)state;
    begin(&c);
    im_log(IM_LOG_DEBUG, "no", "");
    im_log_level(IM_LOG_ERROR);
    im_log(IM_LOG_WARN, "no", "");
    im_log_level(IM_LOG_DEBUG);
    im_log(IM_LOG_DEBUG, "yes", "");
    im_log_level(IM_LOG_INFO);
    end(&c);
    assert_matches(c.s, "^ts=[^ ]* level=debug [^\n]*msg=\"yes\"\n$");
}

static void control_characters_and_bad_bytes_are_escaped(void **state)
{
    struct capture c;

    (void)state;
    begin(&c);
    im_log(IM_LOG_INFO, "a\nb\x1b[31m", "k=%s v=%s", "x\ty\rz\x7f", "\xff\xc2\x9b\xc3\xa9");
    end(&c);
    assert_matches(c.s, "msg=\"a\\\\nb\\\\x1b\\[31m\" k=x\\\\ty\\\\rz\\\\x7f v=\\\\xff\\\\u009b\xc3\xa9\n$");
}

static void a_long_line_is_cut_and_stays_one_write(void **state)
{
    struct capture c;
    char *text = malloc(3 * PIPE_BUF);
    size_t n;

    (void)state;
    memset(text, 'm', 3 * PIPE_BUF - 1);
    text[3 * PIPE_BUF - 1] = '\0';
    begin(&c);
    im_log(IM_LOG_INFO, "short", "k=%s", text);
    n = end(&c);
    assert_in_range(n, PIPE_BUF - 100, PIPE_BUF);
    assert_matches(c.s, "msg=\"short\" k=m+\\.\\.\\.\n$");
    begin(&c);
    im_log(IM_LOG_INFO, text, "k=v");
    n = end(&c);
    assert_in_range(n, PIPE_BUF - 100, PIPE_BUF);
    assert_matches(c.s, "msg=\"m+\\.\\.\\.\"\n$");
    free(text);
}

static void a_full_pipe_drops_the_line_and_tells_later(void **state)
{
    struct capture c;
    char junk[PIPE_BUF] = {0};

    (void)state;
    begin(&c);
    while (write(STDERR_FILENO, junk, sizeof junk) > 0)
        continue;
    errno = 77;
    im_log(IM_LOG_INFO, "lost", "");
    assert_int_equal(errno, 77);
    im_log(IM_LOG_INFO, "lost too", "");
    while (read(c.read_end, junk, sizeof junk) > 0)
        continue;
    im_log(IM_LOG_INFO, "back", "k=v");
    end(&c);
    assert_matches(c.s, "^ts=[^\n]* msg=\"back\" k=v log_dropped=2\n$");
}

static void a_quoted_value_is_cut_to_its_room(void **state)
{
    struct im_quoted q;
    char text[1000];

    (void)state;
    memset(text, '"', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_ptr_equal(im_log_quote(&q, text), q.s);
    assert_true(strlen(q.s) < sizeof q.s);
    assert_matches(q.s, "^\"(\\\\\")+\\.\\.\\.\"$");
    assert_string_equal(im_log_quote(&q, NULL), "\"\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_identity_message_and_pairs),
        cmocka_unit_test(no_pairs_leave_no_trace),
        cmocka_unit_test(levels_below_the_limit_are_silent),
        cmocka_unit_test(control_characters_and_bad_bytes_are_escaped),
        cmocka_unit_test(a_long_line_is_cut_and_stays_one_write),
        cmocka_unit_test(a_full_pipe_drops_the_line_and_tells_later),
        cmocka_unit_test(a_quoted_value_is_cut_to_its_room),
    };

    im_log_identity("test", 3);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
