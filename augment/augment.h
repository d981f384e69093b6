/* The augmenter role: encoded bytes in, a finished crop at its place in a trainer's batch out. */
#ifndef AUGMENT_AUGMENT_H
#define AUGMENT_AUGMENT_H

#include "ipc/child.h"

/* Works until the run asks to leave. Returns the exit status to leave with, or a negative errno
 * with a sentence. */
int au_run(struct im_child *child, struct im_text *text);

#endif
