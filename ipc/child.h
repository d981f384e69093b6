/* What every role does first and always: attach to the run, announce itself, notice when to leave. */
#ifndef IPC_CHILD_H
#define IPC_CHILD_H

#include "ipc/base/exit.h"
#include "ipc/config/conf.h"
#include "ipc/run.h"
#include "ipc/stats.h"

struct im_sandbox_state;

struct im_child {
    struct im_run *run;
    struct im_plan *plan;
    const struct im_conf *conf;
    struct im_process *entry;
    struct im_stats *stats;
    enum im_role role;
    uint32_t index;       /* within the role; a trainer's is its rank */
    uint32_t incarnation; /* owner of the cells that it holds */
    uint32_t slot;
    int lease_fd;    /* hangs up when warden and supervisor are both gone; -1 in tests */
    int snapshot_fd; /* a trainer's (snapshot.h); -1: there is none */
    int index_fd;    /* a reader's or fetcher's, of the index; 0: there is none. It may be closed */
    int pixels_fd;   /* a reader's or augmenter's, of the pixel cache; -1: there is none. It may be closed */
    const struct im_sandbox_state *sandbox; /* NULL: none was entered */
    im_ns lease_checked;
};

/* Did the warden start this program, as a role of a run, and nobody by hand? */
bool im_child_is_started(int argc, char **argv);

/* Calls this process "imsuper-ROLE" for ps and top; a program that is started by its descriptor has a number for a
 * name. */
void im_child_name(const char *role);

/* For main(): reads `--index N --incarnation N`, maps the inherited segments as the role needs them, thaws
 * the configuration, rebuilds the plan and enters the process table. What `child` points to lives in static
 * storage of main's making; im_child_close() frees it. 0, or -ESTALE / -EBADMSG / -EINVAL with a sentence. */
struct im_child_storage {
    struct im_run run;
    struct im_plan plan;
    struct im_conf conf;
};
int im_child_open(int argc, char **argv, enum im_role role, struct im_child_storage *storage,
                  struct im_child *ret, struct im_text *text);
void im_child_close(struct im_child *child);

/* 0: go on. Otherwise the exit status to leave with: the run has ended, we were replaced, or everyone above
 * is gone. Cheap; call it once an item and after each wait. */
int im_child_should_leave(struct im_child *child);

/* Whether this process is asked to leave once it holds no cell (im_process.retire): it takes none from then
 * on, and leaves with IM_EXIT_OK. */
bool im_child_is_retired(const struct im_child *child);

/* The first of its role, in its first life: who says what all of them would say. */
bool im_child_is_first(const struct im_child *child);

/* Says that the process is ready for work. */
void im_child_ready(struct im_child *child);

/* The configuration of a run, with the part of this node where others are missing. -EBADMSG with a sentence. */
int im_conf_of_run(const struct im_run *run, struct im_conf *ret, struct im_text *text);

/* The plan of a configuration over a dataset of these sizes; the same in every process. */
int im_plan_from_conf(const struct im_conf *conf, const uint64_t samples[IM_SPLITS], struct im_plan *ret,
                      struct im_text *text);

#endif
