/* How much arithmetic, of how much. */
#include <math.h>

#include "ipc/base/err.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/model/flops.h"

static double flop(const char *name, int size)
{
    struct im_text text = {""};
    struct tr_model *model;
    double result;

    assert_int_equal(tr_model_new(&(struct tr_model_config){.name = name, .classes = 1000}, &model, &text),
                     0);
    result = tr_training_flop(model, NULL, size);
    tr_model_free(model);
    return result;
}

/* 4.089 GMAC forward (torchvision's table of models says 4.09) of which the stem has 0.118; three times less
 * the stem's once, two operations each: 24.30 GFLOP. */
static void resnet50_is_what_the_literature_says(void **state)
{
    (void)state;
    assert_true(fabs(flop("resnet50", 224) / 24.30e9 - 1) < 0.002);
    assert_true(fabs(flop("resnet18", 224) / (2 * (3 * 1.814e9 - 0.118e9)) - 1) < 0.002);
}

/* By hand: a 3x3 stem of 3 to 16 channels, three stages of 16, 32 and 64 channels with six convolutions each
 * at 32, 16 and 8 pixels, all of the same work but a stage's first, which has half; 1x1 shortcuts into the
 * second and the third; the classifier. */
static void resnet20_is_what_one_counts(void **state)
{
    const double stem = 27.0 * 16 * 1024, one = 9.0 * 16 * 16 * 1024;
    const double shortcuts = 16.0 * 32 * 256 + 32.0 * 64 * 64;
    const double macs = stem + 6 * one + 2 * 5.5 * one + shortcuts + 64.0 * 1000;

    (void)state;
    assert_true(fabs(flop("resnet20", 32) - 2 * (3 * macs - stem)) < 1);
}

static void four_times_the_pixels_are_four_times_the_work(void **state)
{
    (void)state;
    assert_true(fabs(flop("resnet50", 448) / flop("resnet50", 224) - 4) < 0.01);
}

static void peaks_go_by_name_and_type(void **state)
{
    static const struct {
        const char *name;
        enum imk_dtype precision;
        bool tf32;
        double tera;
    } cases[] = {
        {"NVIDIA H200", IMK_BF16, false, 989.5},
        {"NVIDIA H200", IMK_F32, true, 494.5},
        {"NVIDIA H200", IMK_F32, false, 67},
        {"NVIDIA H200 NVL", IMK_BF16, false, 835.5},
        {"NVIDIA H100 PCIe", IMK_BF16, false, 756.5},
        {"NVIDIA A100-SXM4-80GB", IMK_BF16, false, 312},
        {"NVIDIA A100 80GB PCIe", IMK_BF16, false, 312},
        {"NVIDIA A10", IMK_BF16, false, 125},
        {"NVIDIA A10G", IMK_BF16, false, 70},
        {"NVIDIA A10G", IMK_F32, true, 35},
        {"NVIDIA L4", IMK_BF16, false, 121},
        {"NVIDIA L40", IMK_BF16, false, 181},
        {"NVIDIA L40S", IMK_BF16, false, 362},
        {"Tesla V100-SXM2-16GB", IMK_BF16, false, 0}, /* it cannot */
        {"NVIDIA GeForce RTX 3090", IMK_BF16, false, 71},
        {"NVIDIA GeForce RTX 3090 Ti", IMK_BF16, false, 80},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++)
        assert_true(
            fabs(tr_peak_flops(cases[i].name, cases[i].precision, cases[i].tf32) - 1e12 * cases[i].tera) < 1);
}

static void an_unknown_gpu_has_no_peak(void **state)
{
    static const char *const names[] = {"",
                                        "NVIDIA H2000",
                                        "NVIDIA Tomorrow",
                                        "NVIDIA H200 MIG 1g.18gb",
                                        "NVIDIA GeForce RTX 4090 D",
                                        "NVIDIA GeForce RTX 4090 Laptop GPU"};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(names); i++)
        assert_true(tr_peak_flops(names[i], IMK_BF16, false) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resnet50_is_what_the_literature_says),
        cmocka_unit_test(resnet20_is_what_one_counts),
        cmocka_unit_test(four_times_the_pixels_are_four_times_the_work),
        cmocka_unit_test(peaks_go_by_name_and_type),
        cmocka_unit_test(an_unknown_gpu_has_no_peak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
