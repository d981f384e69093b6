/* The plan cache: engine choices timed before, on disk, so that only the first run on a GPU spends time on
 * autotuning.
 *
 * A text file, one choice a line, each with a checksum:
 *
 *     checksum <tab> scope <tab> key <tab> engine <tab> nanoseconds <tab> tried <tab> listed
 *
 * The scope is the library's version and the GPU, the key the operation, its shape, type and constraints.
 * Damaged lines and other formats are ignored, and the choice is made again. Ranks may save at the same time:
 * the file is replaced atomically, and at worst the choices of one rank are timed again next time. Errors:
 * negative errno. */
#ifndef TRAINER_BACKENDS_CUDA_PLAN_CACHE_H
#define TRAINER_BACKENDS_CUDA_PLAN_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct im_text;
struct tr_plan_cache;

#define TR_PLANS_MAX 8192     /* choices in a file; beyond that those of other scopes are evicted first */
#define TR_PLANS_LINE_MAX 512 /* bytes of a line */
#define TR_PLANS_BLOB_MAX ((size_t)64 << 20)

/* $XDG_CACHE_HOME/imsuper or ~/.cache/imsuper. -ENOENT: neither is set. */
int tr_plan_cache_path(char *ret_path, size_t size);

/* path: NULL keeps choices in memory only. A missing or unreadable file counts as empty. -ENOMEM. */
int tr_plan_cache_open(const char *path, const char *scope, struct tr_plan_cache **ret_plans);
void tr_plan_cache_close(struct tr_plan_cache *plans); /* does not save; NULL is fine */

/* A chosen engine, and how far the search for it has come. */
struct tr_plan_choice {
    const char *engine;
    uint64_t ns;       /* that a run of it takes; 0: it was not timed */
    int tried, listed; /* engines that were tried, of those that cuDNN lists, in its order */
};

/* The choice for this key in this scope. False: not known. The name is valid until the next add. */
bool tr_plan_cache_find(const struct tr_plan_cache *plans, const char *key, struct tr_plan_choice *ret);

/* Adds or replaces. -EINVAL: a tab or newline in a name, or too long; -ENOMEM. */
int tr_plan_cache_add(struct tr_plan_cache *plans, const char *key, const struct tr_plan_choice *choice);

/* Writes the added choices to the file, merged with what others wrote meanwhile. Writes nothing if nothing
 * was added. */
int tr_plan_cache_save(struct tr_plan_cache *plans, struct im_text *text);

/* The lock that lets one process at a time make choices that all need. lock does not wait: 1: held until
 * unlock, close or exit, and choices that others have saved since open are loaded; 0: another process holds
 * it; negative errno: there is no file, or its file system has no locks. Each scope has its own lock. */
int tr_plan_cache_lock(struct tr_plan_cache *plans);
void tr_plan_cache_unlock(struct tr_plan_cache *plans);

/* The plan of a choice with its compiled code, so that it is not compiled at each start. Stored beside the
 * choices as PATH.d/NUMBER, with a checksum. load: -ENOENT: there is none, or it is damaged, or of another
 * choice; the caller frees *ret_bytes. store: a sentence if it cannot be written. */
int tr_plan_cache_load(const struct tr_plan_cache *plans, const char *key, const char *engine,
                       char **ret_bytes, size_t *ret_n);
int tr_plan_cache_store(const struct tr_plan_cache *plans, const char *key, const char *engine,
                        const char *bytes, size_t n, struct im_text *text);

#endif
