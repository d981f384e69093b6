/* The second fence around a decode, far behind the first (au_limits.memory_max). */
#ifndef AUGMENT_LIMITS_H
#define AUGMENT_LIMITS_H

#include "ipc/config/conf.h"

/* From now on malloc() fails where this process would have much more memory of its own than one image may
 * take: a library that takes more than its file's header tells meets a verdict, not the kernel's killer. The
 * rings, which are mapped shared, do not count. Does nothing where the limit cannot be set. */
void au_limit_memory(const struct im_conf *conf);

#endif
