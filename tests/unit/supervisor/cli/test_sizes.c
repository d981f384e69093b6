/* How a run is cut for machines that are not this one: the memory of a decode. */
#include "supervisor/cli/sizes.h"
#include "tests/unit/ipc/base/unit.h"

#define MIB ((uint64_t)1 << 20)

/* --decode-memory-mib as it is chosen on a machine of so many MiB, of which `available` are free. */
static int64_t chosen(uint64_t total, uint64_t available, int64_t augmenters, int64_t wanted)
{
    const uint64_t samples[IM_SPLITS] = {10000, 1000};
    const struct sv_machine machine = {
        .cpus = 8, .memory_bytes = available * MIB, .memory_total = total * MIB};
    struct im_geometry geometry;
    struct im_text text = {""};
    struct im_conf conf;

    im_conf_defaults(&conf);
    conf.batch_size = 8;
    conf.augmenters = augmenters;
    conf.decode_memory_mib = wanted;
    if (sv_sizes_choose(&conf, &machine, samples, 10, &geometry, &text) < 0)
        fail_msg("%s", text.s);
    return conf.decode_memory_mib;
}

static void an_image_gets_an_augmenters_part_of_half_the_memory(void **state)
{
    static const struct {
        uint64_t total;
        int64_t augmenters, low, high; /* the rings take a little */
    } rows[] = {
        {65536, 1, 2048, 2048}, /* never more than that */
        {65536, 16, 2000, 2048}, {65536, 64, 500, 512}, {8192, 4, 990, 1024}, {8192, 8, 490, 512},
        {2048, 4, 230, 256},     {1024, 4, 128, 128}, /* and no less, or photos are left out */
        {400, 2, 128, 128},      {200, 2, 100, 100},  /* but for half of all there is */
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++)
        assert_in_range(chosen(rows[i].total, rows[i].total, rows[i].augmenters, 0), rows[i].low,
                        rows[i].high);
}

/* Their number may grow to that of the cores; the limit stays. */
static void augmenters_that_may_come_later_have_their_part(void **state)
{
    (void)state;
    assert_int_equal(chosen(8192, 8192, 0, 0), chosen(8192, 8192, 8, 0)); /* 8 cores */
    assert_true(chosen(8192, 8192, 0, 0) < chosen(8192, 8192, 2, 0));
}

/* Else a busy machine would leave out images that an idle one takes. */
static void what_is_free_does_not_count(void **state)
{
    (void)state;
    assert_int_equal(chosen(8192, 8000, 8, 0), chosen(8192, 700, 8, 0));
}

static void a_wish_is_kept_and_an_unknown_machine_is_trusted(void **state)
{
    (void)state;
    assert_int_equal(chosen(400, 400, 2, 4096), 4096);
    assert_int_equal(chosen(0, 4000, 2, 0), 2048);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_gets_an_augmenters_part_of_half_the_memory),
        cmocka_unit_test(augmenters_that_may_come_later_have_their_part),
        cmocka_unit_test(what_is_free_does_not_count),
        cmocka_unit_test(a_wish_is_kept_and_an_unknown_machine_is_trusted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
