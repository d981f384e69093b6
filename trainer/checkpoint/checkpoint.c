/* Saves and rotates checkpoints: checkpoint.h says which files there are and why. load.c reads them, export.c
 * writes the models beside the states.
 *
 * A save, step by step, with what a crash right after it leaves (its fault point in brackets):
 *
 *   1. next.state is written [checkpoint.written]
 *      the old state; next.state is thrown away
 *   2. last.state gets a second name, last.prev.state [checkpoint.rotated]
 *      both names are the old state
 *   3. next.state becomes last.state [checkpoint.state]
 *      the new state; last.safetensors is old: repaired
 *   4. last, epoch_NNN, best and their averages are replaced, one by one [checkpoint.models]
 *      the new state; epoch_NNN and best may be those of before
 *   5. epoch files beyond the newest K are removed
 *      some too many: removed by the next save
 *
 * A full disk is detected in step 1, while both old states still exist. In step 2 the name is moved by link
 * and rename, so that last.state exists at every instant; on file systems without hard links it is renamed
 * away, and a crash then leaves last.prev.state alone, which load uses with a warning.
 *
 * Where a name in steps 2 and 3 may not be replaced (EPERM, EBUSY: an immutable file, a mount point), no wait helps:
 * next.state stays whole, as kept.state, until a save gets through.
 *
 * Nothing here retries. */
#include "trainer/checkpoint/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/aside.h"
#include "ipc/base/err.h"
#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "ipc/base/log.h"
#include "trainer/checkpoint/impl.h"

#define FORMAT_KEY "format"

enum { RESERVED_COUNT = 4 };

int tr_checkpoint_path(const struct tr_checkpoint_store *store, const char *name, char path[PATH_MAX],
                       struct im_text *text)
{
    if (snprintf(path, PATH_MAX, "%s/%s", store->directory, name) < PATH_MAX)
        return 0;
    return im_fail(text, -ENAMETOOLONG, "the path of %s in %.200s... is too long", name, store->directory);
}

int tr_checkpoint_store_view(struct tr_checkpoint_store *store, const char *directory, struct im_text *text)
{
    *store = (struct tr_checkpoint_store){0};
    if (snprintf(store->directory, sizeof store->directory, "%s", directory) >= (int)sizeof store->directory)
        return im_fail(text, -ENAMETOOLONG, "the path %.200s... is too long", directory);
    return 0;
}

int tr_checkpoint_store_open(struct tr_checkpoint_store *store, const char *directory, int epochs_kept,
                             struct im_text *text)
{
    char next[PATH_MAX];
    int err = tr_checkpoint_store_view(store, directory, text);

    if (err < 0)
        return err;
    store->epochs_kept = epochs_kept;
    err = im_mkdirs(directory, 0777, text);
    if (err == 0)
        err = tr_checkpoint_path(store, TR_CHECKPOINT_NEXT_NAME, next, text);
    if (err < 0)
        return err;
    unlink(next); /* one that stays, on a disk that takes no writes now, is replaced by the next save */
    err = im_file_sweep(directory);
    return err < 0 ? im_fail(text, err, "cannot read %s: %s", directory, strerror(-err)) : 0;
}

bool tr_checkpoint_is_reserved(const char *key)
{
    return strcmp(key, FORMAT_KEY) == 0 || strcmp(key, TR_CHECKPOINT_STATE_KEY) == 0 ||
           strcmp(key, TR_SEAL_CRC_KEY) == 0 || strcmp(key, TR_SEAL_CHECKSUM_KEY) == 0;
}

/* Sorts the tensors into their order in the file. ret_sorted[count], ret_order[count]. */
static void sort_tensors(const struct tr_tensor *tensors, size_t count, size_t *order,
                         const struct tr_tensor **ret_sorted)
{
    tr_safetensors_order(tensors, count, order);
    for (size_t i = 0; i < count; i++)
        ret_sorted[i] = &tensors[order[i]];
}

