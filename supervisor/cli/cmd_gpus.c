/* `imsuper gpus`: the GPUs that a run started here can use, by the numbers that --gpus takes. */
#include <stdio.h>

#include "ipc/base/printable.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/gpus.h"
#include "supervisor/cli/program.h"

static void print(const struct sv_gpus *found)
{
    printf("GPU  NAME                              MEMORY  COMPUTE  PCI            UUID\n");
    for (int i = 0; i < found->count; i++) {
        const struct sv_gpu *g = &found->gpu[i];

        im_say(stdout, "%3d  %-30s %5.1f GiB      %d.%d  %-13s  %s", g->index, g->name,
               (double)g->memory_bytes / (1 << 30), g->sm / 10, g->sm % 10, g->pci, g->uuid);
    }
    im_say(stdout, "CUDA %s, driver for CUDA %s", found->runtime, found->driver);
    if (!found->nccl)
        im_say(stdout, "A run can use one of them: %s", found->no_nccl.s);
}

int sv_cmd_gpus(struct im_conf *conf)
{
    struct sv_gpus found;

    if (conf->json)
        return sv_program_exec("imsuper-trainer", (char *[]){NULL, "gpus", NULL});
    sv_gpus_find(&found);
    if (found.count == 0) {
        im_say(stderr, "imsuper: %s", found.why.s);
        return IM_EXIT_UNAVAILABLE;
    }
    print(&found);
    return IM_EXIT_OK;
}
