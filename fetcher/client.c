#include "fetcher/client.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>

#include "ipc/base/count.h"

#define CONNECT_MS 15000L
#define SHA256_OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define REDIRECTS 5L
#define SLOWEST 1024L /* bytes/s of a request; of a slow network fewer are made at a time (fetcher.c) */
#define WAIT_MAX_NS (300 * IM_SECOND)
#define TRIES 8
#define BODY_OF_ERROR 2048

struct request {
    struct fe_client *client;
    CURL *easy;
    struct curl_slist *headers;
    struct fe_sink sink;
    bool used, has_begun, wants_etag;
    int sink_err;
    int64_t length, received; /* the length: -1, not said */
    uint64_t from, n;         /* the part that was asked for; n 0: all */
    int64_t part_from, total; /* what the answer says that it is of; -1: nothing */
    char etag[FE_ETAG_BYTES], region[64], error[CURL_ERROR_SIZE];
    bool is_encrypted; /* with a key of its own: then the ETag is no sum */
    bool is_packed, is_page, is_probe;
    const char *wrong; /* with the answer, NULL: nothing yet */
    im_ns wait;
    char body[BODY_OF_ERROR]; /* what comes with an error */
    size_t body_bytes;
    void *tag;
    struct request *next_free;
};

struct fe_client {
    CURLM *multi;
    struct fe_address address;
    struct fe_keys keys;
    struct request *request, *free;
    unsigned requests, under_way, stall_ms;
};

/* "HTTP/1.1 200 OK" begins the headers of an answer; those of a redirection came before it. */
static void begin_answer(struct request *r)
{
    r->length = r->part_from = r->total = -1;
    r->etag[0] = r->region[0] = 0;
    r->is_encrypted = r->is_packed = r->is_page = false;
    r->wait = 0;
    r->body_bytes = 0;
}

static void take_retry_after(struct request *r, const char *value)
{
    time_t at = isdigit((unsigned char)*value) ? 0 : curl_getdate(value, NULL);
    long seconds = at > 0 ? (long)(at - time(NULL)) : strtol(value, NULL, 10);

    if (seconds > 0)
        r->wait = (uint64_t)seconds * IM_SECOND < WAIT_MAX_NS ? (im_ns)seconds * IM_SECOND : WAIT_MAX_NS;
}

/* "bytes 0-511/10240", or "bytes 0-511/" and an asterisk. */
static void take_range(struct request *r, const char *value)
{
    static const char unit[] = "bytes ";
    long long from, total;
    char *end;

    if (strncmp(value, unit, sizeof unit - 1) != 0)
        return;
    from = strtoll(value + sizeof unit - 1, &end, 10);
    if (*end != '-' || from < 0)
        return;
    r->part_from = from;
    strtoll(end + 1, &end, 10);
    total = *end == '/' ? strtoll(end + 1, &end, 10) : 0;
    if (total > 0)
        r->total = total;
}

/* Whether the answer is of what was asked for. */
static int check_answer(struct request *r, long status)
{
    if (r->is_packed)
        r->wrong = "the server packs what it gives (Content-Encoding)";
    else if (r->n > 0 && status == 200)
        r->wrong = "the server gives no parts of objects (Range)";
    else if (r->n > 0 && ((uint64_t)r->part_from != r->from || r->length < 0 || (uint64_t)r->length > r->n))
        r->wrong = "the server gives another part of the object than was asked for";
    else if (r->n == 0 && status == 206 && !r->is_probe)
        r->wrong = "the server gives a part of the object, and was asked for all of it";
    return r->wrong ? -EREMOTEIO : 0;
}

/* Codings that change the bytes. Others are named where nothing is coded: identity, aws-chunked. */
static bool is_packing(const char *coding)
{
    static const char *const known[] = {"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"};

    for (size_t i = 0; i < IM_COUNT(known); i++)
        if (strcasecmp(coding, known[i]) == 0)
            return true;
    return false;
}

static void copy_field(char *ret, size_t size, const char *value)
{
    size_t n = strlen(value);

    if (n < size)
        memcpy(ret, value, n + 1);
    else
        ret[0] = 0;
}

