#include "trainer/save_snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/fault.h"
#include "ipc/base/log.h"
#include "ipc/child.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/resume.h"

bool tr_is_saver(int argc, char **argv)
{
    return argc == 2 && strcmp(argv[1], "--save-snapshot") == 0;
}

static int attach(struct im_child *child, struct im_conf *conf, struct im_text *text)
{
    const struct im_attach how = {.batch_read_rank = -1, .first_fd = IM_FD_CONTROL};
    int err = im_run_attach(&how, child->run, text);

    if (err == 0)
        err = im_conf_of_run(child->run, conf, text);
    if (err == 0)
        atomic_store_explicit(&child->run->control->saver_seen, 1, memory_order_relaxed);
    if (err == 0)
        err = im_plan_from_conf(conf, child->run->geometry.samples, child->plan, text);
    return err;
}

/* Batches that were trained and are in neither: since the last snapshot, or since the checkpoint. */
static void tell_lost(const struct im_child *child, uint64_t next_batch)
{
    uint64_t furthest = atomic_load_explicit(&child->run->control->furthest_position, memory_order_relaxed);

    if (furthest > next_batch + 1)
        im_log(IM_LOG_WARN, "the last batches will be done again", "batches=%" PRIu64,
               furthest - 1 - next_batch);
}

static int save(struct im_child *child, struct im_text *text)
{
    struct tr_checkpoint_store store;
    struct tr_resume from = {0};
    char directory[PATH_MAX];
    int err, n = snprintf(directory, sizeof directory, "%s/checkpoints", child->conf->run_dir);

    if (n < 0 || (size_t)n >= sizeof directory)
        return -ENAMETOOLONG;
    err = tr_checkpoint_store_open(&store, directory, (int)child->conf->checkpoint_keep, text);
    if (err == 0)
        err = tr_resume_find(child, &store, &from, text);
    if (err < 0)
        return err;
    IM_FAULT("saver.before");
    if (!from.state) {
        err = IM_EXIT_NOTHING_SAVED;
    } else if (from.state == from.file) {
        err = IM_EXIT_NOTHING_NEWER;
        tell_lost(child, from.at.next_batch);
        if (tr_checkpoint_repair(&store, from.file, text) < 0)
            err = -EIO;
    } else {
        err = tr_checkpoint_save_state(&store, from.state, text);
        if (err == 0) {
            im_log(IM_LOG_INFO, "the snapshot is saved as a checkpoint",
                   "next_batch=%" PRIu64 " step=%" PRIu64, from.at.next_batch, from.at.steps);
            tell_lost(child, from.at.next_batch);
        }
    }
    tr_resume_close(&from);
    return err;
}

int tr_save_snapshot(struct im_child_storage *storage, struct im_text *text)
{
    struct im_child child = {.role = IM_ROLE_NONE,
                             .lease_fd = -1,
                             .snapshot_fd = IM_FD_SNAPSHOT,
                             .run = &storage->run,
                             .plan = &storage->plan,
                             .conf = &storage->conf};
    int err;

    im_log_identity("saver", 0);
    im_child_name("trainer");
    IM_FAULT("saver.started");
    err = attach(&child, &storage->conf, text);
    if (err == 0)
        err = save(&child, text);
    im_child_close(&child);
    if (err < 0 && !text->s[0])
        return im_fail(text, err, "%s", strerror(-err));
    return err;
}
