/* Fault points: named places where a test makes a process die, stop, wait or fail. Compiled to nothing unless
 * the build defines IMSUPER_FAULTS, so that a release binary has neither the points nor the environment
 * variable.
 *
 * At run time IMSUPER_FAULT holds rules, separated by commas:
 *
 *     [role[#id]:]point=action[@K[/every]]
 *
 *     kill            SIGKILL to this process        stop        SIGSTOP
 *     segv            SIGSEGV with default action    exit:CODE   _exit(CODE)
 *     sleep:MS        wait                           fail:ERRNO  IM_FAULT_ERR() returns -ERRNO
 *
 * ERRNO is a number or one of EIO ENOSPC EINTR EAGAIN ENOMEM EMFILE EACCES EINVAL EFBIG EDQUOT
 * EROFS.
 *
 * A rule fires on the K-th passing of its point in this process (default 1), with /every on each multiple of
 * K. `role` and `id` are those given to im_log_identity(): `augmenter#1:decode.before=kill@3`. A malformed
 * rule aborts the process: a kill test whose rule is mistyped must not pass. */
#ifndef IPC_BASE_FAULT_H
#define IPC_BASE_FAULT_H

#include <stdint.h>

#include "ipc/base/err.h"

#ifdef IMSUPER_FAULTS
/* Passes the point. Threads may pass at once; each passing is counted once. */
#define IM_FAULT(point) ((void)im_fault_pass(point))
/* Passes the point; 0, or the negative errno that a fail rule injects. */
#define IM_FAULT_ERR(point) im_fault_pass(point)
/* Passes the point "POINT.ITEM", so that a rule can follow one item wherever it goes. */
#define IM_FAULT_ITEM(point, item) ((void)im_fault_pass_item(point, item))
#else
#define IM_FAULT(point) ((void)(point))
#define IM_FAULT_ERR(point) ((void)(point), 0)
#define IM_FAULT_ITEM(point, item) ((void)(point), (void)(item))
#endif

/* What the macros call. 0 or a negative errno to inject. */
int im_fault_pass(const char *point);
int im_fault_pass_item(const char *point, uint64_t item);

/* Replaces this process's rules, the environment's too; "" removes them and counts start at 0. For tests; not
 * while other threads pass points. -EINVAL with a sentence for a malformed rule, -ENOTSUP where fault points
 * are not compiled in. */
int im_fault_arm(const char *rules, struct im_text *text);

#endif
