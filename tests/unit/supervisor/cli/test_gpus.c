/* Which GPUs a configuration takes, of machines that are not this one. */
#include <errno.h>
#include <limits.h>

#include "supervisor/cli/gpus.h"
#include "tests/unit/ipc/base/unit.h"

/* What `imsuper-trainer gpus` says on a machine with so many. */
static void found(int count, struct sv_gpus *ret)
{
    *ret = (struct sv_gpus){.nccl = true, .driver = "13.0", .runtime = "13.0", .count = count};
    for (int i = 0; i < count; i++) {
        struct sv_gpu *g = &ret->gpu[i];

        *g = (struct sv_gpu){.index = i, .memory_bytes = UINT64_C(140) << 30, .sm = 90};
        snprintf(g->name, sizeof g->name, "NVIDIA H200");
    }
}

static void nothing(enum sv_gpus_code code, const char *why, struct sv_gpus *ret)
{
    *ret = (struct sv_gpus){.code = code};
    im_fail(&ret->why, 0, "%s", why);
}

/* With flags such as "--gpus=2", "--ranks=2". */
static void configure(struct im_conf *conf, const char *a, const char *b)
{
    char copies[2][64], program[] = "start", *argv[4] = {program};
    int argc = 1;
    struct im_text text = {""};

    im_conf_defaults(conf);
    for (int i = 0; i < 2; i++)
        if (i ? b : a) {
            snprintf(copies[i], sizeof copies[i], "%s", i ? b : a);
            argv[argc++] = copies[i];
        }
    assert_int_equal(im_conf_parse_args(conf, IM_FOR_START, argc, argv, &text), argc);
}

static void takes(const char *a, const char *b, int there, const char *gpus, int ranks)
{
    struct im_text text = {""};
    struct im_conf conf;
    struct sv_gpus g;

    if (there > 0)
        found(there, &g);
    else
        nothing(SV_GPUS_NO_DEVICE, "there is no driver", &g);
    configure(&conf, a, b);
    if (sv_gpus_choose(&conf, &g, NULL, &text) < 0)
        fail_msg("%s", text.s);
    assert_string_equal(conf.gpus, gpus);
    assert_int_equal(conf.ranks, ranks);
    if (strcmp(gpus, "0") == 0) {
        assert_int_not_equal(conf.backend, IM_BACKEND_CUDA);
        assert_false(sv_gpus_are_used(&conf));
        assert_int_equal(im_conf_gpu(&conf, 0), -1);
    } else {
        assert_int_equal(conf.backend, IM_BACKEND_CUDA);
        assert_true(sv_gpus_are_used(&conf));
        assert_true(im_conf_gpu(&conf, (uint32_t)ranks - 1) >= 0);
        assert_int_equal(im_conf_gpu(&conf, (uint32_t)ranks), -1);
    }
}

static void refuses(const char *a, const char *b, const struct sv_gpus *g, const char *visible, int err,
                    const char *sentence)
{
    struct im_text text = {""};
    struct im_conf conf, before;

    configure(&conf, a, b);
    before = conf;
    assert_int_equal(sv_gpus_choose(&conf, g, visible, &text), err);
    if (!strstr(text.s, sentence))
        fail_msg("\"%s\" lacks \"%s\"", text.s, sentence);
    assert_memory_equal(&conf, &before, sizeof conf);
}

static void auto_takes_all_gpus_or_the_cpu(void **state)
{
    (void)state;
    takes(NULL, NULL, 8, "0,1,2,3,4,5,6,7", 8);
    takes("--gpus=auto", NULL, 1, "0,", 1);
    takes(NULL, NULL, 0, "0", 1);
    takes("--ranks=2", NULL, 0, "0", 2);
}

static void a_number_takes_the_first_ones(void **state)
{
    (void)state;
    takes("--gpus=2", NULL, 4, "0,1", 2);
    takes("--gpus=1", NULL, 4, "0,", 1);
}

static void a_list_takes_those_in_that_order(void **state)
{
    (void)state;
    takes("--gpus=3,1", NULL, 4, "3,1", 2);
    takes("--gpus=2,", NULL, 4, "2,", 1);
}

static void none_and_other_backends_train_on_the_cpu(void **state)
{
    (void)state;
    takes("--gpus=0", NULL, 8, "0", 1);
    takes("--backend=onednn", NULL, 8, "0", 1);
    takes("--backend=ref", "--ranks=3", 8, "0", 3);
}

