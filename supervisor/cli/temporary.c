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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/report/rundir.h"

#define FOLDER_YOUNG_SECONDS 10

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

void sv_temporary_remove(const char *folder)
{
    if (*folder)
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *temporary_folder(void)
{
    const char *tmp = getenv("TMPDIR");

    return tmp && *tmp == '/' ? tmp : "/tmp";
}

/* A temporary folder whose run was killed: no process holds its lock, and it is none that has just been made. */
static bool is_left_over(int parent, const char *entry, const char *prefix, const char *run_dir)
{
    struct stat st;

    if (strncmp(entry, prefix, strlen(prefix)) != 0 || fstatat(parent, entry, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || time(NULL) - st.st_mtime < FOLDER_YOUNG_SECONDS)
        return false;
    return !sv_rundir_is_live(run_dir);
}

static void remove_left_over(const char *tmp, const char *name)
{
    DIR *d = opendir(tmp);
    char path[PATH_MAX], run_dir[PATH_MAX + 64], prefix[64];
    struct dirent *entry;

    snprintf(prefix, sizeof prefix, "imsuper-%.32s-", name);
    while (d && (entry = readdir(d))) {
        if (snprintf(path, sizeof path, "%s/%s", tmp, entry->d_name) >= (int)sizeof path)
            continue;
        snprintf(run_dir, sizeof run_dir, "%s/%.32s", path, name);
        if (is_left_over(dirfd(d), entry->d_name, prefix, run_dir))
            sv_temporary_remove(path);
    }
    if (d)
        closedir(d);
}

int sv_temporary_make(const char *name, char *folder, size_t n, struct im_text *text)
{
    const char *tmp = temporary_folder();

    remove_left_over(tmp, name);
    if (snprintf(folder, n, "%s/imsuper-%.32s-XXXXXX", tmp, name) >= (int)n)
        return im_fail(text, -ENAMETOOLONG, "TMPDIR is too long: %.200s", tmp);
    if (mkdtemp(folder))
        return 0;
    im_fail(text, -errno, "cannot make %s: %s (TMPDIR names another folder)", folder, strerror(errno));
    *folder = 0;
    return -EIO;
}
