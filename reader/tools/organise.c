/* Writing what the plan names. Files are independent of each other, so threads share them out; the first that fails ends
 * the work of all. */
#include "reader/tools/organise.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "ipc/base/reference.h"
#include "reader/dataset/parallel.h"

enum { COPY_BYTES = 1 << 16 };

struct job {
    struct rd_organise *organise;
    struct rd_plan *plan;
    const char *root;
    int source_fd, folder_fd;
    _Atomic uint64_t failed; /* W the first thread that fails: the file's number + 1 */
    int err;                 /* of that file; read when the threads are done */
    _Atomic uint64_t differ, first_differing, already, made;
};

/* Where a path that may not be there yet will be: the part that is there without links, and the rest. */
static int resolve(const char *path, char ret[PATH_MAX])
{
    char there[PATH_MAX], *slash;
    size_t n;

    if (snprintf(there, sizeof there, "%s", path) >= PATH_MAX)
        return -ENAMETOOLONG;
    while (!realpath(there, ret)) {
        if (errno != ENOENT)
            return -errno;
        slash = strrchr(there, '/');
        if (slash && slash != there)
            *slash = 0;
        else
            snprintf(there, sizeof there, "%s", slash ? "/" : ".");
    }
    n = strlen(there);
    if (strcmp(there, ".") == 0 && strncmp(path, ".", 2) != 0)
        n = 0;
    path += n;
    path += strspn(path, "/");
    if (strncmp(path, "..", 2) == 0 || strstr(path, "/.."))
        return -EINVAL;
    n = strlen(ret);
    return *path && (size_t)snprintf(ret + n, PATH_MAX - n, "%s%s", ret[n - 1] == '/' ? "" : "/", path) >=
                        PATH_MAX - n
               ? -ENAMETOOLONG
               : 0;
}

static bool is_in(const char *path, const char *folder)
{
    const size_t n = strcmp(folder, "/") == 0 ? 0 : strlen(folder);

    return strncmp(path, folder, n) == 0 && (path[n] == 0 || path[n] == '/');
}

int rd_organise_folder(const char *source, const char *folder, char ret_path[PATH_MAX], struct im_text *text)
{
    char inside[PATH_MAX + 8];
    int err = resolve(folder, ret_path);

    if (err < 0)
        return im_fail(text, err, "cannot use '%.700s': %s", folder, strerror(-err));
    for (size_t n = strlen(ret_path); n > 1 && ret_path[n - 1] == '/'; n--)
        ret_path[n - 1] = 0;
    if (is_in(ret_path, source))
        return im_fail(text, -EINVAL,
                       "'%.400s' lies in the data set '%.400s', which would then hold its images twice: take "
                       "another folder",
                       ret_path, source);
    for (int split = 0; split < IM_SPLITS; split++) {
        snprintf(inside, sizeof inside, "%.4000s/%s", ret_path, split == IM_TRAIN ? "train" : "val");
        if (is_in(source, inside))
            return im_fail(text, -EINVAL,
                           "the data set '%.400s' lies where its class folders would: take "
                           "another folder than '%.400s'",
                           source, ret_path);
    }
    return 0;
}

static int source_of(const struct job *job, const struct rd_plan_file *file, char source[PATH_MAX])
{
    struct rd_source_of at;
    int n = rd_index_source(job->plan->index, (enum im_split)file->split, file->id, &at, source, PATH_MAX);

    if (n >= 0 && at.container)
        n = im_reference_add(source, PATH_MAX, at.offset, at.bytes);
    return n < 0 ? n : 0;
}

/* Is the file there, and the same? As rd_is_made(). */
static int look(const struct job *job, uint64_t i)
{
    const struct rd_plan_file *file = &job->plan->files[i];
    char source[PATH_MAX];
    int err = source_of(job, file, source);

    if (err < 0)
        return err;
    return rd_is_made(job->folder_fd, rd_plan_path(job->plan, i), job->source_fd, job->root, source,
                      job->organise->how, !file->is_ours);
}

