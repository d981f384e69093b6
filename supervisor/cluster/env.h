/* What a launcher says to the processes that it starts: how many machines there are, which one this is, and where
 * the first one is to be found. One table of launchers (env.c); no other code reads their variables.
 *
 *   Slurm           srun imsuper ...                    SLURM_STEP_NUM_TASKS, SLURM_PROCID, ...
 *   Kubeflow        a TrainJob's container              PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR, ...
 *   torchrun        torchrun --no-python imsuper ...    RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, ...
 *   by hand         NODE_RANK=1 NNODES=2 MASTER_ADDR=... imsuper ..., JobSet
 *   MPICH's Hydra   mpiexec imsuper ...                 PMI_RANK, PMI_SIZE, MPI_LOCALRANKID, MPI_LOCALNRANKS
 *   Open MPI        mpirun imsuper ...                  OMPI_COMM_WORLD_RANK, ...
 *
 * In this folder: which process and machine of a launcher this is; how the supervisors of several machines meet (meet.h), and
 * the channel between them (link.h). */
#ifndef SUPERVISOR_CLUSTER_ENV_H
#define SUPERVISOR_CLUSTER_ENV_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"

#define SV_HOST_MAX 254 /* bytes of a host's name, with the 0 */

struct sv_launch {
    const char *launcher;           /* its name; NULL: none has started this process */
    uint32_t tasks, task;           /* processes that it started in all, and which of them this is */
    uint32_t tasks_here, task_here; /* the same, of those on this machine */
    uint32_t nodes, node;           /* machines, and which of them this is */
    char root[SV_HOST_MAX];         /* name or address of machine 0; "": it does not say */
    uint32_t port;                  /* of machine 0, that the launcher reserves; 0: none */
    uint64_t job;                   /* the same number on all machines, another for another job; 0: none */
    uint32_t restarts;              /* how often the launcher began this job anew */
    bool starts_once;               /* it does not start a process again that was killed */
    int pmi_fd;                     /* of its PMI-1 server; -1: none */
};

/* `get` is getenv(), or a test's. One process without a launcher is {.tasks = 1, .tasks_here = 1, .nodes = 1}.
 * -EINVAL with a sentence that names the variable which is wrong or missing. */
int sv_launch_find(char *(*get)(const char *name), struct sv_launch *ret, struct im_text *text);

/* The first host of a list as Slurm writes it, such as "n[03-10,12],login" or "rack[1-2]-node[0-3]".
 * -EINVAL: it is none. */
int sv_launch_first_host(const char *list, char ret[SV_HOST_MAX]);

#endif
