/* Saves, rotates, verifies and loads checkpoints: checkpoint.h says which files there are and why.
 *
 * A save, step by step, with what a crash right after it leaves (its fault point in brackets):
 *
 *   1. next.state is written [checkpoint.written]
 *      the old state; next.state is thrown away
 *   2. last.state gets a second name, last.prev.state [checkpoint.rotated]
 *      both names are the old state
 *   3. next.state becomes last.state [checkpoint.state]
 *      the new state; last.safetensors is old: mended
 *   4. last, epoch_NNN, best and their averages are replaced, one by one [checkpoint.models]
 *      the new state; epoch_NNN and best may be those of before
 *   5. epoch files beyond the newest K are removed
 *      some too many: removed by the next save
 *
 * A full disk shows in step 1, when both old states are still there. In step 2 the name is moved by link and
 * rename, so that last.state exists at every instant; on file systems without hard links it is renamed away,
 * and a crash then leaves last.prev.state alone, which load takes with a word about it.
 *
 * Nothing here retries and nothing deletes a state that could not be read: a damaged one is moved aside for
 * its owner. */
#include "trainer/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/err.h"
#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "trainer/checkpoint_seal.h"

#define STATE_NAME "last.state.safetensors"
#define NEXT_NAME "next.state.safetensors"
#define PREV_NAME "last.prev.state.safetensors"
#define DAMAGED_NAME "last.damaged.state.safetensors"
#define EPOCH_FORMAT "epoch_%03d"
#define SUFFIX ".safetensors"

#define FORMAT_KEY "format"
#define STATE_KEY "state" /* of an export: the checksum of the state it belongs to */

enum { RESERVED_COUNT = 4, EPOCHS_MAX = 100000 };

static int join(const struct tr_checkpoint_store *store, const char *name, char path[PATH_MAX],
                struct im_text *text)
{
    if (snprintf(path, PATH_MAX, "%s/%s", store->directory, name) < PATH_MAX)
        return 0;
    return im_fail(text, -ENAMETOOLONG, "the path of %s in %.200s... is too long", name, store->directory);
}

int tr_checkpoint_store_view(struct tr_checkpoint_store *store, const char *directory, struct im_text *text)
{
    *store = (struct tr_checkpoint_store){0};
    if (snprintf(store->directory, sizeof(store->directory), "%s", directory) >=
        (int)sizeof(store->directory))
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
        err = join(store, NEXT_NAME, next, text);
    if (err < 0)
        return err;
    if (unlink(next) < 0 && errno != ENOENT)
        return im_fail(text, -errno, "cannot remove %s: %s", next, strerror(errno));
    err = im_file_sweep(directory);
    return err < 0 ? im_fail(text, err, "cannot read %s: %s", directory, strerror(-err)) : 0;
}

static bool is_reserved(const char *key)
{
    return strcmp(key, FORMAT_KEY) == 0 || strcmp(key, STATE_KEY) == 0 || strcmp(key, TR_SEAL_CRC_KEY) == 0 ||
           strcmp(key, TR_SEAL_CHECKSUM_KEY) == 0;
}

/* What is exported: tensors with a prefix, without it. */
enum export { EXPORT_MODEL, EXPORT_AVERAGE, EXPORTS };

static const char *const export_infix[EXPORTS] = {"", ".ema"};

