/* Writing, and reading again: a shard is hashed while it is written; then the page cache forgets it, and what the disk
 * gives must have the same hash. */
#include "reader/tools/pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "ipc/base/hash.h"
#include "ipc/base/json.h"
#include "ipc/base/output.h"
#include "reader/dataset/parallel.h"

#define BUFFER_BYTES ((size_t)1 << 20)
#define TEMPORARY ".tmp-" /* in front of a shard's name */

struct job {
    struct rd_pack *pack;
    int root_fd, folder_fd;
    _Atomic uint32_t failed, already; /* failed: W the threads, once: the shard + 1 */
    struct im_text why; /* written by that thread before failed is read, after all threads ended */
    int err;
};

/* A shard that is being written. */
struct writing {
    const struct job *job;
    int fd;
    struct im_hash *hash;
    char *buffer;
    size_t used;
    uint64_t bytes;
    struct rd_pack_head head;
};

static int flush(struct writing *w)
{
    int err = IM_FAULT_ERR("pack.write");

    if (err == 0)
        err = im_write_all(w->fd, w->buffer, w->used);
    im_hash_add(w->hash, w->buffer, w->used);
    w->bytes += w->used;
    w->used = 0;
    return err;
}

static int pack_put(struct writing *w, const void *bytes, size_t n)
{
    int err = 0;

    while (n > 0 && err == 0) {
        const size_t room = BUFFER_BYTES - w->used, part = n < room ? n : room;

        memcpy(w->buffer + w->used, bytes, part);
        w->used += part;
        bytes = (const char *)bytes + part;
        n -= part;
        if (w->used == BUFFER_BYTES)
            err = flush(w);
    }
    return err;
}

