#include "supervisor/serving/http.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <microhttpd.h>

#include "ipc/base/verdict.h"
#include "supervisor/report/mhd.h"
#include "supervisor/serving/prediction.h"

#define CONNECTIONS 128u
#define IDLE_SECONDS 10u    /* without a byte, of a connection */
#define REQUEST_SECONDS 60u /* of a request, from its first byte to its answer */
#define GRACE_SECONDS 15u   /* more, and the connection is ended */
#define HEADER_BYTES ((size_t)32768)
#define STACK_BYTES ((size_t)512 << 10)
#define FORM_BYTES ((size_t)65536) /* of a form beside its file */
#define FORM_BUFFER ((size_t)16384)
#define SWALLOW_BYTES ((size_t)1 << 20) /* of a body that is refused: so that the client comes to read why */
#define FIRST_ROOM ((size_t)65536)
#define BODIES 2 /* of the largest size, in memory at once */

#define JSON "application/json"

struct connection {
    int fd; /* -1: none */
    im_ns since;
};

struct sv_http {
    struct sv_http_config config;
    const struct sv_mhd *mhd;
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock; /* of what follows */
    struct connection connection[CONNECTIONS];
    size_t held; /* bytes of all bodies */
};

/* One image on its way. */
struct upload {
    struct sv_http *h;
    char *bytes;
    size_t n, room;
    im_ns until;
    bool has_place, is_form, has_file;
    int refusal; /* status, and why; 0: none */
    const char *why;
    struct MHD_PostProcessor *form;
    char name[256];
};

/* ---- answers ---- */

static enum MHD_Result send_body(const struct sv_http *h, struct MHD_Connection *to, unsigned status,
                                 const char *type, char *body, const char *allow)
{
    static const char policy[] = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                                 "img-src blob:; connect-src 'self'; form-action 'self'";
    struct MHD_Response *r =
        body ? SV_MHD(h->mhd, create_response_from_buffer)(strlen(body), body, MHD_RESPMEM_MUST_FREE) : NULL;
    enum MHD_Result result;

    if (!r) {
        free(body);
        return MHD_NO;
    }
    SV_MHD(h->mhd, add_response_header)(r, "Content-Type", type);
    SV_MHD(h->mhd, add_response_header)(r, "Cache-Control", "no-store");
    SV_MHD(h->mhd, add_response_header)(r, "X-Content-Type-Options", "nosniff");
    SV_MHD(h->mhd, add_response_header)(r, "Content-Security-Policy", policy);
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
        SV_MHD(h->mhd, add_response_header)(r, "Retry-After", "1");
    if (allow)
        SV_MHD(h->mhd, add_response_header)(r, "Allow", allow);
    result = SV_MHD(h->mhd, queue_response)(to, status, r);
    SV_MHD(h->mhd, destroy_response)(r);
    return result;
}

/* Takes `j`. */
static enum MHD_Result send_json(const struct sv_http *h, struct MHD_Connection *to, unsigned status,
                                 struct im_json *j, const char *allow)
{
    char *line = j ? im_json_dump(j) : NULL, *body = NULL;

    im_json_free(&j);
    if (line && asprintf(&body, "%s\n", line) < 0)
        body = NULL;
    free(line);
    return send_body(h, to, status, JSON, body, allow);
}

static enum MHD_Result refuse(const struct sv_http *h, struct MHD_Connection *to, unsigned status,
                              const char *why, const char *allow)
{
    struct im_json *j = im_json_object();

    im_json_set_str(j, "error", why);
    return send_json(h, to, status, j, allow);
}

static enum MHD_Result send_health(const struct sv_http *h, struct MHD_Connection *to)
{
    const struct sv_service_state s = sv_service_state(h->config.service);
    struct im_json *j = im_json_object();

