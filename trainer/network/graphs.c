/* Finds or makes the graph for a batch's shape, and owns the memory that all graphs share. The number of
 * graphs is bounded: the least recently used one is evicted.
 *
 * That memory is allocated once, as one arena, so that a batch that is too large is an error message at the start
 * and not an out-of-memory kill in the middle of a run. */
#include "trainer/network/graphs.h"

#include <errno.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/network/impl.h"

enum {
    BATCH_MAX = 1 << 16,
    SIZE_MAX_PX = 1 << 12,
};

/* ---- whether a batch fits ---- */

static size_t plan_bytes(const struct tr_graph_config *config)
{
    struct tr_graph *graph = NULL;
    size_t bytes =
        tr_graph_new(config, &graph, NULL) == 0 ? tr_graph_bytes(graph) + tr_graph_own_bytes(graph) : 0;

    tr_graph_free(graph);
    return bytes;
}

size_t tr_memory_estimate(const struct tr_graph_config *config)
{
    struct tr_graph_config plain = *config;
    struct tr_backend *ref = NULL;
    struct tr_backend_ops alike = tr_backend_ref;
    size_t bytes;

    if (config->ops->measure) {
        plain.only_measure = true;
        return plan_bytes(&plain);
    }
    if (tr_backend_ref.open(1, &ref, NULL) < 0)
        return 0;
    alike.fuses = config->ops->fuses;
    plain.ops = &alike;
    plain.backend = ref;
    bytes = plan_bytes(&plain);
    tr_backend_ref.close(ref);
    return bytes;
}

static bool is_planned_within(const struct tr_graph_config *config, int n, size_t limit)
{
    struct tr_graph_config c = *config;
    size_t bytes;

    c.n = n;
    bytes = plan_bytes(&c);
    return bytes > 0 && bytes <= limit;
}

/* From an estimate that is a few per cent off. */
static int largest_planned(const struct tr_graph_config *config, int n, size_t limit)
{
    while (n > 0 && !is_planned_within(config, n, limit))
        n -= n / 64 + 1;
    while (n + 1 < config->n && is_planned_within(config, n + n / 64 + 1, limit))
        n += n / 64 + 1;
    return n;
}

int tr_memory_largest(const struct tr_graph_config *config, size_t limit)
{
    struct tr_graph_config c = *config;
    int fits = 0, too_many = config->n + 1;

    while (too_many - fits > 1) {
        size_t bytes;

        c.n = fits + (too_many - fits) / 2;
        bytes = tr_memory_estimate(&c);
        if (bytes > 0 && bytes <= limit)
            fits = c.n;
        else
            too_many = c.n;
    }
    return config->ops->measure ? fits : largest_planned(config, fits, limit);
}

static int refuse(const struct tr_graph_config *config, size_t bytes, size_t limit, struct im_text *text)
{
    const double gib = 1 << 30;
    int largest = tr_memory_largest(config, limit);

    if (largest == 0)
        return im_fail(text, -ENOMEM,
                       "%s needs %.2f GiB at batch %d of %d x %d pixels in %s, but only %.2f GiB are "
                       "available: not even one image fits",
                       config->model->name, (double)bytes / gib, config->n, config->size, config->size,
                       config->training ? "training" : "validation", (double)limit / gib);
    return im_fail(text, -ENOMEM,
                   "%s needs %.2f GiB at batch %d of %d x %d pixels in %s, but only %.2f GiB are available; "
                   "the largest batch that fits is %d",
                   config->model->name, (double)bytes / gib, config->n, config->size, config->size,
                   config->training ? "training" : "validation", (double)limit / gib, largest);
}

/* ---- the graph of a shape ---- */

static void free_captured(struct tr_network *net, struct tr_graph_entry *e)
{
    for (int i = 0; i < TR_STEP_KINDS && net->backend && net->ops->step->captured_graph_free; i++) {
        net->ops->step->captured_graph_free(net->backend, e->recordings[i]);
        e->recordings[i] = NULL;
    }
}

/* Grows the arena of activations; loses its contents, which is fine between steps. */
static int reserve_values(struct tr_network *net, const struct tr_graph *graph, struct im_text *text)
{
    const size_t bytes = tr_graph_bytes(graph);
    int err;

    if (bytes <= net->value_bytes)
        return 0;
    for (int i = 0; i < TR_GRAPHS_MAX; i++)
        free_captured(net, &net->graphs[i]);
    net->ops->buffer_free(net->backend, net->values, net->value_bytes);
    net->values = NULL;
    net->value_bytes = 0;
    err = net->ops->buffer_new(net->backend, bytes, (void **)&net->values);
    if (err < 0)
        return im_fail(text, err,
                       "no memory for activations: %s needs %zu MiB for this batch; use a smaller batch",
                       net->model->name, bytes >> 20);
    net->value_bytes = bytes;
    net->unshared_bytes = tr_graph_bytes_unshared(graph);
    return 0;
}

/* The entry of this shape, or the one to replace. */
static struct tr_graph_entry *find_entry(struct tr_network *net, int n, int size, bool training)
{
    struct tr_graph_entry *oldest = &net->graphs[0];

    for (int i = 0; i < TR_GRAPHS_MAX; i++) {
        struct tr_graph_entry *e = &net->graphs[i];

        if (e->graph && e->n == n && e->size == size && e->training == training)
            return e;
        if (!e->graph ? oldest->graph != NULL : oldest->graph && e->used < oldest->used)
            oldest = e;
    }
    return oldest;
}

