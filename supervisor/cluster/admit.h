/* Which nodes are admitted: a hello against the head's table. */
#ifndef SUPERVISOR_CLUSTER_ADMIT_H
#define SUPERVISOR_CLUSTER_ADMIT_H

#include "supervisor/cluster/head.h"

/* Answers a hello: WELCOME, REFUSE with a sentence, or nothing yet. `who` as in sv_head_message(). */
void sv_head_admit(struct sv_head *h, uint32_t who, const struct sv_link_message *m);

/* The first line in which two texts of "name=value\n" differ, as a sentence; false: they are equal. */
bool sv_first_difference(const char *head, const char *other, size_t other_bytes, struct im_text *ret);

#endif
