/* What launchers say. The variables are those that Slurm 22.05 and torchrun 2.9 set for a process, and those that the
 * sources of Kubeflow's Trainer 2.2, MPICH 4.0 and Open MPI 4.1 name. */
#include <errno.h>

#include "ipc/base/count.h"
#include "supervisor/cluster/env.h"
#include "tests/unit/ipc/base/unit.h"

static const char *const *variables; /* "NAME=value", ..., NULL */

static char *get(const char *name)
{
    const size_t n = strlen(name);

    for (const char *const *v = variables; *v; v++)
        if (strncmp(*v, name, n) == 0 && (*v)[n] == '=')
            return (char *)(uintptr_t)(*v + n + 1);
    return NULL;
}

#define SAY(...)                                                                                             \
    variables = (const char *const[])                                                                        \
    {                                                                                                        \
        __VA_ARGS__, NULL                                                                                    \
    }

static struct sv_launch found(void)
{
    struct sv_launch at;
    struct im_text text = {""};

    assert_int_equal(sv_launch_find(get, &at, &text), 0);
    return at;
}

static void check(const char *launcher, const uint32_t numbers[6], const char *root, uint32_t port)
{
    const struct sv_launch at = found();

    assert_string_equal(at.launcher, launcher);
    assert_int_equal(at.tasks, numbers[0]);
    assert_int_equal(at.task, numbers[1]);
    assert_int_equal(at.tasks_here, numbers[2]);
    assert_int_equal(at.task_here, numbers[3]);
    assert_int_equal(at.nodes, numbers[4]);
    assert_int_equal(at.node, numbers[5]);
    assert_string_equal(at.root, root);
    assert_int_equal(at.port, port);
}

#define NUMBERS(...) ((const uint32_t[6]){__VA_ARGS__})

static void test_no_launcher(void **state)
{
    (void)state;
    SAY("HOME=/root", "MASTER_ADDR=n1", "SLURM_JOB_ID=5", "SLURM_NTASKS=4", "SLURM_PROCID=0", "RANK=");
    assert_null(found().launcher);
    assert_int_equal(found().nodes, 1);
    assert_int_equal(found().tasks, 1);
    assert_int_equal(found().pmi_fd, -1);
}

static void test_slurm(void **state)
{
    (void)state;
    SAY("SLURM_STEP_NUM_TASKS=5", "SLURM_PROCID=3", "SLURM_LOCALID=1", "SLURM_STEP_TASKS_PER_NODE=2(x2),1",
        "SLURM_STEP_NUM_NODES=3", "SLURM_NODEID=1", "SLURM_STEP_NODELIST=n[07-08],n10", "SLURM_JOB_ID=4711",
        "SLURM_RESTART_COUNT=2", "PMI_FD=9", "PMI_RANK=3", "PMI_SIZE=5", "MASTER_ADDR=other");
    check("Slurm", NUMBERS(5, 3, 2, 1, 3, 1), "n07", 0);
    assert_int_equal(found().job, 4711);
    assert_int_equal(found().restarts, 2);
    assert_int_equal(found().pmi_fd, 9);
}

static void test_slurms_one_process_a_machine(void **state)
{
    (void)state;
    SAY("SLURM_STEP_NUM_TASKS=4", "SLURM_PROCID=3", "SLURM_LOCALID=0", "SLURM_STEP_TASKS_PER_NODE=1(x4)",
        "SLURM_STEP_NUM_NODES=4", "SLURM_NODEID=3", "SLURM_STEP_NODELIST=gpu-a[1-2,9-10].cluster");
    check("Slurm", NUMBERS(4, 3, 1, 0, 4, 3), "gpu-a1.cluster", 0);
}

static void test_kubeflow_and_hand(void **state)
{
    (void)state;
    SAY("PET_NNODES=3", "PET_NODE_RANK=2", "PET_MASTER_ADDR=job-node-0-0.job", "PET_MASTER_PORT=29400");
    check("Kubeflow", NUMBERS(3, 2, 1, 0, 3, 2), "job-node-0-0.job", 29400);
    SAY("NODE_RANK=1", "NNODES=2", "MASTER_ADDR=fd00::7");
    check("the environment", NUMBERS(2, 1, 1, 0, 2, 1), "fd00::7", 0);
}

static void test_torchrun(void **state)
{
    (void)state;
    SAY("RANK=5", "WORLD_SIZE=8", "LOCAL_RANK=1", "LOCAL_WORLD_SIZE=4", "GROUP_RANK=1", "GROUP_WORLD_SIZE=2",
        "MASTER_ADDR=10.0.0.1", "MASTER_PORT=29500", "TORCHELASTIC_RESTART_COUNT=3");
    check("torchrun", NUMBERS(8, 5, 4, 1, 2, 1), "10.0.0.1", 29500);
    assert_int_equal(found().restarts, 3);
    SAY("RANK=1", "WORLD_SIZE=4", "LOCAL_RANK=1");
    check("torch.distributed", NUMBERS(4, 1, 4, 1, 1, 0), "", 0);
}

