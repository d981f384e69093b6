/* Waits of one length: the second and later ones are found finished soon after their end, with few polls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "trainer/comm/poll.h"

/* A wait that ends after `length`. Returns how late that was seen, and counts the polls. */
static im_ns wait_for(struct tr_poll *p, im_ns begin, im_ns length, unsigned *ret_polls)
{
    im_ns now = begin, waited;

    tr_poll_begin(p);
    for (*ret_polls = 0; now < begin + length; ++*ret_polls) {
        now += tr_poll_pause(p, now, &waited);
        assert_true(waited <= now - begin);
    }
    return now - begin - length;
}

static void known(void **state)
{
    (void)state;
    for (im_ns length = IM_MS; length < 2 * IM_SECOND; length = length * 3 / 2 + 12345) {
        struct tr_poll p = {0};
        unsigned polls;

        wait_for(&p, IM_SECOND, length, &polls);
        for (im_ns step = 0; step < 5; step++) {
            /* 3 % longer or shorter from step to step */
            const im_ns now = length + (step & 1 ? length / 33 : 0);
            const im_ns late = wait_for(&p, (2 + 3 * step) * IM_SECOND, now, &polls);

            assert_true(late <= IM_MS / 50 ||
                        (now < length + length / 50 && length > 60 * IM_MS && late <= IM_MS));
            assert_true(polls <= now / IM_MS + 200 + length / 33 / (IM_MS / 50));
        }
    }
}

static void first_and_surprising(void **state)
{
    struct tr_poll p = {0};
    unsigned polls;

    (void)state;
    assert_true(wait_for(&p, IM_SECOND, 300 * IM_MS, &polls) <= IM_MS);
    assert_true(polls < 1000); /* not known: often for 10 ms, then each millisecond */
    assert_true(wait_for(&p, 2 * IM_SECOND, 20 * IM_MS, &polls) <= IM_MS); /* shorter */
    assert_true(polls <= 25);
    assert_true(wait_for(&p, 3 * IM_SECOND, 9 * IM_SECOND, &polls) <= IM_MS); /* a rank that does not come */
    assert_true(polls < 10500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known), cmocka_unit_test(first_and_surprising)};

    return cmocka_run_group_tests_name("poll", tests, NULL, NULL);
}
