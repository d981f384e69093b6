/* --shard: the part of the images that this machine takes. */
#ifndef SUPERVISOR_CLI_SHARD_H
#define SUPERVISOR_CLI_SHARD_H

#include <stddef.h>

#include "ipc/base/err.h"

struct sv_shard {
    size_t number, count; /* number: from 0 */
};

/* "2/8", or "auto": as a launcher says. Negative errno with a sentence. */
int sv_shard_parse(const char *word, struct sv_shard *ret, struct im_text *text);

#endif
