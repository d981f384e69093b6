/* The file: a header, a table, records.
 *
 * The table is open addressing with a short window: a key's record is named by one of the WINDOW slots from its home
 * on, each the upper half of the key and the record's place in units of 16 bytes; 0 is free. So a look-up is one
 * read of the table and one of the record. Records are only ever added behind the last one, and a slot is written after
 * its record. A process killed between the two leaves bytes that nobody reads; a machine that fails may leave a slot
 * whose record was not written, which its checksum tells. Hence no fsync, and nothing to repair when it is opened.
 *
 * Keys that are no longer used fill the table in time (images that changed). It is emptied then, in place: readers
 * meet slots of records that are gone. */
#include "ipc/seek_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "ipc/base/hash.h"

#define MAGIC UINT64_C(0x6b6565736d69) /* "imseek" in a little-endian file */
#define VERSION 2                      /* 1: keys were im_hash64() */
#define ENDIAN 0x01020304u
#define KEY_SEED UINT64_C(0x7365656b)
#define SLOTS_MIN (1u << 10)
#define SLOTS_MAX (1u << 28)
#define WINDOW 32 /* slots that a key may be in */
#define TABLE_AT 4096
#define UNIT 16           /* of a record's place */
#define FIRST_BYTES 2048u /* of a record, read at once: nearly all are shorter */
#define ROOM_EVERY 256    /* records: how often the disk is asked for its room */
#define ROOM_MIN (UINT64_C(256) << 20)

struct header {
    uint64_t magic;
    uint32_t version, endian;
    uint32_t slots, unused;
    uint64_t check; /* of all above */
};

struct record {
    uint64_t key;
    uint64_t check; /* of key, bytes and what follows */
    uint32_t bytes;
    uint32_t unused;
};
static_assert(sizeof(struct header) == 32 && sizeof(struct record) == 24, "version 2");

uint64_t im_seek_key(const void *bytes, size_t n)
{
    return im_hash_bulk(bytes, n, KEY_SEED);
}

static uint64_t header_check(const struct header *h)
{
    return im_hash64(h, offsetof(struct header, check), MAGIC);
}

static uint64_t record_check(uint64_t key, const void *bytes, uint32_t n)
{
    return im_hash64(bytes, n, key ^ n);
}

/* Where the first record is. */
static uint64_t records_at(uint32_t slots)
{
    return (TABLE_AT + (uint64_t)(slots + WINDOW) * sizeof(uint64_t) + 4095) / 4096 * 4096;
}

static uint64_t window_at(const struct im_seek_file *f, uint64_t key)
{
    return TABLE_AT + (key & (f->slots - 1)) * sizeof(uint64_t);
}

static uint64_t slot_of(uint64_t key, uint64_t at)
{
    return key >> 32 << 32 | at / UNIT;
}

static uint64_t place_of(uint64_t slot)
{
    return (slot & UINT32_MAX) * UNIT;
}

/* ---- reading ---- */

