/* imsuper: the user's command. A table of verbs; each lives in its own file. */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/suggest.h"
#include "ipc/child.h"
#include "supervisor/cli/commands.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} verbs[] = {
    {"start", sv_cmd_start},         {"status", sv_cmd_status},   {"stop", sv_cmd_stop},
    {"data", sv_cmd_data},           {"bench", sv_cmd_bench},     {"profile", sv_cmd_profile},
    {"model", sv_cmd_model},         {"lr-find", sv_cmd_lr_find}, {"recipes", sv_cmd_recipes},
    {"gpus", sv_cmd_gpus},           {"version", sv_cmd_version}, {"help", sv_cmd_help},
    {"supervise", sv_cmd_supervise},
};

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "help";
    const char *names[IM_COUNT(verbs)];
    const char *near;
    size_t n = IM_COUNT(verbs);

    setlocale(LC_CTYPE, "");
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0)
        verb = "help";
    if (strcmp(verb, "--version") == 0)
        verb = "version";
    for (size_t i = 0; i < n; i++) {
        names[i] = verbs[i].name;
        if (strcmp(verb, verbs[i].name) != 0)
            continue;
        if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0) &&
            strcmp(verb, "data") != 0) {
            char *help[] = {argv[0], argv[1], NULL};

            return sv_cmd_help(2, help);
        }
        return verbs[i].run(argc > 1 ? argc - 1 : argc, argc > 1 ? argv + 1 : argv);
    }
    near = im_nearest(verb, names, n);
    fprintf(stderr, "imsuper: unknown command '%s'%s%s%s (see `imsuper help`)\n", verb,
            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return IM_EXIT_USAGE;
}