/* The bytes of an image, straight into the buffer. */
static int put_file(struct writing *w, int fd, uint64_t offset, uint64_t bytes)
{
    static const char zeros[RD_TAR_BLOCK];
    const uint64_t padding = rd_tar_padded(bytes) - bytes;
    int err = 0;

    while (bytes > 0 && err == 0) {
        const size_t room = BUFFER_BYTES - w->used, part = bytes < room ? (size_t)bytes : room;
        const ssize_t got = pread(fd, w->buffer + w->used, part, (off_t)offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -ESTALE;
        w->used += (size_t)got;
        offset += (uint64_t)got;
        bytes -= (uint64_t)got;
        if (w->used == BUFFER_BYTES)
            err = flush(w);
    }
    return err == 0 ? pack_put(w, zeros, padding) : err;
}

static int fail_image(const struct rd_pack *pack, enum im_split split, uint64_t id, int err,
                      struct im_text *text)
{
    char path[PATH_MAX] = "?";

    rd_index_relative(pack->index, split, id, path, sizeof path);
    return im_fail(text, err, "cannot read '%.600s': %s", path,
                   err == -ESTALE ? "it has changed since it was looked at; start again" : strerror(-err));
}

static int put_sample(struct writing *w, enum im_split split, uint64_t id, struct im_text *text)
{
    const struct rd_pack *pack = w->job->pack;
    const uint64_t bytes = pack->samples[split][id].bytes;
    struct rd_source_of source;
    char path[PATH_MAX];
    struct stat st;
    int fd, err = rd_pack_head(pack, split, id, &w->head, text);

    if (err == 0)
        err = pack_put(w, w->head.bytes, w->head.n);
    if (err < 0 || (err = rd_index_source(pack->index, split, id, &source, path, sizeof path)) < 0)
        return err;
    fd = openat(w->job->root_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_image(pack, split, id, -errno, text);
    err = !source.container && (fstat(fd, &st) < 0 || (uint64_t)st.st_size != bytes) ? -ESTALE : 0;
    if (err == 0)
        err = put_file(w, fd, source.offset, bytes);
    close(fd);
    return err == -ESTALE || err == -EIO || err == -EISDIR ? fail_image(pack, split, id, err, text) : err;
}

/* Reads the file again, not from memory. 0, -EILSEQ: it holds something else; or negative errno. */
static int compare(int fd, char *buffer, uint64_t bytes, uint64_t wanted)
{
    struct im_hash *hash = im_hash_new(0);
    uint64_t at = 0;
    ssize_t got;
    int err = hash ? 0 : -ENOMEM;

    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    while (err == 0 && (got = pread(fd, buffer, BUFFER_BYTES, (off_t)at)) != 0) {
        if (got < 0) {
            err = errno == EINTR ? 0 : -errno;
            continue;
        }
        im_hash_add(hash, buffer, (size_t)got);
        at += (uint64_t)got;
    }
    if (err == 0)
        err = IM_FAULT_ERR("pack.compare");
    if (err == 0 && (at != bytes || im_hash_value(hash) != wanted))
        err = -EILSEQ;
    im_hash_free(&hash);
    return err;
}

static int write_shard(struct writing *w, const struct rd_pack_shard *shard, struct im_text *text)
{
    static const char end[2 * RD_TAR_BLOCK];
    int err = 0;

    for (uint64_t i = 0; i < shard->count && err == 0; i++)
        err = put_sample(w, shard->split, shard->first + i, text);
    if (err == 0)
        err = pack_put(w, end, sizeof end);
    if (err == 0 && w->used > 0)
        err = flush(w);
    if (err == 0 && fsync(w->fd) < 0)
        err = -errno;
    IM_FAULT("pack.written");
    if (err == 0)
        err =
            w->bytes == shard->bytes ? compare(w->fd, w->buffer, w->bytes, im_hash_value(w->hash)) : -EILSEQ;
    return err;
}

static int make_shard(const struct job *job, const struct rd_pack_shard *shard, struct im_text *text)
{
    struct writing *w = calloc(1, sizeof *w);
    char name[64], temporary[80];
    int err = -ENOMEM;

    if (!w)
        return err;
    rd_pack_name(shard, name);
    snprintf(temporary, sizeof temporary, TEMPORARY "%s", name);
    w->job = job;
    w->buffer = malloc(BUFFER_BYTES);
    w->hash = im_hash_new(0);
    w->fd = w->buffer && w->hash
                ? openat(job->folder_fd, temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)
                : -1;
    if (w->buffer && w->hash)
        err = w->fd < 0 ? -errno : write_shard(w, shard, text);
    if (w->fd >= 0 && close(w->fd) < 0 && err == 0)
        err = -errno;
    IM_FAULT("pack.rename");
    if (err == 0 && renameat(job->folder_fd, temporary, job->folder_fd, name) < 0)
        err = -errno;
    if (err < 0)
        unlinkat(job->folder_fd, temporary, 0);
    im_hash_free(&w->hash);
    free(w->buffer);
    free(w);
    return err;
}

static int fail_shard(const struct job *job, const struct rd_pack_shard *shard, int err, struct im_text *text)
{
    char name[64];

    rd_pack_name(shard, name);
    if (err == -ENOSPC || err == -EDQUOT)
        return im_fail(
            text, err,
            "%s for '%.300s', at %s of %u shards: make room and start the same command again, which goes "
            "on from there",
            err == -ENOSPC ? "no space is left" : "the quota is used up", job->pack->folder, name,
            job->pack->count);
    if (err == -EILSEQ)
        return im_fail(
            text, -EIO,
            "'%.300s/%s' was written and holds something else when it is read again: the disk or memory of "
            "this machine is not to be trusted",
            job->pack->folder, name);
    return im_fail(text, err, "cannot write '%.300s/%s': %s", job->pack->folder, name, strerror(-err));
}

static void make_one(void *context, uint64_t i)
{
    struct job *job = context;
    const struct rd_pack_shard *shard = &job->pack->shards[i];
    struct im_text text = {""};
    uint32_t none = 0;
    int err;

    if (shard->is_done || atomic_load_explicit(&job->failed, memory_order_relaxed) != 0)
        return;
    IM_FAULT("pack.shard");
    err = make_shard(job, shard, &text);
    if (err == 0 || !atomic_compare_exchange_strong_explicit(&job->failed, &none, (uint32_t)i + 1,
                                                             memory_order_relaxed, memory_order_relaxed))
        return;
    job->err = text.s[0] ? err : fail_shard(job, shard, err, &text);
    job->why = text;
}

static void tick(void *context, uint64_t done)
{
    const struct job *job = context;

    if (job->pack->tick)
        job->pack->tick(job->pack->context, done);
}

/* ---- what lies beside them ---- */

static int write_file(const struct rd_pack *pack, const char *name, const char *bytes, size_t n,
                      struct im_text *text)
{
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof path, "%s/%s", pack->folder, name) >= sizeof path)
        return im_fail(text, -ENAMETOOLONG, "the path '%.700s' is too long", pack->folder);
    return im_file_replace(path, bytes, n, text);
}

