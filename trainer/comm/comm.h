/* Collectives of the trainers' ranks: one contract, one implementation for each transport.
 *
 *     self   one rank: nothing to do
 *     gloo   CPU, over TCP; on one machine on the loopback interface (gloo.cc, the only C++ of the product)
 *     nccl   GPUs (backends/cuda/nccl.c, in imsuper-cuda.so)
 *
 * Beside it the exchange of a few numbers where ranks are on several machines (hub.h).
 *
 * All ranks make the same calls in the same order with the same sizes. Sums have one fixed order of additions
 * for a number of ranks and a length, and every rank gets the same bits: that keeps the weights of all ranks
 * equal without sending them.
 *
 * A rank that exits closes its connections; calls of the others then fail at once with -ECONNRESET. A live
 * rank that does not join makes them fail with -ETIMEDOUT. After an error only close() may be called. Called
 * by one thread at a time.
 *
 * In this folder: transports on CPUs. No code here depends on networks, batches or the trainer; a transport
 * on devices lives in the folder of its backend. */
#ifndef TRAINER_COMM_COMM_H
#define TRAINER_COMM_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct im_text;
struct tr_comm;     /* an opened communicator */
struct CUstream_st; /* a CUDA stream; opaque here */

#define TR_CARD_BYTES_MAX 12288 /* of the card of a rank, with 64 ranks */

/* How the ranks find each other: each publishes a card, the bytes that others need to connect to it. Cards
 * hold the secrets that authenticate connections, so other users must not be able to read them. Each function
 * returns 0, a negative errno, or a positive exit status to leave with. */
struct tr_rendezvous {
    void *context;
    int (*publish)(void *context, const void *card, size_t bytes);
    /* Waits for the card of `rank`; room for TR_CARD_BYTES_MAX. */
    int (*fetch)(void *context, int rank, void *ret_card, size_t *ret_bytes);
    /* (optional) Polled while this rank waits for others: 0, or a status to leave with. */
    int (*leave)(void *context);
};

struct tr_comm_config {
    int rank, ranks;
    int64_t timeout_ms; /* of one call, and of open() */
    int device;         /* a transport on devices: index of this rank's */
    bool deterministic; /* also for devices: fixes the order of sums, see the transport */
    const char *
        address; /* numeric, of this machine, where ranks of others reach it; "" or NULL: all are on this one */
    struct tr_rendezvous rendezvous;
};

enum tr_comm_type { TR_COMM_FLOAT, TR_COMM_DOUBLE };

struct tr_comm_ops {
    const char *name;
    /* Connects to the other ranks. 0; negative errno with a sentence; the result of a rendezvous function. */
    int (*open)(const struct tr_comm_config *config, struct tr_comm **ret_comm, struct im_text *text);
    /* NULL is fine. A transport on devices waits until all captured graphs that refer to it are freed, which in
     * turn wait for work that a lost rank never ends: after an error it is not closed, the process exits. */
    void (*close)(struct tr_comm *comm);

    /* x[i] <- the sum of all ranks' x[i]. */
    int (*allreduce_sum)(struct tr_comm *comm, float *x, size_t count, struct im_text *text);
    /* (optional) x[i] <- ((before[i] + x[i] of rank 0) + x[i] of rank 1) + ... of the first `ranks`, whose x are in host
     * memory, one addition after the other; before: the same on all ranks, NULL: it begins with rank 0's. So the bits are
     * those of one rank that adds all, whatever the number of ranks. As many bytes as allreduce_sum(). */
    int (*sum_in_order)(struct tr_comm *comm, float *x, const float *before, size_t count, uint32_t ranks,
                        struct im_text *text);
    /* all[r][i] <- x[i] of rank r; all: [ranks][count]. */
    int (*allgather)(struct tr_comm *comm, const float *x, size_t count, float *ret_all,
                     struct im_text *text);
    /* Copies the bytes of rank `root` to all ranks. */
    int (*broadcast)(struct tr_comm *comm, void *data, size_t bytes, int root, struct im_text *text);

    /* (optional; transports on devices have both) x[i] <- the sum of all ranks' x[i], in device memory, in
     * the order of the stream: enqueued, not waited for, and may be captured with the stream and replayed.
     * Errors of the device are returned by watch(), or where the host waits. With such a transport the three
     * functions above accept device memory too; they wait. */
    int (*reduce_on)(struct tr_comm *comm, void *x, size_t count, enum tr_comm_type type,
                     struct CUstream_st *stream, struct im_text *text);
    /* Polls the enqueued work: 0 while it runs as it should, or the errors above. */
    int (*watch)(struct tr_comm *comm, struct im_text *text);
    /* (optional) Checks that this machine has the library that open() needs, in a supported version. Negative
     * errno with a sentence. */
    int (*check)(struct im_text *text);
};

/* The transport for a number of ranks on CPUs. -ENOSYS with a sentence if this build has none. */
int tr_comm_find(int ranks, const struct tr_comm_ops **ret_ops, struct im_text *text);

extern const struct tr_comm_ops tr_comm_self;
extern const struct tr_comm_ops tr_comm_gloo; /* only where the build found Gloo */
extern const struct tr_comm_ops tr_comm_nccl; /* in imsuper-cuda.so, where the build found NCCL */

#ifdef __cplusplus
}
#endif

#endif
