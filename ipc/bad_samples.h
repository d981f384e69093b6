/* The table of samples that could not be used, and the quarantine of those that killed their augmenter or whose
 * read hung. */
#ifndef IPC_BAD_SAMPLES_H
#define IPC_BAD_SAMPLES_H

#include "ipc/run.h"

/* Key of a sample in both tables. */
static inline uint64_t im_bad_key(enum im_split split, uint64_t sample)
{
    return (uint64_t)split << 63 | (sample + 1);
}

/* Augmenter, before it commits the sample: records it, once per sample however often it comes again. */
void im_bad_record(struct im_run *run, uint64_t key, uint32_t verdict, const char *name);

/* What the supervisor writes into the list of quarantined samples: a key with its check, so that a word that changed
 * names no other sample. */
uint64_t im_bad_quarantine_word(uint64_t key);

/* Of a sample in quarantine whose read hung, beside its key. */
#define IM_BAD_HANGS (UINT64_C(1) << 62)

/* Was it recorded, in this run? */
bool im_bad_is_recorded(const struct im_run *run, uint64_t key);

/* Is this sample left out? The verdict that it gets (enum im_verdict); 0: it is not. With IM_BAD_HANGS in the
 * key: because reading it hung too often. */
uint32_t im_bad_is_quarantined(const struct im_run *run, uint64_t key);

/* Supervisor: leaves a sample out from now on, for what `verdict` says. false: the table is full. */
bool im_bad_quarantine(struct im_run *run, uint64_t key, uint32_t verdict);

#endif
