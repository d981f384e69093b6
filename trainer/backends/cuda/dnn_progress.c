/* Progress of the first start, and the lock that lets one process at a time time the engines for all. */
#include <errno.h>
#include <poll.h>
#include <stddef.h>

#include "ipc/base/clock.h"
#include "trainer/backends/cuda/dnn_impl.h"

#define TURN (15 * 60 * IM_SECOND) /* wait for another process at most this long */
#define LOOK_MS 50

int tr_dnn_report_progress(struct tr_dnn *dnn, const char *what, int at, int of)
{
    if (!dnn->cancelled && dnn->config.progress)
        dnn->cancelled = dnn->config.progress(dnn->config.context, what, at, of) != 0;
    return dnn->cancelled ? -ECANCELED : 0;
}

int tr_dnn_lock(struct tr_dnn *dnn)
{
    im_ns until = im_now() + TURN;
    int held;

    if (dnn->holds_lock || dnn->gave_up_waiting)
        return 0;
    while ((held = tr_plan_cache_lock(dnn->known)) == 0 && im_now() < until) {
        if (tr_dnn_report_progress(dnn, "", 1, -1) < 0)
            return -ECANCELED;
        poll(NULL, 0, LOOK_MS);
    }
    dnn->holds_lock = held == 1;
    dnn->gave_up_waiting = !dnn->holds_lock;
    return dnn->holds_lock;
}

void tr_dnn_unlock(struct tr_dnn *dnn)
{
    if (dnn->holds_lock)
        tr_plan_cache_unlock(dnn->known);
    dnn->holds_lock = dnn->gave_up_waiting = false;
}
