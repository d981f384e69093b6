/* Two slots and a sequence word.
 *
 *     killed ...                            leaves
 *     before the segment has its size       an empty segment: no snapshot
 *     before its size is sealed             a segment that is not read: no snapshot; the next one seals it
 *     between begin and commit              the current one untouched, the other slot torn
 *     after commit                          the new one
 *
 * A processor finishes what a killed process has executed, so the order in which the compiler emits the
 * stores is all that a successor depends on; the release store and the fence in begin() fix it. */
#include "ipc/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/fault.h"
#include "ipc/base/sysinfo.h"

#define MAGIC UINT64_C(0x3170616e73736d69) /* "imssnap1" */
#define BYTES_MAX (UINT64_C(1) << 38)

/* Copied in pieces, so that a test can kill in the middle of one. */
#define PIECE_BYTES ((size_t)1 << 20)

static uint64_t slot_bytes_for(uint64_t bytes_max)
{
    return (bytes_max + IM_PAGE - 1) / IM_PAGE * IM_PAGE;
}

uint64_t im_snapshot_segment_bytes(uint64_t bytes_max)
{
    return IM_PAGE + 2 * slot_bytes_for(bytes_max);
}

static bool header_is_ours(const struct im_snapshot_header *h)
{
    return h->magic == MAGIC && h->abi_version == IM_ABI_VERSION && h->header_bytes == sizeof *h;
}

/* Until there is a first snapshot nobody reads the header, and it may be a killed predecessor's half of one. The segment
 * belongs to this run alone: one that is not as we write it has changed from outside, and no snapshot in it is
 * believed. */
static void enter_header(struct im_snapshot_header *h)
{
    if (atomic_load_explicit(&h->sequence, memory_order_acquire) != 0) {
        if (header_is_ours(h))
            return;
        atomic_store_explicit(&h->sequence, 0, memory_order_release);
    }
    h->magic = MAGIC;
    h->abi_version = IM_ABI_VERSION;
    h->header_bytes = sizeof *h;
    IM_FAULT("snapshot.opened");
}

/* Of a predecessor's, which may have needed more; else `bytes`. */
static uint64_t size_of_segment(int fd, uint64_t bytes)
{
    struct stat st;

    if (!im_segment_is_fixed(fd) || fstat(fd, &st) < 0 || (uint64_t)st.st_size < bytes ||
        ((uint64_t)st.st_size - IM_PAGE) % (2 * IM_PAGE) != 0)
        return bytes;
    return (uint64_t)st.st_size;
}

int im_snapshot_open(int fd, uint64_t bytes_max, struct im_snapshot *ret, struct im_text *text)
{
    const uint64_t bytes = bytes_max < BYTES_MAX ? size_of_segment(fd, im_snapshot_segment_bytes(bytes_max))
                                                 : im_snapshot_segment_bytes(bytes_max);
    struct im_snapshot s = {.slot_bytes = (bytes - IM_PAGE) / 2};
    int copy, err = bytes_max < BYTES_MAX ? im_segment_fix_size(fd, bytes) : -EFBIG;

    if (err == -EBADMSG)
        return im_fail(text, err, "descriptor %d is not a segment for two snapshots of %" PRIu64 " bytes", fd,
                       bytes_max);
    if (err < 0)
        return im_fail(text, err,
                       "cannot reserve %" PRIu64
                       " bytes (%.2f GiB) of shared memory for the snapshot: %s; there "
                       "are %" PRIu64 " bytes of memory",
                       bytes, (double)bytes / (1 << 30), strerror(-err), im_memory_available());
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return im_fail(text, -errno, "cannot map the snapshot: %s", strerror(errno));
    err = im_segment_attach(copy, 1, bytes, &s.segment, text);
    if (err < 0) {
        close(copy);
        return err;
    }
    /* The pages are there, but not yet in our page table: better now than in the first snapshot. A kernel
     * before 5.14 cannot, and then it is so. */
    madvise(s.segment.map, s.segment.bytes, MADV_POPULATE_WRITE);
    s.header = s.segment.map;
    enter_header(s.header);
    *ret = s;
    return 0;
}

