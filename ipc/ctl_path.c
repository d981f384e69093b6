/* Where a run's control socket lies, and how an asker finds it.
 *
 * The supervisor takes the first place that works; a socket path has at most 107 bytes, so it cannot lie in
 * the run directory, whose path may be of any length. The record (.control in the run directory) names the
 * place, so that an asker needs neither the environment of the run nor its luck. A directory that somebody
 * else has made in /tmp is no place, and no reason to end.
 *
 * The record is a file in a directory where users write: what it says is checked. Directories are made, and
 * modes set, only at the places that this file chooses; a place that the record names is used as it is, if it
 * is private, or not at all. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "ipc/base/hash.h"
#include "ipc/ctl.h"

#define RECORD_NAME ".control"
#define RECORD_BYTES_MAX 4096
#define NAMES_MAX 4 /* of the socket in one directory, where something else has the first ones */

/* Below these imsuper makes its directory; a new one, where another user has that name. */
static int list_roots(const char *ret[2])
{
    const char *root = getenv("TMPDIR");
    int n = 0;

    if (root && root[0] == '/' && strcmp(root, "/tmp") != 0)
        ret[n++] = root;
    ret[n++] = "/tmp";
    return n;
}

/* Where the sockets of this user's processes belong. */
static void format_runtime_directory(char ret[PATH_MAX])
{
    const char *base = getenv("XDG_RUNTIME_DIR");

    if (base && base[0] == '/')
        snprintf(ret, PATH_MAX, "%s/imsuper", base);
    else
        snprintf(ret, PATH_MAX, "/run/user/%u/imsuper", (unsigned)geteuid());
}

static void format_temporary_directory(const char *root, char ret[PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%s/imsuper-%u", root, (unsigned)geteuid());
}

static void add_reason(struct im_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_reason(struct im_text *text, const char *format, ...)
{
    size_t used = text ? strlen(text->s) : 0;
    va_list args;

    if (!text || used + 8 > sizeof text->s)
        return;
    if (used)
        used += (size_t)snprintf(text->s + used, sizeof text->s - used, "; ");
    va_start(args, format);
    vsnprintf(text->s + used, sizeof text->s - used, format, args);
    va_end(args);
}

/* Whether it is a directory of that user, and nobody else may enter it. */
static bool is_private(const char *path, uid_t owner)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == owner && (st.st_mode & 0777) == 0700;
}

/* Makes the directory if it is missing. It must be ours alone; a mode that lets others in is taken back. Never
 * for a path that was read from a file. */
static bool take_directory(const char *path, struct im_text *why)
{
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        add_reason(why, "%s: %s", path, strerror(errno));
        return false;
    }
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        add_reason(why, "%s is no directory", path);
        return false;
    }
    if (st.st_uid != geteuid()) {
        add_reason(why, "%s belongs to another user", path);
        return false;
    }
    if ((st.st_mode & 0777) != 0700 && chmod(path, 0700) < 0) {
        add_reason(why, "%s: cannot set mode 0700: %s", path, strerror(errno));
        return false;
    }
    return true;
}

static bool is_socket_of(const char *path, uid_t owner)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_uid == owner;
}

static bool is_own_socket(const char *path)
{
    return is_socket_of(path, geteuid());
}

/* Whether a socket may be made there; one that a killed supervisor left is removed. */
static bool make_room(const char *path)
{
    struct stat st;

    if (is_own_socket(path))
        unlink(path);
    return lstat(path, &st) < 0 && errno == ENOENT;
}

static int name_of(const char *run_dir, uint64_t *ret, struct im_text *text)
{
    char real[PATH_MAX];

    *ret = 0;
    if (!realpath(run_dir, real))
        return im_fail(text, -errno, "%s: %s", run_dir, strerror(errno));
    *ret = im_hash64(real, strlen(real), 0);
    return 0;
}

static bool format_path(const char *directory, uint64_t name, int serial, char ret[IM_CTL_PATH_BYTES])
{
    char suffix[8] = "";
    int n;

    if (serial)
        snprintf(suffix, sizeof suffix, "-%d", serial);
    n = snprintf(ret, IM_CTL_PATH_BYTES, "%s/%016" PRIx64 "%s.sock", directory, name, suffix);
    return n > 0 && n < IM_CTL_PATH_BYTES;
}

/* "/run/user/1/imsuper/0123456789abcdef.sock" less its last part. False: there is none. */
static bool split_directory(const char *path, char ret_directory[IM_CTL_PATH_BYTES])
{
    const char *slash = strrchr(path, '/');

    if (path[0] != '/' || slash == path)
        return false;
    snprintf(ret_directory, IM_CTL_PATH_BYTES, "%.*s", (int)(slash - path), path);
    return true;
}