static int write_json(const struct rd_pack *pack, const char *name, struct im_json *j, struct im_text *text)
{
    char *bytes = im_json_dump_indented(j);
    int err = bytes ? write_file(pack, name, bytes, strlen(bytes), text) : -ENOMEM;

    free(bytes);
    im_json_free(&j);
    return err;
}

/* As timm's ReaderWds reads it. */
static struct im_json *info_of(const struct rd_pack *pack, enum im_split split, const char *name)
{
    struct im_json *j = im_json_object(), *names = im_json_array(), *lengths = im_json_array();
    char shard[64];

    for (uint32_t i = 0; i < pack->count; i++)
        if (pack->shards[i].split == split) {
            rd_pack_name(&pack->shards[i], shard);
            im_json_append_str(names, shard);
            im_json_append_int(lengths, (int64_t)pack->shards[i].count);
        }
    im_json_set_str(j, "name", name);
    im_json_set_int(j, "num_samples", (int64_t)rd_index_count(pack->index, split));
    im_json_set(j, "filenames", names);
    im_json_set(j, "shard_lengths", lengths);
    return j;
}

static int write_info(const struct rd_pack *pack, struct im_text *text)
{
    struct im_json *j = im_json_object(), *splits = im_json_object(), *classes = im_json_array();

    for (uint32_t i = 0; i < rd_index_class_count(pack->index); i++)
        im_json_append_str(classes, rd_index_class(pack->index, i));
    im_json_set(splits, "train", info_of(pack, IM_TRAIN, "train"));
    if (pack->shards_of[IM_VAL] > 0)
        im_json_set(splits, "validation", info_of(pack, IM_VAL, "validation"));
    im_json_set(j, "splits", splits);
    im_json_set_int(j, "num_classes", rd_index_class_count(pack->index));
    im_json_set(j, "classes", classes);
    return write_json(pack, "_info.json", j, text);
}

static int write_classes(const struct rd_pack *pack, struct im_text *text)
{
    char *bytes = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&bytes, &n);
    int err = out ? 0 : -ENOMEM;

    for (uint32_t i = 0; err == 0 && i < rd_index_class_count(pack->index); i++) {
        const char *class = rd_index_class(pack->index, i);

        if (strpbrk(class, "\r\n"))
            err = im_fail(text, -EINVAL,
                          "the class '%.300s' has a line break in its name, which classes.txt cannot hold",
                          class);
        fprintf(out, "%s\n", class);
    }
    if (out && (ferror(out) | fclose(out)) && err == 0)
        err = -ENOMEM;
    if (err == 0)
        err = write_file(pack, "classes.txt", bytes, n, text);
    free(bytes);
    return err;
}

/* ---- resuming ---- */

static int write_plan(const struct rd_pack *pack, struct im_text *text)
{
    struct im_json *j = im_json_object();
    char hash[17];

    snprintf(hash, sizeof hash, "%016" PRIx64, pack->hash);
    im_json_set_str(j, "schema", "imsuper.pack/1");
    im_json_set_str(j, "plan", hash);
    im_json_set_str(j, "source", rd_index_root(pack->index));
    im_json_set_int(j, "shard_bytes", (int64_t)pack->shard_bytes);
    im_json_set_int(j, "shard_images", (int64_t)pack->shard_images);
    return write_json(pack, RD_PACK_FILE, j, text);
}