    im_json_set_str(j, "status", s.failed ? "failed" : "ok");
    im_json_set_str(j, "model", h->config.model);
    im_json_set_int(j, "classes", h->config.classes);
    im_json_set_int(j, "image_size", h->config.size);
    im_json_set_int(j, "answered", (int64_t)s.answered);
    im_json_set_int(j, "bad", (int64_t)s.bad);
    im_json_set_int(j, "decoder_deaths", (int64_t)s.deaths);
    im_json_set_int(j, "requests", s.places);
    return send_json(h, to, s.failed ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK, j, NULL);
}

/* ---- an image on its way ---- */

static void drop(struct upload *u, unsigned status, const char *why)
{
    if (!u->refusal) {
        u->refusal = (int)status;
        u->why = why;
    }
    free(u->bytes);
    u->bytes = NULL;
    u->n = 0;
}

/* False: there is none. Counts it among all. */
static bool reserve(struct upload *u, size_t n)
{
    struct sv_http *h = u->h;
    size_t room = u->room ? u->room : FIRST_ROOM;
    char *grown = NULL;
    bool fits;

    if (n <= u->room)
        return true;
    while (room < n)
        room *= 2;
    room = room > h->config.body_max ? h->config.body_max : room;
    pthread_mutex_lock(&h->lock);
    fits = h->held + room - u->room <= BODIES * h->config.body_max;
    h->held += fits ? room - u->room : 0;
    pthread_mutex_unlock(&h->lock);
    if (!fits)
        return false;
    u->room = room;
    grown = realloc(u->bytes, room);
    u->bytes = grown ? grown : u->bytes;
    return grown != NULL;
}

static void append(struct upload *u, const char *bytes, size_t n)
{
    if (u->refusal || n == 0)
        return;
    if (n > u->h->config.body_max - u->n)
        drop(u, MHD_HTTP_CONTENT_TOO_LARGE, "the image is larger than --max-file-bytes");
    else if (!reserve(u, u->n + n))
        drop(u, MHD_HTTP_SERVICE_UNAVAILABLE, "too many large images at once");
    else {
        memcpy(u->bytes + u->n, bytes, n);
        u->n += n;
    }
}

/* The first file of a form; other fields are passed over. */
/* NOLINTNEXTLINE(readability-function-size): the arguments are the library's */
static enum MHD_Result take_part(void *context, enum MHD_ValueKind kind, const char *key,
                                 const char *filename, const char *type, const char *encoding,
                                 const char *data, uint64_t offset, size_t n)
{
    struct upload *u = context;

    (void)kind, (void)key, (void)type, (void)encoding;
    if (!filename)
        return MHD_YES;
    if (offset == 0 && u->has_file && u->n > 0) {
        drop(u, MHD_HTTP_BAD_REQUEST, "the form has several files: send one");
        return MHD_YES;
    }
    if (offset == 0) {
        u->has_file = true;
        snprintf(u->name, sizeof u->name, "%s", filename);
    }
    append(u, data, n);
    return MHD_YES;
}

static void free_upload(struct upload *u)
{
    struct sv_http *h = u->h;

    if (u->form)
        SV_MHD(h->mhd, destroy_post_processor)(u->form);
    pthread_mutex_lock(&h->lock);
    h->held -= u->room;
    pthread_mutex_unlock(&h->lock);
    if (u->has_place)
        sv_service_leave(h->config.service);
    free(u->bytes);
    free(u);
}

static const char *header_of(const struct sv_http *h, struct MHD_Connection *c, const char *name)
{
    return SV_MHD(h->mhd, lookup_connection_value)(c, MHD_HEADER_KIND, name);
}

static enum MHD_Result begin_upload(struct sv_http *h, struct MHD_Connection *c, void **state)
{
    static const char form[] = "multipart/form-data";
    const char *length = header_of(h, c, "Content-Length"), *type = header_of(h, c, "Content-Type");
    const char *name = SV_MHD(h->mhd, lookup_connection_value)(c, MHD_GET_ARGUMENT_KIND, "name");
    const uint64_t bytes = length ? strtoull(length, NULL, 10) : 0;
    struct upload *u = calloc(1, sizeof *u);

