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

static void a_moved_image_is_reflected_at_its_border(void **state)
{
    uint8_t image[2 * 3 * 3 * 3], seen[sizeof image];

    (void)state;
    for (size_t i = 0; i < sizeof image; i++)
        image[i] = (uint8_t)i;
    tr_move(image, seen, 2, 3, 1); /* down and right: row and column 1 are seen at -1 */
    assert_true(seen[0] == 3 * 4 && seen[3] == 3 * 3 && seen[3 * 4] == 0 && seen[3 * 8] == 3 * 4);
    assert_true(seen[27] == 27 + 3 * 4 && seen[27 + 3 * 4] == 27);
    tr_move(image, seen, 2, 3, -1);
    assert_true(seen[0] == 3 * 4 && seen[3 * 8] == 3 * 4 && seen[3] == 3 * 5 && seen[3 * 2] == 3 * 4);
    tr_move(image, seen, 2, 3, 0);
    assert_memory_equal(image, seen, sizeof image);
}

/* The mean over the views, whose shares are those of the method: of the network's outputs for each, by hand. */
static void views_have_their_shares(void **state)
{
    enum { N = 2, SIDE = 32, PIXELS = N * SIDE * SIDE * 3, CLASSES = 3 };
    const struct tr_network_config config = {
        .model = "resnet20", .classes = CLASSES, .backend = "ref", .threads = 1, .std = {1, 1, 1}};
    uint8_t *pixels = calloc(PIXELS, 1), *moved = calloc(PIXELS, 1), *view = calloc(PIXELS, 1);
    struct tr_batch batch = {.pixels = pixels, .labels = (const int32_t[N]){0, 1}, .n = N, .size = SIDE};
    static const double shares[] = {0.25, 0.25, 0.125, 0.125, 0.125, 0.125};
    double want[N * CLASSES] = {0};
    struct im_text text = {""};
    struct tr_network *net;
    struct tr_outcomes o;
    struct tr_tally tally;
    struct im_conf conf;

    (void)state;
    for (size_t i = 0; i < PIXELS; i++)
        pixels[i] = (uint8_t)(i * 97 % 251);
    if (tr_network_new(&config, &net, &text) < 0)
        fail_msg("%s", text.s);
    im_conf_defaults(&conf);
    conf.tta = IM_TTA_VIEWS;
    assert_int_equal(tr_outcomes_alloc(&o, &conf, CLASSES, N, PIXELS), 0);
    for (int k = 0; k < 6; k++) {
        float logits[N * CLASSES];

        tr_move(pixels, moved, N, SIDE, k < 2 ? 0 : k < 4 ? -1 : 1);
        memcpy(view, moved, PIXELS);
        if (k % 2)
            tr_mirror(moved, view, N, SIDE);
        batch.pixels = view;
        assert_int_equal(tr_network_evaluate(net, &batch, false, logits, &tally, &text), 0);
        for (int i = 0; i < N * CLASSES; i++)
            want[i] += shares[k] * (double)logits[i];
    }
    batch.pixels = pixels;
    assert_int_equal(tr_outcomes_logits(&o, net, &batch, &tally, &text), 0);
    for (int i = 0; i < N * CLASSES; i++)
        near((double)o.logits[i], want[i]);
    tr_outcomes_close(&o);
    tr_network_free(net);
    free(pixels);
    free(moved);
    free(view);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_likeliest_classes_come_first),
        cmocka_unit_test(ties_go_to_the_first_class),
        cmocka_unit_test(large_logits_do_not_overflow),
        cmocka_unit_test(a_label_that_is_none_has_no_loss),
        cmocka_unit_test(a_mirror_swaps_columns),
        cmocka_unit_test(a_moved_image_is_reflected_at_its_border),
        cmocka_unit_test(views_have_their_shares),
    };

    return cmocka_run_group_tests_name("outcomes", tests, NULL, NULL);
}
