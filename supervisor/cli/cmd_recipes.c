/* `imsuper recipes`: what there is for `start --recipe NAME`. */
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

int sv_cmd_recipes(int argc, char **argv)
{
    struct im_text text = {""};
    struct im_preset *list;
    size_t count;
    int width = 0;

    if (argc > 1 && argv[1][0] != '-')
        return show(argv[1]);
    if (argc > 1) {
        im_say(stderr, "imsuper: recipes takes at most one name; unexpected argument '%s'", argv[1]);
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
