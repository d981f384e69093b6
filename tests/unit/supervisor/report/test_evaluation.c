/* Numbers of an evaluation against those of scikit-learn and torchmetrics (tests/golden/evaluation.txt), and files that are
 * not what they should be. */
#include <errno.h>
#include <limits.h>
#include <math.h>

#include "ipc/base/file.h"
#include "supervisor/report/evaluation.h"
#include "tests/unit/ipc/base/unit.h"

#define TOPS 3
enum { RECORD = sizeof(struct im_outcome) + TOPS * sizeof(struct im_outcome_class), IMAGES_MAX = 256 };

static struct im_outcome *record_at(struct sv_evaluation *e, uint64_t i)
{
    return (struct im_outcome *)(void *)(e->records + i * e->record_bytes);
}

static void begin(struct sv_evaluation *e, uint32_t classes, uint64_t images)
{
    *e = (struct sv_evaluation){.record_bytes = RECORD, .images = images, .classes = classes, .tops = TOPS};
    e->records = calloc(images, RECORD);
    assert_non_null(e->records);
}

static void set(struct sv_evaluation *e, uint64_t i, int label, uint32_t predicted, double confidence,
                double loss)
{
    struct im_outcome *r = record_at(e, i);

    *r = (struct im_outcome){.sample_plus_1 = i + 1, .label = label, .loss = loss};
    r->rank = (uint32_t)label == predicted ? 0 : 1;
    r->top[0] = (struct im_outcome_class){predicted, (float)confidence};
}

static void near(double a, double b)
{
    if (!(fabs(a - b) < 1e-6))
        fail_msg("%.9g is not %.9g", a, b);
}

static void numbers_are_those_of_other_programs(void **state)
{
    FILE *golden = fopen(GOLDEN_DIR "/evaluation.txt", "r");
    struct sv_evaluation e;
    double want[8], p, r, f;
    uint32_t classes, images, label, predicted, support;
    char line[256];

    (void)state;
    assert_non_null(golden);
    do
        assert_non_null(fgets(line, sizeof line, golden));
    while (*line == '#');
    assert_int_equal(sscanf(line, "%u %u", &classes, &images), 2);
    begin(&e, classes, images);
    for (uint32_t i = 0; i < images; i++) {
        assert_int_equal(fscanf(golden, "%u %u %lf", &label, &predicted, &p), 3);
        set(&e, i, (int)label, predicted, p, 1);
    }
    assert_int_equal(sv_evaluation_count(&e, 0), 0);
    for (uint32_t k = 0; k < classes; k++) {
        assert_int_equal(fscanf(golden, "%lf %lf %lf %u", &p, &r, &f, &support), 4);
        near(im_class_precision(&e.count[k]), p);
        near(im_class_recall(&e.count[k]), r);
        near(im_class_f1(&e.count[k]), f);
        assert_int_equal(e.count[k].support, support);
        for (uint32_t j = 0; j < classes; j++) {
            assert_int_equal(fscanf(golden, "%u", &support), 1);
            assert_int_equal(e.confusion[k * classes + j], support);
        }
    }
    for (int i = 0; i < 8; i++)
        assert_int_equal(fscanf(golden, "%lf", &want[i]), 1);
    fclose(golden);
    for (int weighted = 0; weighted < 2; weighted++) {
        const struct sv_averages a = sv_evaluation_averages(&e, weighted);

        near(a.precision, want[3 * weighted]);
        near(a.recall, want[3 * weighted + 1]);
        near(a.f1, want[3 * weighted + 2]);
    }
    near(sv_evaluation_ece(&e), want[6]);
    near((double)e.top1 / (double)e.valid, want[7]);
    sv_evaluation_fini(&e);
}

static void unusable_and_missing_images_take_no_part(void **state)
{
    struct sv_evaluation e;

    (void)state;
    begin(&e, 2, 5);
    set(&e, 0, 0, 0, 0.9, 0.1);
    set(&e, 1, 1, 0, 0.8, 1.6);
    set(&e, 2, 1, 0, 0.8, 5);
    record_at(&e, 2)->verdict = 4;
    set(&e, 4, 1, 1, 0.6, (double)NAN);
    assert_int_equal(sv_evaluation_count(&e, 9), 0);
    assert_true(e.valid == 3 && e.unusable == 1 && e.missing == 1 && e.worsts == 3);
    assert_true(e.worst[0] == 4 && e.worst[1] == 1 && e.worst[2] == 0);
    assert_true(e.count[1].support == 2 && e.count[0].predicted == 2);
    sv_evaluation_fini(&e);
}

static void nothing_is_not_a_number(void **state)
{
    struct sv_evaluation e;

    (void)state;
    begin(&e, 2, 1);
    assert_int_equal(sv_evaluation_count(&e, 3), 0);
    assert_true(isnan(sv_evaluation_ece(&e)) && e.worsts == 0);
    near(sv_evaluation_averages(&e, true).f1, 0);
    sv_evaluation_fini(&e);
}

static void put(const char *folder, const char *name, const void *bytes, size_t n)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(im_file_replace(path, bytes, n, NULL), 0);
}

static int read_back(const char *folder, struct im_text *text)
{
    struct sv_evaluation e = {0};
    struct im_conf conf;
    int err;

    im_conf_defaults(&conf);
    conf.top_k = TOPS;
    snprintf(conf.run_dir, sizeof conf.run_dir, "%s", folder);
    text->s[0] = 0;
    err = sv_evaluation_read(&e, &conf, text);
    sv_evaluation_fini(&e);
    return err;
}

/* Records are bytes of a file that another process wrote. */
static void damaged_records_are_refused(void **state)
{
    struct sv_evaluation e;
    struct im_text text;

    begin(&e, 4, 3);
    for (uint64_t i = 0; i < 3; i++)
        set(&e, i, 1, 2, 0.5, 1);
    put(*state, "classes.txt", "a\nb\nc\nd\n", 8);
    put(*state, IM_EVALUATED_FILE, "x\0y\0z", 6);
    put(*state, IM_OUTCOMES_FILE, e.records, 3 * RECORD);
    assert_int_equal(read_back(*state, &text), 0);
    put(*state, IM_OUTCOMES_FILE, e.records, RECORD + 5); /* of a pass that did not come to its end */
    assert_int_equal(read_back(*state, &text), 0);
    record_at(&e, 1)->top[TOPS - 1].class = 4;
    put(*state, IM_OUTCOMES_FILE, e.records, 3 * RECORD);
    assert_int_equal(read_back(*state, &text), -EBADMSG);
    record_at(&e, 1)->top[TOPS - 1].class = 0;
    record_at(&e, 2)->label = -1;
    put(*state, IM_OUTCOMES_FILE, e.records, 3 * RECORD);
    assert_int_equal(read_back(*state, &text), -EBADMSG);
    put(*state, IM_EVALUATED_FILE, "x\0y", 4); /* fewer images than records */
    assert_int_equal(read_back(*state, &text), -EBADMSG);
    assert_true(text.s[0]);
    sv_evaluation_fini(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_those_of_other_programs),
        cmocka_unit_test(unusable_and_missing_images_take_no_part),
        cmocka_unit_test(nothing_is_not_a_number),
        cmocka_unit_test_setup_teardown(damaged_records_are_refused, make_directory, remove_directory),
    };

    return cmocka_run_group_tests_name("evaluation", tests, NULL, NULL);
}