static size_t on_header(char *bytes, size_t one, size_t n, void *context)
{
    struct request *r = context;
    char line[1024], *colon, *value;
    size_t length = n < sizeof line ? n : sizeof line - 1;

    (void)one;
    memcpy(line, bytes, length);
    while (length > 0 && isspace((unsigned char)line[length - 1]))
        length--;
    line[length] = 0;
    if (strncmp(line, "HTTP/", 5) == 0)
        begin_answer(r);
    colon = strchr(line, ':');
    if (!colon)
        return n;
    *colon = 0;
    value = colon + 1 + strspn(colon + 1, " \t");
    if (strcasecmp(line, "content-length") == 0)
        r->length = isdigit((unsigned char)*value) ? strtoll(value, NULL, 10) : -1;
    else if (strcasecmp(line, "content-range") == 0)
        take_range(r, value);
    else if (strcasecmp(line, "etag") == 0)
        copy_field(r->etag, sizeof r->etag, value);
    else if (strcasecmp(line, "content-encoding") == 0)
        r->is_packed = is_packing(value);
    else if (strcasecmp(line, "content-type") == 0)
        r->is_page = strncasecmp(value, "text/html", 9) == 0;
    else if (strcasecmp(line, "retry-after") == 0)
        take_retry_after(r, value);
    else if (strcasecmp(line, "x-amz-bucket-region") == 0)
        copy_field(r->region, sizeof r->region, value);
    else if (strcasecmp(line, "x-amz-server-side-encryption") == 0)
        r->is_encrypted = strcasecmp(value, "AES256") != 0;
    else if (strcasecmp(line, "x-amz-server-side-encryption-customer-algorithm") == 0)
        r->is_encrypted = true;
    return n;
}

static size_t on_body(char *bytes, size_t one, size_t n, void *context)
{
    struct request *r = context;
    long status = 0;

    (void)one;
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200 && status != 206) {
        size_t more = n < sizeof r->body - 1 - r->body_bytes ? n : sizeof r->body - 1 - r->body_bytes;

        memcpy(r->body + r->body_bytes, bytes, more);
        r->body_bytes += more;
        return n;
    }
    if (!r->has_begun)
        r->sink_err = check_answer(r, status);
    if (!r->has_begun && r->sink_err == 0 && r->sink.begin)
        r->sink_err = r->sink.begin(r->sink.context, r->length);
    r->has_begun = true;
    if (r->sink_err == 0 && r->sink.write)
        r->sink_err = r->sink.write(r->sink.context, bytes, n);
    r->received += (int64_t)n;
    return r->sink_err == 0 ? n : 0;
}

static int sign(struct fe_client *c, struct request *r)
{
    char what[128], pair[sizeof c->keys.id + sizeof c->keys.secret + 2], token[sizeof c->keys.token + 32];
    struct curl_slist *more;

    if (!c->address.is_s3 || !c->keys.id[0])
        return 0;
    snprintf(what, sizeof what, "aws:amz:%s:s3", c->address.region);
    snprintf(pair, sizeof pair, "%s:%s", c->keys.id, c->keys.secret);
    if (c->keys.token[0]) {
        snprintf(token, sizeof token, "x-amz-security-token: %s", c->keys.token);
        more = curl_slist_append(r->headers, token);
        explicit_bzero(token, sizeof token);
        if (!more)
            return -ENOMEM;
        r->headers = more;
    }
    /* S3 requires it among what is signed, and libcurl 7.88 does not add it. */
    more = curl_slist_append(r->headers, "x-amz-content-sha256: " SHA256_OF_NOTHING);
    if (!more)
        return -ENOMEM;
    r->headers = more;
    curl_easy_setopt(r->easy, CURLOPT_AWS_SIGV4, what);
    curl_easy_setopt(r->easy, CURLOPT_USERPWD, pair);
    explicit_bzero(pair, sizeof pair);
    return 0;
}

static int add_header(struct request *r, const char *name, const char *value)
{
    char line[FE_ETAG_BYTES + 64];
    struct curl_slist *more;

    snprintf(line, sizeof line, "%s: %s", name, value);
    more = curl_slist_append(r->headers, line);
    if (!more)
        return -ENOMEM;
    r->headers = more;
    return 0;
}

