/* The checkpoint file is always read first: it tells whether flags and images are those that the run was
 * started with, and an export beside it may need repair. The snapshot lives no longer than the run's
 * processes, all of one configuration; if the file does not exist yet, or is damaged, the snapshot is
 * sufficient.
 *
 * At equal positions the file is used, as a restart of the whole run would. */
#include "trainer/checkpoint/resume.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/log.h"
#include "ipc/snapshot.h"
#include "trainer/checkpoint/identity.h"
#include "trainer/checkpoint/times.h"

static int read_position(const struct im_child *child, const struct tr_safetensors *state,
                         struct tr_position *ret, struct im_text *text)
{
    return tr_position_read(state, child->conf, child->plan, child->run->geometry.samples, ret, text);
}

static void warn(const char *what, const struct im_text *why)
{
    im_log(IM_LOG_WARN, what, "why=%s", im_log_quote(&(struct im_quoted){0}, why->s));
}

/* Loads the state given by --resume, for a run without its own. 0, also without --resume. */
static int load_foreign(const struct im_conf *conf, struct tr_safetensors **ret, struct im_text *text)
{
    int err;

    if (!conf->resume[0] || strcmp(conf->resume, "auto") == 0)
        return 0;
    err = tr_checkpoint_open_file(conf->resume, ret, text);
    if (err < 0)
        return err;
    if (tr_checkpoint_is_export(*ret))
        return im_fail(text, -EINVAL, "%s holds only weights; --resume needs a last.state.safetensors",
                       conf->resume);
    im_log(IM_LOG_INFO, "beginning from another run's checkpoint", "file=%s",
           im_log_quote(&(struct im_quoted){0}, conf->resume));
    return 0;
}

/* 0, also if there is none: *ret is NULL then. */
static int load_file(const struct im_child *child, struct tr_checkpoint_store *store,
                     struct tr_safetensors **ret, struct tr_position *ret_at, struct im_text *text)
{
    int err = tr_checkpoint_load(store, ret, text);

    if (err == -ENOENT && !child->conf->resume[0] && tr_checkpoint_has_models(store))
        return im_fail(
            text, -EBADMSG,
            "there are weights of this run in %.300s, but no state, without which it cannot continue",
            store->directory);
    if (err == -ENOENT)
        err = load_foreign(child->conf, ret, text);
    if (err == 0 && !*ret)
        return 0;
    if (err == 1)
        warn("continuing from the previous checkpoint", text);
    if (err >= 0)
        err = read_position(child, *ret, ret_at, text);
    if (err == 0 && !tr_position_has_times(*ret))
        tr_times_read(store, ret_at);
    return err;
}

/* A snapshot that cannot be used is ignored with a warning. */
static void load_snapshot(const struct im_child *child, struct tr_safetensors **ret,
                          struct tr_position *ret_at)
{
    struct im_text why = {""};
    char *bytes = NULL;
    size_t n = 0;
    int err = im_snapshot_read(child->snapshot_fd, &bytes, &n, &why);

    if (err == -ENOENT)
        return;
    if (err == 0)
        err = tr_checkpoint_take("the snapshot in shared memory", bytes, n, ret, &why);
    if (err == 0)
        err = read_position(child, *ret, ret_at, &why);
    if (err < 0) {
        tr_safetensors_close(ret);
        warn("the snapshot cannot be used; continuing without it", &why);
    }
}

int tr_resume_find(struct im_child *child, struct tr_checkpoint_store *store, struct tr_resume *ret,
                   struct im_text *text)
{
    struct tr_resume r = {0};
    struct tr_position at_file = {0}, at_snapshot = {0};
    int err = load_file(child, store, &r.file, &at_file, text);

    load_snapshot(child, &r.snapshot, &at_snapshot);
    /* Other flags or images are not damage: the run cannot continue. */
    if (err == -EINVAL || (err < 0 && !r.snapshot)) {
        tr_resume_close(&r);
        return err;
    }
    if (err < 0) {
        tr_safetensors_close(&r.file);
        warn("continuing from the snapshot: the checkpoint cannot be used", text);
        text->s[0] = 0;
    }
    if (r.snapshot && (!r.file || at_snapshot.next_batch > at_file.next_batch)) {
        r.state = r.snapshot;
        ret->at = at_snapshot;
    } else if (r.file) {
        r.state = r.file;
        ret->at = at_file;
    }
    if (r.state)
        im_log(
            IM_LOG_INFO, "continuing", "from=%s next_batch=%" PRIu64 " step=%" PRIu64 " epochs_done=%" PRIu32,
            r.state == r.file ? "checkpoint" : "snapshot", ret->at.next_batch, ret->at.steps, ret->at.epochs);
    ret->file = r.file;
    ret->snapshot = r.snapshot;
    ret->state = r.state;
    ret->at_file = at_file;
    ret->at_snapshot = at_snapshot;
    return 0;
}

