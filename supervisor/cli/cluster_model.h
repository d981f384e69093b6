/* How fast a run on several machines would be: a model of its steps, of the sums over the network and of the data.
 *
 * A machine alone takes `step` seconds for a step of its trainers, their sums among each other included. Over the
 * network, n trainers on N machines sum S bytes, at B bytes/s in each direction of a machine and a latency of a:
 *
 *   ring   2 (n - 1) (a + S / (n B))       Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, 2009; what Gloo does
 *   tree   2 ceil(log2 N) a + 2 S / B      Sanders, Speck, Traeff, Two-tree algorithms, 2009; what NCCL does where it is faster
 *
 * In both, what a machine sends passes its network once; its own trainers sum beside that. A part of the sums may go on beside the
 * step. Then the trainers agree: a message to rank 0 and back. */
#ifndef SUPERVISOR_CLI_CLUSTER_MODEL_H
#define SUPERVISOR_CLI_CLUSTER_MODEL_H

#include <stdbool.h>
#include <stdint.h>

struct sv_cluster_model {
    uint32_t ranks;                 /* of a machine */
    double batch;                   /* images of a trainer in a step */
    double step;                    /* seconds */
    double bytes;                   /* of the gradients */
    double bandwidth, latency;      /* bytes/s, seconds */
    double overlap;                 /* share of the step */
    bool ring;                      /* never a tree */
    double node_rate, storage_rate; /* images/s that a machine, and all storage, can give; 0: enough */
};

enum sv_cluster_limit { SV_CLUSTER_STEP, SV_CLUSTER_NETWORK, SV_CLUSTER_DATA, SV_CLUSTER_STORAGE };
const char *sv_cluster_limit_name(enum sv_cluster_limit limit);

struct sv_cluster_point {
    uint32_t nodes;
    double ring, tree; /* seconds of the sums; 0: one machine */
    double exposed;    /* of the faster one, what is not beside the step */
    double step;       /* seconds in all, the wait for images included */
    double rate;       /* images/s */
    double efficiency; /* of the rate that as many times one machine would have */
    double gain;       /* what the last machine added, as a share of what one alone gives */
    enum sv_cluster_limit limit;
};

void sv_cluster_at(const struct sv_cluster_model *m, uint32_t nodes, struct sv_cluster_point *ret);

/* The first number of machines from `low` to `high` of which the last adds less than half of what one alone gives; 0: there is none. */
uint32_t sv_cluster_end(const struct sv_cluster_model *m, uint32_t low, uint32_t high);

#endif
