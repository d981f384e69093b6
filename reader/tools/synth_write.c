/* Makes the files of a synthetic set. Images are independent of each other, so threads share them out as they
 * come; every file is the same whatever the number of threads. Only an empty or new folder is taken: nothing
 * of the user's is ever overwritten. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "reader/dataset/parallel.h"
#include "reader/tools/jpeg_write.h"
#include "reader/tools/synth.h"

struct job {
    const struct rd_synth *synth;
    int folder_fd;
    _Atomic int err; /* the first error of any image; later images are then left out */
    void (*tick)(void *context, uint64_t done);
    void *context;
};

static int check_synth(const struct rd_synth *synth, struct im_text *text)
{
    if (synth->class_count < 2 || synth->class_count > RD_SYNTH_CLASSES_MAX)
        return im_fail(text, -EINVAL, "--classes must be from 2 to %d, not %u", RD_SYNTH_CLASSES_MAX,
                       synth->class_count);
    if (synth->per_class < 1 || synth->per_class > RD_SYNTH_PER_CLASS_MAX ||
        synth->val_per_class > RD_SYNTH_PER_CLASS_MAX)
        return im_fail(text, -EINVAL, "--per-class must be from 1 to %d, --val-per-class at most that",
                       RD_SYNTH_PER_CLASS_MAX);
    if (synth->size_min < RD_SYNTH_SIZE_MIN || synth->size_max > RD_SYNTH_SIZE_MAX ||
        synth->size_min > synth->size_max)
        return im_fail(text, -EINVAL, "--side-min and --side-max must be from %d to %d, in this order",
                       RD_SYNTH_SIZE_MIN, RD_SYNTH_SIZE_MAX);
    if (synth->quality < 1 || synth->quality > 100)
        return im_fail(text, -EINVAL, "--jpeg-quality must be from 1 to 100, not %d", synth->quality);
    return 0;
}

static int is_empty(const char *folder)
{
    DIR *dir = opendir(folder);
    int entries = 0;

    while (dir && readdir(dir))
        entries++;
    if (dir)
        closedir(dir);
    return entries <= 2;
}

static int make_folders(const struct rd_synth *synth, struct im_text *text)
{
    static const char *const splits[] = {"train", "val"};
    char path[PATH_MAX];
    int err = im_mkdirs(synth->folder, 0777, text);

    if (err < 0)
        return err;
    if (!is_empty(synth->folder))
        return im_fail(text, -EEXIST,
                       "the folder '%.700s' is not empty; synth writes into a new one only (what an earlier "
                       "one has left "
                       "there can be deleted)",
                       synth->folder);
    for (int split = 0; split < (synth->val_per_class ? 2 : 1); split++) {
        for (uint32_t class = 0; class < synth->class_count; class ++) {
            snprintf(path, sizeof path, "%s/%s/class_%03u", synth->folder, splits[split], class);
            err = im_mkdirs(path, 0777, text);
            if (err < 0)
                return err;
        }
    }
    return 0;
}

static int write_file(int folder_fd, const char *path, const void *bytes, size_t size)
{
    int err, fd = openat(folder_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

    if (fd < 0)
        return -errno;
    err = im_write_all(fd, bytes, size);
    if (close(fd) < 0 && err == 0)
        err = -errno;
    return err;
}

static int make_image(const struct job *job, uint32_t class, uint32_t i)
{
    const struct rd_synth *synth = job->synth;
    int is_val = i >= synth->per_class;
    uint8_t *rgb = malloc((size_t)synth->size_max * synth->size_max * 3), *bytes = NULL;
    uint32_t width, height;
    char path[64];
    size_t size;
    int err;

    if (!rgb)
        return -ENOMEM;
    rd_synth_draw(synth, class, i, rgb, &width, &height);
    err = rd_jpeg_encode(rgb, width, height, synth->quality, &bytes, &size, NULL);
    free(rgb);
    if (err < 0)
        return err;
    snprintf(path, sizeof path, "%s/class_%03u/%05u.jpg", is_val ? "val" : "train", class,
             is_val ? i - synth->per_class : i);
    err = write_file(job->folder_fd, path, bytes, size);
    free(bytes);
    return err;
}

static void make_item(void *context, uint64_t item)
{
    struct job *job = context;
    uint32_t each = job->synth->per_class + job->synth->val_per_class;
    int none = 0, err;

    if (atomic_load_explicit(&job->err, memory_order_relaxed) != 0)
        return;
    err = make_image(job, (uint32_t)(item / each), (uint32_t)(item % each));
    if (err < 0)
        atomic_compare_exchange_strong_explicit(&job->err, &none, err, memory_order_relaxed,
                                                memory_order_relaxed);
}

static void tick(void *context, uint64_t done)
{
    const struct job *job = context;

    if (job->tick)
        job->tick(job->context, done);
}

int rd_synth_write(const struct rd_synth *synth, void (*ticker)(void *context, uint64_t done), void *context,
                   struct im_text *text)
{
    struct job job = {.synth = synth, .tick = ticker, .context = context};
    struct rd_parallel parallel = {
        .count = (uint64_t)synth->class_count * (synth->per_class + (uint64_t)synth->val_per_class),
        .item = make_item,
        .tick = tick,
        .context = &job,
    };
    int err = check_synth(synth, text);

    if (err == 0)
        err = make_folders(synth, text);
    if (err < 0)
        return err;
    job.folder_fd = open(synth->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (job.folder_fd < 0)
        return im_fail(text, -errno, "cannot open '%.700s': %s", synth->folder, strerror(errno));
    rd_parallel(&parallel);
    close(job.folder_fd);
    err = atomic_load_explicit(&job.err, memory_order_relaxed);
    return err < 0 ? im_fail(text, err, "cannot write the images into '%.700s': %s", synth->folder,
                             strerror(-err))
                   : 0;
}
