#include "reader/dataset/mirror.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/hash.h"
#include "ipc/base/sysinfo.h"
#include "ipc/config/conf.h"
#include "ipc/object_seal.h"
#include "reader/dataset/scan.h"

#define FETCHER "imsuper-fetcher"
#define HASH_SEED 1
#define MEMBER ".part"

static int64_t ns_of(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

/* --cache-dir, or imsuper/objects in the user's cache folder. */
static int cache_folder(const char *cache_dir, char *ret_path, size_t size, struct im_text *text)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length;

    if (*cache_dir)
        length = snprintf(ret_path, size, "%s", cache_dir);
    else if (xdg && *xdg == '/')
        length = snprintf(ret_path, size, "%s/imsuper/objects", xdg);
    else if (home && *home == '/')
        length = snprintf(ret_path, size, "%s/.cache/imsuper/objects", home);
    else
        return im_fail(
            text, -ENOENT,
            "remote images need a folder on a local disk: HOME and XDG_CACHE_HOME are not set; name one with "
            "--cache-dir");
    return length < 0 || (size_t)length >= size ? im_fail(text, -ENAMETOOLONG, "--cache-dir is too long") : 0;
}

/* Without slashes at the end, so that both ways to write it are one. */
static size_t length_of(const char *url)
{
    size_t n = strlen(url);

    while (n > 0 && url[n - 1] == '/')
        n--;
    return n;
}

int rd_mirror_path(const char *url, const char *cache_dir, char *ret_path, size_t size, struct im_text *text)
{
    const char *endpoint = getenv("AWS_ENDPOINT_URL_S3");
    uint64_t hash = im_hash64(url, length_of(url), HASH_SEED);
    char cache[PATH_MAX];
    int length, err = im_conf_check_address(url, text);

    if (err == 0)
        err = cache_folder(cache_dir, cache, sizeof cache, text);
    if (err < 0)
        return err;
    if (!endpoint || !*endpoint)
        endpoint = getenv("AWS_ENDPOINT_URL");
    if (strncmp(url, "s3://", 5) == 0 && endpoint && *endpoint)
        hash = im_hash64(endpoint, length_of(endpoint), hash);
    length = snprintf(ret_path, size, "%s/%016llx", cache, (unsigned long long)hash);
    return length < 0 || (size_t)length >= size ? im_fail(text, -ENAMETOOLONG, "--cache-dir is too long") : 0;
}

/* The program says why it failed. */
static int list_objects(const char *url, const char *cache_dir, struct im_text *text)
{
    char path[PATH_MAX], verb[] = "list", address[PATH_MAX], cache[PATH_MAX];
    char *argv[] = {path, verb, address, cache, NULL};
    int err, status = 0;
    pid_t pid;

    err = cache_folder(cache_dir, cache, sizeof cache, text);
    if (err < 0)
        return err;
    snprintf(address, sizeof address, "%s", url);
    im_beside(FETCHER, path, sizeof path);
    if (access(path, X_OK) < 0)
        return im_fail(text, -ENOENT,
                       "%.300s lies elsewhere, and %.400s cannot be run: %s; build with libcurl "
                       "(libcurl4-openssl-dev)",
                       url, path, strerror(errno));
    err = posix_spawn(&pid, path, NULL, NULL, argv, environ);
    if (err != 0)
        return im_fail(text, -err, "cannot run %.700s: %s", path, strerror(err));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return im_fail(text, -EBADMSG, "the objects of %.700s could not be listed; see above", url);
}

int rd_mirror_open(const char *url, const char *cache_dir, bool renew, char *ret_root, size_t size,
                   struct im_text *text)
{
    char mirror[PATH_MAX], listing[PATH_MAX + 16], data[PATH_MAX + 16], real[PATH_MAX];
    int err = rd_mirror_path(url, cache_dir, mirror, sizeof mirror, text);

    if (err < 0)
        return err;
    snprintf(listing, sizeof listing, "%s/listing", mirror);
    if (renew || access(listing, R_OK) < 0)
        err = list_objects(url, cache_dir, text);
    if (err < 0)
        return err;
    snprintf(data, sizeof data, "%s/data", mirror);
    if (!realpath(data, real))
        return im_fail(text, -errno, "cannot open the cache folder '%.700s': %s", data, strerror(errno));
    return snprintf(ret_root, size, "%s", real) >= (int)size
               ? im_fail(text, -ENAMETOOLONG, "--cache-dir is too long")
               : 0;
}

