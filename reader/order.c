#include "reader/order.h"

#include <time.h>

#include "ipc/base/clock.h"

int rd_order_open(const struct im_conf *conf, const struct rd_index *index, struct rd_order *ret)
{
    *ret = (struct rd_order){.seed = conf->seed};
    return conf->sampler == IM_SAMPLER_BALANCED ? rd_balance_open(index, &ret->balance) : 0;
}

void rd_order_close(struct rd_order *order)
{
    rd_balance_close(&order->balance);
}

uint64_t rd_order_item(struct rd_order *order, const struct rd_index *index, const struct im_place *at)
{
    if (at->phase->split == IM_VAL)
        return at->position;
    if (order->shuffle.n == 0 || order->epoch != at->phase->epoch) {
        order->shuffle = im_shuffle_at(order->seed, at->phase->epoch, rd_index_count(index, IM_TRAIN));
        order->epoch = at->phase->epoch;
    }
    return im_shuffle_item(&order->shuffle, at->position);
}

uint64_t rd_order_sample(struct rd_order *order, const struct rd_index *index, const struct im_place *at)
{
    const uint64_t item = rd_order_item(order, index, at);

    if (at->phase->split == IM_VAL || order->balance.classes == 0)
        return item;
    return rd_balance_sample(&order->balance, order->seed, at->phase->epoch, item);
}

int64_t rd_realtime(uint64_t monotonic_ns)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - (int64_t)(im_now() - monotonic_ns);
}