/* What is there of the plan before anything is written. */
static void check_one(void *context, uint64_t i)
{
    struct job *job = context;
    struct rd_plan_file *file = &job->plan->files[i];
    int made = file->is_ours ? -ENOENT : look(job, i);
    uint64_t none = 0;

    if (made == -ENOENT)
        return;
    file->is_done = made == 1;
    if (made == 1) {
        atomic_fetch_add_explicit(&job->already, 1, memory_order_relaxed);
        return;
    }
    atomic_fetch_add_explicit(&job->differ, 1, memory_order_relaxed);
    atomic_compare_exchange_strong_explicit(&job->first_differing, &none, i + 1, memory_order_relaxed,
                                            memory_order_relaxed);
}

static int check_all(struct job *job, struct im_text *text)
{
    const uint64_t count = job->plan->count;

    if (job->folder_fd >= 0)
        rd_parallel(&(struct rd_parallel){.count = count, .item = check_one, .context = job});
    if (atomic_load_explicit(&job->differ, memory_order_relaxed) == 0)
        return 0;
    return im_fail(
        text, -EEXIST,
        "%llu of %llu files are in '%.300s' already and differ from what would be written, one of "
        "them %.300s. Nothing was written: take another folder, or move them away",
        (unsigned long long)atomic_load_explicit(&job->differ, memory_order_relaxed),
        (unsigned long long)count, job->organise->folder,
        rd_plan_path(job->plan, atomic_load_explicit(&job->first_differing, memory_order_relaxed) - 1));
}

static int copy_bytes(int to, int from, uint64_t offset, const struct stat *st)
{
    char buffer[COPY_BYTES];
    off_t at = (off_t)offset;
    const off_t end = at + st->st_size;
    ssize_t n = 1;
    int err = 0;

    while (at < end && n > 0) /* shares blocks where the file system can */
        n = copy_file_range(from, &at, to, NULL, (size_t)(end - at), 0);
    if (n < 0 && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP &&
        errno != EPERM)
        return -errno;
    while (err == 0 && at < end) {
        n = pread(from, buffer, (size_t)(end - at < COPY_BYTES ? end - at : COPY_BYTES), at);
        if (n == 0)
            return -ENODATA;
        err = n > 0 ? im_write_all(to, buffer, (size_t)n) : errno == EINTR ? 0 : -errno;
        at += n > 0 ? n : 0;
    }
    if (err == 0)
        err = IM_FAULT_ERR("organise.write");
    if (err == 0 && futimens(to, (struct timespec[]){st->st_atim, st->st_mtim}) < 0)
        err = -errno;
    return err;
}

