#include "ipc/base/exit.h"

#include <errno.h>

int im_exit_status(int err)
{
    switch (err) {
    case 0:
        return IM_EXIT_OK;
    case -ESTALE:
        return IM_EXIT_FENCED;
    case -EINVAL:
    case -E2BIG:
        return IM_EXIT_USAGE;
    case -EBADMSG:
    case -ENOENT:
        return IM_EXIT_BAD_DATA;
    case -ENODEV:
    case -ENOSYS:
    case -ELIBACC:
        return IM_EXIT_UNAVAILABLE;
    case -EDOM:
        return IM_EXIT_DIVERGED;
    default:
        return err > 0 ? err : IM_EXIT_FAILED;
    }
}

unsigned im_exit_word(int status)
{
    unsigned low = (unsigned)status & 0xffff;

    return (low ^ 0xffff) << 16 | low;
}

int im_exit_of_word(unsigned word)
{
    return (word >> 16 ^ 0xffff) == (word & 0xffff) ? (int)(word & 0xffff) : IM_EXIT_FAILED;
}