void im_snapshot_close(struct im_snapshot *s)
{
    im_segment_close(&s->segment);
    *s = (struct im_snapshot){0};
}

static unsigned char *slot_at(const struct im_snapshot *s, uint64_t sequence)
{
    return (unsigned char *)s->segment.map + IM_PAGE + sequence % 2 * s->slot_bytes;
}

void im_snapshot_begin(struct im_snapshot *s)
{
    uint64_t sequence = atomic_load_explicit(&s->header->sequence, memory_order_relaxed);

    s->slot = slot_at(s, sequence + 1);
    s->slot_filled = 0;
    /* Nothing of what follows may come before the store that made the other slot current. */
    atomic_thread_fence(memory_order_release);
    IM_FAULT("snapshot.begun");
}

int im_snapshot_append(struct im_snapshot *s, const void *bytes, size_t n, struct im_text *text)
{
    im_assert(s->slot != NULL);
    if (n > s->slot_bytes - s->slot_filled)
        return im_fail(text, -ENOSPC, "a snapshot is longer than the %" PRIu64 " bytes of its slot",
                       s->slot_bytes);
    for (size_t done = 0; done < n; done += PIECE_BYTES) {
        size_t piece = n - done < PIECE_BYTES ? n - done : PIECE_BYTES;

        memcpy(s->slot + s->slot_filled, (const unsigned char *)bytes + done, piece);
        s->slot_filled += piece;
        IM_FAULT("snapshot.piece");
    }
    return 0;
}

void im_snapshot_commit(struct im_snapshot *s)
{
    uint64_t sequence = atomic_load_explicit(&s->header->sequence, memory_order_relaxed) + 1;

    im_assert(s->slot == slot_at(s, sequence));
    s->header->bytes[sequence % 2] = s->slot_filled;
    s->slot = NULL;
    IM_FAULT("snapshot.written");
    atomic_store_explicit(&s->header->sequence, sequence, memory_order_release);
    IM_FAULT("snapshot.committed");
}

void im_snapshot_forget(struct im_snapshot *s)
{
    atomic_store_explicit(&s->header->sequence, 0, memory_order_release);
    s->slot = NULL;
}

/* The current snapshot of a mapped segment of that many bytes, copied. */
static int copy_current(const struct im_snapshot_header *h, uint64_t bytes, char **ret_bytes, size_t *ret_n,
                        struct im_text *text)
{
    uint64_t sequence = atomic_load_explicit(&h->sequence, memory_order_acquire);
    uint64_t slot_bytes = (bytes - IM_PAGE) / 2, n;
    char *copy;

    if (sequence == 0)
        return -ENOENT;
    if (!header_is_ours(h) || (bytes - IM_PAGE) % (2 * IM_PAGE) != 0)
        return im_fail(text, -EBADMSG, "the snapshot's segment belongs to another version of this program");
    n = h->bytes[sequence % 2];
    if (n > slot_bytes)
        return im_fail(text, -EBADMSG, "the snapshot claims %" PRIu64 " bytes, of %" PRIu64, n, slot_bytes);
    copy = malloc(n + 1);
    if (!copy)
        return im_fail(text, -ENOMEM, "cannot read the snapshot: out of memory");
    memcpy(copy, (const char *)h + IM_PAGE + sequence % 2 * slot_bytes, n);
    *ret_bytes = copy;
    *ret_n = n;
    return 0;
}

int im_snapshot_read(int fd, char **ret_bytes, size_t *ret_n, struct im_text *text)
{
    struct stat st;
    void *map;
    int err;

    /* Without its seals it has not come to be written: its maker was killed before. */
    if (!im_segment_is_fixed(fd))
        return -ENOENT;
    if (fstat(fd, &st) < 0)
        return im_fail(text, -errno, "cannot stat the snapshot: %s", strerror(errno));
    if ((uint64_t)st.st_size < IM_PAGE)
        return im_fail(text, -EBADMSG, "the snapshot's segment has %" PRIu64 " bytes", (uint64_t)st.st_size);
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return im_fail(text, -errno, "cannot map the snapshot: %s", strerror(errno));
    err = copy_current(map, (uint64_t)st.st_size, ret_bytes, ret_n, text);
    munmap(map, (size_t)st.st_size);
    return err;
}
