#include "fetcher/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "ipc/object_seal.h"
#include "ipc/seek_file.h"
#include "reader/dataset/mirror.h"

#define MAGIC UINT64_C(0x316b6f6f62667369)
#define DEPTH_MAX 64
#define LOCK_WAIT_NS (200 * IM_MS)
#define LOCK_WAIT_OPEN_NS (60 * IM_SECOND)
#define BLOCK 4096 /* what a file takes of a disk is rounded up */
#define EVICT_SHARE 16
#define FREE_SHARE 20
#define MARGIN_SHARE 32
#define MARGIN_MAX ((uint64_t)16 << 20)
#define FREE_MIN ((uint64_t)1 << 30)
#define FREE_SHARE_SMALL 4             /* of a disk that is too small for FREE_MIN */
#define ABANDONED_NS (120 * IM_SECOND) /* without a byte; a server that gives none is given up long before */

struct fe_book {
    _Atomic uint64_t magic;
    _Atomic uint64_t used; /* W who holds the lock */
};

static uint64_t rounded(uint64_t bytes)
{
    return (bytes + BLOCK - 1) / BLOCK * BLOCK;
}

static int lock(const struct fe_cache *c, im_ns wait)
{
    im_ns until = im_now() + wait;

    while (flock(c->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        if (im_now() > until)
            return -EAGAIN;
        nanosleep(&(struct timespec){.tv_nsec = (long)IM_MS}, NULL);
    }
    IM_FAULT("fetcher.locked");
    return 0;
}

static void unlock(const struct fe_cache *c)
{
    flock(c->lock_fd, LOCK_UN);
}

static void cache_add(struct fe_cache *c, uint64_t bytes)
{
    atomic_fetch_add_explicit(&c->book->used, bytes, memory_order_relaxed);
}

static void take_off(struct fe_cache *c, uint64_t bytes)
{
    uint64_t used = fe_cache_used(c);

    atomic_store_explicit(&c->book->used, used > bytes ? used - bytes : 0, memory_order_relaxed);
}

uint64_t fe_cache_used(const struct fe_cache *cache)
{
    return atomic_load_explicit(&cache->book->used, memory_order_relaxed);
}

uint64_t fe_cache_limit(const struct fe_cache *cache)
{
    struct statvfs fs;
    uint64_t disk, all, keep, used = fe_cache_used(cache);

    if (fstatvfs(cache->dir_fd, &fs) < 0)
        return cache->limit > 0 ? cache->limit : used;
    /* What the disk has for us, filled by others as it may be. */
    all = used + (uint64_t)fs.f_bavail * fs.f_frsize;
    disk = (uint64_t)fs.f_blocks * fs.f_frsize;
    keep = disk / FREE_SHARE > FREE_MIN ? disk / FREE_SHARE : FREE_MIN;
    keep = keep < disk / FREE_SHARE_SMALL ? keep : disk / FREE_SHARE_SMALL;
    if (cache->limit > 0)
        keep = all / MARGIN_SHARE < MARGIN_MAX ? all / MARGIN_SHARE : MARGIN_MAX;
    all = all > keep ? all - keep : 0;
    return cache->limit > 0 && cache->limit < all ? cache->limit : all;
}

/* Each file below a folder: its folder, name and what is known of it. */
struct visit {
    void (*file)(struct visit *v, int dir_fd, const char *name, const struct stat *st);
    struct fe_cache *cache;
    uint64_t bytes;    /* of all */
    struct used *used; /* images, the first to remove first */
    size_t count, capacity;
    int64_t until;            /* those used up to then go */
    uint64_t wanted, evicted; /* bytes */
    int err;
};

struct used {
    int64_t at; /* ns */
    uint64_t bytes;
};

static void walk(struct visit *v, int fd, int depth)
{
    DIR *dir = fdopendir(fd);
    const struct dirent *entry;
    struct stat st;

    if (!dir) {
        close(fd);
        return;
    }
    while ((entry = readdir(dir)) && v->err == 0) {
        if (entry->d_name[0] == '.' && (!entry->d_name[1] || (entry->d_name[1] == '.' && !entry->d_name[2])))
            continue;
        if (entry->d_type == DT_DIR && depth < DEPTH_MAX) {
            int inner = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

            if (inner >= 0)
                walk(v, inner, depth + 1);
        } else if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
                   st.st_size > 0) {
            v->file(v, dirfd(dir), entry->d_name, &st);
        }
    }
    closedir(dir);
}

