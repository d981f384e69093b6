#include "supervisor/cluster/env.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"

#define UNKNOWN UINT32_MAX
#define TASKS_MAX 1000000 /* bounds the sums below */

typedef char *getter(const char *name);

static const char *given(getter *get, const char *name)
{
    const char *s = get(name);

    return s && *s ? s : NULL;
}

/* The whole number in a variable, 0 .. max; `missing` where it is not set, or there is no such variable (NULL). */
static int env_take(getter *get, const char *launcher, const char *name, uint64_t missing, uint64_t max,
                    uint64_t *ret, struct im_text *text)
{
    const char *s = name ? given(get, name) : NULL;
    char *end = NULL;

    *ret = missing;
    if (!s)
        return 0;
    errno = 0;
    *ret = strtoull(s, &end, 10);
    if (*s < '0' || *s > '9' || *end || errno || *ret > max)
        return im_fail(text, -EINVAL,
                       "%s started this process with %s=%s; it must be a whole number from 0 to %" PRIu64,
                       launcher, name, s, max);
    return 0;
}

/* A row of the table: the variables that hold the numbers of sv_launch. NULL: it has none. */
struct launcher {
    const char *name;
    const char *present[3]; /* the launcher is this one when all these are set */
    const char *tasks, *task, *tasks_here, *task_here, *nodes, *node;
    const char *counts; /* tasks of each machine: "2(x3),1" */
    const char *root, *port, *job, *restarts;
    bool starts_once;
};