int tr_checkpoint_write(const char *path, const struct tr_sink *sink, const struct tr_checkpoint_content *c,
                        const char *state, char ret_checksum[TR_SEAL_DIGITS], struct im_text *text)
{
    const struct tr_tensor **sorted = malloc((c->tensor_count + 1) * sizeof *sorted);
    struct tr_pair *pairs = malloc((c->metadata_count + RESERVED_COUNT) * sizeof *pairs);
    size_t *order = malloc((c->tensor_count + 1) * sizeof *order);
    struct tr_seal seal = {NULL, ""};
    size_t n = 0;
    int err = sorted && pairs && order ? 0 : -ENOMEM;

    if (err < 0)
        goto out;
    pairs[n++] = (struct tr_pair){FORMAT_KEY, "pt"};
    if (state)
        pairs[n++] = (struct tr_pair){TR_CHECKPOINT_STATE_KEY, state};
    for (size_t i = 0; i < c->metadata_count; i++)
        pairs[n++] = c->metadata[i];
    sort_tensors(c->tensors, c->tensor_count, order, sorted);
    err = tr_seal_make(sorted, c->tensor_count, pairs, n, &seal);
    if (err < 0)
        goto out;
    pairs[n++] = (struct tr_pair){TR_SEAL_CRC_KEY, seal.crcs};
    pairs[n++] = (struct tr_pair){TR_SEAL_CHECKSUM_KEY, seal.checksum};
    if (sink)
        err = tr_safetensors_put(path, sink, c->tensors, c->tensor_count, pairs, n, text);
    else
        err = tr_safetensors_write(path, c->tensors, c->tensor_count, pairs, n, text);
    if (err == 0 && ret_checksum)
        memcpy(ret_checksum, seal.checksum, TR_SEAL_DIGITS);
out:
    if (err == -ENOMEM)
        im_fail(text, err, "cannot write %s: out of memory", path);
    free(sorted);
    free(pairs);
    free(order);
    free(seal.crcs);
    return err;
}

/* Moves aside what keeps a save from using this name. */
static int make_way(const struct tr_checkpoint_store *store, const char *name, bool anyway,
                    struct im_text *text)
{
    char path[PATH_MAX];
    int err = tr_checkpoint_path(store, name, path, text);

    if (err < 0 || (!anyway && !im_is_no_file(path)))
        return err;
    err = tr_checkpoint_move_aside(store, name, text);
    if (err == 0)
        im_log(IM_LOG_WARN, "what is no checkpoint was moved aside", "path=%s",
               im_log_quote(&(struct im_quoted){0}, path));
    return err;
}

/* Somebody removed or moved the folder while the run goes on: it is made again. */
static int make_directory(const struct tr_checkpoint_store *store, struct im_text *text)
{
    int err;

    if (access(store->directory, F_OK) == 0 || errno != ENOENT)
        return 0;
    err = im_mkdirs(store->directory, 0777, text);
    if (err == 0)
        im_log(IM_LOG_WARN, "the folder of checkpoints was gone; it is made again", "path=%s",
               im_log_quote(&(struct im_quoted){0}, store->directory));
    return err;
}

/* Step 2. If both names are the same file already (a crash after step 2), rename(2) does nothing and leaves
 * the temporary name, so it is always unlinked. */
static int rotate(const struct tr_checkpoint_store *store, const char *state, struct im_text *text)
{
    char prev[PATH_MAX], name[64], tmp[PATH_MAX];
    int err = tr_checkpoint_path(store, TR_CHECKPOINT_PREV_NAME, prev, text);

    snprintf(name, sizeof name, "." TR_CHECKPOINT_PREV_NAME ".tmp-%d-0", (int)getpid());
    if (err == 0)
        err = tr_checkpoint_path(store, name, tmp, text);
    if (err < 0)
        return err;
    if (access(state, F_OK) < 0 && errno == ENOENT)
        return 0;
    unlink(tmp);
    err = IM_FAULT_ERR("checkpoint.link");
    if (err == 0 && link(state, tmp) == 0)
        err = rename(tmp, prev) < 0 ? -errno : 0;
    else
        err = rename(state, prev) < 0 ? -errno : 0;
    unlink(tmp);
    return err < 0 ? im_fail(text, err, "cannot rename %s to %s: %s", state, prev, strerror(-err)) : 0;
}

/* The name of what may not be replaced is the user's to free; what is whole is not thrown away for it. */
static int keep(struct tr_checkpoint_store *store, const char *next, int err, struct im_text *text)
{
    struct im_text why = *text;
    char kept[PATH_MAX];

    if ((err != -EPERM && err != -EBUSY) ||
        tr_checkpoint_path(store, TR_CHECKPOINT_KEPT_NAME, kept, NULL) < 0 || rename(next, kept) < 0)
        return err;
    im_sync_parent(kept);
    store->state_is_kept = store->has_kept = true;
    return im_fail(
        text, err,
        "%.600s (an immutable file, or a mount point?); the state is in %.300s, which --resume takes", why.s,
        kept);
}

static int replace_state(struct tr_checkpoint_store *store, const char *next, const char *state,
                         struct im_text *text)
{
    int err = make_way(store, TR_CHECKPOINT_STATE_NAME, store->state_is_damaged, text);

    store->state_is_damaged = store->state_is_damaged && err < 0;
    if (err == 0)
        err = make_way(store, TR_CHECKPOINT_PREV_NAME, false, text);
    if (err == 0)
        err = rotate(store, state, text);
    if (err < 0)
        return err;
    IM_FAULT("checkpoint.rotated");
    err = IM_FAULT_ERR("checkpoint.replace");
    if (err == 0 && rename(next, state) < 0)
        err = -errno;
    return err < 0 ? im_fail(text, err, "cannot rename %s to %s: %s", next, state, strerror(-err)) : 0;
}