/* The data/ of each mirror. */
static int walk_all(struct fe_cache *c, struct visit *v)
{
    int fd = openat(c->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    char path[NAME_MAX + 8];

    if (!dir)
        return -errno;
    v->cache = c;
    while ((entry = readdir(dir)) && v->err == 0) {
        int data;

        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "tmp") == 0)
            continue;
        snprintf(path, sizeof path, "%s/data", entry->d_name);
        data = openat(c->dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (data >= 0)
            walk(v, data, 0);
    }
    closedir(dir);
    return v->err;
}

static void count_file(struct visit *v, int dir_fd, const char *name, const struct stat *st)
{
    (void)dir_fd, (void)name;
    v->bytes += rounded((uint64_t)st->st_size);
}

/* What downloads that go on were promised; the others are thrown away, and so are files whose names begin with a dot: they are
 * made with the lock held, as it is now, but for check_times(), which has its own open. */
static uint64_t count_downloads(const struct fe_cache *c)
{
    int fd = openat(c->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    uint64_t bytes = 0;
    struct stat st;

    while (dir && (entry = readdir(dir))) {
        const bool is_helper = entry->d_name[0] == '.';
        int file = is_helper ? -1 : openat(c->tmp_fd, entry->d_name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

        if (is_helper && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(c->tmp_fd, entry->d_name, 0);
        if (file < 0)
            continue;
        if (flock(file, LOCK_EX | LOCK_NB) == 0)
            unlinkat(c->tmp_fd, entry->d_name, 0);
        else if (fstat(file, &st) == 0)
            bytes += rounded((uint64_t)st.st_size);
        close(file);
    }
    if (dir)
        closedir(dir);
    return bytes;
}

static int recount(struct fe_cache *c)
{
    struct visit v = {.file = count_file};
    int err = walk_all(c, &v);

    if (err == 0)
        atomic_store_explicit(&c->book->used, v.bytes + count_downloads(c), memory_order_relaxed);
    return err;
}

static int64_t used_at(const struct stat *st)
{
    return (int64_t)st->st_atim.tv_sec * 1000000000 + st->st_atim.tv_nsec;
}

static void note_use(struct visit *v, int dir_fd, const char *name, const struct stat *st)
{
    (void)dir_fd;
    if (!rd_mirror_may_go(name))
        return;
    if (v->count == v->capacity) {
        size_t capacity = v->capacity ? 2 * v->capacity : 4096;
        struct used *more = realloc(v->used, capacity * sizeof *more);

        if (!more) {
            v->err = -ENOMEM;
            return;
        }
        v->used = more;
        v->capacity = capacity;
    }
    v->used[v->count++] = (struct used){used_at(st), rounded((uint64_t)st->st_size)};
}

static int by_time(const void *a, const void *b)
{
    const struct used *x = a, *y = b;

    return x->at < y->at ? -1 : x->at > y->at;
}

/* An empty file in place of an object, in one step. */
static int make_away(const struct fe_cache *c, int dir_fd, const char *name, mode_t mode)
{
    char empty[32];
    int fd, err = 0;

    snprintf(empty, sizeof empty, ".empty-%d", (int)getpid());
    unlinkat(c->tmp_fd, empty, 0);
    fd = openat(c->tmp_fd, empty, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, mode) < 0 || renameat(c->tmp_fd, empty, dir_fd, name) < 0) {
        err = -errno;
        unlinkat(c->tmp_fd, empty, 0);
    }
    close(fd);
    return err;
}

static void evict_file(struct visit *v, int dir_fd, const char *name, const struct stat *st)
{
    if (v->evicted >= v->wanted || used_at(st) > v->until || !rd_mirror_may_go(name) ||
        make_away(v->cache, dir_fd, name, RD_MIRROR_AWAY_MODE) < 0)
        return;
    IM_FAULT("fetcher.evicted");
    v->evicted += rounded((uint64_t)st->st_size);
    v->cache->evicted++;
    take_off(v->cache, rounded((uint64_t)st->st_size));
}

/* Gives up objects of at least `need` bytes, and a part of the limit more, so that it is not done for each object. */
static int evict(struct fe_cache *c, uint64_t need, uint64_t limit)
{
    struct visit v = {.file = note_use, .wanted = need + limit / EVICT_SHARE};
    uint64_t sum = 0;
    size_t i = 0;
    int err = walk_all(c, &v);

    if (err == 0 && v.count > 0) {
        qsort(v.used, v.count, sizeof *v.used, by_time);
        while (i < v.count && sum < v.wanted)
            sum += v.used[i++].bytes;
        v.until = v.used[i - 1].at;
        v.file = evict_file;
        err = walk_all(c, &v);
    }
    free(v.used);
    c->touches = true;
    return err < 0 ? err : v.evicted >= need ? 0 : -ENOSPC;
}

static int set_time(int fd, uint32_t seconds)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = seconds}};
    struct stat st;

    if (futimens(fd, times) < 0 || fstat(fd, &st) < 0)
        return -errno;
    return st.st_mtim.tv_sec == seconds && st.st_mtim.tv_nsec == 0 ? 0 : -EOPNOTSUPP;
}