size_t rd_mirror_length(const char *root)
{
    char path[PATH_MAX + 16];

    for (const char *at = strstr(root, "/data"); at; at = strstr(at + 1, "/data")) {
        if ((at[5] && at[5] != '/') || at - root >= PATH_MAX)
            continue;
        snprintf(path, sizeof path, "%.*s/url", (int)(at - root), root);
        if (access(path, F_OK) < 0)
            continue;
        snprintf(path, sizeof path, "%.*s/../lock", (int)(at - root), root);
        if (access(path, F_OK) == 0)
            return (size_t)(at - root) + 5;
    }
    return 0;
}

size_t rd_mirror_length_of(const char *url, const char *cache_dir, const char *root)
{
    char path[PATH_MAX], data[NAME_MAX + 16];
    const char *at;
    size_t n;

    if (rd_mirror_path(url, cache_dir, path, sizeof path, NULL) < 0)
        return 0;
    n = (size_t)snprintf(data, sizeof data, "%.255s/data", strrchr(path, '/'));
    for (at = strstr(root, data); at; at = strstr(at + 1, data))
        if (!at[n] || at[n] == '/')
            return (size_t)(at - root) + n;
    return 0;
}

int64_t rd_mirror_listed_ns(const char *root)
{
    const size_t n = rd_mirror_length(root);
    char path[PATH_MAX + 16];
    struct stat st;

    if (n == 0)
        return 0;
    snprintf(path, sizeof path, "%.*s/listing", (int)(n - 5), root);
    return stat(path, &st) < 0 ? INT64_MAX : ns_of(&st.st_mtim);
}

int rd_mirror_members(const char *shard, char *ret_path, size_t size)
{
    const char *slash = strrchr(shard, '/'), *name = slash ? slash + 1 : shard;
    const int length = snprintf(ret_path, size, "%.*s.%s", (int)(name - shard), shard, name);

    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : length;
}

int rd_mirror_member(const char *shard, uint64_t offset, uint32_t mark, char *ret_path, size_t size)
{
    const int n = rd_mirror_members(shard, ret_path, size);
    int length;

    if (n < 0)
        return n;
    length = snprintf(ret_path + n, size - (size_t)n, "/%llx-%08x" MEMBER, (unsigned long long)offset, mark);
    return length < 0 || (size_t)length >= size - (size_t)n ? -ENAMETOOLONG : n + length;
}

bool rd_mirror_may_go(const char *name)
{
    const size_t n = strlen(name), m = strlen(MEMBER);

    return rd_is_image_name(name) || (n > m && strcmp(name + n - m, MEMBER) == 0);
}

int rd_mirror_below(const char *url, const char *cache_dir, const char *root, char *ret_below, size_t size,
                    size_t *ret_length)
{
    size_t n = rd_mirror_length_of(url, cache_dir, root);
    int length;

    n = n > 0 ? n : rd_mirror_length(root);
    if (n == 0)
        return -EBADMSG;
    *ret_length = n;
    length = snprintf(ret_below, size, "%s%s", root[n] ? root + n + 1 : "", root[n] ? "/" : "");
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

uint64_t rd_mirror_place(const char *below, const char *path)
{
    const size_t n = strlen(below), m = strnlen(path, PATH_MAX);
    char whole[2 * PATH_MAX];

    if (n > PATH_MAX)
        return 0;
    memcpy(whole, below, n);
    memcpy(whole + n, path, m);
    return im_hash64(whole, n + m, HASH_SEED);
}

int rd_mirror_look(int root_fd, const char *below, const char *path, int64_t since_ns, uint32_t *ret_seal)
{
    struct stat st;

    *ret_seal = 0;
    if (fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        const int err = -errno;

        return err == -ENOENT && fstat(root_fd, &st) == 0 && S_ISDIR(st.st_mode) && st.st_nlink > 0
                   ? RD_OBJECT_AWAY
                   : err;
    }
    if (st.st_size > 0 || !S_ISREG(st.st_mode)) {
        *ret_seal = im_object_seal_of(&st);
        if (*ret_seal == 0)
            return RD_OBJECT_AWAY;
        *ret_seal = im_object_seal_at(*ret_seal, rd_mirror_place(below, path));
        return RD_OBJECT_HERE;
    }
    /* A mark that an earlier run made says nothing of now. */
    return (st.st_mode & 0777) == RD_MIRROR_FAILED_MODE && ns_of(&st.st_mtim) >= since_ns ? RD_OBJECT_FAILED
                                                                                          : RD_OBJECT_AWAY;
}