static void ranks_may_repeat_the_number_or_cut_auto(void **state)
{
    (void)state;
    takes("--gpus=2", "--ranks=2", 8, "0,1", 2);
    takes("--ranks=2", NULL, 8, "0,1", 2);
    takes("--ranks=1", NULL, 8, "0,", 1);
}

static void wrong_wishes_are_refused(void **state)
{
    struct sv_gpus two, none;

    (void)state;
    found(2, &two);
    nothing(SV_GPUS_NO_MODULE, "this program was built without it", &none);
    refuses("--gpus=4", NULL, &two, NULL, -EINVAL, "--gpus 4: this machine has 2 GPUs, numbered from 0");
    refuses("--gpus=0,2", NULL, &two, NULL, -EINVAL, "no GPU 2; this machine has 2 GPUs");
    refuses("--gpus=2,", NULL, &two, "3,5", -EINVAL,
            "CUDA_VISIBLE_DEVICES=3,5 leaves 2 GPUs, numbered from 0");
    refuses("--ranks=4", NULL, &two, NULL, -EINVAL, "there are 2 GPUs, and a trainer needs one of its own");
    refuses("--gpus=2", "--ranks=1", &two, NULL, -EINVAL, "--ranks 1 and --gpus 2 contradict each other");
    refuses("--gpus=2", "--backend=onednn", &two, NULL, -EINVAL,
            "--gpus 2 and --backend onednn contradict each other");
    refuses("--gpus=1", NULL, &none, NULL, -ENODEV, "this program was built without it");
    refuses("--backend=cuda", NULL, &none, NULL, -ENODEV,
            "--backend cuda: this program was built without it");
}

static void what_cannot_work_together_is_refused(void **state)
{
    struct sv_gpus g;

    (void)state;
    found(2, &g);
    g.nccl = false;
    im_fail(&g.no_nccl, 0, "there is no libnccl.so.2; use one GPU (--gpus 1)");
    refuses("--gpus=2", NULL, &g, NULL, -ENODEV,
            "--gpus 2: there is no libnccl.so.2; use one GPU (--gpus 1)");
    found(2, &g);
    g.gpu[1].mig = true;
    snprintf(g.gpu[1].name, sizeof g.gpu[1].name, "NVIDIA A100-SXM4-40GB MIG 1g.5gb");
    refuses("--gpus=2", NULL, &g, NULL, -EINVAL,
            "GPU 1 is a MIG instance (NVIDIA A100-SXM4-40GB MIG 1g.5gb)");
}

static void bf16_needs_a_gpu_that_has_it(void **state)
{
    struct im_text text = {""};
    struct im_conf conf;
    struct sv_gpus g;

    (void)state;
    found(2, &g);
    g.gpu[1].sm = 75;
    snprintf(g.gpu[1].name, sizeof g.gpu[1].name, "Tesla T4");
    refuses("--gpus=2", "--amp=bf16", &g, NULL, -EINVAL,
            "GPU 1 (Tesla T4) has compute capability 7.5, and bf16 needs 8.0; use --amp fp16");
    refuses("--gpus=1,", "--amp=bf16", &g, NULL, -EINVAL, "use --amp fp16");
    configure(&conf, "--gpus=2", "--amp=fp16");
    assert_int_equal(sv_gpus_choose(&conf, &g, NULL, &text), 0);
    configure(&conf, "--gpus=0,", "--amp=bf16");
    assert_int_equal(sv_gpus_choose(&conf, &g, NULL, &text), 0);
}

static void one_mig_instance_can_be_used(void **state)
{
    struct im_text text = {""};
    struct im_conf conf;
    struct sv_gpus g;

    (void)state;
    found(1, &g);
    g.gpu[0].mig = true;
    g.nccl = false;
    configure(&conf, NULL, NULL);
    assert_int_equal(sv_gpus_choose(&conf, &g, "MIG-1234", &text), 0);
    assert_string_equal(conf.gpus, "0,");
}

static void looking_is_spared_where_it_changes_nothing(void **state)
{
    static const struct {
        const char *flag, *other;
        bool wanted;
    } cases[] = {{NULL, NULL, true},
                 {"--gpus=0", NULL, false},
                 {"--backend=onednn", NULL, false},
                 {"--backend=cuda", NULL, true},
                 {"--backend=ref", "--gpus=1", true}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct im_conf conf;

        configure(&conf, cases[i].flag, cases[i].other);
        assert_int_equal(sv_gpus_are_wanted(&conf), cases[i].wanted);
    }
}