/* Does the file system keep a seal? */
static int check_times(const struct fe_cache *c)
{
    char name[32];
    int fd, err;

    snprintf(name, sizeof name, ".times-%d", (int)getpid());
    fd = openat(c->tmp_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) /* a full or read-only one; what is here can be read */
        return 0;
    err = set_time(fd, im_object_seal(0));
    close(fd);
    unlinkat(c->tmp_fd, name, 0);
    return err;
}

static int open_files(struct fe_cache *c, struct im_text *text)
{
    void *map;
    int err;

    c->dir_fd = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->dir_fd < 0)
        return im_fail(text, -errno, "cannot open the cache folder '%.700s': %s", c->path, strerror(errno));
    if (mkdirat(c->dir_fd, "tmp", 0700) < 0 && errno != EEXIST)
        return im_fail(text, -errno, "cannot write to the cache folder '%.700s': %s", c->path,
                       strerror(errno));
    c->tmp_fd = openat(c->dir_fd, "tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    c->lock_fd = openat(c->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (c->tmp_fd < 0 || c->lock_fd < 0)
        return im_fail(text, -errno, "cannot write to the cache folder '%.700s': %s", c->path,
                       strerror(errno));
    if (ftruncate(c->lock_fd, sizeof *c->book) < 0)
        return im_fail(text, -errno, "cannot write to the cache folder '%.700s': %s", c->path,
                       strerror(errno));
    err = check_times(c);
    if (err < 0)
        return im_fail(text, err,
                       "the file system of '%.600s' keeps no times of files, by which damaged objects are "
                       "found (%s): choose another folder (--cache-dir)",
                       c->path, strerror(-err));
    map = mmap(NULL, sizeof *c->book, PROT_READ | PROT_WRITE, MAP_SHARED, c->lock_fd, 0);
    if (map == MAP_FAILED)
        return im_fail(text, -errno, "cannot map '%.700s/lock': %s", c->path, strerror(errno));
    c->book = map;
    return 0;
}

int fe_cache_open(const char *path, uint64_t limit, struct fe_cache *ret, struct im_text *text)
{
    struct fe_cache c = {.dir_fd = -1, .tmp_fd = -1, .lock_fd = -1, .limit = limit};
    int err = im_mkdirs(path, 0700, text);

    if (err < 0)
        return err;
    if ((size_t)snprintf(c.path, sizeof c.path, "%s", path) >= sizeof c.path)
        return im_fail(text, -ENAMETOOLONG, "--cache-dir is too long");
    err = open_files(&c, text);
    if (err == 0) {
        err = lock(&c, LOCK_WAIT_OPEN_NS);
        if (err < 0)
            im_fail(text, err, "the cache folder '%.700s' is locked by another process: %s", path,
                    strerror(-err));
    }
    if (err == 0) {
        err = recount(&c);
        atomic_store_explicit(&c.book->magic, MAGIC, memory_order_relaxed);
        unlock(&c);
        if (err < 0)
            im_fail(text, err, "cannot count what is in '%.700s': %s", path, strerror(-err));
    }
    if (err < 0) {
        fe_cache_close(&c);
        return err;
    }
    c.touches = fe_cache_used(&c) > fe_cache_limit(&c) / 2;
    *ret = c;
    return 0;
}

void fe_cache_close(struct fe_cache *cache)
{
    if (cache->book)
        munmap(cache->book, sizeof *cache->book);
    if (cache->lock_fd >= 0)
        close(cache->lock_fd);
    if (cache->tmp_fd >= 0)
        close(cache->tmp_fd);
    if (cache->dir_fd >= 0)
        close(cache->dir_fd);
    *cache = (struct fe_cache){.dir_fd = -1, .tmp_fd = -1, .lock_fd = -1};
}

/* Is the file that was locked still the one of that name? Else who had it before has just put it in place. */
static bool is_named(const struct fe_cache *c, const struct fe_claim *claim)
{
    struct stat ours, named;

    return fstat(claim->fd, &ours) == 0 &&
           fstatat(c->tmp_fd, claim->name, &named, AT_SYMLINK_NOFOLLOW) == 0 && ours.st_ino == named.st_ino &&
           ours.st_dev == named.st_dev;
}

