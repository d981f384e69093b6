/* Measurements beside earlier ones, and profiles for speedscope. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/earlier.h"
#include "ipc/base/file.h"
#include "ipc/base/speedscope.h"
#include "tests/unit/ipc/base/unit.h"

static char path[] = "/tmp/unit_earlier.XXXXXX";

static int make_file(void **state)
{
    const int fd = mkstemp(path);

    (void)state;
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static int load(const char *bytes, struct im_earlier *e, struct im_text *text)
{
    assert_int_equal(im_file_replace(path, bytes, strlen(bytes), text), 0);
    return im_earlier_load(path, "s/1", "rates", e, text);
}

static void test_only_the_same_measurement_is_compared(void **state)
{
    static const char *const bad[] = {"",
                                      "no",
                                      "{}",
                                      "{\"schema\":\"s/1\",\"rates\":[]}",
                                      "{\"schema\":\"s/1\",\"rates\":3}",
                                      "{\"schema\":\"s/2\",\"rates\":[1]}"};
    struct im_text text = {""};
    struct im_earlier e;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(bad); i++) {
        assert_int_equal(load(bad[i], &e, &text), -EBADMSG);
        assert_non_null(strstr(text.s, path));
        assert_false(e.given);
    }
    assert_int_equal(im_earlier_load("", "s/1", "rates", &e, &text), 0);
    assert_false(e.given);
    assert_int_equal(load("{\"schema\":\"s/1\",\"rates\":[1.5,2,2.5]}", &e, &text), 0);
    assert_true(e.given);
    assert_float_equal(e.old.mean, 2, 1e-12);
}

static const char *result_of(double *now, size_t n, bool more_is_better, struct im_text *ret)
{
    struct im_text text = {""};
    struct im_earlier e;
    struct im_summary s = im_series_summary(now, n);

    assert_int_equal(load("{\"schema\":\"s/1\",\"rates\":[100,101,99,100]}", &e, &text), 0);
    return im_earlier_sentence(&e, &s, more_is_better, "images/s", ret);
}

/* Of many results one is always far off: each of several has to be so much surer. And a program is not compared with itself
 * to the last digit. */
static void test_several_results_share_the_doubt(void **state)
{
    double near[] = {103, 106, 101, 104}, close[] = {100.5, 100.6, 100.4, 100.5}, old[] = {100, 101, 99, 100};
    struct im_summary now = im_series_summary(near, 4);
    struct im_earlier e = {.given = true, .tests = 1, .old = im_series_summary(old, 4)};
    struct im_text text;

    (void)state;
    assert_non_null(strstr(im_earlier_sentence(&e, &now, true, "ns", &text), "faster"));
    e.tests = 6;
    assert_non_null(strstr(im_earlier_sentence(&e, &now, true, "ns", &text), "no difference shown"));
    now = im_series_summary(close, 4);
    e = (struct im_earlier){
        .given = true, .tests = 1, .old = im_series_summary((double[]){100, 100, 100, 100.1}, 4)};
    assert_true(im_series_welch(&now, &e.old) < 0.01);
    assert_non_null(strstr(im_earlier_sentence(&e, &now, true, "ns", &text), "no difference shown"));
}

static void test_a_difference_is_said_where_chance_is_improbable(void **state)
{
    double more[] = {120, 121, 119, 120}, same[] = {100, 102, 98, 101}, wide[] = {40, 200, 90, 150};
    struct im_text text;

    (void)state;
    assert_non_null(strstr(result_of(more, 4, true, &text), "1.200 of 100.0 +- 0.8 images/s: faster"));
    assert_non_null(strstr(result_of(more, 4, false, &text), "slower"));
    assert_non_null(strstr(result_of(same, 4, true, &text), "no difference shown"));
    assert_non_null(strstr(result_of(wide, 4, true, &text), "no difference shown"));
}

static void test_profiles_have_frames_samples_and_weights(void **state)
{
    struct im_speedscope *s = im_speedscope_new("net");
    struct im_text text = {""};
    struct im_json *j = NULL;
    const struct im_json *profile, *frames;
    char *bytes = NULL;
    size_t n = 0;
    int64_t frame = -1;

    (void)state;
    im_speedscope_add(s, (const char *const[]){"step", "forward", "conv"}, 3, 1.5);
    im_speedscope_add(s, (const char *const[]){"step", "backward", "conv"}, 3, 2.5);
    im_speedscope_add(s, (const char *const[]){"step", "rest"}, 2, -1);
    assert_int_equal(im_speedscope_write(s, path, &text), 0);
    assert_int_equal(im_read_file(path, 1 << 20, &bytes, &n, &text), 0);
    assert_int_equal(im_json_parse(bytes, n, &j, &text), 0);
    frames = im_json_get(im_json_get(j, "shared"), "frames");
    profile = im_json_at(im_json_get(j, "profiles"), 0);
    assert_int_equal(im_json_count(frames), 5); /* step, forward, conv, backward, rest */
    assert_string_equal(im_json_str_or(im_json_at(frames, 2), "name", ""), "conv");
    assert_int_equal(im_json_as_int(im_json_at(im_json_at(im_json_get(profile, "samples"), 1), 2), &frame),
                     0);
    assert_int_equal(frame, 2);
    assert_float_equal(im_json_real_or(profile, "endValue", 0), 4, 1e-12);
    assert_int_equal(im_json_count(im_json_get(profile, "weights")), 3);
    im_json_free(&j);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_the_same_measurement_is_compared),
        cmocka_unit_test(test_several_results_share_the_doubt),
        cmocka_unit_test(test_a_difference_is_said_where_chance_is_improbable),
        cmocka_unit_test(test_profiles_have_frames_samples_and_weights),
    };

    return cmocka_run_group_tests(tests, make_file, remove_file);
}