static int set_up(struct fe_client *c, struct request *r, const struct fe_request *wanted)
{
    const bool is_tls = strncmp(wanted->url, "https", 5) == 0;
    char range[64];
    int err = 0;

    curl_easy_reset(r->easy);
    if (wanted->etag && *wanted->etag)
        err = add_header(r, "If-Match", wanted->etag);
    if (err == 0)
        err = sign(c, r);
    if (err < 0)
        return err;
    curl_easy_setopt(r->easy, CURLOPT_URL, wanted->url);
    curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
    curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(r->easy, CURLOPT_USERAGENT, "imsuper");
    curl_easy_setopt(r->easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(r->easy, CURLOPT_REDIR_PROTOCOLS_STR, is_tls ? "https" : "http,https");
    curl_easy_setopt(r->easy, CURLOPT_FOLLOWLOCATION, c->address.is_s3 ? 0L : 1L);
    curl_easy_setopt(r->easy, CURLOPT_MAXREDIRS, REDIRECTS);
    curl_easy_setopt(r->easy, CURLOPT_CONNECTTIMEOUT_MS,
                     c->stall_ms < (unsigned)CONNECT_MS ? (long)c->stall_ms : CONNECT_MS);
    curl_easy_setopt(r->easy, CURLOPT_LOW_SPEED_LIMIT, SLOWEST);
    curl_easy_setopt(r->easy, CURLOPT_LOW_SPEED_TIME, (long)((c->stall_ms + 999) / 1000));
    curl_easy_setopt(r->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(r->easy, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(r->easy, CURLOPT_ERRORBUFFER, r->error);
    curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
    if (!c->address.is_s3)
        curl_easy_setopt(r->easy, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
    if (wanted->first_byte)
        curl_easy_setopt(r->easy, CURLOPT_RANGE, "0-0");
    snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, wanted->from, wanted->from + wanted->n - 1);
    if (wanted->n > 0)
        curl_easy_setopt(r->easy, CURLOPT_RANGE, range); /* copied */
    return 0;
}

int fe_client_open(const struct fe_address *address, unsigned requests, unsigned stall_ms,
                   struct fe_client **ret, struct im_text *text)
{
    struct fe_client *c = calloc(1, sizeof *c);

    if (!c)
        return -ENOMEM;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        free(c);
        return im_fail(text, -EIO, "libcurl cannot be set up");
    }
    c->address = *address;
    c->stall_ms = stall_ms;
    c->requests = requests;
    c->multi = curl_multi_init();
    c->request = calloc(requests, sizeof *c->request);
    for (unsigned i = 0; c->request && i < requests; i++) {
        c->request[i] = (struct request){.client = c, .easy = curl_easy_init(), .next_free = c->free};
        c->free = &c->request[i];
        if (!c->request[i].easy) {
            fe_client_close(&c);
            return -ENOMEM;
        }
    }
    if (!c->multi || !c->request) {
        fe_client_close(&c);
        return -ENOMEM;
    }
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)requests);
    curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)requests);
    if (address->is_s3 && fe_keys_read(&c->keys, text) < 0) {
        fe_client_close(&c);
        return -EINVAL;
    }
    *ret = c;
    return 0;
}

void fe_client_close(struct fe_client **client)
{
    struct fe_client *c = *client;

    if (!c)
        return;
    for (unsigned i = 0; c->request && i < c->requests; i++) {
        if (c->request[i].used)
            curl_multi_remove_handle(c->multi, c->request[i].easy);
        if (c->request[i].easy)
            curl_easy_cleanup(c->request[i].easy);
        curl_slist_free_all(c->request[i].headers);
    }
    if (c->multi)
        curl_multi_cleanup(c->multi);
    explicit_bzero(&c->keys, sizeof c->keys);
    free(c->request);
    free(c);
    *client = NULL;
    curl_global_cleanup();
}

void fe_client_renew_keys(struct fe_client *client)
{
    struct fe_keys now;

    if (fe_keys_read(&now, NULL) == 0) /* else their file is being written */
        client->keys = now;
    explicit_bzero(&now, sizeof now);
}

unsigned fe_client_under_way(const struct fe_client *client)
{
    return client->under_way;
}

int fe_client_start(struct fe_client *client, const struct fe_request *wanted)
{
    struct request *r = client->free;
    CURL *easy;
    int err;

    if (!r)
        return -EBUSY;
    client->free = r->next_free;
    easy = r->easy;
    *r = (struct request){.client = client,
                          .easy = easy,
                          .sink = wanted->sink,
                          .wants_etag = wanted->etag && *wanted->etag,
                          .is_probe = wanted->first_byte,
                          .length = -1,
                          .part_from = -1,
                          .total = -1,
                          .from = wanted->from,
                          .n = wanted->n,
                          .tag = wanted->tag};
    err = set_up(client, r, wanted);
    if (err == 0 && curl_multi_add_handle(client->multi, r->easy) != CURLM_OK)
        err = -ENOMEM;
    r->used = err == 0;
    if (err == 0) {
        client->under_way++;
        return 0;
    }
    curl_slist_free_all(r->headers);
    r->headers = NULL;
    r->next_free = client->free;
    client->free = r;
    return err;
}

