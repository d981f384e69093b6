/* The encoded ring: the bytes of files on their way from readers to augmenters. Ticket t lives in cell t mod
 * N. States, order and deaths: PROTOCOL.md; the labels E1..E5 are its. */
#ifndef IPC_ENCODED_H
#define IPC_ENCODED_H

#include <stdbool.h>

#include "ipc/cell_word.h"
#include "ipc/run.h"

/* A cell that this process holds. */
struct im_encoded {
    uint64_t ticket;
    uint32_t cell;
    struct im_encoded_meta *meta;
    unsigned char *bytes; /* cell_bytes of room; readers write, augmenters read */
};

/* Reader: takes the oldest FREE cell below ticket `limit` as `owner`. 1 taken, 0 none. (E1) */
int im_encoded_claim(struct im_run *run, uint32_t owner, uint64_t limit, struct im_encoded *ret);

/* Reader: hands the filled cell on. 0, or -ESTALE: the cell was taken from us, we are held for dead: leave at
 * once. (E2) */
int im_encoded_publish(struct im_run *run, uint32_t owner, const struct im_encoded *e);

/* Augmenter: takes the oldest READY cell as `owner`, if its place in the batch ring is EMPTY for it. 1 taken,
 * 0 none. (E3) */
int im_encoded_take(struct im_run *run, const struct im_plan *plan, uint32_t owner, struct im_encoded *ret);

/* What meta.hash must be: a hash of the ticket and all of meta but the name, the key of the bytes among it. */
uint64_t im_encoded_hash(const struct im_encoded *e);

/* Reader: what meta says of the bytes is complete: adds their key, and the hash of it all. */
void im_encoded_seal(const struct im_encoded *e);

/* The cell holds parts of an image, one after the other, that is larger than a cell. */
static inline bool im_encoded_is_packed(const struct im_encoded_meta *meta)
{
    return meta->to > 0 && !meta->by_reference && meta->bytes < meta->image_bytes;
}

/* Augmenter: meta is that of this ticket, as its reader sealed it, and its bytes fit the cell. */
bool im_encoded_is_sealed(const struct im_run *run, const struct im_encoded *e);

/* Bytes of a cell change after they were read where a read of a reader that has died ends late, or a process writes where it should
 * not, as one does that is about to crash. So all cells are compared once a process has died (im_encoded_compare_all(), for good), and
 * before that those of one ticket in so many, which finds memory that fails. */
#define IM_COMPARED_EACH 16
void im_encoded_compare_all(struct im_run *run);
bool im_encoded_must_compare(const struct im_run *run, const struct im_encoded *e);

/* Augmenter, of a sealed cell: the bytes are those that were read. Costs a look at all of them, which is cheap where
 * they were decoded just before. */
bool im_encoded_is_whole(const struct im_encoded *e);

/* Augmenter: gives the cell back to the readers, for ticket + N. 0 or -ESTALE. (E4) */
int im_encoded_release(struct im_run *run, uint32_t owner, const struct im_encoded *e);

/* Augmenter: the cell holds parts of a file that do not do: says so to whoever reads the ticket again. Before
 * im_encoded_reject(). */
void im_encoded_ask_whole(struct im_run *run, const struct im_encoded *e);
/* Reader, of a claimed cell: was that said of its ticket? */
bool im_encoded_asks_whole(const struct im_encoded *e);

/* Augmenter: the bytes are not what their reader hashed: sends the ticket back to be read again. 0 or
 * -ESTALE. (E5) */
int im_encoded_reject(struct im_run *run, uint32_t owner, const struct im_encoded *e);

/* How many cells are in `state` now; a snapshot for status lines. */
uint32_t im_encoded_count(const struct im_run *run, enum im_state state);

#endif