const struct tr_graph_entry *tr_network_find(struct tr_network *net, int n, int size, bool training)
{
    const struct tr_graph_entry *e = find_entry(net, n, size, training);

    return e->graph && e->n == n && e->size == size && e->training == training ? e : NULL;
}

/* Upper bound of the arena of activations in bytes; SIZE_MAX: unknown. */
static size_t memory_limit(const struct tr_network *net)
{
    const size_t copies = net->arena_bytes - net->shadow_bytes; /* a shadow is one of them */
    size_t left = net->ops->memory_left ? net->ops->memory_left(net->backend) : 0;

    if (net->memory_max > 0)
        return net->memory_max;
    if (left == 0)
        return SIZE_MAX;
    return net->value_bytes + (left > copies ? left - copies : 0);
}

/* Plans the graph; the estimate comes first because plans of a far too large batch would already allocate
 * scratch memory. */
static int plan_graph(struct tr_network *net, const struct tr_graph_config *config,
                      struct tr_graph **ret_graph, struct im_text *text)
{
    size_t bytes = tr_memory_estimate(config), limit = memory_limit(net);
    struct tr_graph *graph = NULL;
    int err;

    if (bytes > net->value_bytes && bytes > limit)
        return refuse(config, bytes, limit, text);
    err = tr_graph_new(config, &graph, text);
    if (err < 0)
        return err;
    bytes = tr_graph_bytes(graph);
    limit = memory_limit(net);
    if (bytes > net->value_bytes && bytes > limit) {
        tr_graph_free(graph);
        return refuse(config, bytes, limit, text);
    }
    /* In the arena, of which nothing is needed between steps; or before it is allocated, in memory for it. */
    err = net->ops->tune ? net->ops->tune(net->backend, net->values, net->value_bytes, text) : 0;
    if (err < 0) {
        tr_graph_free(graph);
        return err;
    }
    *ret_graph = graph;
    return 0;
}

static struct tr_graph_config describe(const struct tr_network *net, int n, int size, bool training)
{
    struct tr_graph_config config = {.ops = net->ops,
                                     .bn_sync = net->bn_sync,
                                     .dw_apart = net->dw_apart,
                                     .backend = net->backend,
                                     .model = net->model,
                                     .groups = &net->groups,
                                     .n = n,
                                     .size = size,
                                     .training = training,
                                     .seed = net->seed,
                                     .loss = net->loss,
                                     .precision = net->precision};

    memcpy(config.mean, net->mean, sizeof config.mean);
    memcpy(config.std, net->std, sizeof config.std);
    return config;
}

int tr_network_largest(struct tr_network *net, int size, int most, size_t kept, struct im_text *text)
{
    const struct tr_graph_config config = describe(net, most < BATCH_MAX ? most : BATCH_MAX, size, true);
    const size_t limit = memory_limit(net);

    if (limit == SIZE_MAX)
        return im_fail(text, -ENOTSUP, "the %s backend does not say how much memory a batch may take",
                       net->ops->name);
    return limit > kept ? tr_memory_largest(&config, limit - kept) : 0;
}

int tr_network_entry(struct tr_network *net, int n, int size, bool training,
                     struct tr_graph_entry **ret_entry, struct im_text *text)
{
    struct tr_graph_entry *e = find_entry(net, n, size, training);
    int err;

    if (!e->graph || e->n != n || e->size != size || e->training != training) {
        const struct tr_graph_config config = describe(net, n, size, training);
        struct tr_graph *graph = NULL;

        if (n < 1 || n > BATCH_MAX || size < 1 || size > SIZE_MAX_PX)
            return im_fail(text, -EINVAL,
                           "a batch of %d images of %d x %d is outside 1 to %d images of at most %d", n, size,
                           size, BATCH_MAX, SIZE_MAX_PX);
        err = plan_graph(net, &config, &graph, text);
        if (err < 0)
            return err;
        free_captured(net, e);
        tr_graph_free(e->graph);
        *e = (struct tr_graph_entry){.graph = graph, .n = n, .size = size, .training = training};
    }
    err = reserve_values(net, e->graph, text);
    if (err < 0)
        return err;
    e->used = ++net->clock;
    *ret_entry = e;
    return 0;
}

void tr_network_drop_graphs(struct tr_network *net, bool only_training)
{
    for (int i = 0; i < TR_GRAPHS_MAX; i++) {
        struct tr_graph_entry *e = &net->graphs[i];

        if (!e->graph || (only_training && !e->training))
            continue;
        free_captured(net, e);
        tr_graph_free(e->graph);
        *e = (struct tr_graph_entry){0};
    }
}

int tr_network_graph(struct tr_network *net, int n, int size, bool training, struct tr_graph **ret_graph,
                     struct im_text *text)
{
    struct tr_graph_entry *e = NULL;
    int err = tr_network_entry(net, n, size, training, &e, text);

    *ret_graph = err < 0 ? NULL : e->graph;
    return err;
}

int tr_network_prepare(struct tr_network *net, int n, int size, bool training, struct im_text *text)
{
    struct tr_graph *graph = NULL;

    return tr_network_graph(net, n, size, training, &graph, text);
}
