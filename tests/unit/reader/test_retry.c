/* When a failed read is the file's fault. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "reader/retry.h"

/* One try that fails at `now`; true: the file is unreadable. */
static bool fails(struct rd_tries *t, const struct rd_storage *s, int err, im_ns now)
{
    rd_tries_begin(t, s);
    return rd_tries_failed(t, s, err, now);
}

static void errors_that_may_pass(void **state)
{
    static const int pass[] = {EIO,    ESTALE, ENOTCONN,  ETIMEDOUT, EMFILE, ENFILE,
                               ENOMEM, EAGAIN, EHOSTDOWN, ENODEV,    ENXIO,  ECONNREFUSED};
    static const int last[] = {ENOENT, ENOTDIR, EACCES, EPERM, EISDIR, EINVAL, ELOOP, ENAMETOOLONG};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(pass); i++)
        assert_true(rd_error_passes(-pass[i]));
    for (size_t i = 0; i < IM_COUNT(last); i++)
        assert_false(rd_error_passes(-last[i]));
    assert_false(rd_error_passes(0));
}

/* Nothing else is read: for as long as it takes, whatever the error. */
static void without_a_proof_nothing_counts(void **state)
{
    static const int errors[] = {-ENOENT, -ENOTDIR, -EACCES, -EIO};
    const struct rd_storage s = {.read = 5, .probed = 5}; /* all before the first failure */

    (void)state;
    for (size_t i = 0; i < IM_COUNT(errors); i++) {
        struct rd_tries t = {0};

        for (im_ns now = 10; now < 10000; now++)
            assert_false(fails(&t, &s, errors[i], now));
        assert_true(rd_tries_unproven(&t, &s));
    }
}

static void a_missing_file_is_unreadable_once_another_was_read(void **state)
{
    struct rd_storage s = {0};
    struct rd_tries t = {0};

    (void)state;
    assert_false(fails(&t, &s, -ENOENT, 10));
    assert_false(fails(&t, &s, -ENOENT, 20));
    rd_storage_read(&s, 21);
    assert_false(rd_tries_unproven(&t, &s));
    assert_true(fails(&t, &s, -ENOENT, 30));
}

/* The read that succeeded had begun before the failure: it says nothing about the time after. */
static void an_older_read_proves_nothing(void **state)
{
    struct rd_storage s = {0};
    struct rd_tries t = {0};

    (void)state;
    assert_false(fails(&t, &s, -ENOENT, 10));
    rd_storage_read(&s, 10);
    assert_false(fails(&t, &s, -ENOENT, 20));
}

/* The proof came while the try was under way, which may have begun before the storage was back. */
static void a_proof_counts_for_tries_that_begin_after_it(void **state)
{
    struct rd_storage s = {0};
    struct rd_tries t = {0};

    (void)state;
    assert_false(fails(&t, &s, -ENOENT, 10));
    rd_tries_begin(&t, &s);
    rd_storage_read(&s, 15);
    assert_false(rd_tries_failed(&t, &s, -ENOENT, 20));
    rd_storage_read(&s, 25);
    assert_true(fails(&t, &s, -ENOENT, 30));
}

static void an_error_that_may_pass_counts_only_after_probes(void **state)
{
    struct rd_storage s = {0};
    struct rd_tries t = {0};
    im_ns now = 10;

    (void)state;
    assert_false(fails(&t, &s, -EIO, now));
    for (int i = 0; i < 100; i++) { /* from memory: says nothing */
        rd_storage_read(&s, ++now);
        assert_false(fails(&t, &s, -EIO, ++now));
    }
    for (int i = 1; i < RD_FAILURES_PASSING; i++) {
        rd_storage_probed(&s, ++now);
        assert_false(fails(&t, &s, -EIO, ++now));
        assert_false(fails(&t, &s, -EIO, ++now)); /* needs a proof of its own */
    }
    rd_storage_probed(&s, ++now);
    assert_true(fails(&t, &s, -EIO, ++now));
}

static void fill(struct rd_storage *s, int files, int every, int err)
{
    for (int i = 0; i < files; i++)
        rd_storage_file(s, i % every == 0 ? err : 0);
}

