#include "tests/support/disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ipc/base/hash.h"

/* What disk.c cannot follow ends the program: a test that misses an operation would prove nothing. */
#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "disk.c:%d: %s\n", __LINE__, #condition);                                        \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

enum {
    NODES_MAX = 4096,
    OPERATIONS_MAX = 65536,
    NAMES_MAX = 512,
    FDS_MAX = 1024,
    PENDING_MAX = 256,
    ROOT = 0
};

enum kind { WRITE, TRUNCATE, SYNC, ENTER, RENAME, REMOVE, MARK };

struct operation {
    enum kind kind;
    int node;      /* file or folder that is written, synced, entered, renamed */
    int folder;    /* of the names */
    char name[96]; /* entered, removed, or the new one of a rename */
    char old[96];  /* of a rename */
    size_t at, n;  /* of a write; n: length of a truncated file, or the mark */
    char *bytes;
};

struct name {
    int folder, node; /* node < 0: unused */
    char name[96];
};

struct content {
    char *bytes;
    size_t n;
};

static struct {
    bool on;
    char folder[PATH_MAX];
    size_t folder_length;
    struct operation operation[OPERATIONS_MAX];
    size_t operations;
    struct name name[NAMES_MAX]; /* as the program sees them */
    bool is_folder[NODES_MAX];
    size_t length[NODES_MAX];
    int nodes;
    struct {
        int node; /* + 1; 0: not a descriptor of ours */
        size_t at;
        bool append;
    } fd[FDS_MAX];
} disk;

/* --- recording --------------------------------------------------------------------------------------------- */

static struct name *find(struct name *names, int folder, const char *name)
{
    for (int i = 0; i < NAMES_MAX; i++)
        if (names[i].node >= 0 && names[i].folder == folder && strcmp(names[i].name, name) == 0)
            return &names[i];
    return NULL;
}

static void enter(struct name *names, int folder, const char *name, int node)
{
    struct name *at = find(names, folder, name);

    for (int i = 0; !at && i < NAMES_MAX; i++)
        if (names[i].node < 0)
            at = &names[i];
    MUST(at && strlen(name) < sizeof at->name);
    at->folder = folder;
    at->node = node;
    snprintf(at->name, sizeof at->name, "%s", name);
}

static void forget(struct name *names, int folder, const char *name)
{
    struct name *at = find(names, folder, name);

    if (at)
        at->node = -1;
}

/* The folder that holds the last part of a path below the recorded folder, and that part ("" for the folder
 * itself); -1: the path is elsewhere. */
static int resolve(const char *path, char ret_name[96])
{
    int folder = ROOT;
    const char *rest;

    if (!disk.on || strncmp(path, disk.folder, disk.folder_length) != 0 ||
        (path[disk.folder_length] != '/' && path[disk.folder_length] != 0))
        return -1;
    rest = path + disk.folder_length;
    ret_name[0] = 0;
    while (*(rest += strspn(rest, "/"))) {
        size_t n = strcspn(rest, "/");
        struct name *at;

        if (ret_name[0]) {
            at = find(disk.name, folder, ret_name);
            MUST(at != NULL);
            folder = at->node;
        }
        MUST(n < 96);
        snprintf(ret_name, 96, "%.*s", (int)n, rest);
        rest += n;
    }
    return folder;
}

static struct operation *add(enum kind kind, int node)
{
    struct operation *o = &disk.operation[disk.operations++];

    MUST(disk.operations <= OPERATIONS_MAX);
    *o = (struct operation){.kind = kind, .node = node};
    return o;
}

static int make_node(bool is_folder)
{
    MUST(disk.nodes < NODES_MAX);
    disk.is_folder[disk.nodes] = is_folder;
    disk.length[disk.nodes] = 0;
    return disk.nodes++;
}

static void add_name(int folder, const char *name, int node)
{
    struct operation *o = add(ENTER, node);

    o->folder = folder;
    snprintf(o->name, sizeof o->name, "%s", name);
    enter(disk.name, folder, name, node);
}

