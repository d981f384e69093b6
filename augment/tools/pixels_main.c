/* imsuper-pixels: training samples outside of a run. `imsuper data preview`, `imsuper bench augment` and
 * `imsuper profile augment` start it. */
#include "augment/tools/session.h"

#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/child.h"

static const struct {
    const char *name, *usage;
    unsigned flags;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"preview",
     "imsuper data preview --data-dir DIR --augment classic -o grid.png\n\nShows one image under 16 draws "
     "and 16 "
     "images, as training would see them.\n",
     IM_FOR_PREVIEW, au_cmd_preview},
    {"bench",
     "imsuper bench augment --data-dir DIR --augment classic [--json]\n\nMeasures decoding and transforms on "
     "one "
     "core, files in memory.\n",
     IM_FOR_BENCH, au_cmd_bench},
    {"profile",
     "imsuper profile augment --data-dir DIR --augment classic [--json]\n\nShows where the time of an "
     "augmenter "
     "goes.\n",
     IM_FOR_BENCH, au_cmd_profile},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < IM_COUNT(commands); i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
            printf("%s\n", commands[i].usage);
            im_conf_help(stdout, commands[i].flags, 0);
            return IM_EXIT_OK;
        }
        return commands[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "imsuper-pixels: preview, bench or profile; `imsuper help` lists all verbs\n");
    return IM_EXIT_USAGE;
}