static void answers_are_read(void **state)
{
    struct sv_gpus g;

    (void)state;
    sv_gpus_parse("{\"schema\":\"imsuper.gpus/1\",\"code\":\"ok\",\"nccl\":true,\"driver\":\"12.8\","
                  "\"runtime\":\"13.0\",\"gpus\":[{\"index\":0,\"name\":\"NVIDIA L4\",\"uuid\":\"GPU-1\","
                  "\"pci\":\"0000:1b:00.0\",\"sm\":89,\"memory_bytes\":24000000000,\"mig\":false}]}",
                  &g);
    assert_int_equal(g.code, SV_GPUS_OK);
    assert_int_equal(g.count, 1);
    assert_true(g.nccl);
    assert_string_equal(g.gpu[0].pci, "0000:1b:00.0");
    assert_int_equal(g.gpu[0].sm, 89);
    sv_gpus_parse("{\"schema\":\"imsuper.gpus/1\",\"code\":\"no device\",\"why\":\"no driver\",\"gpus\":[]}",
                  &g);
    assert_int_equal(g.code, SV_GPUS_NO_DEVICE);
    assert_string_equal(g.why.s, "no driver");
    sv_gpus_parse("{\"schema\":\"imsuper.gpus/1\",\"code\":\"ok\",\"nccl\":false,\"nccl_why\":\"too old\","
                  "\"gpus\":[{\"index\":0},{\"index\":1}]}",
                  &g);
    assert_int_equal(g.count, 2);
    assert_false(g.nccl);
    assert_string_equal(g.no_nccl.s, "too old");
}

static void nonsense_is_no_answer(void **state)
{
    static const char *const answers[] = {
        "",
        "no",
        "{}",
        "{\"schema\":\"imsuper.gpus/2\"}",
        "{\"schema\":\"imsuper.gpus/1\",\"code\":\"ok\"}",
        "{\"schema\":\"imsuper.gpus/1\",\"code\":\"ok\",\"gpus\":[{\"index\":7}]}"};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(answers); i++) {
        struct sv_gpus g;

        sv_gpus_parse(answers[i], &g);
        assert_int_equal(g.code, SV_GPUS_FAILED);
        assert_int_equal(g.count, 0);
        assert_string_not_equal(g.why.s, "");
    }
}

static void the_header_names_them(void **state)
{
    struct im_text text = {""};
    struct im_conf conf;
    struct sv_gpus g;
    char line[512];

    (void)state;
    found(8, &g);
    configure(&conf, "--gpus=4", NULL);
    assert_int_equal(sv_gpus_choose(&conf, &g, NULL, &text), 0);
    assert_string_equal(sv_gpus_format(&conf, &g, line, sizeof line),
                        "4 x NVIDIA H200 (140.0 GiB): GPU 0 to 3; CUDA 13.0, driver for 13.0");
    configure(&conf, "--gpus=5,1", NULL);
    snprintf(g.gpu[1].name, sizeof g.gpu[1].name, "NVIDIA L4");
    assert_int_equal(sv_gpus_choose(&conf, &g, NULL, &text), 0);
    assert_string_equal(sv_gpus_format(&conf, &g, line, sizeof line),
                        "2 x NVIDIA H200 and others (140.0 GiB): GPU 5, 1; CUDA 13.0, driver for 13.0");
    nothing(SV_GPUS_FAILED, "the driver is too old", &g);
    configure(&conf, NULL, NULL);
    assert_int_equal(sv_gpus_choose(&conf, &g, NULL, &text), 0);
    assert_string_equal(sv_gpus_format(&conf, &g, line, sizeof line),
                        "CPU; no GPU, for the driver is too old");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_takes_all_gpus_or_the_cpu),
        cmocka_unit_test(a_number_takes_the_first_ones),
        cmocka_unit_test(a_list_takes_those_in_that_order),
        cmocka_unit_test(none_and_other_backends_train_on_the_cpu),
        cmocka_unit_test(ranks_may_repeat_the_number_or_cut_auto),
        cmocka_unit_test(wrong_wishes_are_refused),
        cmocka_unit_test(what_cannot_work_together_is_refused),
        cmocka_unit_test(bf16_needs_a_gpu_that_has_it),
        cmocka_unit_test(one_mig_instance_can_be_used),
        cmocka_unit_test(looking_is_spared_where_it_changes_nothing),
        cmocka_unit_test(answers_are_read),
        cmocka_unit_test(nonsense_is_no_answer),
        cmocka_unit_test(the_header_names_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
