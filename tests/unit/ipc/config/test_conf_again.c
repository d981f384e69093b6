/* What a verb is about: a run that is named again has its options, and the help is of the verb. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/config/conf.h"
#include "tests/unit/ipc/base/unit.h"

#define WORDS(...) ((char *[]){"imsuper", __VA_ARGS__, NULL})

/* `start --run-name NAME`: the run's own file says the rest, and flags override it. */
static void a_run_that_is_named_again_has_its_options(void **state)
{
    char folder[] = "/tmp/imsuper-again-XXXXXX", path[64], workspace[64];
    struct im_text text = {""}, warning = {""};
    struct im_conf conf;
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/one", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/one/config.yaml", folder);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("data-dir: /d\nlr: 0.25\nepochs: 7\nworkspace: elsewhere\nresume: auto\n", f);
    assert_int_equal(fclose(f), 0);
    snprintf(workspace, sizeof workspace, "--workspace=%s", folder);
    assert_int_equal(im_conf_load(&conf, IM_FOR_START, 6,
                                  WORDS(workspace, "--run-name", "one", "--epochs", "9"), &warning, &text),
                     6);
    assert_string_equal(conf.data_dir, "/d");
    assert_string_equal(conf.workspace, folder);
    assert_string_equal(conf.resume, "");
    assert_true(conf.lr == 0.25 && conf.epochs == 9);
    assert_non_null(strstr(warning.s, "one/config.yaml; flags override them"));
    /* Whoever names images says what the run is. */
    assert_int_equal(im_conf_load(&conf, IM_FOR_START, 6,
                                  WORDS(workspace, "--run-name", "one", "--data-dir", "e"), &warning, &text),
                     6);
    assert_true(conf.lr == 0.1 && conf.epochs != 7);
    assert_int_equal(
        im_conf_load(&conf, IM_FOR_START, 4, WORDS(workspace, "--run-name", "two"), &warning, &text), 4);
    assert_string_equal(conf.data_dir, "");
    assert_int_equal(im_conf_load(&conf, IM_FOR_START | IM_FOR_LR_FIND, 4,
                                  WORDS(workspace, "--run-name", "one"), &warning, &text),
                     4);
    assert_string_equal(conf.data_dir, "");
    unlink(path);
    *strrchr(path, '/') = 0;
    rmdir(path);
    rmdir(folder);
}

/* A page tells of its own verb. */
static void help_is_of_the_verb(void **state)
{
    static const struct {
        im_conf_commands commands;
        const char *has, *lacks;
    } cases[] = {
        {IM_FOR_EXPORT, "timm a folder", "lr-find"},
        {IM_FOR_PLOT, "plot.png", "preview.png"},
        {IM_FOR_STOP, "default: the newest", "is continued"},
        {IM_FOR_START, "is continued", "the newest"},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        size_t n;
        char *s;
        FILE *f = open_memstream(&s, &n);
        char *line;

        assert_non_null(f);
        im_conf_help(f, cases[i].commands, 120);
        fclose(f);
        line = strstr(s, cases[i].commands & IM_FOR_RUNS ? "--run-name" : "--output");
        assert_non_null(line);
        for (char *end = strchr(line, '\n'); end;
             end = strchr(end + 1, '\n')) /* to the next flag, or group */
            if (end[1 + strspn(end + 1, " ")] == '-' || end[1] != ' ') {
                *end = 0;
                break;
            }
        if (!strstr(line, cases[i].has) || strstr(line, cases[i].lacks))
            fail_msg("%s", line);
        free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_is_named_again_has_its_options),
        cmocka_unit_test(help_is_of_the_verb),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
