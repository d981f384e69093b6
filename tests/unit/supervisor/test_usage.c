/* What a process takes, from the kernel's text. */
#include <math.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "supervisor/usage.h"
#include "tests/unit/ipc/base/unit.h"

static void a_line_of_the_kernel_is_read(void **state)
{
    struct sv_usage u;

    (void)state;
    sv_usage_parse(
        "1234 (a name) R) S 1 1234 1234 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 9999 12345678 321 "
        "18446744073709551615 1 1",
        100, 4096, &u);
    assert_true(u.cpu_seconds == 3);
    assert_int_equal(u.rss_bytes, 321 * 4096);
}

static void what_is_no_such_line_is_not_known(void **state)
{
    static const char *const texts[] = {"", "1234", "1234 (x)", "1234 (x) S 1 2 3", "(((", ")"};
    struct sv_usage u;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(texts); i++) {
        sv_usage_parse(texts[i], 100, 4096, &u);
        assert_true(isnan(u.cpu_seconds));
        assert_int_equal(u.rss_bytes, -1);
    }
}

static void this_process_has_memory_and_others_may_be_gone(void **state)
{
    struct sv_usage u;

    (void)state;
    sv_usage_read(getpid(), &u);
    assert_true(u.cpu_seconds >= 0);
    assert_true(u.rss_bytes > 4096);
    sv_usage_read(0, &u);
    assert_true(isnan(u.cpu_seconds));
    sv_usage_read(1 << 30, &u);
    assert_true(isnan(u.cpu_seconds));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_of_the_kernel_is_read),
        cmocka_unit_test(what_is_no_such_line_is_not_known),
        cmocka_unit_test(this_process_has_memory_and_others_may_be_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