/* 1: an earlier start had the same plan, 0: there was none; -EEXIST with a sentence: it had another. */
static int read_plan(const struct rd_pack *pack, struct im_text *text)
{
    char path[PATH_MAX], hash[17], *bytes;
    struct im_json *j = NULL;
    size_t n;
    int err;

    snprintf(path, sizeof path, "%s/" RD_PACK_FILE, pack->folder);
    if (access(path, F_OK) < 0)
        return 0;
    err = im_read_file(path, 65536, &bytes, &n, text);
    if (err < 0)
        return err;
    snprintf(hash, sizeof hash, "%016" PRIx64, pack->hash);
    err = im_json_parse(bytes, n, &j, NULL);
    free(bytes);
    if (err == 0 && strcmp(im_json_str_or(j, "plan", ""), hash) == 0)
        err = 1;
    else
        err = im_fail(
            text, -EEXIST,
            "'%.300s' holds shards of other images, or of other sizes ('%.300s'): take another folder, or "
            "remove them",
            pack->folder, err == 0 ? im_json_str_or(j, "source", "?") : path);
    im_json_free(&j);
    return err;
}

/* What is there of the plan. Files that it does not name are nobody's business, but for shards, which would be read too. */
static int check_folder(struct job *job, bool is_known, struct im_text *text)
{
    DIR *dir = job->folder_fd < 0 ? NULL : opendir(job->pack->folder);
    const struct dirent *entry;
    int err = 0;

    for (uint32_t i = 0; job->folder_fd >= 0 && i < job->pack->count; i++) {
        struct rd_pack_shard *shard = &job->pack->shards[i];
        char name[64];
        struct stat st;

        rd_pack_name(shard, name);
        shard->is_done = is_known && fstatat(job->folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                         S_ISREG(st.st_mode) && (uint64_t)st.st_size == shard->bytes;
        job->pack->already += shard->is_done;
    }
    while (!is_known && dir && err == 0 && (entry = readdir(dir)) != NULL) {
        const size_t n = strlen(entry->d_name);

        if (n > 4 && strcmp(entry->d_name + n - 4, ".tar") == 0 && entry->d_name[0] != '.')
            err = im_fail(text, -EEXIST, "'%.400s' holds a shard already (%.200s): take another folder",
                          job->pack->folder, entry->d_name);
    }
    if (dir)
        closedir(dir);
    return err;
}

static int open_folder(struct job *job, struct im_text *text)
{
    int err = im_mkdirs(job->pack->folder, 0777, text);

    if (err == 0)
        job->folder_fd = open(job->pack->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (err == 0 && job->folder_fd < 0)
        err = im_fail(text, -errno, "cannot open '%.700s': %s", job->pack->folder, strerror(errno));
    if (err == 0 && flock(job->folder_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        err = im_fail(text, -EBUSY, "another `imsuper data pack` is at work in '%.700s'", job->pack->folder);
    return err;
}

static int write_all(struct job *job, struct im_text *text)
{
    struct rd_pack *pack = job->pack;

    rd_parallel(&(struct rd_parallel){
        .count = pack->count, .threads = pack->threads, .item = make_one, .tick = tick, .context = job});
    if (atomic_load_explicit(&job->failed, memory_order_relaxed) != 0)
        return im_fail(text, job->err, "%.1000s", job->why.s);
    if (fsync(job->folder_fd) < 0)
        return im_fail(text, -errno, "cannot write '%.700s': %s", pack->folder, strerror(errno));
    return 0;
}

int rd_pack_write(struct rd_pack *pack, struct im_text *text)
{
    struct job job = {.pack = pack, .folder_fd = -1};
    int known = 0, err = open_folder(&job, text);

    if (err == 0)
        known = err = read_plan(pack, text);
    if (err >= 0)
        err = check_folder(&job, known == 1, text);
    job.root_fd = open(rd_index_root(pack->index), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (err == 0 && job.root_fd < 0)
        err = im_fail(text, -errno, "cannot open '%.700s': %s", rd_index_root(pack->index), strerror(errno));
    if (err == 0)
        im_file_sweep(pack->folder);
    if (err == 0 && known == 0)
        err = write_plan(pack, text);
    IM_FAULT("pack.plan");
    if (err == 0)
        err = write_classes(pack, text);
    if (err == 0)
        err = write_all(&job, text);
    IM_FAULT("pack.info");
    if (err == 0)
        err = write_info(pack, text);
    if (job.root_fd >= 0)
        close(job.root_fd);
    if (job.folder_fd >= 0)
        close(job.folder_fd);
    return err;
}
