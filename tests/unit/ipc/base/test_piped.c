#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/piped.h"
#include "tests/unit/ipc/base/unit.h"

static char *const *shell(const char *script)
{
    static char sh[] = "sh", c[] = "-c", text[256], *argv[] = {sh, c, text, NULL};

    snprintf(text, sizeof text, "%s", script);
    return argv;
}

/* All that it writes, and its status. */
static int answer_of(struct im_piped *p, char *answer, size_t room)
{
    size_t have = 0;
    ssize_t got;

    while (have + 1 < room && (got = read(p->from, answer + have, room - 1 - have)) > 0)
        have += (size_t)got;
    answer[have] = '\0';
    return im_piped_end(p);
}

static void what_goes_in_comes_out(void **state)
{
    const struct im_piped_how how = {.with_input = true};
    char answer[64];
    struct im_piped p;
    int status;

    (void)state;
    assert_int_equal(im_piped_start(&p, shell("cat; exit 3"), &how, NULL), 0);
    assert_int_equal(write(p.to, "a line\n", 7), 7);
    close(p.to);
    p.to = -1;
    status = answer_of(&p, answer, sizeof answer);
    assert_string_equal(answer, "a line\n");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    assert_int_equal(p.pid, 0);
    assert_int_equal(im_piped_end(&p), 0); /* nothing to end */
}

static void it_gets_the_descriptor_and_the_environment_and_no_other_end(void **state)
{
    char *environment[] = {(char[]){"PATH=/usr/bin:/bin"}, (char[]){"NAME=value"}, NULL};
    const char *script = "read x <&3; echo $x $NAME $HOME; cat <&3"; /* ends when nobody can write */
    char answer[64];
    struct im_piped p;
    int fds[2];
    struct im_piped_how how = {.passed = &fds[0], .environment = environment};

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(write(fds[1], "passed\n", 7), 7);
    assert_int_equal(im_piped_start(&p, shell(script), &how, NULL), 0);
    assert_int_equal(p.to, -1);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(answer_of(&p, answer, sizeof answer), 0);
    assert_string_equal(answer, "passed value\n");
}

static void its_death_is_told(void **state)
{
    char answer[8];
    struct im_piped p;
    int status;

    (void)state;
    assert_int_equal(
        im_piped_start(&p, shell("kill -9 $$"), &(struct im_piped_how){.without_errors = true}, NULL), 0);
    status = answer_of(&p, answer, sizeof answer);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void a_program_that_is_not_there_is_named(void **state)
{
    char path[] = "/none/here", *argv[] = {path, NULL};
    struct im_text text = {""};
    struct im_piped p;

    (void)state;
    assert_int_equal(im_piped_start(&p, argv, &(struct im_piped_how){.with_input = true}, &text), -ENOENT);
    assert_non_null(strstr(text.s, path));
    assert_int_equal(im_piped_end(&p), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(it_gets_the_descriptor_and_the_environment_and_no_other_end),
        cmocka_unit_test(its_death_is_told),
        cmocka_unit_test(a_program_that_is_not_there_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