/* Steps 1 to 3. Their names become durable with the next file that is replaced in this directory: the first
 * export, before which no save is reported as done. */
static int save_state(struct tr_checkpoint_store *store, const struct tr_checkpoint_content *content,
                      char ret_checksum[TR_SEAL_DIGITS], struct im_text *text)
{
    char state[PATH_MAX], next[PATH_MAX];
    int err = tr_checkpoint_path(store, TR_CHECKPOINT_STATE_NAME, state, text);

    if (err == 0)
        err = tr_checkpoint_path(store, TR_CHECKPOINT_NEXT_NAME, next, text);
    if (err == 0)
        err = make_directory(store, text);
    if (err == 0)
        err = make_way(store, TR_CHECKPOINT_NEXT_NAME, false, text);
    if (err == 0)
        err = tr_checkpoint_write(next, NULL, content, NULL, ret_checksum, text);
    if (err < 0)
        return err;
    IM_FAULT("checkpoint.written");
    err = replace_state(store, next, state, text);
    if (err < 0)
        return keep(store, next, err, text);
    IM_FAULT("checkpoint.state");
    return 0;
}

/* It is older than the last state. */
static void remove_kept(struct tr_checkpoint_store *store)
{
    char kept[PATH_MAX];

    if (store->has_kept && tr_checkpoint_path(store, TR_CHECKPOINT_KEPT_NAME, kept, NULL) == 0)
        unlink(kept);
    store->has_kept = false;
}

static int check_keys(const struct tr_checkpoint_content *content, struct im_text *text)
{
    for (size_t i = 0; i < content->metadata_count; i++)
        if (tr_checkpoint_is_reserved(content->metadata[i].key))
            return im_fail(text, -EINVAL, "the metadata key \"%s\" is reserved", content->metadata[i].key);
    return 0;
}

int tr_checkpoint_put(const char *name, const struct tr_sink *sink,
                      const struct tr_checkpoint_content *content, struct im_text *text)
{
    int err = check_keys(content, text);

    return err < 0 ? err : tr_checkpoint_write(name, sink, content, NULL, NULL, text);
}

int tr_checkpoint_save(struct tr_checkpoint_store *store, const struct tr_checkpoint_content *content,
                       int epoch, unsigned best, struct im_text *text)
{
    char checksum[TR_SEAL_DIGITS], state[PATH_MAX];
    int err = check_keys(content, text);

    store->state_is_saved = store->state_is_kept = false;
    if (err == 0)
        err = tr_checkpoint_path(store, TR_CHECKPOINT_STATE_NAME, state, text);
    if (err == 0)
        err = save_state(store, content, checksum, text);
    store->state_is_saved = err == 0;
    if (err == 0)
        err = tr_checkpoint_export(store, content, checksum, epoch, best, text);
    if (err < 0 && store->state_is_saved) /* the folder may have gone meanwhile, with what is in it */
        store->state_is_saved = access(state, F_OK) == 0;
    if (store->state_is_saved)
        remove_kept(store);
    if (err == 0 && store->has_failed)
        im_file_sweep(store->directory);
    store->has_failed = err < 0;
    return err;
}

bool tr_checkpoint_is_there(const struct tr_checkpoint_store *store)
{
    char state[PATH_MAX];
    struct im_text text;

    return tr_checkpoint_path(store, TR_CHECKPOINT_STATE_NAME, state, &text) == 0 && access(state, F_OK) == 0;
}

int tr_checkpoint_save_state(struct tr_checkpoint_store *store, const struct tr_safetensors *state,
                             struct im_text *text)
{
    const size_t count = tr_safetensors_count(state), pairs = tr_safetensors_metadata_count(state);
    struct tr_tensor *tensors = malloc((count + 1) * sizeof *tensors);
    struct tr_pair *metadata = malloc((pairs + 1) * sizeof *metadata);
    struct tr_checkpoint_content content = {.tensors = tensors, .tensor_count = count, .metadata = metadata};
    int err;

    if (!tensors || !metadata) {
        err = im_fail(text, -ENOMEM, "cannot write a checkpoint into %s: out of memory", store->directory);
    } else {
        for (size_t i = 0; i < count; i++)
            tensors[i] = *tr_safetensors_at(state, i);
        for (size_t i = 0; i < pairs; i++)
            if (!tr_checkpoint_is_reserved(tr_safetensors_metadata_at(state, i).key))
                metadata[content.metadata_count++] = tr_safetensors_metadata_at(state, i);
        err = tr_checkpoint_save(store, &content, -1, 0, text);
    }
    free(tensors);
    free(metadata);
    return err;
}
