/* Exports of a state for other programs, without what continuing needs: one for the model and one for its
 * averages. The effect of a crash between them: checkpoint.c, steps 4 and 5. */
#include "trainer/checkpoint/impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/aside.h"
#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/fault.h"

#define EPOCH_FORMAT "epoch_%03d"
#define SUFFIX ".safetensors"

enum { EPOCHS_MAX = 100000 };

/* Exports: the tensors with a prefix, which is removed. */
enum export { EXPORT_MODEL, EXPORT_AVERAGE, EXPORTS };

static const char *const export_infix[EXPORTS] = {"", ".ema"};
static const unsigned is_best[EXPORTS] = {TR_BEST_PLAIN, TR_BEST_AVERAGE};

static bool export_begins(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Appends the tensor, with its exported name, if it belongs to the export. Returns the new count. */
static size_t add_exported(const struct tr_tensor *t, enum export export, struct tr_tensor *ret_tensors,
                           size_t n)
{
    const bool average = export_begins(t->name, TR_CHECKPOINT_AVERAGE_PREFIX);

    if (export_begins(t->name, TR_CHECKPOINT_STATE_PREFIX) || average != (export == EXPORT_AVERAGE))
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

static int compare_numbers(const void *a, const void *b)
{
    return *(const int *)b - *(const int *)a;
}

static void name_epoch(char name[64], int epoch, enum export export)
{
    char stem[32];

    snprintf(stem, sizeof stem, EPOCH_FORMAT, epoch);
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

/* Step 5. Files of later epochs are kept: they belong to an earlier run in this directory. */
static int prune(const struct tr_checkpoint_store *store, enum export export, int epoch, struct im_text *text)
{
    DIR *directory = opendir(store->directory);
    int *numbers = malloc(EPOCHS_MAX * sizeof *numbers);
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
    qsort(numbers, (size_t)count, sizeof *numbers, compare_numbers);
    for (int i = store->epochs_kept; i < count; i++) {
        char name[64];

        name_epoch(name, numbers[i], export);
        if (unlinkat(dirfd(directory), name, 0) < 0 && errno != ENOENT && errno != EISDIR) {
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
    int err = tr_checkpoint_path(store, name, path, text);

    if (err == 0 && im_is_no_file(path))
        err = im_move_aside(path, text);
    return err < 0 ? err : tr_checkpoint_write(path, NULL, model, state, NULL, text);
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
    if (err == 0 && (err = IM_FAULT_ERR("checkpoint.models")) < 0)
        im_fail(text, err, "cannot write %s: %s", name, strerror(-err));
    if (err == 0 && epoch >= 0 && store->epochs_kept >= 0)
        err = prune(store, export, epoch, text);
    return err;
}

int tr_checkpoint_export(const struct tr_checkpoint_store *store, const struct tr_checkpoint_content *content,
                         const char *checksum, int epoch, unsigned best, struct im_text *text)
{
    struct tr_tensor *tensors = malloc((content->tensor_count + 1) * sizeof *tensors);
    struct tr_checkpoint_content model = *content;
    int err = 0;

    if (!tensors)
        return im_fail(text, -ENOMEM, "cannot write a checkpoint into %s: out of memory", store->directory);
    model.tensors = tensors;
    for (enum export export = 0; export < EXPORTS && err == 0; export ++) {
        model.tensor_count = 0;
        for (size_t i = 0; i < content->tensor_count; i++)
            model.tensor_count = add_exported(&content->tensors[i], export, tensors, model.tensor_count);
        if (export == EXPORT_MODEL || model.tensor_count > 0)
            err = save_export(store, &model, export, checksum, epoch, (best & is_best[export]) != 0, text);
    }
    free(tensors);
    return err;
}

bool tr_checkpoint_has_models(const struct tr_checkpoint_store *store)
{
    static const char *const names[] = {"last" SUFFIX, "best" SUFFIX};
    char path[PATH_MAX];

    for (size_t i = 0; i < IM_COUNT(names); i++)
        if (tr_checkpoint_path(store, names[i], path, NULL) == 0 && access(path, F_OK) == 0)
            return true;
    return false;
}

bool tr_checkpoint_is_export(const struct tr_safetensors *file)
{
    return tr_safetensors_metadata(file, TR_CHECKPOINT_STATE_KEY) != NULL;
}

/* Whether the export at `path` is intact and was made from the state with this checksum. */
static bool is_export_of(const char *path, const char *checksum)
{
    struct tr_safetensors *file = NULL;
    const char *state;
    bool same;

    if (tr_checkpoint_open_file(path, &file, NULL) < 0)
        return false;
    state = tr_safetensors_metadata(file, TR_CHECKPOINT_STATE_KEY);
    same = state && strcmp(state, checksum) == 0;
    tr_safetensors_close(&file);
    return same;
}

/* 1: written, 0: nothing to repair, or no such export. */
static int repair_export(struct tr_checkpoint_store *store, const struct tr_safetensors *state,
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
    err = tr_checkpoint_path(store, name, path, text);
    if (err < 0 || is_export_of(path, checksum))
        return err;
    tensors = malloc((count + 1) * sizeof *tensors);
    metadata = malloc((pairs + 1) * sizeof *metadata);
    if (!tensors || !metadata) {
        err = im_fail(text, -ENOMEM, "cannot write %s: out of memory", path);
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        model.tensor_count = add_exported(tr_safetensors_at(state, i), export, tensors, model.tensor_count);
    for (size_t i = 0; i < pairs; i++)
        if (!tr_checkpoint_is_reserved(tr_safetensors_metadata_at(state, i).key))
            metadata[model.metadata_count++] = tr_safetensors_metadata_at(state, i);
    model.tensors = tensors;
    model.metadata = metadata;
    if (export == EXPORT_AVERAGE && model.tensor_count == 0)
        goto out;
    err = write_model(store, name, &model, checksum, text);
    if (err == 0)
        err = 1;
out:
    free(tensors);
    free(metadata);
    return err;
}

int tr_checkpoint_repair(struct tr_checkpoint_store *store, const struct tr_safetensors *state,
                         struct im_text *text)
{
    int written = 0;

    for (enum export export = 0; export < EXPORTS; export ++) {
        int err = repair_export(store, state, export, text);

        if (err < 0)
            return err;
        written |= err;
    }
    return written;
}
