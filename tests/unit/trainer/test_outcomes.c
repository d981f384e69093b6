/* What becomes of one image: loss, rank and likeliest classes of a row of logits, and mirror images. */
#include <float.h>
#include <math.h>

#include "tests/unit/ipc/base/unit.h"
#include "trainer/outcomes.h"

#define TOPS 3

static struct im_outcome *judge(const float *logits, uint32_t classes, int32_t label, uint32_t tops)
{
    static _Alignas(
        struct im_outcome) char bytes[sizeof(struct im_outcome) + 16 * sizeof(struct im_outcome_class)];
    struct im_outcome *r = (struct im_outcome *)(void *)bytes;
    double shares[16];

    memset(bytes, 0, sizeof bytes);
    tr_outcome_judge(logits, classes, label, tops, shares, r);
    return r;
}

static void near(double a, double b)
{
    if (!(fabs(a - b) < 1e-6))
        fail_msg("%.9g is not %.9g", a, b);
}

static void the_likeliest_classes_come_first(void **state)
{
    const float logits[] = {0, 2, 1, -1};
    struct im_outcome *r = judge(logits, 4, 2, TOPS);
    const double sum = 1 + exp(2) + exp(1) + exp(-1);

    (void)state;
    assert_true(r->top[0].class == 1 && r->top[1].class == 2 && r->top[2].class == 0);
    near((double)r->top[0].probability, exp(2) / sum);
    near((double)r->probability, exp(1) / sum);
    near(r->loss, log(sum) - 1);
    assert_int_equal(r->rank, 1);
    r = judge(logits, 4, 0, 4);
    assert_true(r->top[3].class == 3 && r->rank == 2);
}

/* As in training's validation: among equals the first one. */
static void ties_go_to_the_first_class(void **state)
{
    const float logits[] = {1, 3, 3, 3};

    (void)state;
    assert_int_equal(judge(logits, 4, 1, 1)->rank, 0);
    assert_int_equal(judge(logits, 4, 3, 2)->rank, 2);
    assert_int_equal(judge(logits, 4, 3, 2)->top[0].class, 1);
    assert_int_equal(judge(logits, 4, 3, 2)->top[1].class, 2);
}

static void large_logits_do_not_overflow(void **state)
{
    const float logits[] = {FLT_MAX / 4, -FLT_MAX / 4, 1e4f};
    struct im_outcome *r = judge(logits, 3, 0, 1);

    (void)state;
    near(r->loss, 0);
    near((double)r->probability, 1);
    assert_true(judge(logits, 3, 1, 1)->loss > 1e37);
}

static void a_label_that_is_none_has_no_loss(void **state)
{
    const float logits[] = {1, 2};

    (void)state;
    near(judge(logits, 2, -1, 2)->loss, 0);
    assert_int_equal(judge(logits, 2, 2, 2)->top[0].class, 1);
}

static void a_mirror_swaps_columns(void **state)
{
    uint8_t image[2 * 2 * 2 * 3], seen[sizeof image], back[sizeof image];

    (void)state;
    for (size_t i = 0; i < sizeof image; i++)
        image[i] = (uint8_t)i;
    tr_mirror(image, seen, 2, 2);
    assert_true(seen[0] == 3 && seen[1] == 4 && seen[3] == 0 && seen[6] == 9 && seen[12] == 15);
    tr_mirror(seen, back, 2, 2);
    assert_memory_equal(image, back, sizeof image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_likeliest_classes_come_first),
        cmocka_unit_test(ties_go_to_the_first_class),
        cmocka_unit_test(large_logits_do_not_overflow),
        cmocka_unit_test(a_label_that_is_none_has_no_loss),
        cmocka_unit_test(a_mirror_swaps_columns),
    };

    return cmocka_run_group_tests_name("outcomes", tests, NULL, NULL);
}
