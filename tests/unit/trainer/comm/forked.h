/* Ranks as processes, for cmocka programs. */
#ifndef TESTS_UNIT_TRAINER_COMM_FORKED_H
#define TESTS_UNIT_TRAINER_COMM_FORKED_H

#include <signal.h>
#include <sys/mman.h>

#include "tests/unit/ipc/base/unit.h"

enum { FORKED_MAX = 8 };

/* Each rank leaves with what main_of_rank(context, rank) returns; ret_status[rank] gets its wait status. */
static inline void run_forked(int ranks, int (*main_of_rank)(void *context, int rank), void *context,
                              int *ret_status)
{
    pid_t pid[FORKED_MAX];

    assert_in_range(ranks, 1, FORKED_MAX);
    for (int i = 0; i < ranks; i++) {
        pid[i] = fork();
        assert_true(pid[i] >= 0);
        if (pid[i] == 0) {
            signal(SIGPIPE, SIG_IGN);
            _exit(main_of_rank(context, i));
        }
    }
    for (int i = 0; i < ranks; i++)
        assert_int_equal(waitpid(pid[i], &ret_status[i], 0), pid[i]);
}

/* Memory that all ranks share. */
static inline void *map_shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(memory != MAP_FAILED);
    return memory;
}

#endif