/* Up to n bytes. How many; -EAGAIN: they would have to be waited for, and are on their way; other negative errno. */
static ssize_t read_at(struct im_seek_file *f, void *to, size_t n, uint64_t at)
{
    struct iovec part = {to, n};
    ssize_t got = -1;

    if (!f->may_wait) {
        got = preadv2(f->fd, &part, 1, (off_t)at, RWF_NOWAIT);
        if (got < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
            f->may_wait = true;
        else if (got < 0 && errno == EAGAIN)
            posix_fadvise(f->fd, (off_t)at, (off_t)n, POSIX_FADV_WILLNEED);
    }
    if (f->may_wait)
        got = pread(f->fd, to, n, (off_t)at);
    return got < 0 ? -errno : got;
}

/* The whole of what is asked for, or none. */
static int read_all_at(struct im_seek_file *f, void *to, size_t n, uint64_t at)
{
    size_t have = 0;

    while (have < n) {
        ssize_t got = read_at(f, (char *)to + have, n - have, at + have);

        if (got == -EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? (int)got : -ENODATA;
        have += (size_t)got;
    }
    return 0;
}

/* A record at `at`, if it is this key's and whole: its bytes, at `ret`. */
static int read_record(struct im_seek_file *f, uint64_t key, uint64_t at, void *ret, size_t size)
{
    unsigned char first[FIRST_BYTES];
    struct record record;
    ssize_t got = read_at(f, first, sizeof first, at);
    size_t have;
    int err;

    if (got < (ssize_t)sizeof record)
        return got == -EAGAIN ? -EAGAIN : 0;
    memcpy(&record, first, sizeof record);
    if (record.key != key || record.bytes == 0 || record.bytes > size || record.bytes > IM_SEEK_BYTES_MAX)
        return 0;
    have = (size_t)got - sizeof record;
    have = have < record.bytes ? have : record.bytes;
    memcpy(ret, first + sizeof record, have);
    err = have < record.bytes
              ? read_all_at(f, (char *)ret + have, record.bytes - have, at + sizeof record + have)
              : 0;
    if (err < 0)
        return err == -EAGAIN ? -EAGAIN : 0;
    return record_check(key, ret, record.bytes) == record.check ? (int)record.bytes : 0;
}

/* As im_seek_find(), and in which slot of the window. */
static int seek_file_find(struct im_seek_file *f, uint64_t key, void *buffer, size_t size,
                          const uint64_t *window, int *ret_slot)
{
    for (int i = 0; i < WINDOW; i++) {
        int n;

        if (window[i] == 0 || window[i] >> 32 != key >> 32)
            continue;
        n = read_record(f, key, place_of(window[i]), buffer, size);
        *ret_slot = i;
        if (n != 0)
            return n;
    }
    return 0;
}

int im_seek_find(struct im_seek_file *f, uint64_t key, void *buffer, size_t size)
{
    uint64_t window[WINDOW];
    int err, slot;

    if (f->fd < 0)
        return 0;
    err = read_all_at(f, window, sizeof window, window_at(f, key));
    if (err < 0)
        return err == -EAGAIN ? -EAGAIN : 0;
    return seek_file_find(f, key, buffer, size, window, &slot);
}

/* ---- opening ---- */

/* A plain file of this user or of root: who can write it decides which pixels are seen. */
static int open_file(const char *path, int flags, struct im_text *text)
{
    struct stat st;
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);

    if (fd < 0)
        return im_fail(text, -errno, "cannot open the seek index '%.700s': %s", path, strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_uid == geteuid() || st.st_uid == 0))
        return fd;
    close(fd);
    return im_fail(text, -EPERM, "the seek index '%.700s' is no file, or belongs to another user; remove it",
                   path);
}

/* How many slots the file has; 0: it is no file of seek indexes. */
static uint32_t read_header(int fd)
{
    struct header h;

    if (pread(fd, &h, sizeof h, 0) != sizeof h || h.magic != MAGIC || h.version != VERSION ||
        h.endian != ENDIAN || h.check != header_check(&h) || h.slots < SLOTS_MIN || h.slots > SLOTS_MAX ||
        (h.slots & (h.slots - 1)))
        return 0;
    return h.slots;
}

int im_seek_open(const char *path, struct im_seek_file *ret, struct im_text *text)
{
    int fd = open_file(path, O_RDONLY, text);

    *ret = (struct im_seek_file){.fd = -1};
    if (fd < 0)
        return fd;
    *ret = (struct im_seek_file){.fd = fd, .slots = read_header(fd)};
    if (ret->slots > 0)
        return 0;
    im_seek_close(ret);
    return im_fail(text, -EBADMSG, "'%.700s' is no seek index of this version", path);
}

