#include "supervisor/cluster/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zmq.h>

#include "ipc/base/file.h"

#define FILE_MAX 4096
#define Z85 "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

int sv_keys_available(struct im_text *text)
{
    if (zmq_has("curve"))
        return 0;
    return im_fail(text, -ENOSYS,
                   "this libzmq was built without CURVE encryption: several machines need one that has it "
                   "(Debian's does)");
}

int sv_keys_pair(char ret_open[SV_KEY_CHARS], char ret_secret[SV_KEY_CHARS], struct im_text *text)
{
    int err = sv_keys_available(text);

    if (err < 0)
        return err;
    if (zmq_curve_keypair(ret_open, ret_secret) < 0)
        return im_fail(text, -errno, "cannot make a pair of keys: %s", zmq_strerror(errno));
    return 0;
}

bool sv_key_is_good(const char *key)
{
    uint8_t bytes[32];

    return strlen(key) == SV_KEY_CHARS - 1 && strspn(key, Z85) == SV_KEY_CHARS - 1 &&
           zmq_z85_decode(bytes, key);
}

void sv_key_bytes(const char *key, uint8_t ret[32])
{
    zmq_z85_decode(ret, key);
}

void sv_key_of_bytes(const uint8_t bytes[32], char ret[SV_KEY_CHARS])
{
    zmq_z85_encode(ret, bytes, 32);
}

struct sv_fingerprint sv_key_fingerprint(const char *open)
{
    struct sv_fingerprint ret = {"none"};
    uint8_t b[32];

    if (sv_key_is_good(open)) {
        sv_key_bytes(open, b);
        snprintf(ret.s, sizeof ret.s, "%02x%02x-%02x%02x-%02x%02x-%02x%02x", b[0], b[1], b[2], b[3], b[4],
                 b[5], b[6], b[7]);
    }
    return ret;
}

/* ---- the file ---- */

int sv_key_file_make(const char *path, struct im_text *text)
{
    char open_key[2][SV_KEY_CHARS], secret[2][SV_KEY_CHARS], bytes[512];
    int fd, n, err = sv_keys_pair(open_key[0], secret[0], text);

    if (err == 0)
        err = sv_keys_pair(open_key[1], secret[1], text);
    if (err < 0)
        return err;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return im_fail(text, -errno, "cannot make the key file %s: %s%s", path, strerror(errno),
                       errno == EEXIST ? "; remove it first if no run uses it" : "");
    n = snprintf(
        bytes, sizeof bytes,
        "# A key of imsuper for runs on several machines: each needs this file, and no other user may "
        "read it.\n"
        "head %s\nmember %s\n",
        secret[0], secret[1]);
    err = fchmod(fd, 0600) < 0 ? -errno : im_write_all(fd, bytes, (size_t)n);
    if (err == 0 && fsync(fd) < 0)
        err = -errno;
    close(fd);
    explicit_bzero(bytes, sizeof bytes);
    explicit_bzero(secret, sizeof secret);
    if (err < 0) {
        unlink(path);
        return im_fail(text, err, "cannot write the key file %s: %s", path, strerror(-err));
    }
    return 0;
}

/* The word after `name` in a line of its own. */
static bool find_secret(const char *bytes, const char *name, char ret[SV_KEY_CHARS])
{
    const size_t n = strlen(name);

    for (const char *line = bytes; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, name, n) != 0 || line[n] != ' ' ||
            strcspn(line + n + 1, "\r\n") != SV_KEY_CHARS - 1)
            continue;
        memcpy(ret, line + n + 1, SV_KEY_CHARS - 1);
        ret[SV_KEY_CHARS - 1] = '\0';
        return sv_key_is_good(ret);
    }
    return false;
}

static int read_private(const char *path, char bytes[FILE_MAX], struct im_text *text)
{
    struct stat st;
    int fd = im_open_regular(path, &st, text);
    ssize_t n;

    if (fd < 0)
        return fd;
    if (st.st_mode & 077) {
        close(fd);
        return im_fail(text, -EACCES, "others may read the key file %s (its mode is %03o): chmod 600 %s",
                       path, (unsigned)st.st_mode & 0777, path);
    }
    if (st.st_uid != geteuid() && st.st_uid != 0) {
        close(fd);
        return im_fail(
            text, -EACCES,
            "the key file %s belongs to another user (%u): make your own with imsuper cluster key FILE", path,
            (unsigned)st.st_uid);
    }
    n = read(fd, bytes, FILE_MAX - 1);
    close(fd);
    if (n < 0)
        return im_fail(text, -errno, "cannot read the key file %s: %s", path, strerror(errno));
    bytes[n] = '\0';
    return 0;
}

int sv_key_parse(const char *bytes, bool is_head, struct sv_keys *ret)
{
    char head[SV_KEY_CHARS], member[SV_KEY_CHARS], member_open[SV_KEY_CHARS];
    int err = 0;

    memset(ret, 0, sizeof *ret);
    if (!find_secret(bytes, "head", head) || !find_secret(bytes, "member", member) ||
        zmq_curve_public(ret->head, head) < 0 || zmq_curve_public(member_open, member) < 0)
        err = -EINVAL;
    if (err == 0) {
        memcpy(ret->secret, is_head ? head : member, SV_KEY_CHARS);
        memcpy(ret->open, is_head ? ret->head : member_open, SV_KEY_CHARS);
    }
    if (err == 0 && is_head) {
        ret->member = malloc(sizeof *ret->member);
        ret->members = ret->member != NULL;
        if (ret->member)
            memcpy(ret->member[0], member_open, SV_KEY_CHARS);
        else
            err = -ENOMEM;
    }
    explicit_bzero(head, sizeof head);
    explicit_bzero(member, sizeof member);
    return err;
}

int sv_key_file_read(const char *path, bool is_head, struct sv_keys *ret, struct im_text *text)
{
    char bytes[FILE_MAX];
    int err = sv_keys_available(text);

    memset(ret, 0, sizeof *ret);
    if (err == 0)
        err = read_private(path, bytes, text);
    if (err < 0)
        return err;
    err = sv_key_parse(bytes, is_head, ret);
    explicit_bzero(bytes, sizeof bytes);
    if (err == -EINVAL)
        return im_fail(
            text, err,
            "%s is no key file of imsuper: make one with imsuper cluster key FILE, and give it to all "
            "machines",
            path);
    return err;
}

void sv_keys_fini(struct sv_keys *keys)
{
    free(keys->member);
    explicit_bzero(keys, sizeof *keys);
}
