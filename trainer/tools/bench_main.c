/* imsuper-steps: training steps outside of a run, on random pixels. `imsuper bench trainer` and `imsuper
 * profile trainer` start it. */
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/child.h"
#include "trainer/tools/bench.h"

static const struct {
    const char *name, *usage;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"bench",
     "imsuper bench trainer --model resnet50 --image-size 224 --batch-size 16 [--json]\n\nMeasures images/s "
     "of "
     "the training step on random pixels.\n",
     tr_cmd_bench},
    {"profile",
     "imsuper profile trainer --model resnet50 --image-size 224 --batch-size 16 [--json]\n\nShows where the "
     "time of a training step goes, layer by layer.\n",
     tr_cmd_profile},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < IM_COUNT(commands); i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
            printf("%s\n", commands[i].usage);
            im_conf_help(stdout, IM_FOR_STEPS, 0);
            return IM_EXIT_OK;
        }
        return commands[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "imsuper-steps: bench or profile; `imsuper help` lists all verbs\n");
    return IM_EXIT_USAGE;
}
