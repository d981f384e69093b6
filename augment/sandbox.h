/* What an augmenter gives up before the first byte of a stranger's file is looked at. */
#ifndef AUGMENT_SANDBOX_H
#define AUGMENT_SANDBOX_H

#include "ipc/base/err.h"

/* Restricts the whole process, for good: it may compute, allocate, wait, read files and write what it has
 * open already. Anything else (opening for writing, sockets, new processes, executable memory, signals to
 * others) kills it with SIGSYS, which the supervisor takes for a crash of the sample in work.
 *
 * 0: in force. 1: this kernel has no seccomp filters; nothing changed, and `text` has a sentence for a
 * warning. A negative errno with a sentence: it should have worked and did not. */
int au_sandbox_enter(struct im_text *text);

#endif
