/* Which snapshot a run on several machines continues from, and the file with the run's number. */
#include <errno.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/checkpoint/identity.h"

#define START(n) ((uint64_t)(n) << 32)

/* A rank other than 0, with a snapshot. */
static struct tr_offer held(uint64_t run, uint64_t start, uint64_t generation, uint64_t position)
{
    return (struct tr_offer){.id = {run, START(start) | generation}, .position = position};
}

static struct tr_offer leader(uint64_t run, uint64_t starts, uint64_t file_position)
{
    return (struct tr_offer){
        .id = {run, 0}, .new_run = 999, .starts = starts, .file_position = file_position};
}

static void the_newest_of_the_run_is_chosen(void **state)
{
    struct tr_offer a[3] = {leader(7, 2, 10), held(7, 1, 3, 12), held(7, 1, 3, 15)};

    (void)state;
    assert_true(tr_offers_run(a, 3) == 7);
    assert_true(tr_offers_owner(a, 3, 7) == 2); /* the furthest of one generation */
    a[1] = held(7, 1, 4, 12);
    assert_true(tr_offers_owner(a, 3, 7) ==
                1); /* a past from which the run has not gone on is further, and older */
    a[0].file_position = 12;
    assert_true(tr_offers_owner(a, 3, 7) == 0); /* its checkpoint is as far as the newest */
    a[0].file_position = 10;
    a[1].id.run = 8;
    a[2].id.run = 8;
    assert_true(tr_offers_owner(a, 3, 7) == 0); /* of another run */
    a[1] = held(7, 2, 1, 11);
    a[2] = held(7, 1, 9, 40);
    assert_true(tr_offers_owner(a, 3, 7) == 1); /* of a later start */
    a[0].id.generation = START(2) | 1;
    a[0].position = 11;
    assert_true(tr_offers_owner(a, 3, 7) == 0); /* of equal ones the first */
}

static void a_lost_folder_takes_the_run_of_the_others(void **state)
{
    struct tr_offer a[3] = {leader(0, 1, 0), held(7, 4, 2, 12), held(7, 4, 2, 12)};

    (void)state;
    assert_true(tr_offers_run(a, 3) == 7);
    assert_true(tr_offers_owner(a, 3, 7) == 1);
    assert_true(tr_offers_start(a, 3, 7, false) == 5);
    a[1] = a[2] = (struct tr_offer){0};
    assert_true(tr_offers_run(a, 3) == 999);
    assert_true(tr_offers_owner(a, 3, 999) == 0);
    assert_true(tr_offers_start(a, 3, 999, false) == 1);
}

static void starts_only_grow(void **state)
{
    struct tr_offer a[2] = {leader(7, 3, 0), held(7, 2, 9, 5)};

    (void)state;
    assert_true(tr_offers_start(a, 2, 7, false) == 3);
    a[1] = held(7, 3, 1, 5);
    assert_true(tr_offers_start(a, 2, 7, true) == 3); /* trainers of one start */
    a[1].id.run = 8;
    a[1].id.generation = START(9);
    assert_true(tr_offers_start(a, 2, 7, false) == 3);
}

static void write_file(const char *folder, const char *content)
{
    char path[256];
    struct im_text text;

    snprintf(path, sizeof path, "%s/nodes/identity.json", folder);
    assert_true(im_file_replace(path, content, strlen(content), &text) == 0);
}

static void the_number_is_kept_in_a_file(void **state)
{
    static const char *const damaged[] = {"",
                                          "{",
                                          "{\"run\": 5}",
                                          "{\"run\": -1, \"starts\": 2}",
                                          "{\"run\": 4503599627370496, \"starts\": 2}",
                                          "{\"run\": 5, \"starts\": 1048576}"};
    const char *folder = *state;
    struct im_text text = {""};
    uint64_t run = 1, starts = 1;

    assert_true(tr_identity_load(folder, &run, &starts, &text) == 0);
    assert_true(run == 0 && starts == 0);
    assert_true(tr_identity_store(folder, TR_IDENTITY_RUN_MAX - 1, 3, &text) == 0);
    assert_true(tr_identity_load(folder, &run, &starts, &text) == 0);
    assert_true(run == TR_IDENTITY_RUN_MAX - 1 && starts == 3);
    for (size_t i = 0; i < IM_COUNT(damaged); i++) {
        write_file(folder, damaged[i]);
        assert_true(tr_identity_load(folder, &run, &starts, &text) == -EBADMSG);
        assert_true(strstr(text.s, "identity.json") != NULL);
    }
}

static void drawn_numbers_travel_as_doubles(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        const uint64_t run = tr_identity_draw();

        assert_true(run > 0 && run < TR_IDENTITY_RUN_MAX && (uint64_t)(double)run == run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_of_the_run_is_chosen),
        cmocka_unit_test(a_lost_folder_takes_the_run_of_the_others),
        cmocka_unit_test(starts_only_grow),
        cmocka_unit_test_setup_teardown(the_number_is_kept_in_a_file, make_directory, remove_directory),
        cmocka_unit_test(drawn_numbers_travel_as_doubles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