static void add_write(int fd, const void *bytes, size_t n)
{
    int node = disk.fd[fd].node - 1;
    struct operation *o = add(WRITE, node);

    if (disk.fd[fd].append)
        disk.fd[fd].at = disk.length[node];
    o->at = disk.fd[fd].at;
    o->n = n;
    o->bytes = malloc(n + 1);
    MUST(o->bytes != NULL);
    memcpy(o->bytes, bytes, n);
    disk.fd[fd].at += n;
    if (disk.fd[fd].at > disk.length[node])
        disk.length[node] = disk.fd[fd].at;
}

static void add_truncate(int node, size_t n)
{
    add(TRUNCATE, node)->n = n;
    disk.length[node] = n;
}

static bool is_ours(int fd)
{
    return disk.on && fd >= 0 && fd < FDS_MAX && disk.fd[fd].node > 0;
}

/* The linker calls these for the functions of those names. */
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_close(int fd);
int __wrap_close(int fd);
ssize_t __real_write(int fd, const void *bytes, size_t n);
ssize_t __wrap_write(int fd, const void *bytes, size_t n);
ssize_t __real_writev(int fd, const struct iovec *parts, int count);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);
int __real_ftruncate(int fd, off_t n);
int __wrap_ftruncate(int fd, off_t n);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_link(const char *from, const char *to);
int __wrap_link(const char *from, const char *to);
int __real_unlink(const char *path);
int __wrap_unlink(const char *path);
int __real_unlinkat(int folder, const char *path, int flags);
int __wrap_unlinkat(int folder, const char *path, int flags);
int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode);

int __wrap_open(const char *path, int flags, ...)
{
    char name[96];
    va_list args;
    mode_t mode = 0;
    struct name *at;
    int fd, folder = resolve(path, name), node;

    if (flags & O_CREAT) {
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    fd = __real_open(path, flags, mode);
    if (fd < 0 || folder < 0)
        return fd;
    MUST(fd < FDS_MAX);
    at = name[0] ? find(disk.name, folder, name) : NULL;
    node = !name[0] ? ROOT : at ? at->node : -1;
    if (node < 0) {
        MUST(flags & O_CREAT);
        node = make_node(false);
        add_name(folder, name, node);
    }
    if (flags & O_TRUNC)
        add_truncate(node, 0);
    disk.fd[fd].node = node + 1;
    disk.fd[fd].at = 0;
    disk.fd[fd].append = flags & O_APPEND;
    return fd;
}

int __wrap_close(int fd)
{
    if (is_ours(fd))
        disk.fd[fd].node = 0;
    return __real_close(fd);
}

ssize_t __wrap_write(int fd, const void *bytes, size_t n)
{
    ssize_t done = __real_write(fd, bytes, n);

    if (is_ours(fd) && done > 0)
        add_write(fd, bytes, (size_t)done);
    return done;
}

ssize_t __wrap_writev(int fd, const struct iovec *parts, int count)
{
    ssize_t done = __real_writev(fd, parts, count), left = done;

    for (int i = 0; is_ours(fd) && i < count && left > 0; i++) {
        size_t n = (size_t)left < parts[i].iov_len ? (size_t)left : parts[i].iov_len;

        add_write(fd, parts[i].iov_base, n);
        left -= (ssize_t)n;
    }
    return done;
}

int __wrap_ftruncate(int fd, off_t n)
{
    int result = __real_ftruncate(fd, n);

    if (is_ours(fd) && result == 0)
        add_truncate(disk.fd[fd].node - 1, (size_t)n);
    return result;
}

int __wrap_fsync(int fd)
{
    if (!is_ours(fd))
        return __real_fsync(fd);
    add(SYNC, disk.fd[fd].node - 1); /* the real one would only take its time */
    return 0;
}

int __wrap_rename(const char *from, const char *to)
{
    char old[96], name[96];
    int folder = resolve(from, old), result = __real_rename(from, to);
    struct operation *o;
    struct name *at;

    if (folder < 0 || result < 0)
        return result;
    MUST(resolve(to, name) == folder);
    at = find(disk.name, folder, old);
    MUST(at != NULL);
    if (find(disk.name, folder, name) && find(disk.name, folder, name)->node == at->node)
        return 0; /* two names of one file: nothing happens */
    o = add(RENAME, at->node);
    o->folder = folder;
    snprintf(o->name, sizeof o->name, "%s", name);
    snprintf(o->old, sizeof o->old, "%s", old);
    forget(disk.name, folder, old);
    enter(disk.name, folder, name, o->node);
    return 0;
}

int __wrap_link(const char *from, const char *to)
{
    char old[96], name[96];
    int folder = resolve(from, old), result = __real_link(from, to);

    if (folder < 0 || result < 0)
        return result;
    MUST(resolve(to, name) == folder);
    add_name(folder, name, find(disk.name, folder, old)->node);
    return 0;
}

static void add_removal(int folder, const char *name)
{
    struct operation *o = add(REMOVE, -1);

    o->folder = folder;
    snprintf(o->name, sizeof o->name, "%s", name);
    forget(disk.name, folder, name);
}

int __wrap_unlink(const char *path)
{
    char name[96];
    int folder = resolve(path, name), result = __real_unlink(path);

    if (folder >= 0 && result == 0)
        add_removal(folder, name);
    return result;
}

int __wrap_unlinkat(int fd, const char *path, int flags)
{
    char link[64], folder_path[PATH_MAX + 256], name[96];
    ssize_t n;
    int result = __real_unlinkat(fd, path, flags), folder;

    if (!disk.on || result < 0)
        return result;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, folder_path, PATH_MAX - 1);
    MUST(n > 0);
    snprintf(folder_path + n, sizeof folder_path - (size_t)n, "/%s", path);
    folder = resolve(folder_path, name);
    if (folder >= 0)
        add_removal(folder, name);
    return result;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    char name[96];
    int result = __real_mkdir(path, mode), folder;

    if (result == 0 && (folder = resolve(path, name)) >= 0)
        add_name(folder, name, make_node(true));
    return result;
}

