/* A file system that hangs or fails, for readers of a run: loaded with LD_PRELOAD, it stands before open() and
 * openat(). What it does is told by files in the folder $FAULTY_READS, which may come and go at any time:
 *
 *   hang   a pattern (fnmatch): opening such a path waits for as long as the file is there and says so
 *   fail   "ERRNO PATTERN", ERRNO a number: opening such a path fails
 *
 * The pattern is matched against the path as the program gives it: for an image, relative to the data
 * directory. Absolute paths are only looked at below $FAULTY_ROOT, which stands for the mount, so that the
 * program's libraries load. Only imsuper-reader is disturbed, and imsuper-augmenter by `fail` alone: its sandbox
 * lets nobody sleep. io_uring does not pass here: use --io pread. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The first line of a file of $FAULTY_READS; "" when there is none. */
static void rule(const char *name, char *ret, size_t n)
{
    const char *folder = getenv("FAULTY_READS");
    char path[1024];
    ssize_t got = 0;
    long fd = -1;

    if (folder && snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path)
        fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        got = read((int)fd, ret, n - 1);
        close((int)fd);
    }
    ret[got > 0 ? got : 0] = 0;
    ret[strcspn(ret, "\n")] = 0;
}

static int is_below_root(const char *path)
{
    const char *root = getenv("FAULTY_ROOT");

    return path[0] != '/' || (root && strncmp(path, root, strlen(root)) == 0);
}

/* 0, or an errno. */
static int disturb(const char *path)
{
    char line[512];
    const char *blank;

    int is_reader = strcmp(program_invocation_short_name, "imsuper-reader") == 0;

    if ((!is_reader && strcmp(program_invocation_short_name, "imsuper-augmenter") != 0) ||
        !is_below_root(path))
        return 0;
    for (rule("hang", line, sizeof line); is_reader && *line && fnmatch(line, path, 0) == 0;
         rule("hang", line, sizeof line))
        poll(NULL, 0, 20);
    rule("fail", line, sizeof line);
    blank = strchr(line, ' ');
    return blank && fnmatch(blank + 1, path, 0) == 0 ? (int)strtol(line, NULL, 10) : 0;
}

static int open_at(int folder, const char *path, int flags, mode_t mode)
{
    int err = disturb(path);

    if (err) {
        errno = err;
        return -1;
    }
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

static mode_t mode_of(int flags, va_list rest)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define STAND_BEFORE(NAME, PARAMETERS, FOLDER)                                                               \
    int NAME PARAMETERS;                                                                                     \
    int NAME PARAMETERS                                                                                      \
    {                                                                                                        \
        va_list rest;                                                                                        \
        mode_t mode;                                                                                         \
                                                                                                             \
        va_start(rest, flags);                                                                               \
        mode = mode_of(flags, rest);                                                                         \
        va_end(rest);                                                                                        \
        return open_at(FOLDER, path, flags, mode);                                                           \
    }

/* By all names that the C library has for them. */
STAND_BEFORE(open, (const char *path, int flags, ...), AT_FDCWD)
STAND_BEFORE(open64, (const char *path, int flags, ...), AT_FDCWD)
STAND_BEFORE(openat, (int folder, const char *path, int flags, ...), folder)
STAND_BEFORE(openat64, (int folder, const char *path, int flags, ...), folder)
