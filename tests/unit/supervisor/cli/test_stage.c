/* Stages as users write them. */
#include "supervisor/cli/stage.h"
#include "tests/unit/ipc/base/unit.h"

static void a_stage_or_one_of_its_processes_is_meant(void **state)
{
    static const struct {
        const char *written, *name;
        int64_t index;
    } cases[] = {{"reader", "reader", -1},
                 {"readers", "reader", -1},
                 {"augmenter#1", "augmenter", 1},
                 {"trainers#12", "trainer", 12},
                 {"augmentor", NULL, 0},
                 {"augmenter#", NULL, 0},
                 {"augmenter#x", NULL, 0},
                 {"augmenter#-1", NULL, 0},
                 {"augmenter#1 ", NULL, 0},
                 {"", NULL, 0},
                 {"s", NULL, 0},
                 {"reader#1234567", NULL, 0},
                 {"rea", NULL, 0},
                 {"readerss", NULL, 0},
                 {"#1", NULL, 0}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct sv_stage_name stage;
        const int err = sv_stage_parse(cases[i].written, &stage);

        assert_int_equal(err == 0, cases[i].name != NULL);
        if (err == 0) {
            assert_string_equal(stage.name, cases[i].name);
            assert_int_equal(stage.index, cases[i].index);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_stage_or_one_of_its_processes_is_meant)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
