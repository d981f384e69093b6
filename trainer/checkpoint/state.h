/* A network's tensors to and from a checkpoint: torchvision's names for the model, and beside them
 *
 *     optimizer.momentum.*                            SGD, LARS; Muon's of hidden matrices
 *     optimizer.exp_avg.*, optimizer.exp_avg_sq.*     AdamW, LAMB, as PyTorch calls them
 *     ema.*                                           averaged weights and statistics
 *     optimizer.gradient.*                            the sum of an unfinished accumulation window; only then
 *     optimizer.before.*                              batch norm's statistics before that window
 */
#ifndef TRAINER_CHECKPOINT_STATE_H
#define TRAINER_CHECKPOINT_STATE_H

#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/position.h"
#include "trainer/network/network.h"

/* Host copies of a network's arenas, and the table of tensors over them. */
struct tr_state {
    struct tr_network *net;        /* borrowed */
    float *arenas[TR_ARENA_COUNT]; /* NULL: not saved */
    int64_t *tracked; /* apart, as the arenas are: the table has its address, and copies of this struct */
    struct tr_tensor *tensors;
    void **destinations;
    char (*names)[TR_TENSOR_NAME_MAX + 24]; /* names of the tensors with a prefix */
    size_t name_count;
    size_t count;            /* tensors between two accumulation windows */
    size_t window_count;     /* and within one */
    size_t old_window_count; /* without the statistics before it */
    char *classes;           /* metadata (classes.h); NULL: none */
    bool borrows;            /* the arenas are another's */
};

/* -ENOMEM. */
int tr_state_init(struct tr_state *s, struct tr_network *net);
/* The same over arenas in the network's shadow, which is opened for them: what tr_state_take() has copied arrives there.
 * -ENOTSUP, -ENOMEM: there is none, and tr_state_collect() of another remains.
 * tr_state_fini() closes the shadow. */
int tr_state_init_shadow(struct tr_state *s, struct tr_network *net, struct im_text *text);
void tr_state_fini(struct tr_state *s); /* zeroed is fine */

/* Whatever is written from now on names the classes: a JSON array, malloc'ed, which the state takes; or NULL. */
void tr_state_name_classes(struct tr_state *s, char *classes);

/* Copies the network's arenas to the host: what tr_state_save() writes. */
int tr_state_collect(struct tr_state *s, struct im_text *text);

/* Of a state over a shadow: has the network copied as it is now. */
int tr_state_take(struct tr_state *s, struct im_text *text);

/* The collected state to files: see tr_checkpoint_save. */
int tr_state_save(struct tr_state *s, struct tr_checkpoint_store *store,
                  const struct tr_position_text *position, int epoch, unsigned best, struct im_text *text);

/* Collects, and writes the bytes of the state's file to a sink; `name` names them in errors. */
int tr_state_put(struct tr_state *s, const char *name, const struct tr_sink *sink,
                 const struct tr_position_text *position, struct im_text *text);
/* The same of what was collected, or has arrived in a shadow. */
int tr_state_put_collected(const struct tr_state *s, const char *name, const struct tr_sink *sink,
                           const struct tr_position_text *position, struct im_text *text);

/* At least as many bytes as the state of a trainer of the same network that accumulates has more; 0 where this one does. */
uint64_t tr_state_bytes_of_window(const struct tr_state *s);
/* Upper bound of tr_state_put()'s bytes with these keys of a position, whatever their values. */
int tr_state_bytes_max(struct tr_state *s, const struct tr_position_text *position, uint64_t *ret_bytes,
                       struct im_text *text);

/* 64-bit hashes of a state by kind, to compare with another process: all but those from TR_STATE_COMPARED on, which are each
 * rank's own (statistics before the window, which rank 0's are not copied over). */
enum {
    TR_STATE_PARAMETERS,
    TR_STATE_OPTIMIZER,
    TR_STATE_AVERAGES,
    TR_STATE_STATISTICS,
    TR_STATE_COMPARED,
    TR_STATE_BEFORE = TR_STATE_COMPARED,
    TR_STATE_KINDS
};
int tr_state_hashes(struct tr_state *s, uint64_t ret_hashes[TR_STATE_KINDS], struct im_text *text);

/* Restores the network from a checkpoint; `window`: with the gradients of an unfinished window, which are left out
 * otherwise: then it begins again, with the statistics from before it. -EBADMSG if it is of another network. */
int tr_state_restore(struct tr_state *s, const struct tr_safetensors *from, bool window,
                     struct im_text *text);

#endif
