/* The rule of the emulated communicator (comm.c): ending it while a recording refers to it is an error. Each case is a
 * process of its own, whose end tells. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/err.h"
#include "tests/cuda/lanes/host.h"
#include "trainer/comm/comm.h"

enum { NUMBERS = 8, RULE_HOLDS = 7 };

/* ---- one rank over nothing, in place of Gloo ---- */

static int open_one(const struct tr_comm_config *config, struct tr_comm **ret_comm, struct im_text *text)
{
    static int one;

    (void)config, (void)text;
    *ret_comm = (struct tr_comm *)(void *)&one;
    return 0;
}

static void close_one(struct tr_comm *c)
{
    (void)c;
}

static int gather_one(struct tr_comm *c, const float *x, size_t count, float *ret_all, struct im_text *text)
{
    (void)c, (void)text;
    for (size_t i = 0; i < count; i++)
        ret_all[i] = x[i];
    return 0;
}

extern const struct tr_comm_ops tr_comm_gloo;
const struct tr_comm_ops tr_comm_gloo = {
    .name = "one", .open = open_one, .close = close_one, .allgather = gather_one};

/* ---- cases ---- */

struct case_of {
    bool recorded; /* the sum goes into a recording, which is replayed */
    bool freed;    /* and freed before the end */
};

static void end_of(const struct case_of *which)
{
    struct tr_gpu_graph *recording = NULL;
    struct im_text text = {{0}};
    struct tr_gpu *gpu;
    struct tr_comm *comm;
    void *x;

    im_assert(tr_gpu_open(0, &gpu, &text) == 0);
    im_assert(host_gpu_comm.open(&(struct tr_comm_config){.ranks = 1}, &comm, &text) == 0);
    im_assert(tr_gpu_memory_new(gpu, NUMBERS * sizeof(float), "numbers", &x, &text) == 0);
    im_assert(!which->recorded || tr_gpu_capture_begin(gpu) == 0);
    im_assert(host_gpu_comm.reduce_on(comm, x, NUMBERS, TR_COMM_FLOAT, tr_gpu_stream(gpu, TR_GPU_COMPUTE),
                                      &text) == 0);
    im_assert(!which->recorded || tr_gpu_capture_end(gpu, &recording, &text) == 0);
    im_assert(!which->recorded || tr_gpu_graph_launch(gpu, recording) == 0);
    im_assert(tr_gpu_sync(gpu, TR_GPU_COMPUTE) == 0);
    if (which->freed)
        tr_gpu_graph_free(gpu, recording);
    host_gpu_comm.close(comm);
    _exit(RULE_HOLDS);
}

/* Its status, as waitpid gives it. */
static int end_in_child(struct case_of which)
{
    pid_t child = fork();
    int status = 0;

    assert_true(child >= 0);
    if (child == 0)
        end_of(&which);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void assert_refused(struct case_of which)
{
    int status = end_in_child(which);

    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void assert_ends(struct case_of which)
{
    int status = end_in_child(which);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), RULE_HOLDS);
}

static void close_while_a_recording_lives_is_refused(void **state)
{
    (void)state;
    assert_refused((struct case_of){.recorded = true});
}

static void close_is_fine_when_the_recording_is_freed(void **state)
{
    (void)state;
    assert_ends((struct case_of){.recorded = true, .freed = true});
}

static void close_is_fine_when_nothing_was_recorded(void **state)
{
    (void)state;
    assert_ends((struct case_of){0});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_while_a_recording_lives_is_refused),
        cmocka_unit_test(close_is_fine_when_the_recording_is_freed),
        cmocka_unit_test(close_is_fine_when_nothing_was_recorded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
