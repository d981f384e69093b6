/* A copy of the arenas for a snapshot: one after the other, in a shadow of the backend. */
#include "trainer/backends/shadow.h"

#include <errno.h>

#include "ipc/base/err.h"
#include "trainer/network/impl.h"

/* Bytes of the arenas before `end`. */
static size_t bytes_before(const struct tr_network *net, unsigned arenas, int end)
{
    size_t floats = 0;

    for (int i = 0; i < end; i++)
        if (arenas >> i & 1)
            floats += tr_network_floats(net, (enum tr_arena)i);
    return floats * sizeof(float);
}

size_t tr_network_shadow_bytes(const struct tr_network *net)
{
    return net->shadow ? bytes_before(net, net->shadow_arenas, TR_ARENA_COUNT) : 0;
}

int tr_network_shadow_open(struct tr_network *net, unsigned arenas, struct im_text *text)
{
    im_assert(!net->shadow);
    if (!net->ops->shadow)
        return -ENOTSUP;
    net->shadow_arenas = arenas;
    return net->ops->shadow->open(net->backend, bytes_before(net, arenas, TR_ARENA_COUNT), &net->shadow,
                                  text);
}

void tr_network_shadow_close(struct tr_network *net)
{
    if (net->shadow)
        net->ops->shadow->close(net->backend, net->shadow);
    net->shadow = NULL;
}

float *tr_network_shadow_arena(struct tr_network *net, enum tr_arena arena)
{
    char *host;

    if (!net->shadow || !(net->shadow_arenas >> arena & 1))
        return NULL;
    host = net->ops->shadow->host(net->shadow);
    return (float *)(void *)(host + bytes_before(net, net->shadow_arenas, (int)arena));
}

int tr_network_shadow_take(struct tr_network *net, struct im_text *text)
{
    const struct tr_shadow_ops *ops = net->ops->shadow;
    int err = 0;

    for (int i = 0; i < TR_ARENA_COUNT && err == 0; i++)
        if (net->shadow_arenas >> i & 1)
            err = ops->add(net->backend, net->shadow, bytes_before(net, net->shadow_arenas, i),
                           net->arenas[i], tr_network_floats(net, (enum tr_arena)i) * sizeof(float));
    if (err == 0)
        err = ops->send(net->backend, net->shadow);
    return err < 0 ? tr_network_failed(net, err, "snapshot", text) : 0;
}

int tr_network_shadow_arrived(struct tr_network *net, bool wait, struct im_text *text)
{
    int arrived = net->ops->shadow->arrived(net->backend, net->shadow, wait);

    return arrived < 0 ? tr_network_failed(net, arrived, "snapshot", text) : arrived;
}
