/* Checks that a batch fits into memory before any of it is allocated. */
#ifndef TRAINER_NETWORK_GRAPHS_H
#define TRAINER_NETWORK_GRAPHS_H

#include <stddef.h>

#include "trainer/network/graph.h"

/* The arena of activations that this graph will need, and what its plans need besides: exact if the backend
 * can measure its ops; otherwise from the plans of the reference backend, which allocate nothing: layouts
 * with padded channels need a little more. 0: cannot be planned. */
size_t tr_memory_estimate(const struct tr_graph_config *config);

/* The largest batch up to config->n that takes at most `limit` bytes, planned by the config's own backend; 0: not even
 * one image. May take a second. */
int tr_memory_largest(const struct tr_graph_config *config, size_t limit);

#endif
