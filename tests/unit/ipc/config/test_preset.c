/* Recipes: those of the tree are sound, found by name, and lie beneath every other source. */
#include <errno.h>
#include <limits.h>

#include "ipc/config/conf.h"
#include "ipc/config/preset.h"
#include "tests/unit/ipc/base/unit.h"

static int load(struct im_conf *conf, const char *recipe, const char *more, struct im_text *text)
{
    char *argv[] = {(char[]){"start"},         (char[]){"--data-dir"},  (char[]){"x"}, (char[]){"--recipe"},
                    (char *)(uintptr_t)recipe, (char *)(uintptr_t)more, NULL};
    struct im_text warning;

    return im_conf_load(conf, IM_FOR_START, more ? 6 : 5, argv, &warning, text);
}

static void every_recipe_parses_checks_and_says_what_it_is(void **state)
{
    struct im_text text = {""};
    struct im_preset *list;
    size_t count;

    (void)state;
    assert_int_equal(im_preset_list(&list, &count, &text), 0);
    assert_in_range(count, 4, 1000);
    for (size_t i = 0; i < count; i++) {
        struct im_conf conf;

        const char *more = strcmp(list[i].name, "finetune") == 0 ? "--init-from=w.safetensors" : NULL;

        if (load(&conf, list[i].name, more, &text) < 0 || im_conf_check(&conf, &text) < 0)
            fail_msg("%s: %s", list[i].name, text.s);
        if (strlen(list[i].line) < 20 || strlen(list[i].line) > 110)
            fail_msg("%s begins with no sentence of 20 to 110 bytes: \"%s\"", list[i].name, list[i].line);
        if (i > 0)
            assert_true(strcmp(list[i - 1].name, list[i].name) < 0);
    }
    free(list);
}

static void a_recipe_lies_beneath_file_and_flags(void **state)
{
    struct im_text text = {""};
    struct im_conf conf;
    char file[PATH_MAX + 32];
    FILE *f;

    snprintf(file, sizeof file, "%s/c.yaml", (const char *)*state);
    f = fopen(file, "we");
    assert_non_null(f);
    fputs("epochs: 33\ngamma: 0.5\n", f);
    fclose(f);
    setenv("IMSUPER_CONFIG", file, 1);
    assert_int_equal(load(&conf, "resnet50-torchvision-v1", "--gamma=0.25", &text), 6);
    unsetenv("IMSUPER_CONFIG");
    assert_int_equal(conf.batch_size, 32);
    assert_int_equal(conf.origin[IM_KEY_batch_size].source, IM_CONF_RECIPE);
    assert_int_equal(conf.epochs, 33);
    assert_int_equal(conf.origin[IM_KEY_epochs].source, IM_CONF_FILE);
    assert_true(conf.gamma == 0.25);
    assert_int_equal(conf.origin[IM_KEY_gamma].source, IM_CONF_FLAG);
}

static void the_effective_configuration_names_the_recipe(void **state)
{
    struct im_text text = {""};
    struct im_conf conf, again;
    char *yaml;

    (void)state;
    assert_int_equal(load(&conf, "quickstart", NULL, &text), 5);
    yaml = im_conf_dump_yaml(&conf, IM_FOR_START);
    assert_non_null(yaml);
    assert_non_null(strstr(yaml, "\n# recipe: quickstart\n"));
    assert_non_null(strstr(yaml, "\nmodel: resnet20  # recipe, line 2\n"));
    im_conf_defaults(&again);
    assert_int_equal(im_conf_parse_yaml(&again, "config.yaml", yaml, strlen(yaml), &text), 0);
    assert_int_equal(again.model, IM_MODEL_RESNET20);
    free(yaml);
}

static void a_path_is_a_recipe_too(void **state)
{
    struct im_text text = {""};
    struct im_conf conf;
    char file[PATH_MAX + 32];
    FILE *f;

    snprintf(file, sizeof file, "%s/mine.yaml", (const char *)*state);
    f = fopen(file, "we");
    assert_non_null(f);
    fputs("lr: 0.5\nlrx: 1\n", f);
    fclose(f);
    assert_int_equal(load(&conf, file, NULL, &text), -EINVAL);
    assert_non_null(strstr(text.s, "mine.yaml:2: unknown key lrx"));
    f = fopen(file, "we");
    assert_non_null(f);
    fputs("lr: 0.5\n", f);
    fclose(f);
    assert_int_equal(load(&conf, file, NULL, &text), 5);
    assert_true(conf.lr == 0.5);
}

static void an_unknown_recipe_gets_a_hint(void **state)
{
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    assert_int_equal(load(&conf, "quikstart", NULL, &text), -ENOENT);
    assert_string_equal(text.s, "no recipe 'quikstart'; did you mean 'quickstart'?; `imsuper recipes` "
                                "lists them");
}

static void a_file_cannot_name_a_recipe(void **state)
{
    static const char yaml[] = "recipe: quickstart\n";
    struct im_text text = {""};
    struct im_conf conf;

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(im_conf_parse_yaml(&conf, "c.yaml", yaml, strlen(yaml), &text), -EINVAL);
    assert_string_equal(text.s, "c.yaml:1: a file cannot name another file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recipe_parses_checks_and_says_what_it_is),
        cmocka_unit_test_setup_teardown(a_recipe_lies_beneath_file_and_flags, make_directory,
                                        remove_directory),
        cmocka_unit_test(the_effective_configuration_names_the_recipe),
        cmocka_unit_test_setup_teardown(a_path_is_a_recipe_too, make_directory, remove_directory),
        cmocka_unit_test(an_unknown_recipe_gets_a_hint),
        cmocka_unit_test(a_file_cannot_name_a_recipe),
    };

    return cmocka_run_group_tests_name("recipe", tests, NULL, NULL);
}
