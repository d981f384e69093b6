#include "supervisor/cluster/pass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

static int write_all(int fd, const void *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = write(fd, (const char *)bytes + done, n - done);

        if (got < 0 && errno != EINTR)
            return -errno;
        done += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static int read_all(int fd, void *bytes, size_t n, size_t at)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, (char *)bytes + done, n - done, (off_t)(at + done));

        if (got == 0 || (got < 0 && errno != EINTR))
            return got == 0 ? -EBADMSG : -errno;
        done += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static size_t keys_bytes(const struct sv_meeting *m)
{
    return m->keys.member ? m->keys.members * sizeof *m->keys.member : 0;
}

static size_t copies_bytes(const struct sv_meeting *m)
{
    return m->copies ? strlen(m->copies) + 1 : 0;
}

/* The meeting, the members' keys, the lines about the images. */
int sv_meeting_pass(const struct sv_meeting *meeting, int *ret_fd, struct im_text *text)
{
    int fd = memfd_create("imsuper-meeting", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int err = fd < 0 ? -errno : write_all(fd, meeting, sizeof *meeting);

    if (err == 0)
        err = write_all(fd, meeting->keys.member, keys_bytes(meeting));
    if (err == 0)
        err = write_all(fd, meeting->copies, copies_bytes(meeting));
    if (err == 0 && fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        err = -errno;
    if (err < 0) {
        if (fd >= 0)
            close(fd);
        return im_fail(text, err, "cannot keep the keys of the nodes: %s", strerror(-err));
    }
    *ret_fd = fd;
    return 0;
}

static bool is_whole(const struct sv_meeting *m, size_t bytes)
{
    return m->nodes >= 1 && m->nodes <= SV_NODES_MAX && m->node < m->nodes &&
           memchr(m->head, 0, sizeof m->head) != NULL && memchr(m->here, 0, sizeof m->here) != NULL &&
           (!m->keys.member || m->keys.members <= SV_NODES_MAX) && keys_bytes(m) <= bytes - sizeof *m;
}

/* malloc'ed; NULL: no memory, or they cannot be read. */
static void *read_part(int fd, size_t at, size_t n, int *err)
{
    char *bytes = malloc(n + 1);

    *err = bytes ? read_all(fd, bytes, n, at) : -ENOMEM;
    if (*err < 0) {
        free(bytes);
        return NULL;
    }
    bytes[n] = 0;
    return bytes;
}

int sv_meeting_take(int fd, int listener, struct sv_meeting *ret, struct im_text *text)
{
    struct sv_meeting m = {0};
    struct stat st;
    int err = fstat(fd, &st) < 0             ? -errno
              : st.st_size < (off_t)sizeof m ? -EBADMSG
                                             : read_all(fd, &m, sizeof m, 0);
    size_t keys, copies;

    if (err == 0 && !is_whole(&m, (size_t)st.st_size))
        err = -EBADMSG;
    if (err < 0)
        m = (struct sv_meeting){0};
    keys = err == 0 ? keys_bytes(&m) : 0;
    copies = err == 0 && m.copies ? (size_t)st.st_size - sizeof m - keys : 0;
    m.keys.member = keys > 0 ? read_part(fd, sizeof m, keys, &err) : NULL;
    m.copies = err == 0 && copies > 0 ? read_part(fd, sizeof m + keys, copies, &err) : NULL;
    m.listener = err == 0 && listener >= 0 ? fcntl(listener, F_DUPFD_CLOEXEC, 0) : -1;
    if (err < 0) {
        free(m.keys.member);
        return im_fail(text, err, "the keys of the nodes are not what was kept: %s", strerror(-err));
    }
    *ret = m;
    return 0;
}