/* What it saved as a node of its own. False: nothing that can be used. */
static bool load_saved(struct im_child *child, const char *directory, struct tr_resume *ret)
{
    struct tr_checkpoint_store store;
    struct im_text why = {""};
    int err = tr_checkpoint_store_view(&store, directory, &why);

    if (err >= 0)
        err = tr_checkpoint_load(&store, &ret->snapshot, &why);
    if (err == -ENOENT || (err >= 0 && !ret->snapshot))
        return false;
    if (err >= 0)
        err = read_position(child, ret->snapshot, &ret->at_snapshot, &why);
    if (err >= 0)
        return true;
    tr_safetensors_close(&ret->snapshot);
    warn("what this machine saved cannot be used", &why);
    return false;
}

/* Keeps the newer of the two. */
static void offer(struct tr_resume *ret, struct tr_resume *other)
{
    const bool is_newer = other->id.generation != ret->id.generation
                              ? other->id.generation > ret->id.generation
                              : other->at_snapshot.next_batch > ret->at_snapshot.next_batch;

    if (ret->snapshot && !is_newer) {
        tr_resume_close(other);
        return;
    }
    tr_safetensors_close(&ret->snapshot);
    ret->snapshot = other->snapshot;
    ret->at_snapshot = other->at_snapshot;
    ret->id = other->id;
}

/* A checkpoint is the last state of the start that wrote it, unless there is a snapshot of that start. */
static void find_checkpoint(struct im_child *child, const char *run_dir, struct tr_resume *ret)
{
    char directory[PATH_MAX];
    struct tr_resume r = {0};
    struct im_text why = {""};
    uint64_t starts;

    if (tr_identity_load(run_dir, &r.id.run, &starts, &why) < 0 || r.id.run == 0 ||
        snprintf(directory, sizeof directory, "%s/checkpoints", run_dir) >= (int)sizeof directory)
        return;
    r.id.generation = starts << 32;
    if (load_saved(child, directory, &r))
        offer(ret, &r);
}

/* Beside a checkpoint of another run, or of one without a number, it is of no use. */
static bool is_of_run(const char *run_dir, const struct tr_resume *r)
{
    struct im_text why = {""};
    uint64_t run, starts;

    if (tr_identity_load(run_dir, &run, &starts, &why) < 0)
        return false;
    return run > 0 ? run == r->id.run : !r->file;
}

void tr_resume_find_here(struct im_child *child, const char *run_dir, uint32_t machine, bool leads,
                         struct tr_resume *ret)
{
    char directory[PATH_MAX];
    struct tr_resume r = {0};

    if (!ret->snapshot)
        load_snapshot(child, &ret->snapshot, &ret->at_snapshot);
    if (ret->snapshot) {
        tr_identity_read(ret->snapshot, &ret->id);
        return;
    }
    if (snprintf(directory, sizeof directory, "%s/nodes/node%" PRIu32 "/checkpoints", run_dir, machine) <
            (int)sizeof directory &&
        load_saved(child, directory, &r)) {
        if (tr_identity_read(r.snapshot, &r.id))
            offer(ret, &r);
        else
            tr_resume_close(&r);
    }
    if (!leads) {
        find_checkpoint(child, run_dir, ret);
        return;
    }
    if (ret->snapshot && !is_of_run(run_dir, ret)) {
        tr_safetensors_close(&ret->snapshot);
        ret->id = (struct tr_identity){0};
    }
    if (ret->snapshot && (!ret->file || ret->at_snapshot.next_batch > ret->at_file.next_batch)) {
        ret->state = ret->snapshot;
        ret->at = ret->at_snapshot;
        im_log(IM_LOG_INFO, "continuing", "from=node%" PRIu32 " next_batch=%" PRIu64, machine,
               ret->at.next_batch);
    }
}

int tr_resume_take(struct tr_resume *resume, const struct im_child *child, char *bytes, size_t n,
                   struct im_text *text)
{
    int err;

    resume->state = NULL;
    tr_safetensors_close(&resume->snapshot);
    err = tr_checkpoint_take("the state that another machine sent", bytes, n, &resume->snapshot, text);
    if (err == 0)
        err = read_position(child, resume->snapshot, &resume->at_snapshot, text);
    if (err < 0)
        return err;
    resume->state = resume->snapshot;
    resume->at = resume->at_snapshot;
    return 0;
}

void tr_resume_close(struct tr_resume *resume)
{
    tr_safetensors_close(&resume->file);
    tr_safetensors_close(&resume->snapshot);
    resume->state = NULL;
}
