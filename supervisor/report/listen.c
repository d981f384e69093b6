#include "supervisor/report/listen.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <microhttpd.h>

#include "supervisor/report/mhd.h"

#define CONNECTIONS_MAX 8u
#define SECONDS_MAX 10u /* without a byte, of a connection */
#define REQUEST_BYTES ((size_t)16384)

struct sv_listener {
    struct sv_mhd mhd;
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock; /* of body */
    char *body;
    char path[108]; /* of the socket; "": an address */
};

static enum MHD_Result answer(const struct sv_listener *l, struct MHD_Connection *to, unsigned status,
                              const char *type, char *body)
{
    struct MHD_Response *r =
        SV_MHD(&l->mhd, create_response_from_buffer)(strlen(body), body, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result result;

    if (!r) {
        free(body);
        return MHD_NO;
    }
    SV_MHD(&l->mhd, add_response_header)(r, "Content-Type", type);
    SV_MHD(&l->mhd, add_response_header)(r, "Cache-Control", "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        SV_MHD(&l->mhd, add_response_header)(r, "Allow", "GET, HEAD");
    result = SV_MHD(&l->mhd, queue_response)(to, status, r);
    SV_MHD(&l->mhd, destroy_response)(r);
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

static void say_nothing(void *context, const char *format, va_list args)
{
    (void)context, (void)format, (void)args;
}

int sv_listen_open(const struct im_conf_listen *where, struct sv_listener **ret, struct im_text *text)
{
    struct sv_listener *l = calloc(1, sizeof *l);
    sigset_t all, before; /* signals are for the thread that waits for them */
    int err = l ? sv_mhd_load(&l->mhd, text) : -ENOMEM, fd = err < 0 ? err : sv_mhd_socket(where, text);

    if (fd < 0) {
        free(l);
        return fd;
    }
    pthread_mutex_init(&l->lock, NULL);
    memcpy(l->path, where->path, sizeof l->path);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    l->daemon = SV_MHD(&l->mhd, start_daemon)(
        MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL, handle, l, MHD_OPTION_EXTERNAL_LOGGER,
        say_nothing, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, SECONDS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_BYTES,
        MHD_OPTION_END);
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
        SV_MHD(&l->mhd, stop_daemon)(l->daemon);
    if (*l->path)
        unlink(l->path);
    pthread_mutex_destroy(&l->lock);
    free(l->body);
    free(l);
}
