/* Memory is allocated once, as one arena, so that a batch that is too large is an error message at the start
 * and not an out-of-memory kill in the middle of a run. */
#include "trainer/network/memory.h"

#include <errno.h>

#include "ipc/base/err.h"

static size_t planned(const struct tr_graph_config *config)
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
        return planned(&plain);
    }
    if (tr_backend_ref.open(1, &ref, NULL) < 0)
        return 0;
    alike.fuses = config->ops->fuses;
    plain.ops = &alike;
    plain.backend = ref;
    bytes = planned(&plain);
    tr_backend_ref.close(ref);
    return bytes;
}

static bool is_planned_within(const struct tr_graph_config *config, int n, size_t limit)
{
    struct tr_graph_config c = *config;
    size_t bytes;

    c.n = n;
    bytes = planned(&c);
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

int tr_memory_refuse(const struct tr_graph_config *config, size_t bytes, size_t limit, struct im_text *text)
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
