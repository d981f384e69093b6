/* Reads checkpoints; verifies the seal before anything is used. Never deletes a state that could not be read:
 * a damaged one is moved aside for the user, and the previous one is loaded with a warning. */
#include "trainer/checkpoint/impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/err.h"

#define ASIDE_MAX 10 /* names for what is moved aside and cannot replace one another: folders */

/* Verifies an opened file; closes it if its seal does not match. */
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

/* Whether reading the same file again would fail too, so that the previous one is the better choice: also
 * where no file that can be read has that name, but a folder, a pipe or a link to itself. */
static bool is_damage(int err)
{
    switch (-err) {
    case EBADMSG:
    case ENOTSUP:
    case EFBIG:
    case EIO:
    case EISDIR:
    case EINVAL:
    case ELOOP:
    case ENOTDIR:
    case EACCES:
    case EPERM:
    case ENODEV:
        return true;
    default:
        return false;
    }
}

/* A folder replaces no file, and no folder that holds something. */
static bool is_taken(int err)
{
    return err == EISDIR || err == ENOTDIR || err == ENOTEMPTY || err == EEXIST;
}

int tr_checkpoint_move_aside(const struct tr_checkpoint_store *store, const char *name, struct im_text *text)
{
    char from[PATH_MAX], to[PATH_MAX], aside[64] = TR_CHECKPOINT_DAMAGED_NAME;
    int err = tr_checkpoint_path(store, name, from, text);

    for (int i = 1; err == 0; i++) {
        err = tr_checkpoint_path(store, aside, to, text);
        if (err < 0 || rename(from, to) == 0 || errno == ENOENT) /* another trainer has moved it */
            return err;
        if (!is_taken(errno) || i == ASIDE_MAX)
            return im_fail(text, -errno, "cannot rename %s to %s: %s", from, to, strerror(errno));
        snprintf(aside, sizeof aside, "last.damaged.%d.state.safetensors", i);
    }
    return err;
}

/* Loads the previous state after the last one failed with `last_err` for the reason `why`. */
static int load_previous(struct tr_checkpoint_store *store, int last_err, const struct im_text *why,
                         struct tr_safetensors **ret_state, struct im_text *text)
{
    char state[PATH_MAX], prev[PATH_MAX];
    struct im_text prev_why = {""}, aside_why = {""};
    int err = tr_checkpoint_path(store, TR_CHECKPOINT_STATE_NAME, state, text);

    if (err == 0)
        err = tr_checkpoint_path(store, TR_CHECKPOINT_PREV_NAME, prev, text);
    if (err < 0)
        return err;
    store->state_is_damaged = last_err != -ENOENT;
    err = tr_checkpoint_open_file(prev, ret_state, &prev_why);
    if (err == -ENOENT && last_err == -ENOENT)
        return im_fail(text, -ENOENT, "there is no checkpoint in %s", store->directory);
    if (err < 0 && tr_checkpoint_path(store, ".", state, text) == 0 && access(state, X_OK) < 0 &&
        errno != ENOENT) /* nothing is known of the files */
        return im_fail(text, -errno, "%.300s cannot be read: %s", store->directory, strerror(errno));
    if (err < 0)
        return im_fail(text, is_damage(err) || err == -ENOENT ? -EBADMSG : err,
                       "every checkpoint in %.200s is damaged: %.300s; %.300s", store->directory, why->s,
                       prev_why.s);
    if (last_err == -ENOENT) {
        im_fail(text, 0, "%s is missing; continuing from %s", state, prev);
        return 1;
    }
    /* Moved aside, or the next save would rotate it over the intact one. Where that fails now, the save does it. */
    if (tr_checkpoint_move_aside(store, TR_CHECKPOINT_STATE_NAME, &aside_why) == 0)
        store->state_is_damaged = false;
    im_fail(text, 0, "%.400s; continuing from %.300s%s%.200s", why->s, prev, aside_why.s[0] ? "; " : "",
            aside_why.s);
    return 1;
}

int tr_checkpoint_load(struct tr_checkpoint_store *store, struct tr_safetensors **ret_state,
                       struct im_text *text)
{
    struct im_text why = {""};
    char path[PATH_MAX];
    int err = tr_checkpoint_path(store, TR_CHECKPOINT_STATE_NAME, path, text);

    if (err < 0)
        return err;
    store->state_is_damaged = false;
    err = tr_checkpoint_open_file(path, ret_state, &why);
    if (err == -ENOENT || is_damage(err))
        return load_previous(store, err, &why, ret_state, text);
    return err < 0 ? im_fail(text, err, "%s", why.s) : 0;
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

static bool is_ignored(const char *name, const char *const *prefixes)
{
    for (; prefixes && *prefixes; prefixes++)
        if (strncmp(name, *prefixes, strlen(*prefixes)) == 0)
            return true;
    return false;
}

int tr_checkpoint_restore(const struct tr_safetensors *state, const struct tr_tensor *tensors,
                          void *const *destinations, size_t count, const char *const *ignored,
                          struct im_text *text)
{
    size_t there = 0;

    for (size_t i = 0; i < tr_safetensors_count(state); i++)
        there += !is_ignored(tr_safetensors_at(state, i)->name, ignored);
    if (there != count)
        return im_fail(text, -EBADMSG, "the checkpoint has %zu tensors, the model needs %zu", there, count);
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