static int open_claim(const struct fe_cache *c, struct fe_claim *claim)
{
    claim->fd = openat(c->tmp_fd, claim->name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (claim->fd < 0)
        return -errno;
    return flock(claim->fd, LOCK_EX | LOCK_NB) < 0 || !is_named(c, claim) ? -EBUSY : 0;
}

/* Whoever holds it has written nothing for long: a stopped process. */
static bool is_abandoned(const struct fe_claim *claim)
{
    struct timespec now;
    struct stat st;

    clock_gettime(CLOCK_REALTIME, &now);
    return fstat(claim->fd, &st) == 0 && now.tv_sec - st.st_mtim.tv_sec > (time_t)(ABANDONED_NS / IM_SECOND);
}

int fe_cache_claim(struct fe_cache *cache, uint64_t object, struct fe_claim *ret)
{
    struct fe_claim claim = {.fd = -1};
    struct stat st;
    int err = lock(cache, LOCK_WAIT_NS);

    if (err < 0)
        return err;
    snprintf(claim.name, sizeof claim.name, "%016" PRIx64, object);
    err = open_claim(cache, &claim);
    if (err == -EBUSY && is_abandoned(&claim)) { /* it finds another file of that name when it goes on */
        close(claim.fd);
        unlinkat(cache->tmp_fd, claim.name, 0);
        err = open_claim(cache, &claim);
    }
    if (err == 0 && fstat(claim.fd, &st) == 0 && st.st_size > 0) { /* of one who died: its promise is ours */
        take_off(cache, rounded((uint64_t)st.st_size));
        err = ftruncate(claim.fd, 0) < 0 ? -errno : 0;
    }
    unlock(cache);
    if (err < 0 && claim.fd >= 0)
        close(claim.fd);
    if (err == 0)
        *ret = claim;
    return err;
}

static int take_from_disk(struct fe_cache *cache, struct fe_claim *claim, uint64_t more)
{
    const off_t bytes = (off_t)(claim->promised + more);
    int err = 0;

    cache_add(cache, more); /* first: who dies in between has promised too much, not too little */
    IM_FAULT("fetcher.promised");
    if (fallocate(claim->fd, 0, 0, bytes) < 0)
        err = -errno;
    if (err == -EOPNOTSUPP || err == -ENOSYS)
        err = ftruncate(claim->fd, bytes) < 0 ? -errno : 0;
    if (err < 0)
        take_off(cache, more);
    else
        claim->promised += more;
    return err;
}

int fe_cache_promise(struct fe_cache *cache, struct fe_claim *claim, uint64_t bytes)
{
    uint64_t more, limit;
    int err;

    if (rounded(bytes) <= claim->promised)
        return 0;
    more = rounded(bytes) - claim->promised;
    err = lock(cache, LOCK_WAIT_NS);
    if (err < 0)
        return err;
    limit = fe_cache_limit(cache);
    if (rounded(bytes) > limit)
        err = cache->limit > 0 && rounded(bytes) > cache->limit ? -EFBIG : -ENOSPC;
    else if (fe_cache_used(cache) + more > limit) {
        err = evict(cache, fe_cache_used(cache) + more - limit, limit);
        if (err == -ENOSPC && recount(cache) == 0 && fe_cache_used(cache) + more <= limit)
            err = 0;
    }
    if (err == 0)
        err = take_from_disk(cache, claim, more);
    if (err == -ENOSPC && evict(cache, more, fe_cache_used(cache)) == 0) /* it is fuller than it says */
        err = take_from_disk(cache, claim, more);
    if (fe_cache_used(cache) > limit / 2)
        cache->touches = true;
    unlock(cache);
    return err;
}

int fe_cache_folders(int root_fd, const char *path)
{
    char folder[PATH_MAX];

    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        if (mkdirat(root_fd, folder, 0700) < 0 && errno != EEXIST)
            return -errno;
    }
    return 0;
}