int rd_organise_open(int source_fd, const char *source, uint64_t *ret_offset, struct stat *ret_st)
{
    uint64_t bytes;
    const size_t n = im_reference_parse(source, ret_offset, &bytes);
    char path[PATH_MAX];
    int fd, err;

    if (n >= sizeof path)
        return -ENAMETOOLONG;
    memcpy(path, source, n);
    path[n] = 0;
    fd = openat(source_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    err = fstat(fd, ret_st) < 0 ? -errno : 0;
    if (err == 0 && bytes != UINT64_MAX && (uint64_t)ret_st->st_size < *ret_offset + bytes)
        err = -ENODATA;
    if (err == 0 && bytes != UINT64_MAX)
        ret_st->st_size = (off_t)bytes;
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

/* Without replacing what has the name. */
static int rename_new(int folder_fd, const char *from, const char *to)
{
    struct stat st;

    if (renameat2(folder_fd, from, folder_fd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (fstatat(folder_fd, to, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    return renameat(folder_fd, from, folder_fd, to) < 0 ? -errno : 0;
}

static int copy(const struct job *job, const char *source, const char *path, uint64_t i)
{
    char temporary[64];
    struct stat st;
    uint64_t offset;
    int from = rd_organise_open(job->source_fd, source, &offset, &st), to, err;

    if (from < 0)
        return from;
    snprintf(temporary, sizeof temporary, RD_ORGANISE_TEMPORARY "/%llu", (unsigned long long)i);
    to = openat(job->folder_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    err = to < 0 ? -errno : copy_bytes(to, from, offset, &st);
    if (to >= 0 && close(to) < 0 && err == 0)
        err = -errno;
    close(from);
    IM_FAULT("organise.rename");
    if (err == 0)
        err = rename_new(job->folder_fd, temporary, path);
    if (err < 0 && to >= 0)
        unlinkat(job->folder_fd, temporary, 0);
    return err;
}

static int make(const struct job *job, uint64_t i)
{
    const char *path = rd_plan_path(job->plan, i);
    char source[PATH_MAX], target[2 * PATH_MAX];
    int err = source_of(job, &job->plan->files[i], source);

    if (err < 0)
        return err;
    if (job->organise->how == RD_HOW_COPY)
        return copy(job, source, path, i);
    if (job->organise->how == RD_HOW_HARD_LINK)
        return linkat(job->source_fd, source, job->folder_fd, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
    snprintf(target, sizeof target, "%s%s%s", *source == '/' ? "" : job->root, *source == '/' ? "" : "/",
             source);
    return symlinkat(target, job->folder_fd, path) < 0 ? -errno : 0;
}

/* Once a file failed, no other is made; what an earlier start made is still counted, for the sentence about the failure. */
static void make_one(void *context, uint64_t i)
{
    struct job *job = context;
    const struct rd_plan_file *file = &job->plan->files[i];
    const bool is_over = atomic_load_explicit(&job->failed, memory_order_relaxed) != 0;
    uint64_t none = 0;
    int err;

    if (file->is_done || (is_over && !file->is_ours))
        return;
    IM_FAULT("organise.file");
    err = file->is_ours ? look(job, i) : -ENOENT;
    if (is_over && err != 1)
        return;
    if (err == -ENOENT)
        err = make(job, i);
    else if (err == 1)
        atomic_fetch_add_explicit(&job->already, 1, memory_order_relaxed);
    else if (err == 0)
        err = -EEXIST;
    if (err >= 0)
        atomic_fetch_add_explicit(&job->made, 1, memory_order_relaxed);
    else if (atomic_compare_exchange_strong_explicit(&job->failed, &none, i + 1, memory_order_relaxed,
                                                     memory_order_relaxed))
        job->err = err;
}

/* Files of the plan that are in place: made by this start or an earlier one, or there before. */
static unsigned long long count_in_place(const struct job *job)
{
    unsigned long long count = atomic_load_explicit(&job->made, memory_order_relaxed);

    for (uint64_t i = 0; i < job->plan->count; i++)
        count += job->plan->files[i].is_done;
    return count;
}

static int fail_file(const struct job *job, struct im_text *text)
{
    const uint64_t i = atomic_load_explicit(&job->failed, memory_order_relaxed) - 1;
    const unsigned long long made = count_in_place(job), all = job->plan->count;
    const char *path = rd_plan_path(job->plan, i), *folder = job->organise->folder;
    char source[PATH_MAX] = "";
    int err = job->err;

    source_of(job, &job->plan->files[i], source);
    if (err == -ENOSPC || err == -EDQUOT)
        return im_fail(
            text, err,
            "%s for '%.400s' after %llu of %llu files: make room and start the same command again, "
            "which goes on from there",
            err == -ENOSPC ? "no space is left" : "the quota is used up", folder, made, all);
    if (err == -EEXIST)
        return im_fail(
            text, err,
            "'%.200s/%.300s' is there already and differs from '%.300s': it was left as it is, after "
            "%llu of %llu files",
            folder, path, source, made, all);
    if (err == -EXDEV)
        return im_fail(text, err,
                       "'%.300s' and '%.300s' are on different file systems, between which there are no hard "
                       "links: take --copy or --symlink",
                       job->root, folder);
    if (job->organise->how == RD_HOW_HARD_LINK && (err == -EPERM || err == -EOPNOTSUPP || err == -EMLINK))
        return im_fail(
            text, err,
            "no hard link to '%.400s' can be made (%s; files of other users may be protected): take "
            "--copy or --symlink",
            source, strerror(-err));
    return im_fail(text, err, "cannot make '%.200s/%.250s' of '%.250s': %s (after %llu of %llu files)",
                   folder, path, source, strerror(-err), made, all);
}

void rd_organise_clear(int folder_fd)
{
    int fd = openat(folder_fd, RD_ORGANISE_TEMPORARY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir)) != NULL)
        if (entry->d_name[strspn(entry->d_name, "0123456789")] == 0)
            unlinkat(fd, entry->d_name, 0);
    if (dir)
        closedir(dir);
    unlinkat(folder_fd, RD_ORGANISE_TEMPORARY, AT_REMOVEDIR);
}

static int make_folder(const struct job *job, const char *path, struct stat *ret_st, struct im_text *text)
{
    if (mkdirat(job->folder_fd, path, 0777) < 0 && errno != EEXIST)
        return im_fail(text, -errno, "cannot make the folder '%.400s/%.400s': %s", job->organise->folder,
                       path, strerror(errno));
    if (fstatat(job->folder_fd, path, ret_st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(ret_st->st_mode))
        return im_fail(text, -ENOTDIR, "'%.400s/%.400s' is there and no folder", job->organise->folder, path);
    return 0;
}

/* "train/cat" of a file's path. */
static const char *class_folder(const char *path, char ret[PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%.*s", (int)(strrchr(path, '/') - path), path);
    return ret;
}

/* The class folders, each before its files: files are sorted by path. Two names that are one folder here are refused. */
static int make_folders(const struct job *job, struct im_text *text)
{
    char folder[PATH_MAX], before[PATH_MAX] = "", split[8];
    ino_t *inodes = malloc((2 * (size_t)rd_index_class_count(job->plan->index) + 1) * sizeof *inodes);
    size_t count = 0;
    struct stat st;
    int err = inodes ? 0 : -ENOMEM;

    for (uint64_t i = 0; i < job->plan->count && err == 0; i++) {
        if (strcmp(class_folder(rd_plan_path(job->plan, i), folder), before) == 0)
            continue;
        snprintf(split, sizeof split, "%.*s", (int)strcspn(folder, "/"), folder);
        err = make_folder(job, split, &st, text);
        if (err == 0)
            err = make_folder(job, folder, &st, text);
        for (size_t k = 0; k < count && err == 0; k++)
            if (inodes[k] == st.st_ino)
                err = im_fail(text, -EEXIST,
                              "'%.300s' is the same folder as that of another class in '%.300s': this file "
                              "system does not tell the two names apart. Take another place",
                              folder, job->organise->folder);
        if (err == 0)
            inodes[count++] = st.st_ino;
        memcpy(before, folder, sizeof before);
    }
    free(inodes);
    return err;
}

/* Names folder `path` in the undo file if it is not there. */
static int add_folder(const struct job *job, struct rd_undo *undo, const char *path)
{
    struct stat st;
    int64_t at = 0;

    if (job->folder_fd < 0 || fstatat(job->folder_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        at = rd_names_add(&undo->folders, path);
    return at < 0 ? (int)at : 0;
}

/* Adds to the undo file what it does not name yet; *ret_added: whether there was any. */
static int fill_undo(const struct job *job, struct rd_undo *undo, bool *ret_added)
{
    char folder[PATH_MAX], before[PATH_MAX] = "", source[PATH_MAX], split[8], split_before[8] = "";
    const uint64_t count = undo->count;
    const uint32_t folders = undo->folders.count;
    int err = job->folder_fd < 0 ? add_folder(job, undo, ".") : 0;

    for (uint64_t i = 0; i < job->plan->count && err == 0; i++) {
        const struct rd_plan_file *file = &job->plan->files[i];

        if (file->is_ours || file->is_done)
            continue;
        class_folder(rd_plan_path(job->plan, i), folder);
        snprintf(split, sizeof split, "%.*s", (int)strcspn(folder, "/"), folder);
        if (strcmp(split, split_before) != 0)
            err = add_folder(job, undo, split);
        if (err == 0 && strcmp(folder, before) != 0)
            err = add_folder(job, undo, folder);
        if (err == 0)
            err = source_of(job, file, source);
        if (err == 0)
            err = rd_undo_add(undo, rd_plan_path(job->plan, i), source);
        memcpy(before, folder, sizeof before);
        memcpy(split_before, split, sizeof split);
    }
    rd_undo_sort(undo);
    *ret_added = undo->count != count || undo->folders.count != folders;
    return err;
}

/* The undo file of an earlier start: for the same source and in the same way, or none. */
static int read_undo(const struct job *job, const char *path, struct rd_undo *undo, struct im_text *text)
{
    static const char *const flags[RD_HOWS] = {"--copy", "--hard-link", "--symlink"};
    int err = rd_undo_read(path, undo, text);

    if (err == -ENOENT) {
        undo->how = job->organise->how;
        snprintf(undo->source, sizeof undo->source, "%s", job->root);
        return 0;
    }
    if (err < 0)
        return err;
    if (strcmp(undo->source, job->root) != 0 || undo->how != job->organise->how)
        return im_fail(text, -EEXIST,
                       "'%.250s' was made from '%.250s' with %s: take another folder, or take it back first: "
                       "imsuper data organise --undo %.250s",
                       job->organise->folder, undo->source, flags[undo->how], path);
    for (uint64_t i = 0; i < job->plan->count; i++)
        job->plan->files[i].is_ours = rd_undo_has(undo, rd_plan_path(job->plan, i));
    return 0;
}

int rd_organise_lock(int folder_fd, const char *folder, struct im_text *text)
{
    if (flock(folder_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return im_fail(text, -EBUSY, "another `imsuper data organise` is at work in '%.700s'", folder);
    return 0; /* a file system without locks: as if nobody else were there */
}

static int open_folder(struct job *job, struct im_text *text)
{
    int err = im_mkdirs(job->organise->folder, 0777, text);

    if (err == 0 && job->folder_fd < 0)
        job->folder_fd = open(job->organise->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (err == 0 && job->folder_fd < 0)
        err = im_fail(text, -errno, "cannot open '%.700s': %s", job->organise->folder, strerror(errno));
    if (err == 0)
        err = rd_organise_lock(job->folder_fd, job->organise->folder, text);
    if (err == 0)
        im_file_sweep(job->organise->folder);
    return err;
}

static void tick(void *context, uint64_t done)
{
    const struct job *job = context;

    job->organise->tick(job->organise->context, done);
}

static int write_files(struct job *job, struct im_text *text)
{
    struct rd_organise *organise = job->organise;
    int err = make_folders(job, text);

    rd_organise_clear(job->folder_fd);
    if (err == 0 && organise->how == RD_HOW_COPY && mkdirat(job->folder_fd, RD_ORGANISE_TEMPORARY, 0777) < 0)
        err =
            im_fail(text, -errno, "cannot make a folder in '%.700s': %s", organise->folder, strerror(errno));
    if (err == 0)
        rd_parallel(&(struct rd_parallel){.count = job->plan->count,
                                          .item = make_one,
                                          .tick = organise->tick ? tick : NULL,
                                          .context = job});
    rd_organise_clear(job->folder_fd);
    return err == 0 && atomic_load_explicit(&job->failed, memory_order_relaxed) ? fail_file(job, text) : err;
}

/* After a start that could make no file, as hard links to another file system: the next may do it in another way. */
static void take_back(const struct job *job, const char *undo_path)
{
    struct rd_undone undone;

    flock(job->folder_fd, LOCK_UN);
    rd_organise_undo(undo_path, &undone, NULL);
}

static int organise_files(struct job *job, struct rd_undo *undo, struct im_text *text)
{
    char path[PATH_MAX + 32];
    bool added = false, is_first;
    int err;

    snprintf(path, sizeof path, "%s/" RD_UNDO_FILE, job->organise->folder);
    err = read_undo(job, path, undo, text);
    is_first = undo->count == 0;
    if (err == 0)
        err = check_all(job, text);
    if (err < 0 || job->organise->dry_run)
        return err;
    err = fill_undo(job, undo, &added);
    if (err == 0)
        err = open_folder(job, text);
    IM_FAULT("organise.undo");
    if (err == 0 && added)
        err = rd_undo_write(path, undo, text);
    IM_FAULT("organise.folders");
    if (err == 0)
        err = write_files(job, text);
    if (err < 0 && is_first && atomic_load_explicit(&job->made, memory_order_relaxed) == 0)
        take_back(job, path);
    return err;
}

int rd_organise(struct rd_organise *organise, struct im_text *text)
{
    struct job job = {.organise = organise,
                      .plan = organise->plan,
                      .root = rd_index_root(organise->plan->index),
                      .folder_fd = open(organise->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    struct rd_undo undo = {.count = 0};
    int err = 0;

    if (job.folder_fd < 0 && errno != ENOENT)
        return im_fail(text, -errno, "cannot open '%.700s': %s", organise->folder, strerror(errno));
    job.source_fd = open(job.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (job.source_fd < 0)
        err = im_fail(text, -errno, "cannot open '%.700s': %s", job.root, strerror(errno));
    if (err == 0)
        err = organise_files(&job, &undo, text);
    organise->already = atomic_load_explicit(&job.already, memory_order_relaxed);
    rd_undo_fini(&undo);
    if (job.folder_fd >= 0)
        close(job.folder_fd);
    if (job.source_fd >= 0)
        close(job.source_fd);
    return err;
}
