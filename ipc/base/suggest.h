/* "Did you mean": the known word nearest to a mistyped one. */
#ifndef IPC_BASE_SUGGEST_H
#define IPC_BASE_SUGGEST_H

#include <stddef.h>

/* Edits (insert, delete, replace a byte, swap neighbours) from a to b; words over 63 bytes count
 * as 64 apart. */
int im_edit_distance(const char *a, const char *b);

/* Which of n words is nearest to `word`, when it is near enough to be meant (a third of its length, 3 at
 * most); else NULL. */
const char *im_nearest(const char *word, const char *const *words, size_t n);

#endif