static bool begins(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Appends the tensor, under the name it has there, when it belongs to the export. Returns the new count. */
static size_t add_exported(const struct tr_tensor *t, enum export export, struct tr_tensor *ret_tensors,
                           size_t n)
{
    const bool average = begins(t->name, TR_CHECKPOINT_AVERAGE_PREFIX);

    if (begins(t->name, TR_CHECKPOINT_STATE_PREFIX) || average != (export == EXPORT_AVERAGE))
        return n;
    ret_tensors[n] = *t;
    if (average)
        ret_tensors[n].name += strlen(TR_CHECKPOINT_AVERAGE_PREFIX);
    return n + 1;
}

/* last, last.ema, epoch_007, ... */
static void name_export(char name[64], const char *stem, enum export export)
{
    snprintf(name, 64, "%s%s" SUFFIX, stem, export_infix[export]);
}

/* Lists the tensors of a file in the order they will have there. ret_sorted[count], ret_order[count]. */
static void sort_tensors(const struct tr_tensor *tensors, size_t count, size_t *order,
                         const struct tr_tensor **ret_sorted)
{
    tr_safetensors_order(tensors, count, order);
    for (size_t i = 0; i < count; i++)
        ret_sorted[i] = &tensors[order[i]];
}

/* Writes one sealed file, to `sink` when it is not NULL. state: NULL, or the checksum of the state that this
 * is an export of. ret_checksum may be NULL. */
static int write_sealed(const char *path, const struct tr_sink *sink, const struct tr_checkpoint_content *c,
                        const char *state, char ret_checksum[TR_SEAL_DIGITS], struct im_text *text)
{
    const struct tr_tensor **sorted = malloc((c->tensor_count + 1) * sizeof(*sorted));
    struct tr_pair *pairs = malloc((c->metadata_count + RESERVED_COUNT) * sizeof(*pairs));
    size_t *order = malloc((c->tensor_count + 1) * sizeof(*order));
    struct tr_seal seal = {NULL, ""};
    size_t n = 0;
    int err = sorted && pairs && order ? 0 : -ENOMEM;

    if (err < 0)
        goto out;
    pairs[n++] = (struct tr_pair){FORMAT_KEY, "pt"};
    if (state)
        pairs[n++] = (struct tr_pair){STATE_KEY, state};
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

/* Step 2. Where both names are one file already (a crash after step 2), rename(2) does nothing and leaves the
 * temporary name behind, hence the unlink in every case. */
static int rotate(const struct tr_checkpoint_store *store, const char *state, struct im_text *text)
{
    char prev[PATH_MAX], name[64], tmp[PATH_MAX];
    int err = join(store, PREV_NAME, prev, text);

    snprintf(name, sizeof(name), "." PREV_NAME ".tmp-%d-0", (int)getpid());
    if (err == 0)
        err = join(store, name, tmp, text);
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

/* Step 3, and the renames of step 2 with it, made durable. */
static int sync_directory(const struct tr_checkpoint_store *store, struct im_text *text)
{
    int fd = open(store->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = fd < 0 || fsync(fd) < 0 ? -errno : 0;

    if (fd >= 0)
        close(fd);
    if (err == 0 || err == -EINVAL) /* a file system that cannot sync directories says EINVAL */
        return 0;
    return im_fail(text, err, "cannot write to disk the directory %s: %s", store->directory, strerror(-err));
}

/* Steps 1 to 3. */
static int save_state(const struct tr_checkpoint_store *store, const struct tr_checkpoint_content *content,
                      char ret_checksum[TR_SEAL_DIGITS], struct im_text *text)
{
    char state[PATH_MAX], next[PATH_MAX];
    int err = join(store, STATE_NAME, state, text);

    if (err == 0)
        err = join(store, NEXT_NAME, next, text);
    if (err == 0)
        err = write_sealed(next, NULL, content, NULL, ret_checksum, text);
    if (err < 0)
        return err;
    IM_FAULT("checkpoint.written");
    err = rotate(store, state, text);
    if (err < 0)
        return err;
    IM_FAULT("checkpoint.rotated");
    if (rename(next, state) < 0)
        return im_fail(text, -errno, "cannot rename %s to %s: %s", next, state, strerror(errno));
    err = sync_directory(store, text);
    IM_FAULT("checkpoint.state");
    return err;
}

static int compare_numbers(const void *a, const void *b)
{
    return *(const int *)b - *(const int *)a;
}

static void name_epoch(char name[64], int epoch, enum export export)
{
    char stem[32];

    snprintf(stem, sizeof(stem), EPOCH_FORMAT, epoch);
    name_export(name, stem, export);
}

/* The number in an epoch file's name, or -1. */
static int epoch_of(const char *name, enum export export)
{
    char again[64];
    char *end;
    long number;

    if (strncmp(name, "epoch_", 6) != 0)
        return -1;
    number = strtol(name + 6, &end, 10);
    if (number < 0 || number > INT_MAX)
        return -1;
    name_epoch(again, (int)number, export);
    return strcmp(again, name) == 0 ? (int)number : -1;
}

/* Step 5. Files of later epochs are left alone: they are of a run that was begun anew, and not ours to count
 * or to remove. */
static int prune(const struct tr_checkpoint_store *store, enum export export, int epoch, struct im_text *text)
{
    DIR *directory = opendir(store->directory);
    int *numbers = malloc(EPOCHS_MAX * sizeof(*numbers));
    struct dirent *entry;
    int count = 0, err = 0;

    if (!directory || !numbers) {
        err = im_fail(text, directory ? -ENOMEM : -errno, "cannot read %s: %s", store->directory,
                      strerror(errno));
        goto out;
    }
    while (count < EPOCHS_MAX && (entry = readdir(directory))) {
        numbers[count] = epoch_of(entry->d_name, export);
        count += numbers[count] >= 0 && numbers[count] <= epoch;
    }
    qsort(numbers, (size_t)count, sizeof(*numbers), compare_numbers);
    for (int i = store->epochs_kept; i < count; i++) {
        char name[64];

        name_epoch(name, numbers[i], export);
        if (unlinkat(dirfd(directory), name, 0) < 0 && errno != ENOENT) {
            err = im_fail(text, -errno, "cannot remove %s/%s: %s", store->directory, name, strerror(errno));
            break;
        }
    }
out:
    if (directory)
        closedir(directory);
    free(numbers);
    return err;
}

static int write_model(const struct tr_checkpoint_store *store, const char *name,
                       const struct tr_checkpoint_content *model, const char *state, struct im_text *text)
{
    char path[PATH_MAX];
    int err = join(store, name, path, text);

    return err < 0 ? err : write_sealed(path, NULL, model, state, NULL, text);
}

/* Steps 4 and 5 for one export. */
static int save_export(const struct tr_checkpoint_store *store, const struct tr_checkpoint_content *model,
                       enum export export, const char *state, int epoch, bool best, struct im_text *text)
{
    char name[64];
    int err;

    name_export(name, "last", export);
    err = write_model(store, name, model, state, text);
    if (err == 0 && epoch >= 0 && store->epochs_kept != 0) {
        name_epoch(name, epoch, export);
        err = write_model(store, name, model, state, text);
    }
    if (err == 0 && best) {
        name_export(name, "best", export);
        err = write_model(store, name, model, state, text);
    }
    IM_FAULT("checkpoint.models");
    if (err == 0 && epoch >= 0 && store->epochs_kept >= 0)
        err = prune(store, export, epoch, text);
    return err;
}

static int check_keys(const struct tr_checkpoint_content *content, struct im_text *text)
{
    for (size_t i = 0; i < content->metadata_count; i++)
        if (is_reserved(content->metadata[i].key))
            return im_fail(text, -EINVAL, "the metadata key \"%s\" is the checkpoint's own",
                           content->metadata[i].key);
    return 0;
}

int tr_checkpoint_put(const char *name, const struct tr_sink *sink,
                      const struct tr_checkpoint_content *content, struct im_text *text)
{
    int err = check_keys(content, text);

    return err < 0 ? err : write_sealed(name, sink, content, NULL, NULL, text);
}

int tr_checkpoint_save(struct tr_checkpoint_store *store, const struct tr_checkpoint_content *content,
                       int epoch, bool best, struct im_text *text)
{
    struct tr_checkpoint_content model = *content;
    struct tr_tensor *tensors;
    char checksum[TR_SEAL_DIGITS];
    int err = check_keys(content, text);

    if (err < 0)
        return err;
    tensors = malloc((content->tensor_count + 1) * sizeof(*tensors));
    if (!tensors)
        return im_fail(text, -ENOMEM, "cannot write a checkpoint into %s: out of memory", store->directory);
    model.tensors = tensors;
    err = save_state(store, content, checksum, text);
    for (enum export export = 0; export < EXPORTS && err == 0; export ++) {
        model.tensor_count = 0;
        for (size_t i = 0; i < content->tensor_count; i++)
            model.tensor_count = add_exported(&content->tensors[i], export, tensors, model.tensor_count);
        if (export == EXPORT_MODEL || model.tensor_count > 0)
            err = save_export(store, &model, export, checksum, epoch, best, text);
    }
    free(tensors);
    return err;
}

/* With the result of opening: a file that is not what its seal says is closed again. */
static int verify(const char *name, int err, struct tr_safetensors *file, struct tr_safetensors **ret_file,
                  struct im_text *text)
{
    if (err == 0)
        err = tr_seal_verify(name, file, text);
    if (err < 0)
        tr_safetensors_close(&file);
    else
        *ret_file = file;
    return err;
}

int tr_checkpoint_open_file(const char *path, struct tr_safetensors **ret_file, struct im_text *text)
{
    struct tr_safetensors *file = NULL;
    int err = tr_safetensors_open(path, &file, text);

    return verify(path, err, file, ret_file, text);
}

int tr_checkpoint_take(const char *name, char *bytes, size_t n, struct tr_safetensors **ret_file,
                       struct im_text *text)
{
    struct tr_safetensors *file = NULL;
    int err = tr_safetensors_take(name, bytes, n, &file, text);

    if (err < 0)
        free(bytes);
    return verify(name, err, file, ret_file, text);
}

/* Whether another try with the same file would fail too, so that the one before is the better choice. */
static bool is_damage(int err)
{
    return err == -EBADMSG || err == -ENOTSUP || err == -EFBIG || err == -EIO;
}

/* After the last state failed with `last_err` for the reason `why`. */
static int load_previous(const struct tr_checkpoint_store *store, int last_err, const struct im_text *why,
                         struct tr_safetensors **ret_state, struct im_text *text)
{
    char state[PATH_MAX], prev[PATH_MAX], damaged[PATH_MAX];
    struct im_text prev_why = {""};
    int err = join(store, STATE_NAME, state, text);

    if (err == 0)
        err = join(store, PREV_NAME, prev, text);
    if (err == 0)
        err = join(store, DAMAGED_NAME, damaged, text);
    if (err < 0)
        return err;
    err = tr_checkpoint_open_file(prev, ret_state, &prev_why);
    if (err == -ENOENT && last_err == -ENOENT)
        return im_fail(text, -ENOENT, "there is no checkpoint in %s", store->directory);
    if (err < 0)
        return im_fail(text, is_damage(err) || err == -ENOENT ? -EBADMSG : err,
                       "no checkpoint in %.200s is good: %.300s; %.300s", store->directory, why->s,
                       prev_why.s);
    if (last_err == -ENOENT) {
        im_fail(text, 0, "%s is missing; going on from %s", state, prev);
        return 1;
    }
    /* Out of the way, or the next save would rotate it over the good one. */
    if (rename(state, damaged) < 0) {
        err = im_fail(text, -errno, "cannot rename %s to %s: %s", state, damaged, strerror(errno));
        tr_safetensors_close(ret_state);
        return err;
    }
    im_fail(text, 0, "%.500s; going on from %.300s", why->s, prev);
    return 1;
}

int tr_checkpoint_load(struct tr_checkpoint_store *store, struct tr_safetensors **ret_state,
                       struct im_text *text)
{
    struct im_text why = {""};
    char path[PATH_MAX];
    int err = join(store, STATE_NAME, path, text);

    if (err < 0)
        return err;
    err = tr_checkpoint_open_file(path, ret_state, &why);
    if (err == -ENOENT || is_damage(err))
        return load_previous(store, err, &why, ret_state, text);
    return err < 0 ? im_fail(text, err, "%s", why.s) : 0;
}

bool tr_checkpoint_is_export(const struct tr_safetensors *file)
{
    return tr_safetensors_metadata(file, STATE_KEY) != NULL;
}

/* Whether the export at `path` is whole and made with the state of this checksum. */
static bool is_export_of(const char *path, const char *checksum)
{
    struct tr_safetensors *file = NULL;
    const char *state;
    bool same;

    if (tr_checkpoint_open_file(path, &file, NULL) < 0)
        return false;
    state = tr_safetensors_metadata(file, STATE_KEY);
    same = state && strcmp(state, checksum) == 0;
    tr_safetensors_close(&file);
    return same;
}

/* 1: written, 0: it was right, or there is none. */
static int mend_export(struct tr_checkpoint_store *store, const struct tr_safetensors *state,
                       enum export export, struct im_text *text)
{
    size_t count = tr_safetensors_count(state), pairs = tr_safetensors_metadata_count(state);
    const char *checksum = tr_safetensors_metadata(state, TR_SEAL_CHECKSUM_KEY);
    struct tr_checkpoint_content model = {0};
    struct tr_tensor *tensors = NULL;
    struct tr_pair *metadata = NULL;
    char path[PATH_MAX], name[64];
    int err;

    im_assert(checksum != NULL); /* tr_checkpoint_load() has verified it */
    name_export(name, "last", export);
    err = join(store, name, path, text);
    if (err < 0 || is_export_of(path, checksum))
        return err;
    tensors = malloc((count + 1) * sizeof(*tensors));
    metadata = malloc((pairs + 1) * sizeof(*metadata));
    if (!tensors || !metadata) {
        err = im_fail(text, -ENOMEM, "cannot write %s: out of memory", path);
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        model.tensor_count = add_exported(tr_safetensors_at(state, i), export, tensors, model.tensor_count);
    for (size_t i = 0; i < pairs; i++)
        if (!is_reserved(tr_safetensors_metadata_at(state, i).key))
            metadata[model.metadata_count++] = tr_safetensors_metadata_at(state, i);
    model.tensors = tensors;
    model.metadata = metadata;
    if (export == EXPORT_AVERAGE && model.tensor_count == 0)
        goto out;
    err = write_sealed(path, NULL, &model, checksum, NULL, text);
    if (err == 0)
        err = 1;
out:
    free(tensors);
    free(metadata);
    return err;
}

int tr_checkpoint_mend(struct tr_checkpoint_store *store, const struct tr_safetensors *state,
                       struct im_text *text)
{
    int written = 0;

    for (enum export export = 0; export < EXPORTS; export ++) {
        int err = mend_export(store, state, export, text);

        if (err < 0)
            return err;
        written |= err;
    }
    return written;
}

static int check_tensor(const struct tr_tensor *got, const struct tr_tensor *want, struct im_text *text)
{
    bool same;

    if (!got)
        return im_fail(text, -EBADMSG, "the checkpoint has no tensor \"%.200s\"", want->name);
    if (got->dtype != want->dtype)
        return im_fail(text, -EBADMSG, "tensor \"%.200s\" is %s in the checkpoint, expected %s", want->name,
                       tr_dtype_name(got->dtype), tr_dtype_name(want->dtype));
    same = got->rank == want->rank;
    for (int i = 0; i < want->rank && same; i++)
        same = got->shape[i] == want->shape[i];
    return same ? 0
                : im_fail(text, -EBADMSG,
                          "tensor \"%.200s\" has another shape in the checkpoint than the model needs",
                          want->name);
}

int tr_checkpoint_restore(const struct tr_safetensors *state, const struct tr_tensor *tensors,
                          void *const *destinations, size_t count, struct im_text *text)
{
    if (tr_safetensors_count(state) != count)
        return im_fail(text, -EBADMSG, "the checkpoint has %zu tensors, the model needs %zu",
                       tr_safetensors_count(state), count);
    for (size_t i = 0; i < count; i++) {
        int err = check_tensor(tr_safetensors_find(state, tensors[i].name), &tensors[i], text);

        if (err < 0)
            return err;
    }
    for (size_t i = 0; i < count; i++) {
        size_t bytes = 0;

        im_assert(tr_tensor_bytes(&tensors[i], &bytes) == 0);
        if (bytes)
            memcpy(destinations[i], tr_safetensors_find(state, tensors[i].name)->data, bytes);
    }
    return 0;
}
