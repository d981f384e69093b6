/* What an augmenter gives up before the first byte of a stranger's file is looked at. */
#ifndef AUGMENT_SANDBOX_H
#define AUGMENT_SANDBOX_H

#include "ipc/sandbox.h"

/* The process may from now on compute, allocate, wait, read files below `read_root` ("": anywhere; NULL: nowhere) and the
 * seek index (NULL or "": none), and write what it has open already. Anything else (opening for writing, sockets, new
 * processes, executable memory, signals to others) kills it with SIGSYS, which the supervisor takes for a crash of the
 * sample in work. `avif`: its library is loaded before, for it cannot be after. `tells`: writes to the log what is in force. Returns as im_sandbox_enter(). */
int au_sandbox_enter(const char *read_root, const char *seek_file, bool avif, bool tells,
                     struct im_sandbox_state *ret, struct im_text *text);

#endif
