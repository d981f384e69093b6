/* The choices of engines that were timed before, on disk: so that only the first run on a GPU takes its time.
 *
 * A text file, one choice a line, each with a checksum:
 *
 *     checksum <tab> scope <tab> key <tab> engine <tab> nanoseconds
 *
 * The scope names the library's version and the GPU, the key the operation, its shape, type and rules. What
 * is damaged or from another format is not seen, and the choice is made again. Ranks may save at the same
 * time: the file is replaced as a whole, and the worst that happens is that one's choices are timed again
 * next time. Errors: negative errno. */
#ifndef TRAINER_BACKENDS_CUDA_PLAN_CACHE_H
#define TRAINER_BACKENDS_CUDA_PLAN_CACHE_H

#include <stddef.h>
#include <stdint.h>

struct im_text;
struct tr_plan_cache;

#define TR_PLANS_MAX 8192     /* choices in a file; beyond that those of other scopes go first */
#define TR_PLANS_LINE_MAX 512 /* bytes of a line */
#define TR_PLANS_BLOB_MAX ((size_t)64 << 20)

/* Below $XDG_CACHE_HOME/imsuper or ~/.cache/imsuper. -ENOENT: nowhere. */
int tr_plan_cache_path(char *ret_path, size_t size);

/* path: NULL for choices in memory only. A missing or unreadable file is an empty one. -ENOMEM. */
int tr_plan_cache_open(const char *path, const char *scope, struct tr_plan_cache **ret_plans);
void tr_plan_cache_close(struct tr_plan_cache *plans); /* saves nothing; NULL is fine */

/* The engine for this key in this scope; NULL: not known. Valid until the next add. */
const char *tr_plan_cache_find(const struct tr_plan_cache *plans, const char *key);

/* Adds or replaces. -EINVAL: a tab or newline in a name, or too long; -ENOMEM. */
int tr_plan_cache_add(struct tr_plan_cache *plans, const char *key, const char *engine, uint64_t ns);

/* Writes what was added into the file, beside what others wrote meanwhile. Nothing added: nothing written. */
int tr_plan_cache_save(struct tr_plan_cache *plans, struct im_text *text);

/* So that one process at a time works out what all need. lock, without waiting: 1: held until unlock,
 * close or the process's end, and what others have saved since open is known now; 0: another process
 * holds it; negative errno: there is no file, or its file system has no locks. Processes of other scopes
 * have another lock. */
int tr_plan_cache_lock(struct tr_plan_cache *plans);
void tr_plan_cache_unlock(struct tr_plan_cache *plans);

/* What goes with a choice: the engine's plan with its compiled code, so that it is not compiled at each
 * start. In a file of its own beside the choices, PATH.d/NUMBER, with a checksum. load: -ENOENT: there is
 * none, or it is damaged, or another's; *ret_bytes is the caller's to free(). store: a sentence where it
 * cannot be written. */
int tr_plan_cache_load(const struct tr_plan_cache *plans, const char *key, const char *engine,
                       char **ret_bytes, size_t *ret_n);
int tr_plan_cache_store(const struct tr_plan_cache *plans, const char *key, const char *engine,
                        const char *bytes, size_t n, struct im_text *text);

#endif