void disk_record(const char *folder)
{
    MUST(realpath(folder, disk.folder) != NULL);
    disk.folder_length = strlen(disk.folder);
    for (int i = 0; i < NAMES_MAX; i++)
        disk.name[i].node = -1;
    disk.operations = 0;
    disk.nodes = ROOT + 1;
    disk.is_folder[ROOT] = true;
    disk.on = true;
}

void disk_mark(int mark)
{
    add(MARK, -1)->n = (size_t)mark;
}

void disk_stop(void)
{
    disk.on = false;
}

/* --- what is found after the power failed -------------------------------------------------------------------- */

enum bytes { SYNCED, HALF, WRITTEN, BYTES };

/* The disk after a prefix of the list. */
struct after {
    struct content written[NODES_MAX], synced[NODES_MAX];
    struct name name[NAMES_MAX]; /* synced */
    const struct operation *pending[PENDING_MAX];
    int pendings, mark;
};

struct search {
    const char *folder;
    disk_check *check;
    void *context;
    uint64_t *seen;
    size_t count, room;
    bool over;
};

static void set_length(struct content *c, size_t n)
{
    c->bytes = realloc(c->bytes, n + 1);
    MUST(c->bytes != NULL);
    if (n > c->n)
        memset(c->bytes + c->n, 0, n - c->n);
    c->n = n;
}

static void change_names(struct name *names, const struct operation *o)
{
    if (o->kind == RENAME)
        forget(names, o->folder, o->old);
    if (o->kind == REMOVE)
        forget(names, o->folder, o->name);
    else
        enter(names, o->folder, o->name, o->node);
}

static void sync_folder(struct after *a, int folder)
{
    int kept = 0;

    for (int i = 0; i < a->pendings; i++) {
        if (a->pending[i]->folder == folder)
            change_names(a->name, a->pending[i]);
        else
            a->pending[kept++] = a->pending[i];
    }
    a->pendings = kept;
}

static void go_on(struct after *a, const struct operation *o)
{
    struct content *c = o->node >= 0 ? &a->written[o->node] : NULL;

    switch (o->kind) {
    case WRITE:
        if (o->at + o->n > c->n)
            set_length(c, o->at + o->n);
        memcpy(c->bytes + o->at, o->bytes, o->n);
        break;
    case TRUNCATE:
        set_length(c, o->n);
        break;
    case SYNC:
        if (disk.is_folder[o->node]) {
            sync_folder(a, o->node);
        } else {
            set_length(&a->synced[o->node], c->n);
            memcpy(a->synced[o->node].bytes, c->bytes ? c->bytes : "", c->n);
        }
        break;
    case MARK:
        a->mark = (int)o->n;
        break;
    default:
        MUST(a->pendings < PENDING_MAX);
        a->pending[a->pendings++] = o;
    }
}

