/* The number type of a run on machines that are not this one. */
#include <errno.h>

#include "supervisor/cli/precision.h"
#include "tests/unit/ipc/base/unit.h"

/* GPUs of these compute capabilities; 0 ends the list. */
static void found(const int *sm, struct sv_gpus *ret)
{
    *ret = (struct sv_gpus){.nccl = true, .driver = "13.0", .runtime = "13.0"};
    for (; sm[ret->count]; ret->count++) {
        struct sv_gpu *g = &ret->gpu[ret->count];

        *g = (struct sv_gpu){.index = ret->count, .memory_bytes = UINT64_C(32) << 30, .sm = sm[ret->count]};
        snprintf(g->name, sizeof g->name, "GPU of capability %d", g->sm);
    }
    if (ret->count == 0)
        ret->code = SV_GPUS_NO_DEVICE;
}

static int choose(const int *sm, const char *flag, const char *other, struct im_conf *conf,
                  struct im_text *ret_why, struct im_text *text)
{
    char copies[2][64], program[] = "start", *argv[4] = {program};
    struct sv_gpus g;
    int argc = 1, err;

    im_conf_defaults(conf);
    for (int i = 0; i < 2; i++)
        if (i ? other : flag) {
            snprintf(copies[i], sizeof copies[i], "%s", i ? other : flag);
            argv[argc++] = copies[i];
        }
    if (im_conf_parse_args(conf, IM_FOR_START, argc, argv, text) != argc)
        fail_msg("%s", text->s);
    found(sm, &g);
    err = sv_gpus_choose(conf, &g, NULL, text);
    return err < 0 ? err : sv_precision_choose(conf, &g, false, ret_why, text);
}

static void auto_goes_by_the_gpus(void **state)
{
    static const struct {
        int sm[4];
        const char *flag;
        enum im_conf_amp amp;
        const char *word, *why;
    } cases[] = {
        {{90},
         NULL,
         IM_AMP_BF16,
         "bf16",
         "bf16: compute capability 9.0 has bf16 (auto; --amp none for fp32)"},
        {{80, 80}, NULL, IM_AMP_BF16, "bf16", "bf16: compute capability 8.0"},
        {{120}, NULL, IM_AMP_BF16, "bf16", "bf16: compute capability 12.0"},
        {{70}, NULL, IM_AMP_FP16, "fp16", "fp16 with loss scaling: compute capability 7.0 lacks bf16 (auto"},
        {{75}, NULL, IM_AMP_FP16, "fp16", "fp16 with loss scaling: compute capability 7.5 lacks"},
        {{90, 75}, NULL, IM_AMP_FP16, "fp16", "fp16 with loss scaling: compute capability 7.5"},
        {{90, 75}, "--gpus=0,", IM_AMP_BF16, "bf16", "bf16: compute capability 9.0"},
        {{61}, NULL, IM_AMP_NONE, "fp32", "fp32: compute capability 6.1 has no fast fp16"},
        {{0}, NULL, IM_AMP_NONE, "fp32", "fp32 on CPUs (auto; --amp bf16 suits those with"},
        {{90}, "--gpus=0", IM_AMP_NONE, "fp32", "fp32 on CPUs"},
        {{90}, "--amp=none", IM_AMP_NONE, "tf32", "tf32, as --amp none says"},
        {{75}, "--amp=none", IM_AMP_NONE, "fp32", "fp32, as --amp none says"},
        {{90}, "--amp=fp16", IM_AMP_FP16, "fp16", "fp16 with loss scaling, as --amp fp16 says"},
        {{0}, "--amp=bf16", IM_AMP_BF16, "bf16", "bf16, as --amp bf16 says"},
        {{90}, "--amp", IM_AMP_BF16, "bf16", "bf16: compute capability 9.0 has bf16"},
        {{90}, "--no-amp", IM_AMP_NONE, "tf32", "tf32, as --amp none says"},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_text why = {""}, text = {""};
        struct im_conf conf;

        if (choose(cases[i].sm, cases[i].flag, NULL, &conf, &why, &text) < 0)
            fail_msg("case %zu: %s", i, text.s);
        assert_int_equal(conf.amp, cases[i].amp);
        assert_string_equal(sv_precision_word(&conf), cases[i].word);
        assert_begins(why.s, cases[i].why);
    }
}

static void what_a_device_lacks_is_refused(void **state)
{
    static const struct {
        int sm[2];
        const char *flag, *other, *sentence;
    } cases[] = {
        {{0}, "--amp=fp16", NULL, "--amp fp16: CPUs compute in fp32 (--amp none) or bf16"},
        {{90}, "--fp16", "--gpus=0", "--amp fp16: CPUs compute in fp32"},
        {{75}, "--bf16", NULL, "--amp bf16: GPU 0 (GPU of capability 75) has compute capability 7.5"},
        {{75}, "--precision=bf16-mixed", NULL, "--amp bf16: GPU 0"},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_text why = {""}, text = {""};
        struct im_conf conf;

        assert_int_equal(choose(cases[i].sm, cases[i].flag, cases[i].other, &conf, &why, &text), -EINVAL);
        assert_begins(text.s, cases[i].sentence);
    }
}

/* As a trainer or a test without a device takes it. */
static void nobody_looked_is_fp32(void **state)
{
    struct im_conf conf;

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(conf.amp, IM_AMP_AUTO);
    assert_int_equal(im_conf_amp(&conf), IM_AMP_NONE);
    assert_string_equal(sv_precision_word(&conf), "fp32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_goes_by_the_gpus),
        cmocka_unit_test(what_a_device_lacks_is_refused),
        cmocka_unit_test(nobody_looked_is_fp32),
    };

    return cmocka_run_group_tests_name("precision", tests, NULL, NULL);
}
