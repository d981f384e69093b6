/* faulty_mount SOURCE MOUNTPOINT CONTROL: shows a folder's files at another place, read-only, through FUSE, and
 * lets reads of them hang in the kernel: while the file CONTROL/hang is there, requests to open or read a path
 * that matches the pattern (fnmatch) in it are not answered. A process that waits for such an answer cannot be
 * killed, as with a server that is gone. Says "mounted" when it is; ends with its parent. Needs the right to
 * mount; exits with 77 without it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/fuse.h>

#define NODES_MAX 4096
#define PENDING_MAX 1024
#define REQUEST_BYTES (FUSE_MIN_READ_BUFFER + 4096)
#define READ_BYTES (1 << 17)
#define FULL_BYTES (2 * PATH_MAX)

static struct {
    const char *source, *control;
    int fuse;
    char *path[NODES_MAX]; /* of node i + 1, relative to the source */
    unsigned nodes;
    char *pending[PENDING_MAX];
} m;

static void answer(const struct fuse_in_header *in, int err, const void *bytes, size_t n)
{
    struct fuse_out_header out = {.len = (uint32_t)(sizeof out + n), .error = err, .unique = in->unique};
    const struct iovec parts[] = {{&out, sizeof out}, {(void *)(uintptr_t)bytes, n}};

    if (writev(m.fuse, parts, n ? 2 : 1) < 0 && errno != ENOENT) /* ENOENT: it was interrupted */
        perror("faulty_mount: writev");
}

static const char *path_of(uint64_t node)
{
    return node >= 1 && node <= m.nodes ? m.path[node - 1] : "?";
}

static uint64_t node_of(const char *path)
{
    for (unsigned i = 0; i < m.nodes; i++)
        if (strcmp(m.path[i], path) == 0)
            return i + 1;
    if (m.nodes == NODES_MAX)
        return 0;
    m.path[m.nodes] = strdup(path);
    return ++m.nodes;
}

/* Where it lies; too long a path names nothing. */
static void source_path(const char *path, char *ret)
{
    if (snprintf(ret, FULL_BYTES, "%s%s%s", m.source, *path ? "/" : "", path) >= FULL_BYTES)
        *ret = 0;
}

static int attributes(uint64_t node, struct fuse_attr *ret)
{
    char path[FULL_BYTES];
    struct stat st;

    source_path(path_of(node), path);
    if (stat(path, &st) < 0)
        return -errno;
    *ret = (struct fuse_attr){.ino = node,
                              .size = (uint64_t)st.st_size,
                              .blocks = (uint64_t)st.st_blocks,
                              .mtime = (uint64_t)st.st_mtim.tv_sec,
                              .mtimensec = (uint32_t)st.st_mtim.tv_nsec,
                              .mode = st.st_mode,
                              .nlink = (uint32_t)st.st_nlink,
                              .blksize = 4096};
    return 0;
}

static void look_up(const struct fuse_in_header *in, const char *name)
{
    struct fuse_entry_out out = {.entry_valid = 60, .attr_valid = 60};
    const char *parent = path_of(in->nodeid);
    char path[FULL_BYTES], full[FULL_BYTES];
    struct stat st;

    snprintf(path, sizeof path, "%s%s%s", parent, *parent ? "/" : "", name);
    source_path(path, full);
    if (stat(full, &st) < 0) {
        answer(in, -errno, NULL, 0);
        return;
    }
    out.nodeid = node_of(path);
    attributes(out.nodeid, &out.attr);
    answer(in, 0, &out, sizeof out);
}

static void open_node(const struct fuse_in_header *in)
{
    const struct fuse_open_out out = {.fh = in->nodeid};

    answer(in, 0, &out, sizeof out);
}

static void read_node(const struct fuse_in_header *in, const struct fuse_read_in *r)
{
    static char bytes[READ_BYTES];
    char path[FULL_BYTES];
    ssize_t n;
    int fd;

    source_path(path_of(in->nodeid), path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : pread(fd, bytes, r->size < sizeof bytes ? r->size : sizeof bytes, (off_t)r->offset);
    answer(in, n < 0 ? -errno : 0, bytes, n < 0 ? 0 : (size_t)n);
    if (fd >= 0)
        close(fd);
}

/* The whole listing each time, from the place that is asked for. */
static void list(const struct fuse_in_header *in, const struct fuse_read_in *r)
{
    static char bytes[READ_BYTES];
    char path[FULL_BYTES];
    size_t used = 0;
    uint64_t at = 0;
    struct dirent *d;
    DIR *folder;

    source_path(path_of(in->nodeid), path);
    folder = opendir(path);
    while (folder && (d = readdir(folder))) {
        size_t length = strlen(d->d_name), need = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);
        struct fuse_dirent entry = {
            .ino = d->d_ino, .off = ++at, .namelen = (uint32_t)length, .type = d->d_type};

        if (at <= r->offset)
            continue;
        if (used + need > r->size || used + need > sizeof bytes)
            break;
        memset(bytes + used, 0, need);
        memcpy(bytes + used, &entry, FUSE_NAME_OFFSET);
        memcpy(bytes + used + FUSE_NAME_OFFSET, d->d_name, length);
        used += need;
    }
    if (folder)
        closedir(folder);
    answer(in, 0, bytes, used);
}

