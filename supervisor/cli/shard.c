#include "supervisor/cli/shard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/number.h"
#include "supervisor/cluster/env.h"

#define COUNT_MAX 1000000

int sv_shard_parse(const char *word, struct sv_shard *ret, struct im_text *text)
{
    struct sv_launch launch;
    int64_t number, count;
    int err;

    if (strcmp(word, "auto") == 0) {
        err = sv_launch_find(getenv, &launch, text);
        if (err == 0 && !launch.launcher)
            err = im_fail(text, -EINVAL,
                          "--shard auto: no launcher has started this process; give I/N, such as 0/4");
        *ret = (struct sv_shard){launch.task, launch.tasks};
        return err;
    }
    if (!im_part_of(word, &number, &count) || count > COUNT_MAX)
        return im_fail(text, -EINVAL,
                       "--shard %.64s: expected I/N, such as 0/4 for the first of four parts, or auto", word);
    *ret = (struct sv_shard){(size_t)number, (size_t)count};
    return 0;
}
