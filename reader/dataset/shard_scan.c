/* The headers and labels of an archive are a stranger's bytes: a process of its own reads them, which has the archive, a
 * file in memory for the answer, and nothing else. Its answer is checked as any bytes are (shard_table.h). */
#include "reader/dataset/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/sandbox.h"
#include "reader/dataset/shard_table.h"

struct file {
    int fd;
};

/* Before the table. */
struct answer {
    int err;
    struct im_text why;
};

static int64_t read_at(void *context, uint64_t offset, void *buffer, size_t n)
{
    const struct file *file = context;
    size_t have = 0;

    while (have < n) {
        ssize_t got = pread(file->fd, (char *)buffer + have, n - have, (off_t)(offset + have));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        have += (size_t)got;
    }
    return (int64_t)have;
}

static void scan_archive(struct rd_shard *shard, struct file *file, uint64_t bytes)
{
    struct rd_tar *tar = calloc(1, sizeof *tar);

    if (!tar) {
        shard->err = -ENOMEM;
        return;
    }
    tar->read = read_at;
    tar->context = file;
    tar->bytes = bytes;
    shard->err = rd_shard_read(tar, shard);
    rd_tar_fini(tar);
    free(tar);
}

/* ---- the other process ---- */

static int scan_and_answer(struct rd_shard *shard, struct file *file, uint64_t bytes, int out)
{
    const struct rd_shard_object object = {.bytes = bytes};
    struct answer answer = {0};
    void *table = NULL;
    size_t n = 0;
    int err;

    scan_archive(shard, file, bytes);
    answer.err = shard->err;
    answer.why = shard->why;
    if (shard->err == 0 || shard->err == -EBADMSG)
        answer.err = rd_shard_table_make(shard, &object, &table, &n);
    err = im_write_all(out, &answer, sizeof answer);
    return err == 0 && n > 0 ? im_write_all(out, table, n) : err;
}

/* A kernel that has no sandbox scans without one, as augmenters decode: a run's log has one line of it. */
static _Noreturn void scan_apart(struct rd_shard *shard, struct file *file, uint64_t bytes, int out)
{
    const struct im_sandbox wanted = {0};
    struct im_sandbox_state state;
    struct answer answer = {0};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    answer.err = im_sandbox_enter(&wanted, &state, &answer.why);
    if (answer.err < 0)
        _exit(im_write_all(out, &answer, sizeof answer) < 0);
    _exit(scan_and_answer(shard, file, bytes, out) < 0);
}

/* ---- ours ---- */

/* -EBADMSG: it wrote what it should not have. */
static int take_answer(struct rd_shard *shard, int out)
{
    struct answer answer;
    struct stat st;
    void *map;
    int err;

    if (fstat(out, &st) < 0)
        return -errno;
    if ((size_t)st.st_size < sizeof answer || (size_t)st.st_size - sizeof answer > RD_SHARD_TABLE_MAX)
        return im_fail(&shard->why, -EBADMSG, "the process that read its headers gave no answer");
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, out, 0);
    if (map == MAP_FAILED)
        return -errno;
    memcpy(&answer, map, sizeof answer);
    answer.why.s[sizeof answer.why.s - 1] = 0;
    if (answer.err < 0)
        err = im_fail(&shard->why, answer.err, "%s", answer.why.s);
    else
        err = rd_shard_table_take((const char *)map + sizeof answer, (size_t)st.st_size - sizeof answer,
                                  shard, NULL, &shard->why);
    munmap(map, (size_t)st.st_size);
    return err < 0 ? err : shard->err;
}

static int wait_for(struct rd_shard *shard, pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    if (WIFSIGNALED(status))
        return im_fail(&shard->why, -EBADMSG, "the process that read its headers died: signal %d (%s)",
                       WTERMSIG(status), strsignal(WTERMSIG(status)));
    return WEXITSTATUS(status) == 0 ? 0 : -ENOMEM; /* what memory there is for its answer is used up */
}

static void scan_file(struct rd_shard *shard, struct file *file, uint64_t bytes)
{
    int out = memfd_create("imsuper-shard", MFD_CLOEXEC);
    pid_t pid = out < 0 ? -1 : fork();

    if (pid == 0)
        scan_apart(shard, file, bytes, out);
    shard->err = pid < 0 ? -errno : wait_for(shard, pid);
    if (shard->err == 0)
        shard->err = take_answer(shard, out);
    if (out >= 0)
        close(out);
}

/* The shard lies on another machine: its members were listed when it was. */
static void take_table(struct rd_shard *shard, struct file *file, uint64_t n)
{
    char *bytes = NULL;
    int64_t got = n <= RD_SHARD_TABLE_MAX ? 0 : -EFBIG;

    if (n == 0) {
        shard->err = im_fail(&shard->why, -ENODATA,
                             "its members are not known: list them with --rebuild-index, from a folder that "
                             "holds shards and no images beside them");
        return;
    }
    if (got == 0) {
        bytes = malloc(n);
        got = bytes ? read_at(file, 0, bytes, n) : -ENOMEM;
    }
    shard->err = got < 0 ? (int)got : 0;
    if (shard->err == 0) {
        int err = rd_shard_table_take(bytes, (size_t)got, shard, NULL, &shard->why);

        if (err < 0)
            shard->err = err == -EBADMSG ? -EPROTO : err; /* the table's fault, not the shard's */
    }
    free(bytes);
}

void rd_shard_scan(int root_fd, struct rd_shard *shard)
{
    struct file file = {.fd = openat(root_fd, shard->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    struct stat st;

    shard->err = file.fd < 0 ? -errno : rd_stamp_take(root_fd, shard->path, &shard->stamp);
    if (shard->err == 0 && fstat(file.fd, &st) < 0)
        shard->err = -errno;
    if (shard->err == 0 && !S_ISREG(st.st_mode))
        shard->err = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if (shard->err == 0 && shard->in_mirror) {
        take_table(shard, &file, (uint64_t)st.st_size);
    } else if (shard->err == 0) {
        posix_fadvise(file.fd, 0, 0, POSIX_FADV_RANDOM);
        scan_file(shard, &file, (uint64_t)st.st_size);
    }
    if (file.fd >= 0)
        close(file.fd);
}