/* The bytes of a file that are found. What was written since the last sync may be there to any part. */
static struct content bytes_of(const struct after *a, int node, enum bytes how)
{
    struct content c = how == SYNCED ? a->synced[node] : a->written[node];
    size_t synced = a->synced[node].n;

    if (how == HALF)
        c.n = c.n > synced ? synced + (c.n - synced) / 2 : c.n;
    return c;
}

/* Of the names that can be reached from the root; makes the files if `folder` is given. */
static void walk(const struct after *a, const struct name *names, int node, enum bytes how,
                 const char *folder, struct im_hash *hash)
{
    for (int i = 0; i < NAMES_MAX; i++) {
        struct content c;
        char path[PATH_MAX];

        if (names[i].node < 0 || names[i].folder != node)
            continue;
        im_hash_add(hash, names[i].name, strlen(names[i].name) + 1);
        snprintf(path, sizeof path, "%s/%s", folder ? folder : "", names[i].name);
        if (disk.is_folder[names[i].node]) {
            MUST(!folder || mkdir(path, 0777) == 0);
            walk(a, names, names[i].node, how, folder ? path : NULL, hash);
            im_hash_add(hash, "/", 1);
            continue;
        }
        c = bytes_of(a, names[i].node, how);
        im_hash_add(hash, &c.n, sizeof c.n);
        im_hash_add(hash, c.bytes ? c.bytes : "", c.n);
        if (folder) {
            FILE *file = fopen(path, "we");

            MUST(file && fwrite(c.bytes ? c.bytes : "", 1, c.n, file) == c.n && fclose(file) == 0);
        }
    }
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind;
    return at->level > 0 ? remove(path) : 0;
}

static bool is_new(struct search *s, uint64_t value)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->seen[i] == value)
            return false;
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 1024;
        s->seen = realloc(s->seen, s->room * sizeof *s->seen);
        MUST(s->seen != NULL);
    }
    s->seen[s->count++] = value;
    return true;
}

/* Checks what is found if, of the changes of names, those with a true bit came to the disk. */
static void fail_with(struct search *s, const struct after *a, const bool *kept)
{
    struct name names[NAMES_MAX];

    memcpy(names, a->name, sizeof names);
    for (int i = 0; i < a->pendings; i++)
        if (kept[i])
            change_names(names, a->pending[i]);
    for (enum bytes how = 0; how < BYTES && !s->over; how++) {
        struct im_hash *hash = im_hash_new((uint64_t)a->mark);

        MUST(hash != NULL);
        walk(a, names, ROOT, how, NULL, hash);
        if (is_new(s, im_hash_value(hash))) {
            MUST(nftw(s->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS) == 0);
            walk(a, names, ROOT, how, s->folder, hash);
            s->over = !s->check(s->folder, a->mark, s->context);
        }
        im_hash_free(&hash);
    }
}

static void fail_after(struct search *s, const struct after *a)
{
    bool kept[PENDING_MAX];

    for (int first = 0; first <= a->pendings; first++) {
        for (int i = 0; i < a->pendings; i++)
            kept[i] = i < first;
        fail_with(s, a, kept);
    }
    for (int one = 0; one < a->pendings; one++) {
        for (int i = 0; i < a->pendings; i++)
            kept[i] = i != one;
        fail_with(s, a, kept);
        for (int i = 0; i < a->pendings; i++)
            kept[i] = i == one;
        fail_with(s, a, kept);
    }
}

size_t disk_fail_everywhere(const char *folder, disk_check *check, void *context)
{
    struct search s = {.folder = folder, .check = check, .context = context};
    struct after *a = calloc(1, sizeof *a);

    MUST(a != NULL);
    for (int i = 0; i < NAMES_MAX; i++)
        a->name[i].node = -1;
    fail_after(&s, a);
    for (size_t i = 0; i < disk.operations && !s.over; i++) {
        go_on(a, &disk.operation[i]);
        fail_after(&s, a);
    }
    for (int i = 0; i < NODES_MAX; i++) {
        free(a->written[i].bytes);
        free(a->synced[i].bytes);
    }
    for (size_t i = 0; i < disk.operations; i++)
        free(disk.operation[i].bytes);
    disk.operations = 0;
    free(s.seen);
    free(a);
    return s.count;
}