static const struct launcher launchers[] = {
    {.name = "Slurm",
     /* Of the step: in a batch script, those of the job are of processes that were not started. */
     .present = {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},
     .tasks = "SLURM_STEP_NUM_TASKS",
     .task = "SLURM_PROCID",
     .task_here = "SLURM_LOCALID",
     .counts = "SLURM_STEP_TASKS_PER_NODE",
     .nodes = "SLURM_STEP_NUM_NODES",
     .node = "SLURM_NODEID",
     .root = "SLURM_STEP_NODELIST",
     .job = "SLURM_JOB_ID",
     .restarts = "SLURM_RESTART_COUNT",
     .starts_once = true},
    {.name = "Kubeflow",
     .present = {"PET_NNODES", "PET_NODE_RANK"},
     .nodes = "PET_NNODES",
     .node = "PET_NODE_RANK",
     .root = "PET_MASTER_ADDR",
     .port = "PET_MASTER_PORT"},
    {.name = "torchrun",
     .present = {"RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"},
     .tasks = "WORLD_SIZE",
     .task = "RANK",
     .tasks_here = "LOCAL_WORLD_SIZE",
     .task_here = "LOCAL_RANK",
     .node = "GROUP_RANK",
     .nodes = "GROUP_WORLD_SIZE",
     .root = "MASTER_ADDR",
     .port = "MASTER_PORT",
     .restarts = "TORCHELASTIC_RESTART_COUNT"},
    {.name = "torch.distributed",
     .present = {"RANK", "WORLD_SIZE", "LOCAL_RANK"},
     .tasks = "WORLD_SIZE",
     .task = "RANK",
     .task_here = "LOCAL_RANK",
     .nodes = "NNODES",
     .node = "NODE_RANK",
     .root = "MASTER_ADDR",
     .port = "MASTER_PORT"},
    {.name = "the environment",
     .present = {"NODE_RANK", "MASTER_ADDR"},
     .nodes = "NNODES",
     .node = "NODE_RANK",
     .root = "MASTER_ADDR",
     .port = "MASTER_PORT"},
    {.name = "Hydra",
     .present = {"PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"},
     .tasks = "PMI_SIZE",
     .task = "PMI_RANK",
     .tasks_here = "MPI_LOCALNRANKS",
     .task_here = "MPI_LOCALRANKID"},
    {.name = "Open MPI",
     .present = {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"},
     .tasks = "OMPI_COMM_WORLD_SIZE",
     .task = "OMPI_COMM_WORLD_RANK",
     .tasks_here = "OMPI_COMM_WORLD_LOCAL_SIZE",
     .task_here = "OMPI_COMM_WORLD_LOCAL_RANK"},
};

static bool is_present(getter *get, const struct launcher *l)
{
    for (size_t i = 0; i < IM_COUNT(l->present); i++)
        if (l->present[i] && !given(get, l->present[i]))
            return false;
    return true;
}

/* Of a list such as "2(x3),1": the count for machine `node`. 0: it is none, or too short. */
static uint32_t tasks_on(const char *list, uint32_t node)
{
    uint64_t machines = 0;
    char *at;

    for (const char *s = list; *s >= '0' && *s <= '9'; s = at + 1) {
        const uint64_t tasks = strtoull(s, &at, 10);
        uint64_t times = 1;

        if (at[0] == '(' && at[1] == 'x') {
            times = strtoull(at + 2, &at, 10);
            at += *at == ')';
        }
        if (tasks > UINT32_MAX || times > UINT32_MAX)
            return 0;
        machines += times;
        if (machines > node)
            return (uint32_t)tasks;
        if (*at != ',')
            return 0;
    }
    return 0;
}

/* One of n: "task 4 of 4" is none. */
static int check_member(const struct launcher *l, const char *what, uint32_t member, uint32_t n,
                        struct im_text *text)
{
    if (member < n)
        return 0;
    return im_fail(text, -EINVAL, "%s started this process as %s %" PRIu32 " of %" PRIu32 ", counted from 0",
                   l->name, what, member, n);
}

static int take_numbers(getter *get, const struct launcher *l, struct sv_launch *ret, struct im_text *text)
{
    const struct {
        const char *name;
        uint64_t missing;
        uint32_t *ret;
    } fields[] = {
        {l->tasks, UNKNOWN, &ret->tasks},
        {l->task, UNKNOWN, &ret->task},
        {l->tasks_here, UNKNOWN, &ret->tasks_here},
        {l->task_here, 0, &ret->task_here},
        {l->nodes, UNKNOWN, &ret->nodes},
        {l->node, UNKNOWN, &ret->node},
        {l->port, 0, &ret->port},
        {l->restarts, 0, &ret->restarts},
    };
    uint64_t value;

    for (size_t i = 0; i < IM_COUNT(fields); i++) {
        int err = env_take(get, l->name, fields[i].name, fields[i].missing, TASKS_MAX, &value, text);

        if (err < 0)
            return err;
        *fields[i].ret = (uint32_t)value;
    }
    return env_take(get, l->name, l->job, 0, UINT64_MAX, &ret->job, text);
}

/* What a launcher leaves out follows from the rest: tasks that are equally many on each machine, one process a
 * machine. */
static void complete(getter *get, const struct launcher *l, struct sv_launch *at)
{
    const char *counts = l->counts ? given(get, l->counts) : NULL;

    if (at->node == UNKNOWN)
        at->node = at->task != UNKNOWN && at->tasks_here != UNKNOWN && at->tasks_here
                       ? at->task / at->tasks_here
                       : 0;
    if (at->tasks_here == UNKNOWN && counts)
        at->tasks_here = tasks_on(counts, at->node);
    if (at->nodes == UNKNOWN)
        at->nodes = at->tasks != UNKNOWN && at->tasks_here != UNKNOWN && at->tasks_here
                        ? (at->tasks + at->tasks_here - 1) / at->tasks_here
                        : 1;
    if (at->tasks == UNKNOWN)
        at->tasks = at->nodes;
    if (at->task == UNKNOWN)
        at->task = at->node;
    if (at->tasks_here == UNKNOWN)
        at->tasks_here = at->nodes ? at->tasks / at->nodes : 0;
}

static int check(const struct launcher *l, const struct sv_launch *at, struct im_text *text)
{
    int err = check_member(l, "process", at->task, at->tasks, text);

    if (err == 0)
        err = check_member(l, "process of this machine", at->task_here, at->tasks_here, text);
    return err < 0 ? err : check_member(l, "machine", at->node, at->nodes, text);
}

static int env_find(getter *get, const struct launcher *l, struct sv_launch *ret, struct im_text *text)
{
    const char *root = l->root ? given(get, l->root) : NULL;
    int err = take_numbers(get, l, ret, text);

    ret->launcher = l->name;
    ret->starts_once = l->starts_once;
    if (err == 0 && root && sv_launch_first_host(root, ret->root) < 0)
        err = im_fail(text, -EINVAL, "%s started this process with %s=%s, which does not begin with a host",
                      l->name, l->root, root);
    if (err < 0)
        return err;
    complete(get, l, ret);
    return check(l, ret, text);
}

int sv_launch_find(char *(*get)(const char *name), struct sv_launch *ret, struct im_text *text)
{
    uint64_t pmi = UNKNOWN;
    int err = env_take(get, "a launcher", "PMI_FD", UNKNOWN, INT32_MAX, &pmi, text);

    *ret = (struct sv_launch){.tasks = 1, .tasks_here = 1, .nodes = 1};
    for (size_t i = 0; i < IM_COUNT(launchers) && err == 0; i++)
        if (is_present(get, &launchers[i])) {
            err = env_find(get, &launchers[i], ret, text);
            break;
        }
    ret->pmi_fd = pmi == UNKNOWN ? -1 : (int)pmi;
    return err;
}

/* ---- lists of hosts ---- */

static bool is_of_a_host(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == ':';
}

/* The first number of "[03-10,12]" as it is written; *s is moved behind the bracket. */
static int first_of_range(const char **s, char *to, size_t *n)
{
    const size_t digits = strspn(*s + 1, "0123456789"), inside = 1 + strcspn(*s + 1, "]");

    if (digits == 0 || (*s)[inside] != ']' || strspn(*s + 1, "0123456789-,") != inside - 1 ||
        *n + digits >= SV_HOST_MAX)
        return -EINVAL;
    memcpy(to + *n, *s + 1, digits);
    *n += digits;
    *s += inside + 1;
    return 0;
}

int sv_launch_first_host(const char *list, char ret[SV_HOST_MAX])
{
    const char *s = list;
    size_t n = 0;

    while (*s && *s != ',') {
        if (*s == '[') {
            if (first_of_range(&s, ret, &n) < 0)
                return -EINVAL;
        } else if (is_of_a_host(*s) && n + 1 < SV_HOST_MAX) {
            ret[n++] = *s++;
        } else {
            return -EINVAL;
        }
    }
    ret[n] = '\0';
    return n > 0 ? 0 : -EINVAL;
}
