/* What a process gives up for good before it touches files or bytes of strangers: system calls (seccomp) and
 * paths (Landlock). All sandboxes allow the calls that compute on what is open already (sandbox.c); a role adds its
 * own (augment/sandbox.h, reader/sandbox.h). A kernel may lack either, and that is a line in the log. */
#ifndef IPC_SANDBOX_H
#define IPC_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base/err.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IM_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define IM_SANITIZED 1
#endif
#endif
#ifndef IM_SANITIZED
#define IM_SANITIZED 0
#endif

/* A system call that is allowed when (argument & mask) == value. */
struct im_sandbox_condition {
    int call;
    unsigned argument;
    uint64_t mask, value;
};

#define IM_SANDBOX_FILES_MAX 20

struct im_sandbox {
    const int *calls; /* beside those of every sandbox, allowed whatever their arguments are */
    size_t call_count;
    const struct im_sandbox_condition *conditions; /* beside those of every sandbox */
    size_t condition_count;
    bool opens_files; /* for reading, as far as the paths below allow it */
    int absent[2];    /* fail with ENOSYS, so that a library does it another way or says so */
    size_t absent_count;
    bool connects;   /* as a client, where its calls allow it */
    bool loads_code; /* libraries that a library loads when it needs them */
    /* What may be read: a folder with all below it ("": everything; NULL: none), and single files, or folders with all
     * below them; one that is not there is passed over. A folder that does not answer or is not there counts as everything, for it may be
     * there again later. */
    const char *folder;
    const char *files[IM_SANDBOX_FILES_MAX];
    bool writes; /* below the folder files may be made, changed and removed */
};

/* What came of it. */
struct im_sandbox_state {
    bool filters_calls;
    int landlock; /* version of its interface; 0: paths are not restricted */
    bool below;   /* files are read below `folder` only */
    const char *folder;
    uint64_t device, inode; /* of the folder */
};

/* Restricts the whole process, for good; before it has threads of its own. Any other system call kills it with
 * SIGSYS. Opening another path fails with EACCES.
 *
 * 0: in force as far as *ret says; what this kernel lacks stands in `text`, a sentence for a warning. A
 * negative errno with a sentence: it should have worked and did not. */
int im_sandbox_enter(const struct im_sandbox *wanted, struct im_sandbox_state *ret, struct im_text *text);

/* A file could not be opened, with EACCES. Is that because another file system is mounted at `folder` than when
 * the sandbox was entered? Only a new process can read there. NULL: there is no sandbox. */
bool im_sandbox_is_stale(const struct im_sandbox_state *state);

/* Writes to the log what is in force; a warning where system calls are not filtered. */
void im_sandbox_log(const struct im_sandbox *wanted, const struct im_sandbox_state *state,
                    const struct im_text *text);

#endif
