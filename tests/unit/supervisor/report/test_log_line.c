/* Lines of log.txt as objects: ours, and those of somebody else. */
#include <stdlib.h>

#include "ipc/base/json.h"
#include "supervisor/report/log_line.h"
#include "tests/unit/ipc/base/unit.h"

/* `line` as text, compared with `expected`. */
static void must_be(const char *line, const char *expected)
{
    struct im_json *j = sv_log_json(line);
    char *s = im_json_dump(j);

    assert_string_equal(s, expected);
    free(s);
    im_json_free(&j);
}

static void a_line_of_a_role_is_taken_apart(void **state)
{
    (void)state;
    must_be("ts=2026-11-30T04:01:07.210Z level=warn role=reader id=3 msg=\"cannot read \\\"a b\\\"\" "
            "why=\"no file\" n=1",
            "{\"schema\":\"imsuper.log/1\",\"time\":\"2026-11-30T04:01:07.210Z\",\"process\":\"reader#3\","
            "\"level\":\"warn\",\"text\":\"cannot read \\\"a b\\\" why=\\\"no file\\\" n=1\"}");
    must_be("ts=1 level=info role=trainer id=0 msg=ready",
            "{\"schema\":\"imsuper.log/"
            "1\",\"time\":\"1\",\"process\":\"trainer#0\",\"level\":\"info\",\"text\":\"ready\"}");
}

static void a_line_of_a_library_is_text_alone(void **state)
{
    (void)state;
    must_be("libx: bad level=info", "{\"schema\":\"imsuper.log/1\",\"text\":\"libx: bad level=info\"}");
    must_be("", "{\"schema\":\"imsuper.log/1\",\"text\":\"\"}");
    must_be("ts=1 torn", "{\"schema\":\"imsuper.log/1\",\"text\":\"ts=1 torn\"}");
}

/* Its message is cut off in the middle of a quote. */
static void a_torn_line_of_ours_has_what_is_there(void **state)
{
    (void)state;
    must_be("ts=1 level=error role=trainer id=0 msg=\"leav",
            "{\"schema\":\"imsuper.log/"
            "1\",\"time\":\"1\",\"process\":\"trainer#0\",\"level\":\"error\",\"text\":\"leav\"}");
    must_be("ts=1 level=info role=trainer id=0 msg=\"a\\",
            "{\"schema\":\"imsuper.log/"
            "1\",\"time\":\"1\",\"process\":\"trainer#0\",\"level\":\"info\",\"text\":\"a\\\\\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_of_a_role_is_taken_apart),
        cmocka_unit_test(a_line_of_a_library_is_text_alone),
        cmocka_unit_test(a_torn_line_of_ours_has_what_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