void im_seek_close(struct im_seek_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

bool im_seek_is_remote(const char *path)
{
    static const long remote[] = {0x6969 /* NFS */,       0x517b /* SMB */,        0xff534d42 /* CIFS */,
                                  0xfe534d42 /* SMB 2 */, 0x65735546 /* FUSE */,   0x00c36400 /* Ceph */,
                                  0x01021997 /* 9P */,    0x0bd00bd0 /* Lustre */, 0x5346414f /* AFS */,
                                  0x47504653 /* GPFS */,  0x19830326 /* BeeGFS */, 0x73757245 /* Coda */};
    char folder[PATH_MAX];
    struct statfs fs;

    snprintf(folder, sizeof folder, "%s", path);
    do { /* its folder, or that in which it will be made */
        char *slash = strrchr(folder, '/');

        if (slash == folder)
            folder[1] = '\0';
        else if (slash)
            *slash = '\0';
        else
            snprintf(folder, sizeof folder, ".");
        if (statfs(folder, &fs) == 0)
            break;
        if (errno != ENOENT || strcmp(folder, ".") == 0 || strcmp(folder, "/") == 0)
            return false;
    } while (true);
    for (size_t i = 0; i < IM_COUNT(remote); i++)
        if (((long)fs.f_type & 0xffffffff) == remote[i])
            return true;
    return false;
}

/* ---- writing ---- */

static uint32_t slots_for(uint64_t images)
{
    uint32_t slots = SLOTS_MIN;

    while (slots < SLOTS_MAX && slots < 3 * images) /* an index and a link (seek_link.h) of each */
        slots *= 2;
    return slots;
}

static uint32_t used_max(uint32_t slots)
{
    return slots / 8 * 7;
}

/* Empties the file and gives it a table. The header comes last: before it, it is none. */
static int make(struct im_seek_owner *o, uint32_t slots)
{
    struct header h = {.magic = MAGIC, .version = VERSION, .endian = ENDIAN, .slots = slots};
    const int fd = o->file.fd;

    h.check = header_check(&h);
    if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)records_at(slots)) < 0)
        return -errno;
    o->file.slots = slots;
    o->end = records_at(slots);
    o->used = 0;
    IM_FAULT("seek.make");
    return im_write_all_at(fd, &h, sizeof h, 0);
}

/* Counts the slots in use. */
static int count_used(struct im_seek_owner *o)
{
    static const size_t piece = 8192;
    uint64_t left = o->file.slots + WINDOW, at = TABLE_AT, *slots = malloc(piece * sizeof *slots);
    int err = slots ? 0 : -ENOMEM;

    o->used = 0;
    while (err == 0 && left > 0) {
        size_t n = left < piece ? (size_t)left : piece;

        err = read_all_at(&o->file, slots, n * sizeof *slots, at);
        for (size_t i = 0; err == 0 && i < n; i++)
            o->used += slots[i] != 0;
        left -= n;
        at += n * sizeof *slots;
    }
    free(slots);
    return err;
}

/* Takes what is there, or makes it new. */
static int seek_file_take(struct im_seek_owner *o, uint64_t images)
{
    uint32_t slots = read_header(o->file.fd);
    struct stat st;

    if (slots < slots_for(images))
        return make(o, slots_for(images));
    if (fstat(o->file.fd, &st) < 0)
        return -errno;
    o->file.slots = slots;
    o->end = ((uint64_t)st.st_size + UNIT - 1) / UNIT * UNIT;
    if (o->end < records_at(slots) || count_used(o) < 0)
        return make(o, slots);
    return 0;
}

int im_seek_own(const char *path, uint64_t images, struct im_seek_owner *ret, struct im_text *text)
{
    struct im_seek_owner o = {.file = {.fd = open_file(path, O_RDWR | O_CREAT, text), .may_wait = true}};
    int err;

    *ret = (struct im_seek_owner){.file = {.fd = -1}};
    if (o.file.fd < 0)
        return o.file.fd;
    if (flock(o.file.fd, LOCK_EX | LOCK_NB) < 0)
        err = im_fail(text, -errno, "the seek index '%.700s' %s", path,
                      errno == EWOULDBLOCK ? "is written by another process" : strerror(errno));
    else
        err = seek_file_take(&o, images);
    if (err < 0) {
        if (err != -EWOULDBLOCK)
            im_fail(text, err, "cannot write the seek index '%.700s': %s", path, strerror(-err));
        im_seek_close(&o.file);
        return err;
    }
    *ret = o;
    return 0;
}

