/* What the header of a start says of its options. */
#include <locale.h>
#include <stdlib.h>

#include "supervisor/cli/header.h"
#include "tests/unit/ipc/base/unit.h"

static char text[4096];

static struct im_conf conf_with(const char *key, const char *value)
{
    struct im_conf conf;

    im_conf_defaults(&conf);
    if (key)
        assert_int_equal(im_conf_set(&conf, key, value, NULL), 0);
    im_conf_apply_set(&conf);
    return conf;
}

static void the_model_is_named_with_its_precision_and_options(void **state)
{
    struct im_conf conf = conf_with("model", "resnet34");

    (void)state;
    assert_string_equal(sv_header_model(&conf, text, sizeof text), "resnet34, fp32");
    snprintf(conf.gpus, sizeof conf.gpus, "0,");
    assert_string_equal(sv_header_model(&conf, text, sizeof text), "resnet34, tf32");
    conf.amp = IM_AMP_BF16;
    conf.drop_path_rate = 0.1;
    conf.zero_init_residual = true;
    assert_string_equal(sv_header_model(&conf, text, sizeof text),
                        "resnet34, bf16 (weights fp32), drop-path-rate 0.1, zero-init-residual");
}

static void the_set_of_transforms_is_named_with_what_differs(void **state)
{
    struct im_conf conf = conf_with("augment", "classic");

    (void)state;
    assert_string_equal(sv_header_augment(&conf, text, sizeof text), "classic: rrc 0.08-1, hflip 0.5");
    conf.aug_hue = 0.2;
    conf.aug_rotate_limit = 45; /* the default of the option, not of the set */
    conf.hflip = 0;
    assert_string_equal(sv_header_augment(&conf, text, sizeof text),
                        "classic: rrc 0.08-1, hflip 0, aug.rotate-limit 45, aug.hue 0.2");
    conf = conf_with("augment", "none");
    assert_string_equal(sv_header_augment(&conf, text, sizeof text), "none: center, hflip 0");
}

static void the_images_of_a_step_are_explained(void **state)
{
    struct im_conf conf = conf_with("batch-size", "64");

    (void)state;
    assert_string_equal(sv_header_batch(&conf, text, sizeof text), "batch 64 · 224 px");
    conf.ranks = 2;
    assert_string_equal(sv_header_batch(&conf, text, sizeof text),
                        "batch 64 · 224 px, 128 images a step: 2 trainers x 64");
    conf.accumulate = 4;
    assert_string_equal(sv_header_batch(&conf, text, sizeof text),
                        "batch 64 · 224 px, 512 images a step: 2 trainers x 64 x accumulate 4");
    conf.ranks = 1;
    conf.plain = true;
    assert_string_equal(sv_header_batch(&conf, text, sizeof text),
                        "batch 64, 224 px, 256 images a step: 64 x accumulate 4");
    assert_int_equal(im_conf_set(&conf, "resize-schedule", "1-30:64x256,31-:224x64", NULL), 0);
    assert_string_equal(sv_header_batch(&conf, text, sizeof text),
                        "batch 64-256, 64-224 px, a step is 64-256 x accumulate 4");
}

static void put_file(const char *path, const char *metadata)
{
    char json[256];
    uint64_t n = (uint64_t)snprintf(json, sizeof json, "{\"__metadata__\":{%s}}", metadata);
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    fwrite(&n, sizeof n, 1, f); /* little-endian, as are all machines that it runs on */
    fwrite(json, 1, n, f);
    assert_int_equal(fclose(f), 0);
}

static void a_run_says_where_it_begins(void **state)
{
    struct im_conf conf = conf_with("epochs", "90");
    const char *directory = *state;
    char path[256];

    snprintf(conf.run_dir, sizeof conf.run_dir, "%s", directory);
    assert_string_equal(sv_header_origin(&conf, text, sizeof text), "new run, with random weights");
    snprintf(conf.init_from, sizeof conf.init_from, "resnet50.safetensors");
    assert_string_equal(sv_header_origin(&conf, text, sizeof text),
                        "new run, with the weights of resnet50.safetensors");
    snprintf(conf.resume, sizeof conf.resume, "%s/other", directory);
    put_file(conf.resume, "\"next.epoch\":\"3\",\"next.step\":\"0\"");
    assert_non_null(
        strstr(sv_header_origin(&conf, text, sizeof text), "new run, continues with epoch 4 of 90, from /"));
    snprintf(path, sizeof path, "%s/checkpoints", directory);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/checkpoints/last.state.safetensors", directory);
    put_file(path, "\"next.epoch\":\"7\",\"next.split\":\"1\",\"next.step\":\"16\"");
    assert_non_null(strstr(sv_header_origin(&conf, text, sizeof text),
                           "continues with epoch 8 of 90, validation step 17, from /"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_is_named_with_its_precision_and_options),
        cmocka_unit_test(the_set_of_transforms_is_named_with_what_differs),
        cmocka_unit_test(the_images_of_a_step_are_explained),
        cmocka_unit_test_setup_teardown(a_run_says_where_it_begins, make_directory, remove_directory),
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