static int err_of_code(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return -ETIMEDOUT;
    case CURLE_COULDNT_CONNECT:
        return -ECONNREFUSED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return -EHOSTUNREACH;
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
        return -ECONNRESET;
    case CURLE_OUT_OF_MEMORY:
        return -ENOMEM;
    case CURLE_PEER_FAILED_VERIFICATION: /* its certificate, which asking again does not mend */
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
        return -EACCES;
    default:
        return -EPROTO;
    }
}

/* Those of a server that will not have it otherwise, and those that pass. */
static int err_of_status(const struct request *r, long status)
{
    if (status == 404 || status == 410)
        return -ENOENT;
    if (status == 412 && r->wants_etag)
        return -ESTALE;
    if (status == 401 || status == 403)
        return -EACCES;
    return -EREMOTEIO;
}

/* What to do about a code of S3's; NULL: it says so itself. */
static const char *advice_on(const char *code)
{
    static const char *const known[][2] = {
        {"SignatureDoesNotMatch", "the secret is not that of the key, or the region another (AWS_REGION)"},
        {"InvalidAccessKeyId", "this server has no such key (AWS_ACCESS_KEY_ID, AWS_PROFILE, "
                               "AWS_ENDPOINT_URL)"},
        {"ExpiredToken", "the keys have expired"},
        {"InvalidToken", "AWS_SESSION_TOKEN is not that of the key"},
        {"RequestTimeTooSkewed", "the clock of this machine is wrong"}};

    for (size_t i = 0; i < IM_COUNT(known); i++)
        if (strcmp(code, known[i][0]) == 0)
            return known[i][1];
    return NULL;
}

/* "HTTP 403 (AccessDenied)", and what to do. */
static void say_status(const struct fe_client *c, struct request *r, long status, char *ret, size_t size)
{
    const char *begin, *end, *advice;
    char code[65] = "";

    r->body[r->body_bytes] = 0;
    begin = strstr(r->body, "<Code>");
    end = begin ? strstr(begin, "</Code>") : NULL;
    if (end)
        snprintf(code, sizeof code, "%.*s", (int)(end - begin - 6), begin + 6);
    advice = advice_on(code);
    if (c->address.is_s3 && !c->keys.id[0] && (status == 401 || status == 403))
        advice = "requests are not signed, for there are no keys (AWS_ACCESS_KEY_ID, AWS_PROFILE)";
    if (r->region[0] && (status == 301 || status == 307 || status == 400))
        snprintf(ret, size, "HTTP %ld: the bucket is in region %.40s (AWS_REGION)", status, r->region);
    else
        snprintf(ret, size, "HTTP %ld%s%s%s%s%s", status, *code ? " (" : "", code, *code ? ")" : "",
                 advice ? ": " : "", advice ? advice : "");
}

static bool is_sum(const char *etag)
{
    return strlen(etag) == 34 && etag[0] == '"' && strspn(etag + 1, "0123456789abcdef") == 32;
}

static void end(struct fe_client *c, struct request *r, CURLcode code, struct fe_result *ret)
{
    long status = 0;

    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    *ret = (struct fe_result){
        .tag = r->tag, .status = (int)status, .bytes = r->received, .total = r->total, .wait = r->wait};
    if (r->sink_err < 0) {
        ret->err = r->sink_err;
        snprintf(ret->why, sizeof ret->why, "%s", r->wrong ? r->wrong : strerror(-r->sink_err));
    } else if (code != CURLE_OK) {
        ret->err = err_of_code(code);
        snprintf(ret->why, sizeof ret->why, "%s", r->error[0] ? r->error : curl_easy_strerror(code));
    } else if (status != 200 && status != 206) {
        ret->err = err_of_status(r, status);
        say_status(c, r, status, ret->why, sizeof ret->why);
    } else if (!r->has_begun && r->sink.begin) {
        ret->err = r->sink.begin(r->sink.context, 0);
    }
    memcpy(ret->etag, r->etag, sizeof ret->etag);
    ret->is_page = r->is_page;
    ret->is_md5 = c->address.is_s3 && !r->is_encrypted && is_sum(r->etag);
    curl_multi_remove_handle(c->multi, r->easy);
    curl_slist_free_all(r->headers);
    r->headers = NULL;
    r->used = false;
    r->next_free = c->free;
    c->free = r;
    c->under_way--;
}

