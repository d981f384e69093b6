#include "supervisor/cli/temporary.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervisor/report/rundir.h"

#define TRIES 100 /* of a name that another process takes for a left over one before we hold it */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

void sv_temporary_remove(const char *folder)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void sv_temporary_drop(struct sv_temporary *t)
{
    if (*t->path)
        sv_temporary_remove(t->path);
    if (t->lock > 0)
        close(t->lock - 1);
    *t = (struct sv_temporary){.lock = 0};
}

/* The folder, locked: its process may look for results in it long after its run has ended. -EWOULDBLOCK: another process
 * has the lock; other negative errno. */
static int hold(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int err;

    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd < 0 ? -errno : fd;
    err = -errno;
    close(fd);
    return err;
}

static const char *temporary_folder(void)
{
    const char *tmp = getenv("TMPDIR");

    return tmp && *tmp == '/' ? tmp : "/tmp";
}

/* A temporary folder of this user's whose process was killed, and whose run is over. Its lock; negative: it is none. */
static int take_left_over(int parent, const char *entry, const char *prefix, const char *path,
                          const char *run_dir)
{
    struct stat st;
    int lock;

    if (strncmp(entry, prefix, strlen(prefix)) != 0 || fstatat(parent, entry, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return -ENOENT;
    lock = hold(path);
    if (lock >= 0 && sv_rundir_is_live(run_dir)) {
        close(lock);
        return -EBUSY;
    }
    return lock;
}

static void remove_left_over(const char *tmp, const char *name)
{
    DIR *d = opendir(tmp);
    char path[PATH_MAX], run_dir[PATH_MAX + 64], prefix[64];
    struct dirent *entry;
    int lock;

    snprintf(prefix, sizeof prefix, "imsuper-%.32s-", name);
    while (d && (entry = readdir(d))) {
        if (snprintf(path, sizeof path, "%s/%s", tmp, entry->d_name) >= (int)sizeof path)
            continue;
        snprintf(run_dir, sizeof run_dir, "%s/%.32s", path, name);
        lock = take_left_over(dirfd(d), entry->d_name, prefix, path, run_dir);
        if (lock < 0)
            continue;
        sv_temporary_remove(path);
        close(lock);
    }
    if (d)
        closedir(d);
}

/* Makes a folder and its lock. 1: another process took it away in between. Where there are no locks for folders, nobody takes any. */
static int make_one(const char *tmp, const char *name, struct sv_temporary *ret)
{
    struct stat st;
    int lock;

    if (snprintf(ret->path, sizeof ret->path, "%s/imsuper-%.32s-XXXXXX", tmp, name) >= (int)sizeof ret->path)
        return -ENAMETOOLONG;
    if (!mkdtemp(ret->path))
        return -errno;
    lock = hold(ret->path);
    if (lock == -EWOULDBLOCK || lock == -ENOENT)
        return 1;
    if (lock >= 0 && (fstat(lock, &st) < 0 || st.st_nlink == 0)) {
        close(lock);
        return 1;
    }
    ret->lock = lock < 0 ? 0 : lock + 1;
    return 0;
}

int sv_temporary_make(const char *name, struct sv_temporary *ret, struct im_text *text)
{
    const char *tmp = temporary_folder();
    int err = 1;

    remove_left_over(tmp, name);
    for (int i = 0; i < TRIES && err == 1; i++) {
        *ret = (struct sv_temporary){.lock = 0};
        err = make_one(tmp, name, ret);
    }
    if (err == 0)
        return 0;
    err = err == 1 ? -EBUSY : err;
    if (err == -ENAMETOOLONG)
        im_fail(text, err, "TMPDIR is too long: %.200s", tmp);
    else
        im_fail(text, err, "cannot make %s: %s (TMPDIR names another folder)", ret->path, strerror(-err));
    *ret = (struct sv_temporary){.lock = 0};
    return -EIO;
}
