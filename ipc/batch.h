/* The batch ring of one rank: finished samples on their way to the trainer, at their final place in a batch.
 * Batch g lies in slot g mod M. States, order and deaths: PROTOCOL.md; the labels B1..B4 are its. */
#ifndef IPC_BATCH_H
#define IPC_BATCH_H

#include "ipc/run.h"

/* Augmenter, holding the ticket of this place TAKEN: claims the place. 0; 1 when it is already DONE (a
 * predecessor died after its commit: release the ticket, do nothing else); -ESTALE when the place is not ours
 * to write. (B1) */
int im_batch_claim(struct im_run *run, const struct im_place *at, uint32_t owner);

/* Augmenter: says what is at the place that it holds, once its pixels are complete; with a check that ties it to
 * the batch and the place. */
void im_batch_describe(const struct im_batch_view *view, const struct im_place *at, uint64_t sample,
                       int32_t label, uint32_t verdict);

/* Trainer: reads a place of a complete batch. False: it is not what an augmenter described, or not of the sample that
 * the plan has there. A word that says DONE too early, or anything else of a place that changed, is found by it; what
 * it returned can change no more. */
bool im_batch_read(const struct im_batch_view *view, uint64_t batch, uint32_t rank, uint32_t place,
                   uint64_t sample, int32_t *ret_label, uint32_t *ret_verdict);

/* Augmenter: commits pixels, label, verdict and sample id at once. 0 or -ESTALE. (B2) */
int im_batch_commit(struct im_run *run, const struct im_place *at, uint32_t owner);

/* Augmenter: gives up the place that it claimed, whatever it wrote there. Before the ticket is given back, as in
 * ipc/reclaim.c: whoever finds the ticket READY must find the place open. 0 or -ESTALE. (B4) */
int im_batch_abandon(struct im_run *run, const struct im_place *at, uint32_t owner);

/* Trainer: how many of the first `count` places of batch `batch`, starting at `from`, are DONE in a row; from
 * + that many
 * == count means the batch is ready. */
uint32_t im_batch_done(const struct im_run *run, uint32_t rank, uint64_t batch, uint32_t from,
                       uint32_t count);

/* Was it complete? It may have been given back since. For whoever watches; orders nothing. */
bool im_batch_was_done(const struct im_run *run, uint32_t rank, uint64_t batch, uint32_t count);

/* Trainer, when nothing of it is read any more: gives the batch's places back, for batch + M. (B3) */
void im_batch_free(struct im_run *run, uint32_t rank, uint64_t batch);

/* Images of all ranks' batches that are complete and not given back yet; for whoever watches. */
uint32_t im_batch_images(const struct im_run *run);

/* How many of rank's M batches are complete now, from `next` on, which may have been given back;
 * for status lines. */
uint32_t im_batch_ready_count(const struct im_run *run, const struct im_plan *plan, uint32_t rank,
                              uint64_t next);

#endif
