/* Collectives: what several ranks compute together. A small contract with one implementation a transport:
 *
 *     self   one rank: nothing to do
 *     gloo   CPU, over TCP on the loopback interface (gloo.cc, the only C++ of the product)
 *     nccl   GPUs of this machine (nccl.c, in imsuper-cuda.so)
 *
 * All ranks make the same calls in the same order with the same sizes. Sums have one fixed order of additions
 * for a number of ranks and a length, and every rank gets the very same bits: that is what keeps the weights
 * of all ranks equal without ever being sent.
 *
 * A rank that dies closes its connections; the others' calls then fail at once with -ECONNRESET. A rank that
 * lives and does not come makes them fail with -ETIMEDOUT. After an error only close() is of use. Called by
 * one thread at a time. */
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
struct CUstream_st; /* a stream of a device: only transports that work on devices know what it is */

#define TR_CARD_BYTES_MAX 12288 /* of what a rank publishes, with 64 ranks */

/* How the ranks find each other. Nothing of it may be readable by other users: cards hold the secrets by
 * which ranks know each other's connections. Each function returns 0, a negative errno, or a positive exit
 * status to leave with. */
struct tr_rendezvous {
    void *context;
    int (*publish)(void *context, const void *card, size_t bytes);
    /* Waits for the card of `rank`; room for TR_CARD_BYTES_MAX. */
    int (*look)(void *context, int rank, void *ret_card, size_t *ret_bytes);
    /* (optional) Asked again and again while this rank waits for others: 0, or a status to leave with. */
    int (*leave)(void *context);
};

struct tr_comm_config {
    int rank, ranks;
    int64_t timeout_ms; /* of one call, and of the meeting */
    int device;         /* a transport of devices: index of this rank's */
    bool deterministic; /* the same: sums in an order that no choice of the library changes, see the
                           transport */
    struct tr_rendezvous rendezvous;
};

enum tr_comm_type { TR_COMM_FLOAT, TR_COMM_DOUBLE };

struct tr_comm_ops {
    const char *name;
    /* Meets the other ranks. 0; negative errno with a sentence; what a function of
     * the rendezvous returned. */
    int (*open)(const struct tr_comm_config *config, struct tr_comm **ret_comm, struct im_text *text);
    void (*close)(struct tr_comm *comm); /* NULL is fine */

    /* x[i] <- the sum of all ranks' x[i]. */
    int (*allreduce_sum)(struct tr_comm *comm, float *x, size_t count, struct im_text *text);
    /* all[r][i] <- x[i] of rank r; all: [ranks][count]. */
    int (*allgather)(struct tr_comm *comm, const float *x, size_t count, float *ret_all,
                     struct im_text *text);
    /* Everyone gets the bytes of rank `root`. */
    int (*broadcast)(struct tr_comm *comm, void *data, size_t bytes, int root, struct im_text *text);

    /* (optional; a transport of a device has both) x[i] <- the sum of all ranks' x[i], in device memory, in
     * the order of the stream: started, not waited for, and as well recorded with the stream and replayed any
     * number of times. What goes wrong in the device shows in watch(), or where the host waits. The three
     * functions above take device memory too with such a transport; they wait. */
    int (*reduce_on)(struct tr_comm *comm, void *x, size_t count, enum tr_comm_type type,
                     struct CUstream_st *stream, struct im_text *text);
    /* Whether what was started still runs as it should: 0, or the errors above. */
    int (*watch)(struct tr_comm *comm, struct im_text *text);
    /* (optional) After an error, before anything that was recorded is freed: ends what waits for others. */
    void (*abort)(struct tr_comm *comm);

    /* (optional) Whether open() would find on this machine what it needs, in its library's version. Negative
     * errno with a sentence. */
    int (*check)(struct im_text *text);
};

/* The transport for that many ranks on CPUs. -ENOSYS with a sentence when this build has none. */
int tr_comm_find(int ranks, const struct tr_comm_ops **ret_ops, struct im_text *text);

extern const struct tr_comm_ops tr_comm_self;
extern const struct tr_comm_ops tr_comm_gloo; /* only where the build found Gloo */
extern const struct tr_comm_ops tr_comm_nccl; /* in imsuper-cuda.so, where the build found NCCL */

#ifdef __cplusplus
}
#endif

#endif