static void test_mpi(void **state)
{
    (void)state;
    SAY("PMI_RANK=5", "PMI_SIZE=6", "PMI_FD=7", "MPI_LOCALRANKID=1", "MPI_LOCALNRANKS=2");
    check("Hydra", NUMBERS(6, 5, 2, 1, 3, 2), "", 0);
    SAY("OMPI_COMM_WORLD_RANK=2", "OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_LOCAL_RANK=0",
        "OMPI_COMM_WORLD_LOCAL_SIZE=2");
    check("Open MPI", NUMBERS(4, 2, 2, 0, 2, 1), "", 0);
}

static void refused(const char *why)
{
    struct sv_launch at;
    struct im_text text = {""};

    assert_int_equal(sv_launch_find(get, &at, &text), -EINVAL);
    assert_string_equal(text.s, why);
}

static void test_wrong_variables_are_named(void **state)
{
    (void)state;
    SAY("RANK=one", "WORLD_SIZE=4", "LOCAL_RANK=1");
    refused(
        "torch.distributed started this process with RANK=one; it must be a whole number from 0 to 1000000");
    SAY("RANK=4", "WORLD_SIZE=4", "LOCAL_RANK=1");
    refused("torch.distributed started this process as process 4 of 4, counted from 0");
    SAY("RANK=0", "WORLD_SIZE=0", "LOCAL_RANK=0");
    refused("torch.distributed started this process as process 0 of 0, counted from 0");
    SAY("PET_NNODES=-1", "PET_NODE_RANK=0");
    refused("Kubeflow started this process with PET_NNODES=-1; it must be a whole number from 0 to 1000000");
    SAY("PET_NNODES=2", "PET_NODE_RANK=0", "PET_MASTER_ADDR=a b");
    refused("Kubeflow started this process with PET_MASTER_ADDR=a b, which does not begin with a host");
    SAY("PMI_FD=99999999999");
    refused("a launcher started this process with PMI_FD=99999999999; it must be a whole number from 0 to "
            "2147483647");
    SAY("OMPI_COMM_WORLD_RANK=2", "OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_LOCAL_RANK=0",
        "OMPI_COMM_WORLD_LOCAL_SIZE=0");
    refused("Open MPI started this process as process of this machine 0 of 0, counted from 0");
}

/* A list of counts that is short, or none, gives no count: this process is then no member of what it says. */
static void test_strange_counts_are_refused(void **state)
{
    static const char *const counts[] = {"2", "x", "(x3)", "2(x", "2,", "99999999999(x2)", "2(x99999999999)",
                                         ",,"};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(counts); i++) {
        char variable[64];
        struct sv_launch at;
        struct im_text text = {""};

        snprintf(variable, sizeof variable, "SLURM_STEP_TASKS_PER_NODE=%s", counts[i]);
        SAY("SLURM_STEP_NUM_TASKS=4", "SLURM_PROCID=2", "SLURM_STEP_NUM_NODES=2", "SLURM_NODEID=1", variable);
        assert_int_equal(sv_launch_find(get, &at, &text), -EINVAL);
        assert_non_null(strstr(text.s, "process of this machine"));
    }
}

static void test_first_host(void **state)
{
    static const struct {
        const char *list, *host;
    } good[] = {{"a", "a"},
                {"a,b", "a"},
                {"n[03-10,12],login", "n03"},
                {"rack[1-2]-node[0-3].x", "rack1-node0.x"},
                {"[7]", "7"},
                {"10.1.2.3", "10.1.2.3"}};
    static const char *const bad[] = {"",     ",a",       "n[",  "n[]", "n[3",
                                      "n[x]", "n[1-2;3]", "a b", "a\n", "\x1b[0m"};
    char host[SV_HOST_MAX], longest[600];

    (void)state;
    for (size_t i = 0; i < IM_COUNT(good); i++) {
        assert_int_equal(sv_launch_first_host(good[i].list, host), 0);
        assert_string_equal(host, good[i].host);
    }
    for (size_t i = 0; i < IM_COUNT(bad); i++)
        assert_int_equal(sv_launch_first_host(bad[i], host), -EINVAL);
    memset(longest, 'a', sizeof longest);
    longest[SV_HOST_MAX - 1] = '\0';
    assert_int_equal(sv_launch_first_host(longest, host), 0);
    longest[SV_HOST_MAX - 1] = 'a';
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(sv_launch_first_host(longest, host), -EINVAL);
    snprintf(longest, sizeof longest, "n[%0300d]", 1);
    assert_int_equal(sv_launch_first_host(longest, host), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_launcher),
        cmocka_unit_test(test_slurm),
        cmocka_unit_test(test_slurms_one_process_a_machine),
        cmocka_unit_test(test_kubeflow_and_hand),
        cmocka_unit_test(test_torchrun),
        cmocka_unit_test(test_mpi),
        cmocka_unit_test(test_wrong_variables_are_named),
        cmocka_unit_test(test_strange_counts_are_refused),
        cmocka_unit_test(test_first_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