/* Whether this path is one that the run's socket may have in this directory. */
static bool is_name_of_run(const char *path, const char *directory, uint64_t name)
{
    char own[IM_CTL_PATH_BYTES];

    for (int serial = 0; serial < NAMES_MAX; serial++)
        if (format_path(directory, name, serial, own) && strcmp(path, own) == 0)
            return true;
    return false;
}

/* In a directory that exists and is private. */
static int serve_there(const char *directory, uint64_t name, struct im_ctl **ret,
                       char ret_path[IM_CTL_PATH_BYTES], struct im_text *why)
{
    struct im_text cause = {""};

    for (int serial = 0; serial < NAMES_MAX; serial++) {
        if (!format_path(directory, name, serial, ret_path)) {
            add_reason(why, "%s is too long for a socket", directory);
            return -ENAMETOOLONG;
        }
        if (!make_room(ret_path))
            continue;
        if (im_ctl_serve(ret_path, ret, &cause) == 0)
            return 0;
        add_reason(why, "%s", cause.s);
        return -EACCES;
    }
    add_reason(why, "%s holds something else under the socket's name", directory);
    return -EEXIST;
}

static int serve_in(const char *directory, uint64_t name, struct im_ctl **ret,
                    char ret_path[IM_CTL_PATH_BYTES], struct im_text *why)
{
    if (IM_FAULT_ERR("control.place") < 0) {
        add_reason(why, "%s: refused by a fault point", directory);
        return -EACCES;
    }
    if (!take_directory(directory, why))
        return -EACCES;
    return serve_there(directory, name, ret, ret_path, why);
}

/* A directory of our own, where nobody could have been before us. It goes again with its socket. */
static int serve_in_new_directory(const char *root, uint64_t name, struct im_ctl **ret,
                                  char ret_path[IM_CTL_PATH_BYTES], struct im_text *why)
{
    char directory[PATH_MAX];
    int err;

    snprintf(directory, sizeof directory, "%s/imsuper-%u-XXXXXX", root, (unsigned)geteuid());
    if (!mkdtemp(directory)) {
        add_reason(why, "%s: %s", root, strerror(errno));
        return -EACCES;
    }
    err = serve_in(directory, name, ret, ret_path, why);
    if (err < 0)
        rmdir(directory);
    return err;
}

int im_ctl_read_record(const char *run_dir, struct im_ctl_record *ret)
{
    char path[PATH_MAX], *bytes = NULL;
    struct im_json *j = NULL;
    size_t n = 0;
    int err;

    *ret = (struct im_ctl_record){.pid = 0};
    snprintf(path, sizeof path, "%s/" RECORD_NAME, run_dir);
    err = im_read_file(path, RECORD_BYTES_MAX, &bytes, &n, NULL);
    if (err == 0)
        err = im_json_parse(bytes, n, &j, NULL);
    free(bytes);
    if (err < 0)
        return err;
    if (strlen(im_json_str_or(j, "socket", "")) < sizeof ret->path)
        snprintf(ret->path, sizeof ret->path, "%s", im_json_str_or(j, "socket", ""));
    ret->pid = im_json_int_or(j, "pid", 0);
    im_json_free(&j);
    return 0;
}

int im_ctl_write_record(const char *run_dir, const struct im_ctl_record *record, struct im_text *text)
{
    struct im_json *j = im_json_object();
    char path[PATH_MAX], *dumped;
    int err = -ENOMEM;

    im_json_set_str(j, "schema", "imsuper.control/1");
    im_json_set_str(j, "socket", record->path);
    im_json_set_int(j, "pid", record->pid);
    dumped = im_json_dump_indented(j);
    im_json_free(&j);
    snprintf(path, sizeof path, "%s/" RECORD_NAME, run_dir);
    if (dumped)
        err = im_file_replace(path, dumped, strlen(dumped), text);
    free(dumped);
    return err;
}

/* Where the supervisor before us was: who is connected finds us there. */
static int serve_again(const char *run_dir, uint64_t name, struct im_ctl **ret,
                       char ret_path[IM_CTL_PATH_BYTES])
{
    char directory[IM_CTL_PATH_BYTES];
    struct im_ctl_record last;

    if (im_ctl_read_record(run_dir, &last) < 0 || !split_directory(last.path, directory) ||
        !is_name_of_run(last.path, directory, name) || !is_private(directory, geteuid()))
        return -ENOENT;
    if (IM_FAULT_ERR("control.place") < 0)
        return -EACCES;
    return serve_there(directory, name, ret, ret_path, NULL);
}

int im_ctl_serve_run(const char *run_dir, struct im_ctl **ret, char ret_path[IM_CTL_PATH_BYTES],
                     struct im_text *text)
{
    const char *roots[2];
    char directory[PATH_MAX];
    struct im_text why = {""};
    uint64_t name;
    int err = name_of(run_dir, &name, text);

