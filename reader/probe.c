#include "reader/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "ipc/base/count.h"
#include "ipc/base/thread.h"
#include "reader/io_engine.h"

#define PROBE_BYTES 4096
#define DROP_BYTES                                                                                           \
    (4 << 20) /* at the begin of the file, which may be a large shard: more than a folio of the page cache */

enum state { RUNNING, DONE, ABANDONED };

/* Whoever comes second to move `state` from RUNNING frees it. */
struct rd_probe_job {
    _Atomic int state;
    struct rd_probe_result result;
    char root[PATH_MAX], path[PATH_MAX];
    char bytes[PROBE_BYTES];
};

static void job_free(struct rd_probe_job *job)
{
    if (job->result.root_fd >= 0)
        close(job->result.root_fd);
    free(job);
}

/* Not from memory: the first pages of the file are dropped before, for a disk that hangs still serves those. */
static int read_a_little(struct rd_probe_job *job)
{
    int fd = openat(job->result.root_fd, job->path, RD_IO_OPEN_FLAGS | O_CLOEXEC), err = 0;

    if (fd < 0)
        return -errno;
    posix_fadvise(fd, 0, DROP_BYTES, POSIX_FADV_DONTNEED);
    if (read(fd, job->bytes, sizeof job->bytes) < 0)
        err = -errno;
    close(fd);
    return err;
}

/* Others may wait for a server or a daemon at any call. */
static int is_local(int fd)
{
    static const long local[] = {EXT4_SUPER_MAGIC,     XFS_SUPER_MAGIC,   BTRFS_SUPER_MAGIC,
                                 TMPFS_MAGIC,          SQUASHFS_MAGIC,    F2FS_SUPER_MAGIC,
                                 EROFS_SUPER_MAGIC_V1, ISOFS_SUPER_MAGIC, RAMFS_MAGIC};
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0)
        return 0;
    for (size_t i = 0; i < IM_COUNT(local); i++)
        if ((long)fs.f_type == local[i])
            return 1;
    return 0;
}

static void *probe_thread(void *arg)
{
    struct rd_probe_job *job = arg;
    int running = RUNNING;

    job->result.root_fd = open(job->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (job->result.root_fd < 0)
        job->result.err = -errno;
    else
        job->result.is_local = is_local(job->result.root_fd);
    if (job->result.err == 0 && *job->path)
        job->result.err = read_a_little(job);
    /* Release: the result is complete; pairs with the acquire of rd_probe_take(). */
    if (!atomic_compare_exchange_strong_explicit(&job->state, &running, DONE, memory_order_acq_rel,
                                                 memory_order_acquire))
        job_free(job);
    return NULL;
}

int rd_probe_start(struct rd_probe *p, const char *root, const char *path)
{
    struct rd_probe_job *job;
    int err;

    if (p->job)
        return -EBUSY;
    job = calloc(1, sizeof *job);
    if (!job)
        return -ENOMEM;
    job->result = (struct rd_probe_result){.began = im_now(), .root_fd = -1};
    if (snprintf(job->root, sizeof job->root, "%s", root) >= (int)sizeof job->root ||
        snprintf(job->path, sizeof job->path, "%s", path) >= (int)sizeof job->path) {
        free(job);
        return -ENAMETOOLONG;
    }
    err = im_thread_begin(probe_thread, job, NULL);
    if (err < 0)
        free(job);
    else
        p->job = job;
    return err;
}

bool rd_probe_take(struct rd_probe *p, struct rd_probe_result *ret)
{
    if (!p->job || atomic_load_explicit(&p->job->state, memory_order_acquire) != DONE)
        return false;
    *ret = p->job->result;
    free(p->job);
    p->job = NULL;
    return true;
}

void rd_probe_abandon(struct rd_probe *p)
{
    int running = RUNNING;

    if (p->job && !atomic_compare_exchange_strong_explicit(&p->job->state, &running, ABANDONED,
                                                           memory_order_acq_rel, memory_order_acquire))
        job_free(p->job);
    p->job = NULL;
}
