/* Selects the transport for a number of ranks, and implements the one for a single rank: sums are its own
 * values. */
#include "trainer/comm/comm.h"

#include <errno.h>
#include <string.h>

#include "ipc/base/err.h"

int tr_comm_find(int ranks, const struct tr_comm_ops **ret_ops, struct im_text *text)
{
    if (ranks == 1) {
        *ret_ops = &tr_comm_self;
        return 0;
    }
#ifdef IMSUPER_GLOO
    (void)text;
    *ret_ops = &tr_comm_gloo;
    return 0;
#else
    return im_fail(
        text, -ENOSYS,
        "this build has no Gloo, which %d trainers need to train together: build with Gloo, or use --ranks 1",
        ranks);
#endif
}

static int self_open(const struct tr_comm_config *config, struct tr_comm **ret_comm, struct im_text *text)
{
    (void)text;
    im_assert(config->ranks == 1);
    *ret_comm = NULL;
    return 0;
}

static void self_close(struct tr_comm *comm)
{
    (void)comm;
}

static int self_sum(struct tr_comm *comm, float *x, size_t count, struct im_text *text)
{
    (void)comm, (void)x, (void)count, (void)text;
    return 0;
}

static int self_sum_in_order(struct tr_comm *comm, float *x, const float *before, size_t count,
                             uint32_t ranks, struct im_text *text)
{
    (void)comm, (void)text;
    im_assert(ranks == 1);
    for (size_t i = 0; i < count && before; i++)
        x[i] = before[i] + x[i];
    return 0;
}

static int self_gather(struct tr_comm *comm, const float *x, size_t count, float *ret_all,
                       struct im_text *text)
{
    (void)comm, (void)text;
    memcpy(ret_all, x, count * sizeof *x);
    return 0;
}

static int self_broadcast(struct tr_comm *comm, void *data, size_t bytes, int root, struct im_text *text)
{
    (void)comm, (void)data, (void)bytes, (void)root, (void)text;
    return 0;
}

const struct tr_comm_ops tr_comm_self = {
    .name = "self",
    .open = self_open,
    .close = self_close,
    .allreduce_sum = self_sum,
    .sum_in_order = self_sum_in_order,
    .allgather = self_gather,
    .broadcast = self_broadcast,
};