static bool is_removed(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

bool fe_cache_is_removed(const struct fe_cache *cache)
{
    return is_removed(cache->dir_fd) || is_removed(cache->tmp_fd) || is_removed(cache->lock_fd);
}

/* Cuts a complete download to its length and seals it. */
static int seal(int fd, uint64_t bytes, const char *path)
{
    uint64_t have = 0;
    ssize_t got = 1;
    char *content;
    int err;

    if (ftruncate(fd, (off_t)bytes) < 0)
        return -errno;
    content = malloc(bytes);
    if (!content)
        return -ENOMEM;
    while (have < bytes && (got = pread(fd, content + have, bytes - have, (off_t)have)) != 0)
        if (got > 0)
            have += (uint64_t)got;
        else if (errno != EINTR)
            break;
    err = got < 0 ? -errno
          : have != bytes
              ? -EIO
              : set_time(fd, im_object_seal_at(im_object_seal(im_seek_key(content, (size_t)bytes)),
                                               rd_mirror_place("", path)));
    free(content);
    return err;
}

int fe_cache_put(struct fe_cache *cache, struct fe_claim *claim, uint64_t bytes, int root_fd,
                 const char *path)
{
    struct stat st;
    uint64_t before = 0;
    bool is_ours;
    int err = seal(claim->fd, bytes, path);

    if (err == 0)
        err = lock(cache, LOCK_WAIT_NS);
    if (err < 0) {
        fe_cache_drop(cache, claim);
        return err;
    }
    if (fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        err = im_object_seal_of(&st) != 0 ? -EEXIST : 0;
        before = S_ISREG(st.st_mode) ? rounded((uint64_t)st.st_size) : 0;
    }
    IM_FAULT("fetcher.put");
    is_ours = is_named(cache, claim);
    if (err == 0 && !is_ours) /* another fetches it, for we were stopped */
        err = -EAGAIN;
    if (err == 0 && renameat(cache->tmp_fd, claim->name, root_fd, path) < 0)
        err = -errno;
    if (err == -ENOENT && fe_cache_folders(root_fd, path) == 0) /* somebody has removed its folder */
        err = renameat(cache->tmp_fd, claim->name, root_fd, path) < 0 ? -errno : 0;
    if (err == -EISDIR && unlinkat(root_fd, path, AT_REMOVEDIR) == 0) /* or put another in its place */
        err = renameat(cache->tmp_fd, claim->name, root_fd, path) < 0 ? -errno : 0;
    IM_FAULT("fetcher.put.done");
    if (err < 0 && is_ours)
        unlinkat(cache->tmp_fd, claim->name, 0);
    take_off(cache, claim->promised - (err < 0 ? 0 : rounded(bytes)) + (err < 0 ? 0 : before));
    unlock(cache);
    close(claim->fd);
    *claim = (struct fe_claim){.fd = -1};
    return err == -EEXIST ? 0 : err;
}

void fe_cache_drop(struct fe_cache *cache, struct fe_claim *claim)
{
    if (!claim->name[0])
        return;
    if (lock(cache, LOCK_WAIT_NS) == 0) { /* else the next one who opens the cache counts it off */
        if (is_named(cache, claim))
            unlinkat(cache->tmp_fd, claim->name, 0);
        take_off(cache, claim->promised);
        unlock(cache);
    }
    close(claim->fd);
    *claim = (struct fe_claim){.fd = -1};
}

bool fe_cache_look(const struct fe_cache *cache, int root_fd, const char *path)
{
    const struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};
    struct stat st;

    if (fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || im_object_seal_of(&st) == 0)
        return false;
    return !cache->touches || utimensat(root_fd, path, now, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

int fe_cache_mark(struct fe_cache *cache, int root_fd, const char *path)
{
    struct stat st;
    int err = lock(cache, LOCK_WAIT_NS);

    if (err < 0)
        return err;
    if (fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_size == 0)
        err = make_away(cache, root_fd, path, RD_MIRROR_FAILED_MODE);
    if (err == -ENOENT && fe_cache_folders(root_fd, path) == 0) /* the first member of its shard */
        err = make_away(cache, root_fd, path, RD_MIRROR_FAILED_MODE);
    unlock(cache);
    return err;
}

int fe_cache_forget(struct fe_cache *cache, int root_fd, const char *path)
{
    struct stat st;
    int err = lock(cache, LOCK_WAIT_NS);

    if (err < 0)
        return err;
    if (fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0) {
        err = make_away(cache, root_fd, path, RD_MIRROR_AWAY_MODE);
        if (err == 0)
            take_off(cache, rounded((uint64_t)st.st_size));
    }
    unlock(cache);
    return err;
}

void fe_cache_forget_folder(struct fe_cache *cache, int root_fd, const char *path)
{
    int fd = openat(root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        fe_cache_forget(cache, dirfd(dir), entry->d_name);
        unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    unlinkat(root_fd, path, AT_REMOVEDIR);
}