static void a_large_share_of_failures_is_the_storages(void **state)
{
    static const struct {
        int files, every, err;
        bool many;
    } cases[] = {
        {RD_RECENT_MIN - 1, 1, -EIO, false}, /* too few to say */
        {RD_RECENT_MIN, 1, -EIO, true},
        {64, 1, -EIO, true},
        {64, 4, -EIO, true},
        {64, 5, -EIO, false},
        {64, 64, -EIO, false},
        {64, 4, -ENOENT, false},
        {64, 3, -ENOENT, false},
        {64, 2, -ENOENT, true},
        {64, 1, -ENOENT, true},
        {64, 1, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct rd_storage s = {.read = 100, .probed = 100};
        struct rd_tries t = {.failures = 1, .failed_at = 10, .err = -ENOENT};

        fill(&s, cases[i].files, cases[i].every, cases[i].err);
        assert_int_equal(rd_storage_fails_many(&s), cases[i].many);
        assert_int_equal(fails(&t, &s, -ENOENT, 200), !cases[i].many);
    }
}

static void the_share_is_that_of_the_last_files(void **state)
{
    struct rd_storage s = {0};

    (void)state;
    fill(&s, 1000, 1, -EIO);
    assert_true(rd_storage_fails_many(&s));
    fill(&s, 48, 1, 0);
    assert_true(rd_storage_fails_many(&s));
    fill(&s, 1, 1, 0);
    assert_false(rd_storage_fails_many(&s));
}

static void tries_come_at_longer_intervals_up_to_a_bound(void **state)
{
    const struct rd_storage s = {0};
    struct rd_tries t = {0};
    im_ns before = 0;

    (void)state;
    for (int i = 0; i < 20; i++) {
        im_ns wait;

        fails(&t, &s, -EIO, 1000);
        wait = rd_tries_due(&t, &s) - 1000;
        assert_true(wait > 0 && wait >= before && wait <= RD_RETRY_MAX_NS);
        before = wait;
    }
    assert_int_equal(before, RD_RETRY_MAX_NS);
}

static void it_is_decided_soon_once_there_is_a_proof(void **state)
{
    struct rd_storage s = {0};
    struct rd_tries t = {0};

    (void)state;
    for (int i = 0; i < 20; i++)
        fails(&t, &s, -ENOENT, 1000);
    assert_int_equal(rd_tries_due(&t, &s) - 1000, RD_RETRY_MAX_NS);
    rd_storage_read(&s, 1001);
    assert_int_equal(rd_tries_due(&t, &s) - 1000, 20 * IM_MS);
}

static void a_file_that_was_left_out_before_gets_one_chance(void **state)
{
    struct rd_storage s = {0};
    struct rd_tries t = {.known = true};

    (void)state;
    assert_false(fails(&t, &s, -EIO, 10));
    assert_false(fails(&t, &s, -EIO, 20)); /* a proof is needed all the same */
    rd_storage_probed(&s, 21);
    assert_true(fails(&t, &s, -EIO, 30));
}

/* A copy brings back what an outage took, one file after another. */
static void a_missing_file_is_awaited_after_an_outage(void **state)
{
    static const int errors[] = {-ENOENT, -EACCES, -ETXTBSY};
    struct rd_storage s = {.read = 5, .probed = 5, .settling = true};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(errors); i++) {
        struct rd_tries t = {0};
        im_ns now = 10;

        for (; now < 1000; now += 2) {
            assert_false(fails(&t, &s, errors[i], now));
            rd_storage_read(&s, now + 1); /* others can be read */
        }
        assert_int_equal(rd_tries_due(&t, &s), t.failed_at + RD_RETRY_MAX_NS);
        s.settling = false;
        assert_true(fails(&t, &s, errors[i], now));
        s = (struct rd_storage){.read = 5, .probed = 5, .settling = true};
    }
}

static void what_was_missing_before_the_outage_is_not_awaited(void **state)
{
    struct rd_storage s = {.settling = true};
    struct rd_tries t = {.known = true};

    (void)state;
    assert_false(fails(&t, &s, -ENOENT, 10));
    rd_storage_read(&s, 11);
    assert_true(fails(&t, &s, -ENOENT, 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_that_may_pass),
        cmocka_unit_test(without_a_proof_nothing_counts),
        cmocka_unit_test(a_missing_file_is_unreadable_once_another_was_read),
        cmocka_unit_test(an_older_read_proves_nothing),
        cmocka_unit_test(a_proof_counts_for_tries_that_begin_after_it),
        cmocka_unit_test(an_error_that_may_pass_counts_only_after_probes),
        cmocka_unit_test(a_large_share_of_failures_is_the_storages),
        cmocka_unit_test(the_share_is_that_of_the_last_files),
        cmocka_unit_test(tries_come_at_longer_intervals_up_to_a_bound),
        cmocka_unit_test(it_is_decided_soon_once_there_is_a_proof),
        cmocka_unit_test(a_file_that_was_left_out_before_gets_one_chance),
        cmocka_unit_test(a_missing_file_is_awaited_after_an_outage),
        cmocka_unit_test(what_was_missing_before_the_outage_is_not_awaited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
