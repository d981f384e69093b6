/* Limits of the process (ulimit) that a run does not fit into: found before anything is started, and named when a
 * process dies all the same. */
#ifndef SUPERVISOR_LIMITS_H
#define SUPERVISOR_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/config/conf.h"
#include "ipc/run.h"

/* What a run takes at least of each. */
struct sv_limits_need {
    uint64_t files;        /* descriptors of one process */
    uint64_t files_wanted; /* with which readers can use io_uring; raised to that where it may be */
    uint64_t processes;    /* and threads, of all together; 0: not counted */
    uint64_t data, address_space, stack; /* bytes of one process */
    uint64_t file_size;                  /* bytes of the largest file or segment */
};
struct sv_limits_need sv_limits_need(const struct im_conf *conf, const struct im_geometry *g);

/* First of all in main(): the stack on which all else runs, of the programs that are started from here too. A limit
 * that may be raised is. False: it is too small, and a message has said so. */
bool sv_limits_stack(void);

/* Raises what may be raised and compares the rest. 0, or -EAGAIN with a sentence that names the limit, its value,
 * what is needed and the command. */
int sv_limits_check(const struct sv_limits_need *need, struct im_text *text);

/* The same before anything is known of the run: what its first files and programs take. */
int sv_limits_first(struct im_text *text);

/* Seconds of processor time after which the kernel kills a process; 0: no limit. */
uint64_t sv_limits_cpu_time(void);

/* "; limits of this shell may be the cause: ..." for the sentence about a process that failed by itself; empty where
 * there are none. Returns it. */
const char *sv_limits_suspects(char *buffer, size_t n);

#endif
