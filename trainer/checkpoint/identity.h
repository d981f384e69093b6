/* Of a run on several machines: which run a snapshot is of, and which is the later one. Each machine holds snapshots
 * of its own, and a machine may come back with one from which the others have not gone on.
 *
 * A run has a number, drawn at its first start and kept in its folder (nodes/identity.json). Each start of its command,
 * and in it each generation of trainers, goes on from the newest snapshot: so of two snapshots the one of the later
 * generation is the newer one, whatever their positions, and of one generation the one that is further.
 *
 * Both stand in the metadata of a snapshot, under its checksum; checkpoints, which equal runs write alike, have none. */
#ifndef TRAINER_CHECKPOINT_IDENTITY_H
#define TRAINER_CHECKPOINT_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"
#include "trainer/checkpoint/position.h"

struct tr_safetensors;

#define TR_IDENTITY_RUN_MAX (UINT64_C(1) << 52)    /* numbers travel as doubles */
#define TR_IDENTITY_STARTS_MAX (UINT64_C(1) << 20) /* starts of a run */

struct tr_identity {
    uint64_t run;        /* 0: none */
    uint64_t generation; /* start * 2^32 + generation of trainers in it */
};

/* What each rank has, for all to decide alike where they continue. Positions are 1 + the next batch, in the plan of now;
 * 0: there is none. */
struct tr_offer {
    struct tr_identity id; /* of its snapshot; run 0: it has none, and rank 0 no number either */
    uint64_t position;     /* of its snapshot */
    /* Of rank 0: its checkpoint, a number for a run that begins, and which start this is by its own count. */
    uint64_t file_position, new_run, starts;
};

/* The run is rank 0's; where that has nothing at all, the one that another rank has something of. */
uint64_t tr_offers_run(const struct tr_offer *all, uint32_t ranks);
/* The rank of the newest snapshot of the run; 0 also where rank 0's checkpoint is as far, or there is nothing. */
uint32_t tr_offers_owner(const struct tr_offer *all, uint32_t ranks, uint64_t run);
/* Which start of the run this is: later than any of which a rank has something, also where rank 0 has lost its count.
 * `goes_on`: it is one that has had trainers before, so as late is enough. */
uint64_t tr_offers_start(const struct tr_offer *all, uint32_t ranks, uint64_t run, bool goes_on);

/* A number for a run that begins. */
uint64_t tr_identity_draw(void);

/* Of the run in that folder: its number and its starts so far, or 0 and 0 where it has none. 0, or negative errno with a
 * sentence: there is a file, and it cannot be used. */
int tr_identity_load(const char *run_dir, uint64_t *ret_run, uint64_t *ret_starts, struct im_text *text);
int tr_identity_store(const char *run_dir, uint64_t run, uint64_t starts, struct im_text *text);

/* To and from the metadata of a snapshot. False: there is none, or no whole one. */
void tr_identity_write(const struct tr_identity *id, struct tr_position_text *ret);
bool tr_identity_read(const struct tr_safetensors *state, struct tr_identity *ret);

#endif