unsigned fe_client_go_on(struct fe_client *client, struct fe_result *results, unsigned max, int timeout_ms)
{
    unsigned count = 0;
    int running, left;
    CURLMsg *message;

    curl_multi_perform(client->multi, &running);
    message = curl_multi_info_read(client->multi, &left);
    if (!message && timeout_ms > 0) {
        curl_multi_poll(client->multi, NULL, 0, timeout_ms, NULL);
        curl_multi_perform(client->multi, &running);
        message = curl_multi_info_read(client->multi, &left);
    }
    for (; message; message = count < max ? curl_multi_info_read(client->multi, &left) : NULL) {
        char *private = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        end(client, (struct request *)(void *)private, message->data.result, &results[count++]);
    }
    return count;
}

struct body {
    char *bytes;
    size_t n, capacity, max;
};

static int write_body(void *context, const void *bytes, size_t n)
{
    struct body *body = context;

    if (n > body->max - body->n)
        return -EFBIG;
    if (body->n + n + 1 > body->capacity) {
        size_t capacity = 2 * (body->n + n + 1);
        char *more = realloc(body->bytes, capacity);

        if (!more)
            return -ENOMEM;
        body->bytes = more;
        body->capacity = capacity;
    }
    memcpy(body->bytes + body->n, bytes, n);
    body->n += n;
    body->bytes[body->n] = 0;
    return 0;
}

static bool helps(const struct fe_result *result)
{
    return result->err < 0 && result->err != -ENOENT && result->err != -EACCES && result->err != -EFBIG &&
           result->err != -ENOMEM && !(result->status >= 300 && result->status < 400) &&
           result->status != 400;
}

/* Asks until it is given, or asking again is of no use. Before each try `body` is emptied. */
static void ask(struct fe_client *client, struct fe_request *request, struct body *body,
                struct fe_result *ret)
{
    im_ns wait = 200 * IM_MS;

    request->sink = (struct fe_sink){.write = write_body, .context = body};
    for (int i = 0; i < TRIES; i++) {
        int err = fe_client_start(client, request);

        body->n = 0;
        if (err < 0) {
            *ret = (struct fe_result){.err = err};
            return;
        }
        while (fe_client_go_on(client, ret, 1, 1000) == 0)
            ;
        if (ret->err == 0 || !helps(ret) || i + 1 == TRIES)
            return;
        wait = ret->wait > wait ? ret->wait : wait;
        nanosleep(&(struct timespec){(time_t)(wait / IM_SECOND), (long)(wait % IM_SECOND)}, NULL);
        wait = wait < 10 * IM_SECOND ? 2 * wait : wait;
    }
}

int fe_client_get(struct fe_client *client, const char *url, size_t bytes_max, char **ret_bytes,
                  size_t *ret_n, struct im_text *text)
{
    struct fe_request request = {.url = url};
    struct body body = {.max = bytes_max};
    struct fe_result result;

    ask(client, &request, &body, &result);
    if (result.err == 0) {
        *ret_bytes = body.bytes ? body.bytes : calloc(1, 1);
        *ret_n = body.n;
        return *ret_bytes ? 0 : -ENOMEM;
    }
    free(body.bytes);
    return im_fail(text, result.err, "%.700s: %s", url, result.why[0] ? result.why : strerror(-result.err));
}

void fe_client_get_part(struct fe_client *client, const char *url, const char *etag, uint64_t from, size_t n,
                        void *bytes, struct fe_result *ret)
{
    struct fe_request request = {.url = url, .etag = etag, .from = from, .n = n};
    struct body body = {.max = n};

    ask(client, &request, &body, ret);
    ret->bytes = ret->err == 0 ? (int64_t)body.n : 0;
    if (ret->err == 0 && body.n > 0)
        memcpy(bytes, body.bytes, body.n);
    if (ret->err < 0 && !ret->why[0])
        snprintf(ret->why, sizeof ret->why, "%s", strerror(-ret->err));
    free(body.bytes);
}
