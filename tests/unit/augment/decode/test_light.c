/* The pixels of --augment light, today's default, are what they were before there were transforms: the hash
 * below was taken from the program as it was then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "augment/options.h"
#include "ipc/base/count.h"
#include "ipc/base/hash.h"
#include "tests/unit/augment/sample.h"

enum { FILES = 40, SIZE = 224, SKIPPED = 77 };

/* By au_render of the version before, for the first 40 files of the sample, seed 42, epoch 3,
 * sample = place. */
#define HASH_BEFORE UINT64_C(0xa5b6522e2d811f12)

static uint64_t hash_of(const struct sample *sample, const char *set, unsigned cpu_flags)
{
    static unsigned char out[3 * SIZE * SIZE];
    struct au_options options;
    struct au_renderer *renderer;
    struct im_conf conf;
    uint64_t hash = 0;

    im_conf_defaults(&conf);
    assert_int_equal(im_conf_set(&conf, "augment", set, NULL), 0);
    im_conf_apply_set(&conf);
    assert_int_equal(au_options_make(&conf, &options), 0);
    assert_int_equal(au_renderer_new(&renderer, &options.limits, cpu_flags), 0);
    for (size_t i = 0; i < FILES; i++) {
        struct au_job job = au_run_job(&options, true, conf.seed, 3, i, SIZE);

        assert_int_equal(au_render(renderer, &job, sample->files[i].bytes, sample->files[i].n, out, NULL), 0);
        hash = im_hash64(out, sizeof out, hash);
    }
    au_renderer_free(&renderer);
    return hash;
}

static void light_gives_the_pixels_of_before(void **state)
{
    assert_int_equal(hash_of(*state, "light", imk_cpu_flags()), HASH_BEFORE);
}

static void every_set_gives_the_same_pixels_on_every_cpu(void **state)
{
    static const char *const sets[] = {"none",        "light",   "classic", "autoaugment",
                                       "randaugment", "trivial", "heavy"};

    for (size_t i = 0; i < IM_COUNT(sets); i++)
        assert_int_equal(hash_of(*state, sets[i], imk_cpu_flags()), hash_of(*state, sets[i], 0));
}

/* Memory grows with the largest image and with the first draws of each kind, and then no more. */
static void memory_stays_as_it_is_once_all_has_been_seen(void **state)
{
    static unsigned char out[3 * SIZE * SIZE];
    const struct sample *sample = *state;
    struct au_options options;
    struct au_renderer *renderer;
    struct im_conf conf;
    size_t bytes[3];

    im_conf_defaults(&conf);
    assert_int_equal(im_conf_set(&conf, "augment", "classic", NULL), 0);
    assert_int_equal(im_conf_set(&conf, "aug-policy", "randaugment", NULL), 0);
    im_conf_apply_set(&conf);
    assert_int_equal(au_options_make(&conf, &options), 0);
    assert_int_equal(au_renderer_new(&renderer, &options.limits, imk_cpu_flags()), 0);
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 120; i++) {
            struct au_job job = au_run_job(&options, true, conf.seed, (uint32_t)round, i, SIZE);
            const struct sample_file *file = &sample->files[round == 0 ? i % FILES : 0];

            assert_int_equal(au_render(renderer, &job, file->bytes, file->n, out, NULL), 0);
        }
        bytes[round] = au_renderer_bytes(renderer);
    }
    assert_int_equal(bytes[1], bytes[0]);
    assert_int_equal(bytes[2], bytes[0]);
    au_renderer_free(&renderer);
}

int main(void)
{
    static struct sample sample;
    struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(light_gives_the_pixels_of_before, &sample),
        cmocka_unit_test_prestate(every_set_gives_the_same_pixels_on_every_cpu, &sample),
        cmocka_unit_test_prestate(memory_stays_as_it_is_once_all_has_been_seen, &sample),
    };
    int failed;

    if (sample_open(&sample) < 0)
        return SKIPPED;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    sample_close(&sample);
    return failed;
}