    if (!u)
        return MHD_NO;
    u->h = h;
    u->until = im_now() + REQUEST_SECONDS * IM_SECOND;
    snprintf(u->name, sizeof u->name, "%s", name ? name : "body");
    u->is_form = type && strncasecmp(type, form, strlen(form)) == 0;
    *state = u;
    if (bytes > h->config.body_max + (u->is_form ? FORM_BYTES : 0))
        drop(u, MHD_HTTP_CONTENT_TOO_LARGE, "the image is larger than --max-file-bytes");
    else if (!(u->has_place = sv_service_enter(h->config.service)))
        drop(u, MHD_HTTP_SERVICE_UNAVAILABLE, "too many requests at once");
    else if (u->is_form && !(u->form = SV_MHD(h->mhd, create_post_processor)(c, FORM_BUFFER, take_part, u)))
        drop(u, MHD_HTTP_BAD_REQUEST, "this multipart/form-data has no boundary");
    return u->refusal && bytes > SWALLOW_BYTES ? refuse(h, c, (unsigned)u->refusal, u->why, NULL) : MHD_YES;
}

/* More of the body. MHD_NO ends the connection: an answer is possible only behind the body. */
static enum MHD_Result http_take(struct upload *u, const char *bytes, size_t n)
{
    if (im_now() >= u->until)
        return MHD_NO;
    if (!u->is_form)
        append(u, bytes, n);
    else if (!u->refusal && u->form && SV_MHD(u->h->mhd, post_process)(u->form, bytes, n) != MHD_YES)
        drop(u, MHD_HTTP_BAD_REQUEST, "this is no valid multipart/form-data");
    return MHD_YES;
}

static enum MHD_Result finish_upload(struct upload *u, struct MHD_Connection *c)
{
    const struct sv_http_config *config = &u->h->config;
    struct sv_service_answer a;
    struct im_json *j;
    const char *error = NULL;
    unsigned status = MHD_HTTP_OK;

    if (!u->refusal && u->is_form && !u->has_file)
        drop(u, MHD_HTTP_BAD_REQUEST, "there is no file in the form");
    if (u->refusal)
        return refuse(u->h, c, (unsigned)u->refusal, u->why, NULL);
    a = sv_service_ask(config->service, u->bytes, u->n, u->until);
    u->bytes = NULL;
    if (a.kind == SV_TOO_LATE)
        return refuse(u->h, c, MHD_HTTP_SERVICE_UNAVAILABLE, "it could not be answered in time", NULL);
    if (a.kind == SV_BROKEN)
        return refuse(u->h, c, MHD_HTTP_INTERNAL_SERVER_ERROR, "the server ends", NULL);
    if (a.kind == SV_BAD_IMAGE) {
        status = MHD_HTTP_UNPROCESSABLE_CONTENT;
        error = im_verdict_sentence(a.verdict);
    }
    j = sv_prediction_json(u->name, config->class_name,
                           a.outcome ? im_outcome_above(a.outcome, config->tops, config->threshold) : 0,
                           a.outcome, error);
    free(a.outcome);
    return send_json(u->h, c, status, j, NULL);
}

/* ---- requests ---- */

