#include "ipc/serving.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int im_serving_options(struct im_conf *ret, struct im_text *text)
{
    char *frozen = malloc(IM_CONF_FROZEN_BYTES);
    size_t have = 0;
    ssize_t n = 1;
    int err;

    if (!frozen)
        return im_fail(text, -ENOMEM, "no memory for the options");
    while (have + 1 < IM_CONF_FROZEN_BYTES && n > 0) {
        n = pread(IM_SERVING_OPTIONS_FD, frozen + have, IM_CONF_FROZEN_BYTES - 1 - have, (off_t)have);
        have += n > 0 ? (size_t)n : 0;
    }
    frozen[have] = 0;
    close(IM_SERVING_OPTIONS_FD);
    err = n < 0
              ? im_fail(text, -EBADMSG, "`imsuper predict --serve` starts this program; it is not for users")
              : im_conf_thaw(ret, frozen, text);
    free(frozen);
    return err;
}

int im_serving_read(int fd, void *to, size_t n)
{
    char *at = to;
    size_t have = 0;

    while (have < n) {
        ssize_t got = read(fd, at + have, n - have);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return have == 0 ? 0 : -EBADMSG;
        have += (size_t)got;
    }
    return 1;
}
