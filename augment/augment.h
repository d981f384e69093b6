/* The augmenter role: turns encoded bytes into a finished crop at its slot in a trainer's batch.
 *
 * In this folder: the role's loop (augment.c), the rendering of one sample (render.h), its options
 * (options.h) and the seccomp sandbox. decode/ turns bytes into pixels, transform/ changes pixels, tools/ has
 * previews and measurements. A sample's pixels depend only on its bytes, the options, the seed and its
 * number, never on the process, the thread or the time: a sample may be rendered again after a crash. */
#ifndef AUGMENT_AUGMENT_H
#define AUGMENT_AUGMENT_H

#include "ipc/child.h"

/* Does the run have AVIF images? */
bool au_needs_avif(const struct im_child *child);

/* Works until the run asks to leave. Returns the exit status to leave with, or a negative errno
 * with a sentence. */
int au_run(struct im_child *child, struct im_text *text);

#endif