static bool is_read(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

static enum MHD_Result handle(void *context, struct MHD_Connection *c, const char *url, const char *method,
                              const char *version, const char *bytes, size_t *n, void **state)
{
    struct sv_http *h = context;
    struct upload *u = *state;
    enum MHD_Result result;

    (void)version;
    if (u && *n > 0) {
        result = http_take(u, bytes, *n);
        *n = 0;
        return result;
    }
    if (u)
        return finish_upload(u, c);
    if (strcmp(url, "/healthz") == 0)
        return is_read(method) ? send_health(h, c)
                               : refuse(h, c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET here", "GET, HEAD");
    if (strcmp(url, "/") != 0)
        return refuse(h, c, MHD_HTTP_NOT_FOUND, "images are POSTed to /; there are / and /healthz", NULL);
    if (is_read(method))
        return send_body(h, c, MHD_HTTP_OK, "text/html; charset=utf-8", strdup(sv_http_page), NULL);
    if (strcmp(method, "POST") == 0)
        return begin_upload(h, c, state);
    return refuse(h, c, MHD_HTTP_METHOD_NOT_ALLOWED, "an image is POSTed", "GET, HEAD, POST");
}

/* ---- connections ---- */

static void note_connection(void *context, struct MHD_Connection *c, void **own,
                            enum MHD_ConnectionNotificationCode what)
{
    struct sv_http *h = context;
    const union MHD_ConnectionInfo *info =
        SV_MHD(h->mhd, get_connection_info)(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *mine = *own;

    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; what == MHD_CONNECTION_NOTIFY_STARTED && !mine && i < CONNECTIONS; i++)
        if (h->connection[i].fd < 0)
            mine = &h->connection[i];
    if (mine && what == MHD_CONNECTION_NOTIFY_STARTED && info)
        *mine = (struct connection){.fd = info->connect_fd, .since = im_now()};
    else if (mine)
        mine->fd = -1;
    pthread_mutex_unlock(&h->lock);
    *own = what == MHD_CONNECTION_NOTIFY_STARTED ? mine : NULL;
}

/* A request has its answer, or never will; the next one of its connection begins. */
static void note_completed(void *context, struct MHD_Connection *c, void **state,
                           enum MHD_RequestTerminationCode why)
{
    struct sv_http *h = context;
    const union MHD_ConnectionInfo *info =
        SV_MHD(h->mhd, get_connection_info)(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *mine = info ? info->socket_context : NULL;

    (void)why;
    if (*state)
        free_upload(*state);
    *state = NULL;
    pthread_mutex_lock(&h->lock);
    if (mine)
        mine->since = im_now();
    pthread_mutex_unlock(&h->lock);
}

void sv_http_tick(struct sv_http *h)
{
    const im_ns now = im_now(), most = (REQUEST_SECONDS + GRACE_SECONDS) * IM_SECOND;

    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (h->connection[i].fd >= 0 && now - h->connection[i].since > most)
            shutdown(h->connection[i].fd, SHUT_RDWR);
    pthread_mutex_unlock(&h->lock);
}

static void say_nothing(void *context, const char *format, va_list args)
{
    (void)context, (void)format, (void)args;
}

int sv_http_open(const struct sv_http_config *config, const struct sv_mhd *mhd, int fd, struct sv_http **ret,
                 struct im_text *text)
{
    struct sv_http *h = calloc(1, sizeof *h);
    sigset_t all, before; /* signals are for the thread that waits for them */

    if (!h)
        return im_fail(text, -ENOMEM, "no memory to serve");
    h->config = *config;
    h->mhd = mhd;
    pthread_mutex_init(&h->lock, NULL);
    for (size_t i = 0; i < CONNECTIONS; i++)
        h->connection[i].fd = -1;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    h->daemon = SV_MHD(mhd, start_daemon)(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC, 0, NULL, NULL, handle,
        h, MHD_OPTION_EXTERNAL_LOGGER, say_nothing, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEADER_BYTES, MHD_OPTION_THREAD_STACK_SIZE, STACK_BYTES,
        MHD_OPTION_NOTIFY_COMPLETED, note_completed, h, MHD_OPTION_NOTIFY_CONNECTION, note_connection, h,
        MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!h->daemon) {
        pthread_mutex_destroy(&h->lock);
        free(h);
        return im_fail(text, -EAGAIN, "cannot start a thread that serves");
    }
    *ret = h;
    return 0;
}

void sv_http_close(struct sv_http **http)
{
    struct sv_http *h = *http;

    *http = NULL;
    if (!h)
        return;
    SV_MHD(h->mhd, stop_daemon)(h->daemon);
    pthread_mutex_destroy(&h->lock);
    free(h);
}