void im_seek_disown(struct im_seek_owner *o)
{
    im_seek_close(&o->file); /* and with it goes the lock */
}

/* Leaves the user some room. */
static int check_room(struct im_seek_owner *o)
{
    struct statvfs fs;

    if (o->adds++ % ROOM_EVERY != 0 || fstatvfs(o->file.fd, &fs) < 0)
        return 0;
    return (uint64_t)fs.f_bavail * fs.f_frsize < ROOM_MIN ? -ENOSPC : 0;
}

static int append(struct im_seek_owner *o, uint64_t key, const void *bytes, size_t n, uint64_t *ret_at)
{
    unsigned char whole[sizeof(struct record) + IM_SEEK_BYTES_MAX + UNIT] = {0};
    const struct record record = {
        .key = key, .check = record_check(key, bytes, (uint32_t)n), .bytes = (uint32_t)n};
    size_t size = (sizeof record + n + UNIT - 1) / UNIT * UNIT;
    int err;

    if (o->end / UNIT > UINT32_MAX)
        return -EFBIG;
    memcpy(whole, &record, sizeof record);
    memcpy(whole + sizeof record, bytes, n);
    err = IM_FAULT_ERR("seek.record.before");
    if (err == 0)
        err = im_write_all_at(o->file.fd, whole, size, o->end);
    if (err < 0) {
        if (ftruncate(o->file.fd, (off_t)o->end) < 0)
            o->end += size; /* the part that was written stays, and is passed over */
        return err;
    }
    IM_FAULT("seek.record.after");
    *ret_at = o->end;
    o->end += size;
    return 0;
}

/* The slot for a new key: that of a record which is no more, a free one, or the first. */
static int choose_slot(const uint64_t *window, uint64_t key, int same)
{
    if (same >= 0 && window[same] >> 32 == key >> 32)
        return same;
    for (int i = 0; i < WINDOW; i++)
        if (window[i] == 0)
            return i;
    return 0;
}

int im_seek_add(struct im_seek_owner *o, uint64_t key, const void *bytes, size_t n)
{
    unsigned char there[IM_SEEK_BYTES_MAX];
    uint64_t window[WINDOW], at = 0, slot;
    int err, same = -1, i;

    if (n == 0 || n > IM_SEEK_BYTES_MAX)
        return -EINVAL;
    err = read_all_at(&o->file, window, sizeof window, window_at(&o->file, key));
    if (err == 0 && seek_file_find(&o->file, key, there, sizeof there, window, &same) > 0)
        return -EEXIST;
    if (err == 0)
        err = check_room(o);
    if (err == 0 && o->used >= used_max(o->file.slots)) {
        err = make(o, o->file.slots);
        memset(window, 0, sizeof window);
        same = -1;
    }
    if (err == 0)
        err = append(o, key, bytes, n, &at);
    if (err < 0)
        return err;
    i = choose_slot(window, key, same);
    slot = slot_of(key, at);
    err =
        im_write_all_at(o->file.fd, &slot, sizeof slot, window_at(&o->file, key) + (uint64_t)i * sizeof slot);
    o->used += err == 0 && window[i] == 0;
    IM_FAULT("seek.slot.after");
    return err;
}

void im_seek_drop(struct im_seek_owner *o, uint64_t key)
{
    unsigned char there[IM_SEEK_BYTES_MAX];
    uint64_t window[WINDOW];
    const uint64_t none = 0;
    int slot = -1;

    if (read_all_at(&o->file, window, sizeof window, window_at(&o->file, key)) == 0 &&
        seek_file_find(&o->file, key, there, sizeof there, window, &slot) > 0 &&
        im_write_all_at(o->file.fd, &none, sizeof none,
                        window_at(&o->file, key) + (uint64_t)slot * sizeof none) == 0)
        o->used--;
}