    if (err < 0)
        return err;
    if (serve_again(run_dir, name, ret, ret_path) == 0)
        return 0;
    format_runtime_directory(directory);
    if (serve_in(directory, name, ret, ret_path, &why) == 0)
        return 0;
    for (int i = 0, n = list_roots(roots); i < n; i++) {
        format_temporary_directory(roots[i], directory);
        if (serve_in(directory, name, ret, ret_path, &why) == 0 ||
            serve_in_new_directory(roots[i], name, ret, ret_path, &why) == 0)
            return 0;
    }
    return im_fail(text, -EACCES, "%s", why.s);
}

int im_ctl_directory(char ret[PATH_MAX], struct im_text *text)
{
    const char *roots[2];
    struct im_text why = {""};

    format_runtime_directory(ret);
    if (take_directory(ret, &why))
        return 0;
    for (int i = 0, n = list_roots(roots); i < n; i++) {
        format_temporary_directory(roots[i], ret);
        if (take_directory(ret, &why))
            return 0;
    }
    return im_fail(text, -EACCES, "no private folder for this user: %s", why.s);
}

static bool find_in(const char *directory, uint64_t name, char ret_path[IM_CTL_PATH_BYTES])
{
    for (int serial = 0; is_private(directory, geteuid()) && serial < NAMES_MAX; serial++)
        if (format_path(directory, name, serial, ret_path) && is_own_socket(ret_path))
            return true;
    return false;
}

/* Whether a socket at the recorded place may be asked: it belongs to us, or, where root asks, to the owner of
 * the run directory, and nobody else could have put it there. One that has vanished may come back. 0; -EACCES: we
 * may not look; -ENOENT: nothing that may be asked. */
static int check_recorded(const char *run_dir, const char *path)
{
    char directory[IM_CTL_PATH_BYTES];
    uid_t owner = geteuid();
    struct stat st;

    if (!split_directory(path, directory))
        return -ENOENT;
    if (owner == 0 && stat(run_dir, &st) == 0 && is_private(directory, st.st_uid))
        owner = st.st_uid;
    if (lstat(path, &st) < 0 && errno == EACCES)
        return -EACCES;
    if (!is_private(directory, owner))
        return -ENOENT;
    return is_socket_of(path, owner) || lstat(path, &st) < 0 ? 0 : -ENOENT;
}

/* Where this process would have put it. */
static int search(const char *run_dir, char ret_path[IM_CTL_PATH_BYTES])
{
    const char *roots[2];
    char directory[PATH_MAX];
    uint64_t name;
    int err = name_of(run_dir, &name, NULL);

    if (err < 0)
        return err;
    format_runtime_directory(directory);
    if (find_in(directory, name, ret_path))
        return 0;
    for (int i = 0, n = list_roots(roots); i < n; i++) {
        format_temporary_directory(roots[i], directory);
        if (find_in(directory, name, ret_path))
            return 0;
    }
    ret_path[0] = 0;
    return -ENOTCONN;
}

int im_ctl_find(const char *run_dir, struct im_ctl_record *ret)
{
    int found, err = im_ctl_read_record(run_dir, ret);

    if (err == 0 && !ret->path[0] && ret->pid > 0)
        return -ENOTCONN;
    if (err == 0) {
        err = check_recorded(run_dir, ret->path);
        if (err == 0 || err == -EACCES)
            return err;
        ret->pid = 0; /* a record that is wrong in one thing is not believed in another */
    }
    found = search(run_dir, ret->path); /* for a run that could not write its record, on a full disk */
    return found < 0 && err == -EACCES ? -EACCES : found;
}

/* "/tmp/imsuper-0-Ab3xYz": one of serve_in_new_directory(). */
static bool is_made_for_one_run(const char *directory)
{
    char start[64];
    const char *last = strrchr(directory, '/');

    snprintf(start, sizeof start, "/imsuper-%u-", (unsigned)geteuid());
    return last && strncmp(last, start, strlen(start)) == 0 && strlen(last) == strlen(start) + 6;
}

void im_ctl_remove(const char *run_dir)
{
    struct im_ctl_record record;
    char path[PATH_MAX], directory[IM_CTL_PATH_BYTES];
    uint64_t name;

    if (im_ctl_find(run_dir, &record) == 0 && name_of(run_dir, &name, NULL) == 0 &&
        split_directory(record.path, directory) && is_name_of_run(record.path, directory, name)) {
        if (is_own_socket(record.path))
            unlink(record.path);
        if (is_made_for_one_run(directory))
            rmdir(directory);
    }
    snprintf(path, sizeof path, "%s/" RECORD_NAME, run_dir);
    unlink(path);
}
