/* Who is to blame for a fatal signal: the image in work, or somebody who sent it. */
#ifndef AUGMENT_SIGNALS_H
#define AUGMENT_SIGNALS_H

#include "ipc/abi.h"

/* From now on a fatal signal that another process sent is written to stats->sent_signal before it takes its
 * course. What this process does itself (a bad address, abort()) leaves no trace there, and SIGKILL none at
 * all. */
void au_note_sent_signals(struct im_stats *stats);

#endif
