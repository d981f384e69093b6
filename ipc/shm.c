/* shm_open + posix_fallocate + shm_unlink, or memfd_create + fallocate + seals.
 *
 * Reserving every page now turns a too small /dev/shm into an error with a number; without it the first touch
 * of the page that does not fit is a SIGBUS in whoever touches it. Unlinking at once means that no crash can
 * leave a name behind. */
#include "ipc/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ipc/base/fault.h"
#include "ipc/base/sysinfo.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int reserve(int fd, uint64_t bytes)
{
    int err;

    do
        err = posix_fallocate(fd, 0, (off_t)bytes);
    while (err == EINTR);
    return -err;
}

static int open_posix(uint64_t bytes)
{
    char name[64];
    uint64_t random = 0;
    int fd, err;

    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return -errno;
    snprintf(name, sizeof name, "/imsuper-%d-%016" PRIx64, (int)getpid(), random);
    fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    shm_unlink(name);
    err = reserve(fd, bytes);
    if (err < 0) {
        close(fd);
        return err;
    }
    return fd;
}

/* Reserves all of a memfd and makes its size final. */
static int reserve_and_seal(int fd, uint64_t bytes)
{
    int err = reserve(fd, bytes);

    if (err == 0)
        IM_FAULT("shm.sized");
    return err == 0 && fcntl(fd, F_ADD_SEALS, SEALS) < 0 ? -errno : err;
}

static int open_memfd(const char *what, uint64_t bytes)
{
    int fd = memfd_create(what, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int err;

    if (fd < 0)
        return -errno;
    err = reserve_and_seal(fd, bytes);
    if (err < 0) {
        close(fd);
        return err;
    }
    return fd;
}

/* A reservation larger than the memory there is does not fail: it gets somebody killed. Asked before the
 * first page. */
static int check_memory(uint64_t bytes)
{
    uint64_t available = im_memory_available();

    return available != 0 && bytes > available ? -ENOMEM : 0;
}

static uint64_t shm_free_bytes(void)
{
    struct statvfs fs;

    return statvfs("/dev/shm", &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
}

int im_segment_create(const char *what, uint64_t bytes, struct im_segment *ret, struct im_text *text)
{
    int fd = check_memory(bytes);
    void *map;

    if (fd == 0)
        fd = open_posix(bytes);
    if (fd < 0 && fd != -ENOMEM)
        fd = open_memfd(what, bytes);
    if (fd == -EFBIG)
        return im_fail(text, fd, "cannot reserve %" PRIu64 " bytes of shared memory for %s: %s", bytes, what,
                       strerror(-fd));
    if (fd < 0)
        return im_fail(
            text, fd,
            "cannot reserve %" PRIu64 " bytes (%.2f GiB) of shared memory for %s: there are %" PRIu64
            " bytes of memory, of them %" PRIu64
            " in /dev/shm (%s); give the machine or container more memory, "
            "or use smaller --batch-size, --batches-ahead or --encoded-cells",
            bytes, (double)bytes / (1 << 30), what, im_memory_available(), shm_free_bytes(), strerror(-fd));
    map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        int err = -errno;

        close(fd);
        return im_fail(text, err, "cannot map %" PRIu64 " bytes of shared memory for %s: %s", bytes, what,
                       strerror(-err));
    }
    *ret = (struct im_segment){.fd = fd, .map = map, .bytes = bytes};
    return 0;
}

int im_segment_create_empty(const char *what, struct im_text *text)
{
    int fd = memfd_create(what, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    return fd < 0 ? im_fail(text, -errno, "cannot make shared memory for %s: %s", what, strerror(errno)) : fd;
}

bool im_segment_is_fixed(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & SEALS) == SEALS;
}

int im_segment_fix_size(int fd, uint64_t bytes)
{
    struct stat st;
    int err;

    if (fstat(fd, &st) < 0 || fcntl(fd, F_GET_SEALS) < 0 ||
        (st.st_size != 0 && (uint64_t)st.st_size != bytes))
        return -EBADMSG;
    if (im_segment_is_fixed(fd))
        return (uint64_t)st.st_size == bytes ? 0 : -EBADMSG;
    err = check_memory(bytes - (uint64_t)st.st_size);
    return err < 0 ? err : reserve_and_seal(fd, bytes);
}

int im_segment_attach(int fd, int writable, uint64_t bytes_min, struct im_segment *ret, struct im_text *text)
{
    struct stat st;
    void *map;

    if (fstat(fd, &st) < 0)
        return im_fail(text, -errno, "descriptor %d: %s", fd, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size < bytes_min)
        return im_fail(text, -EBADMSG, "descriptor %d is not a segment of at least %" PRIu64 " bytes", fd,
                       bytes_min);
    map = mmap(NULL, (size_t)st.st_size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return im_fail(text, -errno, "cannot map descriptor %d: %s", fd, strerror(errno));
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    *ret = (struct im_segment){.fd = fd, .map = map, .bytes = (uint64_t)st.st_size};
    return 0;
}

void im_segment_close(struct im_segment *s)
{
    if (!s->map)
        return;
    munmap(s->map, s->bytes);
    close(s->fd);
    *s = (struct im_segment){.fd = -1};
}
