/* imsuper-data: what is done with data sets outside of a run. `imsuper data` starts it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/suggest.h"
#include "ipc/config/conf.h"
#include "reader/tools/data_cmd.h"

static const struct command {
    const char *name, *what, *example;
    unsigned options;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"index", "looks at a data set: finds its layout, classes and images",
     "imsuper data index --data-dir DIR", IM_FOR_INDEX, rd_cmd_index},
    {"synth", "makes a small labelled data set to try things with",
     "imsuper data synth --out DIR --classes 10", IM_FOR_SYNTH, rd_cmd_synth},
    {"list", "names images for programs: number, label, class and path, each ended by a NUL",
     "imsuper data list --data-dir DIR --images 16", IM_FOR_LIST, rd_cmd_list},
};

#define COMMANDS IM_COUNT(commands)

static int help(FILE *out, const struct command *command)
{
    if (command) {
        fprintf(out, "imsuper data %s %s.\n\n  %s\n", command->name, command->what, command->example);
        im_conf_help(out, command->options, 0);
        return RD_EXIT_DONE;
    }
    fprintf(out, "imsuper data works on data sets.\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-6s %s\n         %s\n", commands[i].name, commands[i].what, commands[i].example);
    fprintf(out, "\nimsuper data COMMAND --help shows a command's options.\n");
    return RD_EXIT_DONE;
}

static int is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

int main(int argc, char **argv)
{
    const char *names[COMMANDS], *nearest;

    if (argc < 2) {
        help(stderr, NULL);
        return RD_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0)
        return printf("imsuper-data %s\n", IMSUPER_VERSION) < 0 ? RD_EXIT_FAILED : RD_EXIT_DONE;
    for (size_t i = 0; i < COMMANDS; i++) {
        names[i] = commands[i].name;
        if (strcmp(argv[1], names[i]) != 0)
            continue;
        for (int k = 2; k < argc; k++)
            if (is_help(argv[k]))
                return help(stdout, &commands[i]);
        return commands[i].run(argc - 1, argv + 1);
    }
    if (is_help(argv[1]))
        return help(stdout, NULL);
    nearest = im_nearest(argv[1], names, COMMANDS);
    fprintf(stderr, "imsuper: unknown command 'data %.100s'%s%s%s\n", argv[1],
            nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
    return RD_EXIT_USAGE;
}