static void start_up(const struct fuse_in_header *in, const struct fuse_init_in *asked)
{
    const struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION,
                                      .minor = FUSE_KERNEL_MINOR_VERSION,
                                      .max_readahead = asked->max_readahead,
                                      .max_write = 4096,
                                      .max_background = 64,
                                      .congestion_threshold = 48};

    answer(in, 0, &out, sizeof out);
}

static void tell_attributes(const struct fuse_in_header *in)
{
    struct fuse_attr_out out = {.attr_valid = 60};
    int err = attributes(in->nodeid, &out.attr);

    answer(in, err, &out, err ? 0 : sizeof out);
}

static bool hangs(const struct fuse_in_header *in)
{
    char path[FULL_BYTES], pattern[256] = "";
    FILE *f;

    if (in->opcode != FUSE_OPEN && in->opcode != FUSE_READ)
        return false;
    snprintf(path, sizeof path, "%s/hang", m.control);
    f = fopen(path, "re");
    if (!f)
        return false;
    if (!fgets(pattern, sizeof pattern, f))
        *pattern = 0;
    fclose(f);
    pattern[strcspn(pattern, "\n")] = 0;
    return fnmatch(pattern, path_of(in->nodeid), 0) == 0;
}

static void handle(char *request)
{
    const struct fuse_in_header *in = (const struct fuse_in_header *)(void *)request;
    const void *body = request + sizeof *in;

    switch (in->opcode) {
    case FUSE_INIT:
        start_up(in, body);
        break;
    case FUSE_LOOKUP:
        look_up(in, body);
        break;
    case FUSE_GETATTR:
        tell_attributes(in);
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        open_node(in);
        break;
    case FUSE_READ:
        read_node(in, body);
        break;
    case FUSE_READDIR:
        list(in, body);
        break;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FLUSH:
        answer(in, 0, NULL, 0);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: /* not heard: the server does not answer at all */
        break;
    default:
        answer(in, -ENOSYS, NULL, 0);
        break;
    }
}

static void handle_or_keep(const char *request, size_t n)
{
    char *copy = malloc(n + 1);

    memcpy(copy, request, n);
    copy[n] = 0;
    for (int i = 0; i < PENDING_MAX && hangs((const struct fuse_in_header *)(void *)copy); i++)
        if (!m.pending[i]) {
            m.pending[i] = copy;
            return;
        }
    handle(copy);
    free(copy);
}

static void answer_what_no_longer_hangs(void)
{
    for (int i = 0; i < PENDING_MAX; i++) {
        char *request = m.pending[i];

        if (!request || hangs((const struct fuse_in_header *)(void *)request))
            continue;
        m.pending[i] = NULL;
        handle(request);
        free(request);
    }
}

int main(int argc, char **argv)
{
    static char request[REQUEST_BYTES];
    char options[128];

    if (argc != 4)
        return 2;
    m.source = argv[1];
    m.control = argv[3];
    node_of(""); /* the root is node 1 */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    m.fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u", m.fuse, getuid(),
             getgid());
    if (m.fuse < 0 || mount("faulty_mount", argv[2], "fuse", MS_NOSUID | MS_NODEV | MS_RDONLY, options) < 0) {
        fprintf(stderr, "faulty_mount: cannot mount: %s\n", strerror(errno));
        return 77;
    }
    puts("mounted");
    fflush(stdout);
    for (;;) {
        struct pollfd p = {.fd = m.fuse, .events = POLLIN};
        ssize_t n;

        if (poll(&p, 1, 20) > 0) {
            n = read(m.fuse, request, sizeof request);
            if (n > 0)
                handle_or_keep(request, (size_t)n);
            else if (n < 0 && errno != EINTR && errno != ENOENT && errno != EAGAIN)
                return errno == ENODEV ? 0 : 1; /* ENODEV: unmounted */
        }
        answer_what_no_longer_hangs();
    }
}
