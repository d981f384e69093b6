/* `imsuper recipes`: what there is for `start --recipe NAME`. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/file.h"
#include "ipc/base/printable.h"
#include "ipc/child.h"
#include "ipc/config/preset.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/program.h"

#define RECIPE_BYTES_MAX (1 << 20)

static int show(const char *name)
{
    char path[PATH_MAX], *bytes;
    struct im_text text = {""};
    size_t n;

    if (im_preset_path(name, path, sizeof path, &text) < 0 ||
        im_read_file(path, RECIPE_BYTES_MAX, &bytes, &n, &text) < 0)
        return sv_print_failure(&text, IM_EXIT_USAGE);
    fwrite(bytes, 1, n, stdout);
    free(bytes);
    return IM_EXIT_OK;
}

/* Its options with the values that `start --recipe NAME` would take, whatever the environment says. */
static struct im_json *options_of(const char *name, struct im_text *text)
{
    struct im_conf *conf = malloc(sizeof *conf);
    struct im_json *options = NULL;

    if (!conf)
        return NULL;
    im_conf_defaults(conf);
    if (im_conf_load_recipe(conf, name, text) == 0)
        options = im_conf_values(conf, IM_FOR_START, IM_CONF_RECIPE);
    free(conf);
    return options;
}

static struct im_json *describe(const struct im_preset *preset)
{
    struct im_json *j = im_json_object();

    im_json_set_str(j, "name", preset->name);
    im_json_set_str(j, "what", preset->line);
    return j;
}

/* All, or the one that `name` names with its options. */
static int print_json(const char *name)
{
    struct im_json *j = im_json_object(), *recipes = im_json_array(), *options = NULL;
    struct im_text text = {""};
    struct im_preset *list = NULL;
    size_t count = 0;
    char path[PATH_MAX];
    int err = name ? im_preset_path(name, path, sizeof path, &text) : 0;

    if (err == 0 && name && !(options = options_of(name, &text)))
        err = -EINVAL;
    if (err == 0)
        err = im_preset_list(&list, &count, &text);
    im_json_set_str(j, "schema", "imsuper.recipes/1");
    for (size_t i = 0; i < count; i++)
        if (!name || strcmp(list[i].name, name) == 0)
            im_json_append(recipes, describe(&list[i]));
    im_json_set(j, "recipes", recipes);
    if (name) {
        im_json_set_str(j, "file", path);
        im_json_set(j, "options", options);
    }
    free(list);
    if (err < 0) {
        im_json_free(&j);
        return sv_print_failure(&text, IM_EXIT_USAGE);
    }
    return sv_print_answer(j);
}

int sv_cmd_recipes(int argc, char **argv)
{
    const bool json = sv_take_json(&argc, argv);
    struct im_text text = {""};
    struct im_preset *list;
    size_t count;
    int width = 0;

    if (json && (argc == 1 || (argc == 2 && argv[1][0] != '-')))
        return print_json(argc == 2 ? argv[1] : NULL);
    if (argc == 2 && argv[1][0] != '-')
        return show(argv[1]);
    if (argc > 1) {
        im_say(stderr, "imsuper: recipes takes at most one name; unexpected argument '%s'",
               argv[argv[1][0] == '-' ? 1 : 2]);
        return IM_EXIT_USAGE;
    }
    if (im_preset_list(&list, &count, &text) < 0)
        return sv_print_failure(&text, IM_EXIT_USAGE);
    for (size_t i = 0; i < count; i++)
        width = (int)strlen(list[i].name) > width ? (int)strlen(list[i].name) : width;
    for (size_t i = 0; i < count; i++)
        im_say(stdout, "%-*s  %s", width, list[i].name, list[i].line);
    free(list);
    return IM_EXIT_OK;
}
