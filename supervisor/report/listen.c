/* libmicrohttpd is loaded when it is needed: it brings a library of TLS with it, which would be mapped by each command
 * otherwise, and takes longer than most commands do. */
#include "supervisor/report/listen.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <microhttpd.h>

#define CONNECTIONS_MAX 8u
#define SECONDS_MAX 10u /* without a byte, of a connection */
#define REQUEST_BYTES ((size_t)16384)
#define BACKLOG 16

#define LIBRARY "libmicrohttpd.so.12"
#define FUNCTIONS(X)                                                                                         \
    X(start_daemon)                                                                                          \
    X(stop_daemon)                                                                                           \
    X(create_response_from_buffer)                                                                           \
    X(add_response_header) X(queue_response) X(destroy_response)

struct library {
#define DECLARE(name) __typeof__(MHD_##name) *name;
    FUNCTIONS(DECLARE)
#undef DECLARE
};

struct sv_listener {
    struct library mhd;
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock; /* of body */
    char *body;
    char path[108]; /* of the socket; "": an address */
};

static int load(struct library *ret, struct im_text *text)
{
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    const char *why;

    if (!handle) {
        why = dlerror();
        return im_fail(text, -ENOENT, "cannot load " LIBRARY " (package libmicrohttpd12): %s",
                       why ? why : "?");
    }
#define FIND(name)                                                                                           \
    ret->name = (__typeof__(ret->name))dlsym(handle, "MHD_" #name);                                          \
    if (!ret->name)                                                                                          \
        return im_fail(text, -ENOENT, LIBRARY " has no MHD_" #name);
    FUNCTIONS(FIND)
#undef FIND
    return 0;
}

static enum MHD_Result answer(const struct sv_listener *l, struct MHD_Connection *to, unsigned status,
                              const char *type, char *body)
{
    struct MHD_Response *r = l->mhd.create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result result;

    if (!r) {
        free(body);
        return MHD_NO;
    }
    l->mhd.add_response_header(r, "Content-Type", type);
    l->mhd.add_response_header(r, "Cache-Control", "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        l->mhd.add_response_header(r, "Allow", "GET, HEAD");
    result = l->mhd.queue_response(to, status, r);
    l->mhd.destroy_response(r);
    return result;
}

static enum MHD_Result refuse(const struct sv_listener *l, struct MHD_Connection *to, unsigned status,
                              const char *why)
{
    char *body = strdup(why);

    return body ? answer(l, to, status, "text/plain; charset=utf-8", body) : MHD_NO;
}

/* Of one request. Its body is of no use, and is not waited for. */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **state)
{
    struct sv_listener *l = context;
    char *body;

    (void)version, (void)upload, (void)upload_size, (void)state;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return refuse(l, connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n");
    if (strcmp(url, "/metrics") != 0)
        return refuse(l, connection, MHD_HTTP_NOT_FOUND, "the numbers are at /metrics\n");
    pthread_mutex_lock(&l->lock);
    body = l->body ? strdup(l->body) : NULL;
    pthread_mutex_unlock(&l->lock);
    if (!body)
        return refuse(l, connection, MHD_HTTP_SERVICE_UNAVAILABLE, "the run has no numbers yet\n");
    return answer(l, connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", body);
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

static int open_socket(const struct im_conf_listen *where, struct im_text *text)
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

static void say_nothing(void *context, const char *format, va_list args)
{
    (void)context, (void)format, (void)args;
}

int sv_listen_open(const struct im_conf_listen *where, struct sv_listener **ret, struct im_text *text)
{
    struct sv_listener *l = calloc(1, sizeof *l);
    sigset_t all, before; /* signals are for the thread that waits for them */
    int err = l ? load(&l->mhd, text) : -ENOMEM, fd = err < 0 ? err : open_socket(where, text);

    if (fd < 0) {
        free(l);
        return fd;
    }
    pthread_mutex_init(&l->lock, NULL);
    memcpy(l->path, where->path, sizeof l->path);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    l->daemon =
        l->mhd.start_daemon(MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL, handle, l,
                            MHD_OPTION_EXTERNAL_LOGGER, say_nothing, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
                            MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                            SECONDS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_BYTES, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!l->daemon) {
        close(fd);
        sv_listen_close(&l);
        return im_fail(text, -EAGAIN, "cannot start a thread that serves the metrics");
    }
    *ret = l;
    return 0;
}

void sv_listen_set(struct sv_listener *l, char *body)
{
    char *before;

    pthread_mutex_lock(&l->lock);
    before = l->body;
    l->body = body;
    pthread_mutex_unlock(&l->lock);
    free(before);
}

void sv_listen_close(struct sv_listener **listener)
{
    struct sv_listener *l = *listener;

    *listener = NULL;
    if (!l)
        return;
    if (l->daemon)
        l->mhd.stop_daemon(l->daemon);
    if (*l->path)
        unlink(l->path);
    pthread_mutex_destroy(&l->lock);
    free(l->body);
    free(l);
}
