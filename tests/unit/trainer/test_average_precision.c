/* mAP and F1 against scikit-learn (tests/golden/make_multi_label.py). */
#include <math.h>
#include <stdbool.h>

#include "tests/golden/draw.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/average_precision.h"

enum { N = 12, CLASSES = 37, SETS = 5, LABELS = 1000, LOGITS = 1003 };

static const char *golden_path;

static uint32_t truth(uint32_t n, uint32_t k)
{
    const uint32_t set = n % SETS;

    return set + 1 < SETS ? draw_bits(LABELS, set * CLASSES + k) & 1 : 0;
}

static double precision_of(uint32_t k, bool rounded)
{
    struct tr_scored s[N];

    for (uint32_t n = 0; n < N; n++) {
        const double logit = 3 * draw(LOGITS, n * CLASSES + k);

        s[n] = (struct tr_scored){(float)(rounded ? rint(2 * logit) / 2 : logit), truth(n, k)};
    }
    return tr_average_precision(s, N);
}

static struct tr_decided decided_of(uint32_t k)
{
    struct tr_decided d = {0};

    for (uint32_t n = 0; n < N; n++) {
        const bool says = 3 * draw(LOGITS, n * CLASSES + k) > 0;

        d.positive += truth(n, k);
        d.predicted += says;
        d.hits += says ? truth(n, k) : 0;
    }
    return d;
}

static void must_be(const char *what, double ours, double want)
{
    if (!(fabs(ours - want) < 1e-8))
        fail_msg("%s is %.9g, scikit-learn has %.9g", what, ours, want);
}

static void the_numbers_are_scikit_learns(void **state)
{
    FILE *file = fopen(golden_path, "r");
    char line[65536];
    double want, map = 0, macro = 0;
    struct tr_decided all = {0};
    int classes = 0, first = -1, seen = 0;

    (void)state;
    assert_non_null(file);
    for (uint32_t k = 0; k < CLASSES; k++) {
        const struct tr_decided d = decided_of(k);

        all.hits += d.hits;
        all.predicted += d.predicted;
        all.positive += d.positive;
        if (d.positive == 0)
            continue;
        first = first < 0 ? (int)k : first;
        classes++;
        map += precision_of(k, false);
        macro += tr_f1(&d);
    }
    while (fgets(line, sizeof line, file)) {
        char *at = line + 3;

        for (uint32_t k = 0; strncmp(line, "ap ", 3) == 0 && k < CLASSES; k++, seen++) {
            const double ours = precision_of(k, false);

            want = strtod(at, &at);
            must_be("an average precision", isnan(ours) ? -1 : ours, want);
        }
        if (sscanf(line, "map %lf", &want) == 1)
            must_be("mAP", map / classes, want), seen++;
        if (sscanf(line, "f1 %lf", &want) == 1)
            must_be("F1", tr_f1(&all), want), seen++;
        if (sscanf(line, "f1_macro %lf", &want) == 1)
            must_be("macro F1", macro / classes, want), seen++;
        if (sscanf(line, "ties %lf", &want) == 1)
            must_be("the average precision of equal scores", precision_of((uint32_t)first, true), want),
                seen++;
    }
    fclose(file);
    assert_int_equal(seen, CLASSES + 4);
}

static void what_has_no_image_has_no_number(void **state)
{
    struct tr_scored none[2] = {{1, 0}, {2, 0}}, all[2] = {{1, 1}, {2, 1}};

    (void)state;
    assert_true(isnan(tr_average_precision(none, 2)));
    assert_true(tr_average_precision(all, 2) == 1);
    assert_true(tr_f1(&(struct tr_decided){0, 0, 0}) == 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_numbers_are_scikit_learns),
        cmocka_unit_test(what_has_no_image_has_no_number),
    };

    if (argc < 2)
        return 2;
    golden_path = argv[1];
    return cmocka_run_group_tests_name("average_precision", tests, NULL, NULL);
}
