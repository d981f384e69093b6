/* Events and log lines in files, and what of them reaches the screen. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include "ipc/base/file.h"
#include "ipc/base/log.h"
#include "ipc/config/conf.h"
#include "supervisor/report/journal.h"
#include "tests/unit/ipc/base/unit.h"

struct setup {
    struct sv_screen screen;
    struct sv_journal journal;
    int log[2], shown[2];
};

static const char *join(const char *directory, const char *name)
{
    static char path[4096];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void open_all(struct setup *s, const char *directory)
{
    static struct im_conf conf;
    struct im_text text = {""};

    *s = (struct setup){0};
    assert_int_equal(pipe2(s->log, O_NONBLOCK), 0);
    assert_int_equal(pipe(s->shown), 0);
    s->screen.terminal = sv_terminal_open(s->shown[1]);
    snprintf(conf.run_dir, sizeof conf.run_dir, "%s", directory);
    assert_int_equal(sv_journal_open(&s->journal, &conf, s->log[0], &s->screen, IM_LOG_WARN, &text), 0);
}

/* Closes all; returns what was shown. */
static char *close_all(struct setup *s)
{
    static char text[65536];
    ssize_t n;

    sv_journal_close(&s->journal, 20 * IM_SECOND);
    sv_screen_close(&s->screen, 20 * IM_SECOND);
    close(s->shown[1]);
    n = read(s->shown[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    close(s->shown[0]);
    close(s->log[0]);
    close(s->log[1]);
    return text;
}

static char *content(const char *directory, const char *name)
{
    char *bytes;
    size_t n;

    assert_int_equal(im_read_file(join(directory, name), 1 << 20, &bytes, &n, NULL), 0);
    return bytes;
}

static void write_log(struct setup *s, const char *lines)
{
    assert_int_equal(write(s->log[1], lines, strlen(lines)), strlen(lines));
    sv_journal_drain(&s->journal);
}

static void a_line_of_a_library_is_shown_and_kept_escaped(void **state)
{
    struct setup s;
    char *log, *shown;

    open_all(&s, *state);
    write_log(&s, "libx: bad file \x1b]0;title\a \xc2\x9b"
                  "2J \xe2\x80\xae\n");
    shown = close_all(&s);
    assert_non_null(strstr(shown, "ERROR libx: bad file \\x1b]0;title\\x07 \\u009b2J \\u202e\n"));
    log = content(*state, "log.txt");
    assert_string_equal(log, "libx: bad file \\x1b]0;title\\x07 \\u009b2J \\u202e\n");
    free(log);
}

/* A role escapes names in its lines; those escapes are shown as they are. */
static void a_line_of_a_role_keeps_its_escapes(void **state)
{
    struct setup s;

    open_all(&s, *state);
    write_log(&s, "ts=1 level=warn role=reader id=0 msg=\"cannot read \\\"a\\x1b\\nb\\\"\" why=x\n");
    assert_non_null(strstr(close_all(&s), "WARN reader#0: cannot read \"a\\x1b\\nb\" why=x\n"));
}

static void a_file_that_cannot_be_written_is_said_once_and_caught_up(void **state)
{
    struct setup s;
    char *shown, *events;
    im_ns until = im_now() + 20 * IM_SECOND;
    struct stat st;

    assert_int_equal(symlink("missing/x", join(*state, "events.jsonl")), 0);
    open_all(&s, *state);
    sv_journal_event(&s.journal, "one", NULL);
    while (!s.journal.tellings && im_now() < until) {
        sv_journal_tell(&s.journal);
        poll(NULL, 0, 1);
    }
    sv_journal_event(&s.journal, "two", NULL);
    assert_int_equal(unlink(join(*state, "events.jsonl")), 0);
    while (s.journal.tellings < 2 && im_now() < until) {
        sv_journal_tell(&s.journal);
        poll(NULL, 0, 1);
    }
    assert_int_equal(stat(join(*state, "events.jsonl"), &st), 0);
    shown = close_all(&s);
    assert_non_null(strstr(shown, "WARN events.jsonl cannot be written: "));
    assert_non_null(strstr(shown, "WARN events.jsonl is written again; nothing is lost\n"));
    events = content(*state, "events.jsonl");
    assert_non_null(strstr(events, "\"event\":\"one\""));
    assert_non_null(strstr(events, "\"event\":\"two\""));
    assert_non_null(strstr(events, "\"event\":\"report.failed\",\"file\":\"events.jsonl\""));
    assert_non_null(
        strstr(events, "\"event\":\"report.continued\",\"file\":\"events.jsonl\",\"lines_lost\":0}"));
    free(events);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(a_line_of_a_library_is_shown_and_kept_escaped),
        IN_DIRECTORY(a_line_of_a_role_keeps_its_escapes),
        IN_DIRECTORY(a_file_that_cannot_be_written_is_said_once_and_caught_up),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
