#include "supervisor/report/mhd.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LIBRARY "libmicrohttpd.so.12"
#define BACKLOG 64

int sv_mhd_load(struct sv_mhd *ret, struct im_text *text)
{
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    const char *why;

    if (!handle) {
        why = dlerror();
        return im_fail(text, -ENOENT, "cannot load " LIBRARY " (package libmicrohttpd12): %s",
                       why ? why : "?");
    }
#define FIND(name)                                                                                           \
    ret->function[SV_MHD_##name] = dlsym(handle, "MHD_" #name);                                              \
    if (!ret->function[SV_MHD_##name])                                                                       \
        return im_fail(text, -ENOENT, LIBRARY " has no MHD_" #name);
    SV_MHD_FUNCTIONS(FIND)
#undef FIND
    return 0;
}

/* Does anybody listen at this path? */
static bool is_dead_socket(const struct sockaddr_un *at)
{
    struct stat st;
    int fd;
    bool dead;

    if (lstat(at->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    dead = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof *at) < 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return dead;
}

static int bind_path(int fd, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    memcpy(at.sun_path, path, strlen(path) + 1);
    if (is_dead_socket(&at))
        unlink(path);
    return bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || chmod(path, 0600) < 0 ? -errno : 0;
}

static int bind_address(int fd, const struct im_conf_listen *where)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(where->port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(where->port)};
    const int on = 1;
    int err;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (where->is_ipv6) {
        inet_pton(AF_INET6, where->address, &six.sin6_addr);
        err = bind(fd, (struct sockaddr *)&six, sizeof six);
    } else {
        inet_pton(AF_INET, where->address, &four.sin_addr);
        err = bind(fd, (struct sockaddr *)&four, sizeof four);
    }
    return err < 0 ? -errno : 0;
}

int sv_mhd_socket(const struct im_conf_listen *where, struct im_text *text)
{
    const int family = *where->path ? AF_UNIX : where->is_ipv6 ? AF_INET6 : AF_INET;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = fd < 0 ? -errno : 0;

    if (err == 0)
        err = *where->path ? bind_path(fd, where->path) : bind_address(fd, where);
    if (err == 0 && listen(fd, BACKLOG) < 0)
        err = -errno;
    if (err == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    if (*where->path)
        return im_fail(text, err, "cannot listen at %s: %s", where->path, strerror(-err));
    return im_fail(text, err, "cannot listen at %s port %u: %s", where->address, where->port, strerror(-err));
}
